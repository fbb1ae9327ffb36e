//! Anthropic's messages as a client speaks them. Bytes travel on untouched to a provider of the same dialect; for the others
//! there is the agnostic form, and a writer of answers. Source: <https://platform.claude.com/docs/en/api/messages>.

mod agnostic;
mod blocks;
mod choice;
mod lanes;
mod reading;
mod request;
#[cfg(test)]
mod tests;
mod thoughts;
mod writer;

pub(crate) use agnostic::agnostic;
pub(crate) use request::read;
pub(crate) use writer::Messages;

use crate::refusal::Refusal;
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::RequestId;
use serde_json::{Map, Value, json};

/// An error as Anthropic spells it: `{"type": "error", "error": {"type", "message"}, "request_id"}`.
/// Source: <https://platform.claude.com/docs/en/api/errors>.
pub(crate) fn error_body(refusal: &Refusal, request_id: RequestId) -> Value {
    let mut error = Map::from_iter([
        ("type".to_owned(), Value::from(class(refusal))),
        ("message".to_owned(), refusal.to_string().into()),
    ]);
    let details: Vec<_> = refusal.details(&error).map(|(name, value)| (name.clone(), value.clone())).collect();
    error.extend(details);
    json!({ "type": "error", "error": error, "request_id": request_id })
}

/// The last event of a stream that broke after its first content.
pub(crate) fn error_event(failure: &Failure, request_id: RequestId) -> Bytes {
    let body = error_body(&Refusal::from(failure.clone()), request_id);
    format!("event: error\ndata: {body}\n\n").into()
}

/// Anthropic's `type` for a refusal.
fn class(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::InvalidJson(_)
        | Refusal::MissingField(_)
        | Refusal::WrongField { .. }
        | Refusal::WrongPart { .. }
        | Refusal::BadQuery(_)
        | Refusal::WrongHeader { .. }
        | Refusal::WrongContentType(_)
        | Refusal::NoForm(_)
        | Refusal::WrongEncoding(_)
        | Refusal::SlowHead(_)
        | Refusal::SlowBody(_)
        | Refusal::BrokenBody
        | Refusal::NoWebSocket(_)
        | Refusal::WrongMethod { .. } => "invalid_request_error",
        Refusal::UnknownModel { .. } | Refusal::UnknownPath(_) => "not_found_error",
        Refusal::BodyTooLarge { .. } | Refusal::FileTooLong { .. } => "request_too_large",
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
        Refusal::Failed(failure) => class_of_failure(failure.kind),
    }
}

fn class_of_failure(kind: FailureKind) -> &'static str {
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
