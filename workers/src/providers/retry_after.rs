//! How long a provider asks us to wait. Reads headers only; knows no clock but the `now` that it is given.
//! Sources: RFC 9110 section 10.2.3; `retry-after-ms` of OpenAI's own SDKs;
//! <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>.

use http::HeaderMap;
use penstock_schemas::UnixMicros;
use std::time::{Duration, UNIX_EPOCH};

/// The wait that the headers of an answer ask for.
pub(crate) fn read(status: u16, headers: &HeaderMap, now: UnixMicros) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = asked(headers, now);
    if asked.is_some() || status != 429 {
        return asked;
    }
    // Without it the limits' own resets are all there is: of the limits that are used up, the one that lasts longest;
    // when none says so, the shortest, since a wait is a floor.
    let resets = ["requests", "tokens"].map(|what| {
        let reset = text(&format!("x-ratelimit-reset-{what}")).and_then(units)?;
        Some((reset, text(&format!("x-ratelimit-remaining-{what}")) == Some("0")))
    });
    let used_up = resets.iter().flatten().filter(|(_, used_up)| *used_up).map(|(reset, _)| *reset).max();
    used_up.or_else(|| resets.iter().flatten().map(|(reset, _)| *reset).min())
}

/// The wait that an answer asks for in so many words.
pub(crate) fn asked(headers: &HeaderMap, now: UnixMicros) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    text("retry-after-ms")
        .and_then(|text| span(text, 0.001))
        .or_else(|| text("retry-after").and_then(|text| span(text, 1.0).or_else(|| until(text, now))))
}

/// A plain number of units of this many seconds.
fn span(text: &str, unit: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse::<f64>().ok()? * unit).ok()
}

fn until(date: &str, now: UnixMicros) -> Option<Duration> {
    let date = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_micros(now.0)))
}

/// `6m0s`, `1h2m3.5s`, `20ms`, or a plain number of seconds.
pub(crate) fn units(text: &str) -> Option<Duration> {
    if let Some(seconds) = span(text, 1.0) {
        return Some(seconds);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        sum = sum.checked_add(span(number, unit)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn each_way_to_ask_for_a_wait_is_understood() {
        let now = UnixMicros(784_111_777_000_000); // Sun, 06 Nov 1994 08:49:37 GMT
        for (status, headers, millis) in [
            (429, &[("retry-after", "20")][..], Some(20_000)),
            (503, &[("retry-after", "0.5")], Some(500)),
            (429, &[("retry-after", "20"), ("retry-after-ms", "1500")], Some(1500)),
            (503, &[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], Some(10_000)),
            (503, &[("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")], Some(0)),
            (429, &[("retry-after", "soon"), ("x-ratelimit-reset-requests", "20ms")], Some(20)),
            (429, &[("retry-after", "-1")], None),
            (429, &[("retry-after", "1"), ("x-ratelimit-reset-requests", "6m0s")], Some(1000)),
            (429, &[("x-ratelimit-reset-requests", "8.64s"), ("x-ratelimit-reset-tokens", "6m0s")], Some(8640)),
            (
                429,
                &[
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-remaining-requests", "99"),
                    ("x-ratelimit-reset-tokens", "1h2m3.5s"),
                    ("x-ratelimit-remaining-tokens", "0"),
                ],
                Some(3_723_500),
            ),
            (503, &[("x-ratelimit-reset-requests", "1s")], None),
            (429, &[("x-ratelimit-reset-requests", "s")], None),
            (429, &[], None),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(read(status, &map, now), millis.map(Duration::from_millis), "{status} {headers:?}");
        }
    }
}
