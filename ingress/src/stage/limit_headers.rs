//! What a caller is told in the headers of a reply of limits, and of the way that its request went. Knows nothing of how limits
//! are kept and routes are found.

use crate::http::reply::set;
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::{Timestamp, Unit};
use penstock_runtime::clock;
use penstock_schemas::envelope::Dialect;
use std::time::Duration;

/// Where a rate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateStanding {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset: Duration,
}

/// The headers, as far as a request has come to know them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitHeaders {
    pub(crate) requests: Option<RateStanding>,
    pub(crate) tokens: Option<RateStanding>,
    /// The model that a budget sent the request to, and the budget.
    pub(crate) sent_down: Option<String>,
    /// Why the request went where it went, for a caller who asked.
    pub(crate) route: Option<String>,
}

impl LimitHeaders {
    /// Writes them: rates as OpenAI does, to callers of Anthropic's dialect also as it does, and the model that a budget has
    /// sent the request to. What a provider says of the operator's own limits there is never passed on: it tells of what
    /// other projects do. Sources: <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>,
    /// <https://platform.claude.com/docs/en/api/rate-limits#response-headers>.
    pub(crate) fn write(&self, response: &mut Response, dialect: Dialect) {
        let headers = response.headers_mut();
        if dialect == Dialect::Anthropic {
            self.write_as_anthropic(headers);
        }
        let names = [
            (
                &self.requests,
                ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
            ),
            (&self.tokens, ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]),
        ];
        for (standing, [limit, remaining, reset]) in names {
            if let Some(standing) = standing {
                set(headers, limit, &standing.limit.to_string());
                set(headers, remaining, &standing.remaining.to_string());
                set(headers, reset, &format!("{:.3}s", standing.reset.as_secs_f64()));
            }
        }
        if let Some(down) = &self.sent_down {
            set(headers, "x-penstock-downgraded", down);
        }
        if let Some(route) = &self.route {
            set(headers, "x-penstock-route", route);
        }
    }

    fn write_as_anthropic(&self, headers: &mut HeaderMap) {
        for (standing, names) in [(&self.requests, ANTHROPIC_REQUESTS), (&self.tokens, ANTHROPIC_TOKENS)] {
            let Some(standing) = standing else { continue };
            let reset = clock::now().after(standing.reset);
            let reset = i64::try_from(reset.0).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
            let reset = reset.map(|at| at.round(Unit::Second).unwrap_or(at).to_string()).unwrap_or_default();
            let values = [standing.limit.to_string(), standing.remaining.to_string(), reset];
            names.into_iter().zip(values).for_each(|(name, value)| set(headers, name, &value));
        }
    }
}

const ANTHROPIC_REQUESTS: [&str; 3] = [
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
];
const ANTHROPIC_TOKENS: [&str; 3] =
    ["anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"];

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn callers_of_anthropics_dialect_read_their_keys_rates_in_its_own_headers() {
        let standing = RateStanding { limit: 60, remaining: 59, reset: Duration::from_secs(5) };
        let limits = LimitHeaders { requests: Some(standing), ..LimitHeaders::default() };
        let written = |dialect: Dialect| {
            let mut response = Response::new(Body::empty());
            limits.write(&mut response, dialect);
            let value = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            [
                value("anthropic-ratelimit-requests-remaining"),
                value("x-ratelimit-remaining-requests"),
                value("anthropic-ratelimit-requests-reset"),
                value("anthropic-ratelimit-tokens-limit"),
            ]
        };
        let [own, common, reset, tokens] = written(Dialect::Anthropic);
        assert_eq!((own.as_deref(), common.as_deref(), tokens), (Some("59"), Some("59"), None));
        assert!(reset.unwrap().parse::<Timestamp>().is_ok());
        assert_eq!(written(Dialect::Openai)[0], None);
    }
}
