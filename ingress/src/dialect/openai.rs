//! OpenAI's API as a client speaks it: chat completions and the other endpoints. Only what the pipeline must know is read;
//! the body's bytes travel on untouched. Source: <https://platform.openai.com/docs/api-reference>.

mod chat;
pub(crate) mod lists;
mod request;

pub(crate) use request::read;

use crate::refusal::{ManageError, Refusal};
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::RequestId;
use serde_json::{Value, json};

/// An error as OpenAI spells it: `{"error": {"message", "type", "param", "code", "request_id"}}`, with what else the
/// provider says in it.
pub(crate) fn error_body(refusal: &Refusal, request_id: RequestId) -> Value {
    let (kind, code) = words(refusal);
    let mut body = json!({ "error": {
        "message": refusal.to_string(),
        "type": kind,
        "param": refusal.param(),
        "code": code,
        "request_id": request_id,
    }});
    if !refusal.mistakes().is_empty() {
        body["error"]["errors"] = json!(refusal.mistakes());
    }
    if let Some(error) = body["error"].as_object_mut() {
        let details: Vec<_> = refusal.details(error).map(|(name, value)| (name.clone(), value.clone())).collect();
        error.extend(details);
    }
    body
}

/// The last event of a stream that broke after its first content.
pub(crate) fn error_event(failure: &Failure, request_id: RequestId) -> Bytes {
    let body = error_body(&Refusal::from(failure.clone()), request_id);
    format!("data: {body}\n\n").into()
}

/// OpenAI's `type` and `code` for a refusal. Where OpenAI has a code of its own, it is that one.
fn words(refusal: &Refusal) -> (&'static str, Option<String>) {
    const REQUEST: &str = "invalid_request_error";
    let (kind, code) = match refusal {
        Refusal::InvalidJson(_) => (REQUEST, "invalid_json"),
        Refusal::MissingField(_) => (REQUEST, "missing_required_parameter"),
        Refusal::WrongField { .. } | Refusal::WrongPart { .. } | Refusal::BadQuery(_) => (REQUEST, "invalid_value"),
        Refusal::WrongHeader { .. } => (REQUEST, "invalid_header"),
        Refusal::WrongContentType(_) | Refusal::NoForm(_) => (REQUEST, "unsupported_content_type"),
        Refusal::WrongEncoding(_) => (REQUEST, "unsupported_content_encoding"),
        Refusal::UnknownModel { .. } => (REQUEST, "model_not_found"),
        Refusal::BodyTooLarge { .. } => (REQUEST, "request_too_large"),
        Refusal::FileTooLong { .. } => (REQUEST, "file_too_large"),
        Refusal::FilesFull(_) => (REQUEST, "storage_limit_exceeded"),
        Refusal::SlowHead(_) | Refusal::SlowBody(_) => (REQUEST, "request_timeout"),
        Refusal::BrokenBody => (REQUEST, "incomplete_body"),
        Refusal::NoKey => (REQUEST, "missing_api_key"),
        Refusal::WrongKey | Refusal::KeyEnded { .. } | Refusal::BadToken(_) | Refusal::WrongAdminKey => {
            (REQUEST, "invalid_api_key")
        }
        Refusal::TooManyBadKeys { .. } => ("rate_limit_error", "too_many_invalid_keys"),
        Refusal::AdminClosed => ("permission_error", "admin_closed"),
        Refusal::NoRole => ("permission_error", "no_role"),
        Refusal::CallerDisabled { .. } => ("permission_error", "caller_disabled"),
        Refusal::WrongAddress { .. } => ("permission_error", "address_not_allowed"),
        Refusal::ModelForbidden { .. } => ("permission_error", "model_forbidden"),
        Refusal::Unpriced { .. } => ("permission_error", "unpriced_model"),
        Refusal::NoTarget { .. } => ("permission_error", "no_target"),
        // OpenAI's words for money that is spent, and for a rate; its SDKs know them.
        Refusal::OverBudget(_) => ("insufficient_quota", "budget_exceeded"),
        Refusal::OverRate(_) => ("rate_limit_error", "rate_limit_exceeded"),
        Refusal::UnknownPath(_) => (REQUEST, "unknown_url"),
        Refusal::WrongMethod { .. } => (REQUEST, "method_not_allowed"),
        Refusal::NoWebSocket(_) => (REQUEST, "websocket_not_supported"),
        Refusal::OtherRequest { .. } => (REQUEST, "idempotency_key_reused"),
        Refusal::UnknownStream => (REQUEST, "stream_not_found"),
        Refusal::CacheMiss => (REQUEST, "cache_miss"),
        Refusal::UnknownHit => (REQUEST, "hit_not_found"),
        Refusal::Draining => ("service_unavailable_error", "draining"),
        Refusal::NotReady(_) => ("service_unavailable_error", "not_ready"),
        Refusal::Manage(refused) => refused_words(refused),
        Refusal::Failed(failure) => return failure_words(failure),
    };
    (kind, Some(code.to_owned()))
}

fn refused_words(refused: &ManageError) -> (&'static str, &'static str) {
    const REQUEST: &str = "invalid_request_error";
    match refused {
        ManageError::Wrong(_) => (REQUEST, "invalid_value"),
        ManageError::Duplicate { .. } => (REQUEST, "already_exists"),
        ManageError::Unknown { .. } | ManageError::NoRow { .. } => (REQUEST, "not_found"),
        ManageError::InUse { .. } => (REQUEST, "in_use"),
        ManageError::Forbidden { .. } => ("permission_error", "role_needed"),
        ManageError::Stale { .. } => (REQUEST, "precondition_failed"),
        ManageError::Unavailable(_) => ("service_unavailable_error", "not_ready"),
        ManageError::Unrecorded => ("service_unavailable_error", "unrecorded"),
    }
}

fn failure_words(failure: &Failure) -> (&'static str, Option<String>) {
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
        (Some(code), _) => Some(code.clone()),
        (None, FailureKind::ContextTooLong) => Some("context_length_exceeded".to_owned()),
        (None, _) if is_request && failure.provider_status.is_some() => None,
        (None, kind) => Some(kind.as_str().to_owned()),
    };
    (kind, code)
}
