//! The error that a client gets for a refused request or a failed call, in its own dialect. The form of an error is
//! the dialect's (see `penstock_dialects`); which word stands for which of our own refusals is decided here.

use crate::refusal::{ManageError, Refusal};
use crate::status;
use bytes::Bytes;
use penstock_dialects::anthropic::client::error as anthropic;
use penstock_dialects::client::{ClientError, WrongRequest, own_words};
use penstock_dialects::google::client::{error as google, is_path};
use penstock_dialects::openai::client::error as openai;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::Failure;
use penstock_schemas::name::RequestId;
use serde_json::{Value, json};

/// The dialect of a path, for what is refused before anybody reads the request.
pub(crate) fn of_path(path: &str) -> Dialect {
    match path {
        path if path == "/v1/messages" || path.starts_with("/v1/messages/") => Dialect::Anthropic,
        path if is_path(path) => Dialect::Google,
        _ => Dialect::Openai,
    }
}

/// The dialect of a request that nothing serves: Anthropic's clients say in a header that they are.
pub(crate) fn of_request(request: &axum::extract::Request) -> Dialect {
    match of_path(request.uri().path()) {
        Dialect::Openai if request.headers().contains_key("anthropic-version") => Dialect::Anthropic,
        dialect => dialect,
    }
}

/// An error in the words of a dialect.
pub(crate) fn error_body(dialect: Dialect, refusal: &Refusal, id: RequestId) -> Value {
    let own = match refusal {
        Refusal::Failed(failure) => own_words::failure(dialect, failure).map(Refusal::from),
        _ => None,
    };
    let refusal = own.as_ref().unwrap_or(refusal);
    let error = ClientError {
        message: refusal.to_string(),
        param: refusal.param(),
        details: refusal.details(),
        retry_after: refusal.retry_after(),
        request_id: id,
    };
    match dialect {
        Dialect::Anthropic => anthropic::body(&error, class(refusal)),
        Dialect::Google => google::body(&error, status::of(refusal, dialect).as_u16(), &reason(refusal)),
        _ => {
            let (kind, code) = words(refusal);
            let mut body = openai::body(&error, kind, code.as_deref());
            if !refusal.mistakes().is_empty() {
                body["error"]["errors"] = json!(refusal.mistakes());
            }
            body
        }
    }
}

/// The last event of a stream that broke after its first content.
pub(crate) fn error_event(dialect: Dialect, failure: &Failure, id: RequestId) -> Bytes {
    let body = error_body(dialect, &Refusal::from(failure.clone()), id);
    match dialect {
        Dialect::Anthropic => anthropic::event(&body),
        Dialect::Google => google::event(&body),
        _ => openai::event(&body),
    }
}

