//! What a caller is told in the headers of a reply of limits, and of the way that its request went. Knows nothing of how limits
//! are kept and routes are found.

use crate::http::reply::set;
use axum::response::Response;
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
    /// Writes them: rates as OpenAI does, and the model that a budget has sent the request to.
    /// Source: <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>.
    pub(crate) fn write(&self, response: &mut Response) {
        let headers = response.headers_mut();
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
}
