//! Why something did not work: decided once, where it happens, by the one who can tell. Knows no HTTP status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// The longest wait that a provider's word is believed for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What went wrong. A closed set: who handles a failure matches on it without a catch-all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The provider limits us: try later, or elsewhere.
    RateLimited,
    /// The provider has no capacity now (503, 529).
    Overloaded,
    /// The provider failed by its own fault (other 5xx).
    ServerError,
    /// The provider could not be connected to, or hung up before it answered.
    Connect,
    /// The provider did not answer in time: connect, first token, idle or total.
    Timeout,
    /// The provider's answer ended early, or could not be understood.
    Broken,
    /// The provider refuses our key (401, 403): the operator must act, not the caller.
    ProviderAuth,
    /// The input is longer than the model takes.
    ContextTooLong,
    /// The provider's content policy refuses the request.
    ContentRefused,
    /// The provider finds the request wrong (400).
    BadRequest,
    /// The provider knows no such model or object (404).
    NotFound,
    /// The provider reports a conflict (409).
    Conflict,
    /// The provider finds the request too large (413).
    TooLarge,
    /// The provider understood the request and cannot carry it out (422).
    Unprocessable,
    /// The request holds something that this provider cannot express.
    Unsupported,
    /// No worker serves this provider now.
    NoPool,
    /// The workers of this provider are all busy.
    Busy,
    /// The usage ledger could not take the attempt, so it must not be made.
    Ledger,
    /// What is set aside in the budgets is not enough, and there is no more.
    Budget,
    /// The request's own deadline has passed.
    Deadline,
    /// The worker that held the call is gone.
    Lost,
    /// The caller went away.
    Cancelled,
    /// The caller's right to ask ended while it was being answered: its key was revoked, disabled, or has expired.
    Revoked,
    /// Another call of the same request was faster: see `hedge` of a virtual model.
    Hedge,
    /// A mistake of ours.
    Internal,
}

impl FailureKind {
    /// The word that stands for it on the wire, in SQL and in error bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::ProviderAuth => "provider_auth",
            Self::ContextTooLong => "context_too_long",
            Self::ContentRefused => "content_refused",
            Self::BadRequest => "bad_request",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Unprocessable => "unprocessable",
            Self::Unsupported => "unsupported",
            Self::NoPool => "no_pool",
            Self::Busy => "busy",
            Self::Ledger => "ledger",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
            Self::Revoked => "revoked",
            Self::Hedge => "hedge",
            Self::Internal => "internal",
        }
    }
}

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Penstock itself.
    Gateway,
    /// The provider.
    Provider,
}

/// A failure as it travels: from where it happened to the caller and into the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// Who failed.
    pub origin: Origin,
    /// For people: what and which. Never a key or a prompt.
    pub message: String,
    /// How long to wait before another try, in milliseconds, when the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The field of the request that is wrong, when the provider named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// The provider's own error code, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_code: Option<String>,
    /// The provider's HTTP status, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// What else the provider's error object holds; for the caller alone, never for the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Map<String, Value>>>,
}

impl Failure {
    /// How long to wait before another try, when the provider said so: of what it says an hour is believed.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(|wait| Duration::from_millis(wait).min(LONGEST_WAIT))
    }

    /// A failure of ours.
    pub fn gateway(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::new(kind, Origin::Gateway, message)
    }

    /// A failure of the provider's.
    pub fn provider(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::new(kind, Origin::Provider, message)
    }

    fn new(kind: FailureKind, origin: Origin, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            kind,
            origin,
            message,
            retry_after_ms: None,
            param: None,
            provider_code: None,
            provider_status: None,
            details: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_wait_that_a_provider_asks_for_an_hour_is_believed() {
        for (asked, believed) in [(None, None), (Some(1_500), Some(1_500)), (Some(u64::MAX), Some(3_600_000))] {
            let failure = Failure { retry_after_ms: asked, ..Failure::provider(FailureKind::RateLimited, "") };
            assert_eq!(failure.retry_after(), believed.map(Duration::from_millis));
        }
    }

    #[test]
    fn a_kind_is_spelt_the_same_on_the_wire_and_in_sql() {
        for kind in [FailureKind::RateLimited, FailureKind::ContextTooLong, FailureKind::NoPool, FailureKind::Lost] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