/// OpenAI's `type` and `code` for a refusal. Where OpenAI has a code of its own, it is that one.
fn words(refusal: &Refusal) -> (&'static str, Option<String>) {
    const REQUEST: &str = "invalid_request_error";
    let (kind, code) = match refusal {
        Refusal::Wrong(WrongRequest::InvalidJson(_)) => (REQUEST, "invalid_json"),
        Refusal::Wrong(WrongRequest::MissingField(_)) => (REQUEST, "missing_required_parameter"),
        Refusal::Wrong(WrongRequest::WrongField { .. } | WrongRequest::WrongPart { .. }) | Refusal::BadQuery(_) => {
            (REQUEST, "invalid_value")
        }
        Refusal::Wrong(WrongRequest::WrongHeader { .. }) => (REQUEST, "invalid_header"),
        Refusal::WrongContentType(_) | Refusal::NoForm(_) => (REQUEST, "unsupported_content_type"),
        Refusal::WrongEncoding(_) => (REQUEST, "unsupported_content_encoding"),
        Refusal::UnknownModel { .. } => (REQUEST, "model_not_found"),
        Refusal::BodyTooLarge { .. } | Refusal::TooMuchMemory { .. } => (REQUEST, "request_too_large"),
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
        Refusal::OnlyWebSocket(_) => (REQUEST, "websocket_required"),
        Refusal::OtherRequest { .. } => (REQUEST, "idempotency_key_reused"),
        Refusal::UnknownStream => (REQUEST, "stream_not_found"),
        Refusal::CacheMiss => (REQUEST, "cache_miss"),
        Refusal::UnknownHit => (REQUEST, "hit_not_found"),
        Refusal::Draining => ("service_unavailable_error", "draining"),
        Refusal::NotReady(_) => ("service_unavailable_error", "not_ready"),
        Refusal::Manage(refused) => refused_words(refused),
        Refusal::Wrong(WrongRequest::Untranslatable(failure)) | Refusal::Failed(failure) => {
            return openai::words(failure);
        }
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

/// Anthropic's `type` for a refusal.
fn class(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Wrong(WrongRequest::Untranslatable(failure)) | Refusal::Failed(failure) => {
            anthropic::class(failure.kind)
        }
        Refusal::Wrong(_)
        | Refusal::BadQuery(_)
        | Refusal::WrongContentType(_)
        | Refusal::NoForm(_)
        | Refusal::WrongEncoding(_)
        | Refusal::SlowHead(_)
        | Refusal::SlowBody(_)
        | Refusal::BrokenBody
        | Refusal::NoWebSocket(_)
        | Refusal::OnlyWebSocket(_)
        | Refusal::WrongMethod { .. } => "invalid_request_error",
        Refusal::UnknownModel { .. } | Refusal::UnknownPath(_) => "not_found_error",
        Refusal::BodyTooLarge { .. } | Refusal::TooMuchMemory { .. } | Refusal::FileTooLong { .. } => {
            "request_too_large"
        }
        Refusal::FilesFull(_) => "permission_error",
        Refusal::NoKey
        | Refusal::WrongKey
        | Refusal::KeyEnded { .. }
        | Refusal::BadToken(_)
        | Refusal::WrongAdminKey => "authentication_error",
        Refusal::AdminClosed
        | Refusal::CallerDisabled { .. }
        | Refusal::NoRole
        | Refusal::ModelForbidden { .. }
        | Refusal::WrongAddress { .. } => "permission_error",
        Refusal::Unpriced { .. } | Refusal::NoTarget { .. } => "permission_error",
        Refusal::OverBudget(_) | Refusal::OverRate(_) | Refusal::TooManyBadKeys { .. } => "rate_limit_error",
        Refusal::OtherRequest { .. } | Refusal::Manage(_) => "invalid_request_error",
        Refusal::UnknownStream | Refusal::UnknownHit => "not_found_error",
        Refusal::CacheMiss => "timeout_error",
        Refusal::Draining | Refusal::NotReady(_) => "overloaded_error",
    }
}

/// Our word for what is wrong.
fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Failed(failure) => failure.kind.as_str().to_owned(),
        Refusal::NoKey
        | Refusal::WrongKey
        | Refusal::KeyEnded { .. }
        | Refusal::BadToken(_)
        | Refusal::WrongAdminKey => "api_key_invalid".to_owned(),
        Refusal::UnknownModel { .. } => "model_not_found".to_owned(),
        Refusal::CallerDisabled { .. } => "caller_disabled".to_owned(),
        Refusal::WrongAddress { .. } => "address_not_allowed".to_owned(),
        Refusal::ModelForbidden { .. } => "model_forbidden".to_owned(),
        Refusal::NoTarget { .. } => "no_target".to_owned(),
        Refusal::OtherRequest { .. } => "idempotency_key_reused".to_owned(),
        Refusal::UnknownStream => "stream_not_found".to_owned(),
        Refusal::CacheMiss => "cache_miss".to_owned(),
        Refusal::Draining | Refusal::NotReady(_) => "not_ready".to_owned(),
        _ => "invalid_request".to_owned(),
    }
}
