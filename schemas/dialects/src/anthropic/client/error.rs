//! Errors in Anthropic's form, and its word for a call that failed. What our own refusals are called is decided elsewhere.
//! Source: <https://platform.claude.com/docs/en/api/errors>.

use crate::client::ClientError;
use bytes::Bytes;
use penstock_schemas::failure::FailureKind;
use serde_json::{Map, Value, json};

/// An error as Anthropic spells it: `{"type": "error", "error": {"type", "message"}, "request_id"}`.
pub fn body(error: &ClientError<'_>, class: &str) -> Value {
    let mut object =
        Map::from_iter([("type".to_owned(), Value::from(class)), ("message".to_owned(), error.message.clone().into())]);
    let others: Vec<_> = error.others(&object).map(|(name, value)| (name.clone(), value.clone())).collect();
    object.extend(others);
    json!({ "type": "error", "error": object, "request_id": error.request_id })
}

/// The last event of a stream that broke after its first content.
pub fn event(body: &Value) -> Bytes {
    format!("event: error\ndata: {body}\n\n").into()
}

/// Anthropic's `type` for a failed call.
pub fn class(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::RateLimited | FailureKind::Budget => "rate_limit_error",
        FailureKind::Overloaded | FailureKind::NoPool | FailureKind::Busy | FailureKind::Ledger => "overloaded_error",
        FailureKind::BadRequest
        | FailureKind::ContextTooLong
        | FailureKind::ContentRefused
        | FailureKind::Unprocessable
        | FailureKind::Unsupported => "invalid_request_error",
        FailureKind::Revoked => "authentication_error",
        FailureKind::NotFound => "not_found_error",
        FailureKind::Conflict => "conflict_error",
        FailureKind::TooLarge => "request_too_large",
        FailureKind::Timeout | FailureKind::Deadline => "timeout_error",
        // A provider that refuses our key is our trouble: the caller's own key is fine.
        FailureKind::ProviderAuth
        | FailureKind::ServerError
        | FailureKind::Connect
        | FailureKind::Broken
        | FailureKind::Lost
        | FailureKind::Hedge
        | FailureKind::Cancelled
        | FailureKind::Internal => "api_error",
    }
}
