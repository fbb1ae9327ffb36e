//! What a provider's answer says of the limits that are left. Pure; concludes nothing.
//! Sources: <https://platform.openai.com/docs/guides/rate-limits>, <https://docs.anthropic.com/en/api/rate-limits>.

use super::retry_after;
use http::HeaderMap;
use jiff::Timestamp;
use penstock_schemas::UnixMicros;
use penstock_schemas::pool::Allowance;
use std::time::Duration;

/// Requests and tokens that are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Requests.
    pub requests: Option<Allowance>,
    /// Tokens; where input and output are limited apart, the scarcer of both.
    pub tokens: Option<Allowance>,
    /// How long the provider wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// Limits without a time are taken to be per minute, as nearly all are.
const MINUTE: Duration = Duration::from_secs(60);

/// The headers of one limit: what remains, of how much, and when it is whole again.
type Names = [&'static str; 3];

/// What OpenAI and its copies call the limits, and what Anthropic does. Written out, because every answer is read for them.
const REQUESTS: [Names; 2] = [
    ["x-ratelimit-remaining-requests", "x-ratelimit-limit-requests", "x-ratelimit-reset-requests"],
    [
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-reset",
    ],
];
const TOKENS: [Names; 4] = [
    ["x-ratelimit-remaining-tokens", "x-ratelimit-limit-tokens", "x-ratelimit-reset-tokens"],
    ["anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-reset"],
    [
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-reset",
    ],
    [
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-reset",
    ],
];

/// Reads every spelling.
pub fn read(headers: &HeaderMap, now: UnixMicros) -> Left {
    let of = |names: &Names| allowance(headers, now, names);
    Left {
        requests: REQUESTS.iter().find_map(of),
        tokens: TOKENS.iter().filter_map(of).min_by_key(|allowance| allowance.remaining),
        retry_after: retry_after::asked(headers, now),
    }
}

fn allowance(headers: &HeaderMap, now: UnixMicros, [remaining, limit, reset]: &Names) -> Option<Allowance> {
    let value = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let remaining = value(remaining)?.parse().ok()?;
    let limit = value(limit).and_then(|text| text.parse().ok()).unwrap_or(0);
    let resets_at = value(reset).and_then(|text| moment(text, now)).unwrap_or(now.after(MINUTE));
    Some(Allowance { remaining, limit, resets_at })
}

/// A span such as `6m0s`, or `2026-11-22T10:00:00Z`.
fn moment(text: &str, now: UnixMicros) -> Option<UnixMicros> {
    match text.parse::<Timestamp>() {
        Ok(at) => u64::try_from(at.as_microsecond()).ok().map(UnixMicros),
        Err(_) => retry_after::units(text).map(|wait| now.after(wait)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn left(headers: &[(&'static str, &'static str)]) -> Left {
        let headers = headers.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)));
        read(&headers.collect(), UnixMicros(1_000_000))
    }

    #[test]
    fn each_spelling_of_what_is_left_is_understood() {
        let found = left(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1m0.5s"),
            ("x-ratelimit-remaining-tokens", "100"),
            ("x-ratelimit-reset-tokens", "12ms"),
        ]);
        let requests = Allowance { remaining: 59, limit: 60, resets_at: UnixMicros(61_500_000) };
        let tokens = Allowance { remaining: 100, limit: 0, resets_at: UnixMicros(1_012_000) };
        assert_eq!(found, Left { requests: Some(requests), tokens: Some(tokens), retry_after: None });
        let found = left(&[
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "1970-01-01T00:00:31Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "500"),
            ("anthropic-ratelimit-output-tokens-remaining", "20"),
        ]);
        assert_eq!(found.requests.unwrap().resets_at, UnixMicros(31_000_000));
        assert_eq!(found.tokens.unwrap().remaining, 20);
        assert_eq!(left(&[("x-ratelimit-remaining-requests", "many")]), Left::default());
        assert_eq!(left(&[("x-ratelimit-reset-requests", "1s")]), Left::default());
    }
}
