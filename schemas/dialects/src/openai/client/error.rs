//! Errors in OpenAI's form, and its words for a call that failed. What our own refusals are called is decided elsewhere.

use crate::client::ClientError;
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::RequestId;
use serde_json::{Value, json};

/// An error as OpenAI spells it: `{"error": {"message", "type", "param", "code", "request_id"}}`, with what else the
/// provider says in it.
pub fn body(error: &ClientError<'_>, kind: &str, code: Option<&str>) -> Value {
    let mut body = json!({ "error": {
        "message": error.message,
        "type": kind,
        "param": error.param,
        "code": code,
        "request_id": error.request_id,
    }});
    if let Some(object) = body["error"].as_object_mut() {
        let others: Vec<_> = error.others(object).map(|(name, value)| (name.clone(), value.clone())).collect();
        object.extend(others);
    }
    body
}

/// The error of a failed call.
pub fn of_failure(failure: &Failure, request_id: RequestId) -> Value {
    let (kind, code) = words(failure);
    body(&ClientError::of(failure, request_id), kind, code.as_deref())
}

/// The last event of a stream that broke after its first content.
pub fn event(body: &Value) -> Bytes {
    format!("data: {body}\n\n").into()
}

/// OpenAI's `type` and `code` for a failed call. Where OpenAI has a code of its own, it is that one.
pub fn words(failure: &Failure) -> (&'static str, Option<String>) {
    let kind = match failure.kind {
        FailureKind::RateLimited => "rate_limit_error",
        // OpenAI's word for money that is spent; its SDKs know it.
        FailureKind::Budget => "insufficient_quota",
        FailureKind::BadRequest
        | FailureKind::ContextTooLong
        | FailureKind::ContentRefused
        | FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::TooLarge
        | FailureKind::Unprocessable
        | FailureKind::Unsupported => "invalid_request_error",
        FailureKind::Revoked => "authentication_error",
        FailureKind::Timeout | FailureKind::Deadline => "timeout_error",
        FailureKind::NoPool | FailureKind::Busy | FailureKind::Overloaded | FailureKind::Ledger => {
            "service_unavailable_error"
        }
        FailureKind::ServerError
        | FailureKind::Connect
        | FailureKind::Broken
        | FailureKind::ProviderAuth
        | FailureKind::Lost
        | FailureKind::Hedge
        | FailureKind::Cancelled
        | FailureKind::Internal => "server_error",
    };
    // A provider's refusal of the request keeps the provider's own code, or its lack of one.
    let is_request =
        matches!(failure.kind, FailureKind::BadRequest | FailureKind::ContentRefused | FailureKind::Unsupported);
    let code = match (&failure.provider_code, failure.kind) {
        // The provider's word would be read as one about the caller's own key.
        (_, kind @ FailureKind::ProviderAuth) => Some(kind.as_str().to_owned()),
        // Whatever the provider calls it: clients of this dialect shorten the conversation at this word alone.
        (_, FailureKind::ContextTooLong) => Some("context_length_exceeded".to_owned()),
        (Some(code), _) => Some(code.clone()),
        (None, _) if is_request && failure.provider_status.is_some() => None,
        (None, kind) => Some(kind.as_str().to_owned()),
    };
    (kind, code)
}
