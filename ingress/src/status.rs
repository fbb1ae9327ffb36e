//! The one place where an HTTP status is chosen. Knows nothing of how an error is spelt.

use crate::refusal::{ManageError, Refusal};
use axum::http::StatusCode;
use penstock_dialects::client::WrongRequest;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};

/// What nobody sees, because the caller is gone; in the `requests` table only. nginx's number for it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Anthropic's own, for a provider that has too much to do: its SDKs have an error for it, and Claude Code goes to another model.
/// Source: <https://platform.claude.com/docs/en/api/errors>.
const OVERLOADED: u16 = 529;

/// An answer, whole or begun.
pub(crate) const ANSWERED: StatusCode = StatusCode::OK;

/// Done, and there is nothing to say.
pub(crate) const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;

/// What the asker has is still right.
pub(crate) const UNCHANGED: StatusCode = StatusCode::NOT_MODIFIED;

/// It is taken, and answered later.
pub(crate) const ACCEPTED: StatusCode = StatusCode::ACCEPTED;

/// Something was made.
pub(crate) const CREATED: StatusCode = StatusCode::CREATED;

/// The connection becomes one of another protocol.
pub(crate) const SWITCHING: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

/// The code with which a WebSocket is closed: the status that stands for the refusal, in the range that is free for all. Source:
/// <https://www.rfc-editor.org/rfc/rfc6455#section-7.4.2>.
pub(crate) fn close_code(refusal: &Refusal) -> u16 {
    4000 + of(refusal, Dialect::Openai).as_u16()
}

/// The status that stands for a refusal in this dialect.
pub(crate) fn of(refusal: &Refusal, dialect: Dialect) -> StatusCode {
    match refusal {
        Refusal::Failed(failure) if failure.kind == FailureKind::Overloaded && dialect == Dialect::Anthropic => {
            StatusCode::from_u16(OVERLOADED).expect("529 is a status")
        }
        Refusal::Wrong(
            WrongRequest::InvalidJson(_)
            | WrongRequest::MissingField(_)
            | WrongRequest::WrongField { .. }
            | WrongRequest::WrongPart { .. }
            | WrongRequest::WrongHeader { .. },
        )
        | Refusal::BrokenBody
        | Refusal::BadQuery(_) => StatusCode::BAD_REQUEST,
        Refusal::NoKey
        | Refusal::WrongKey
        | Refusal::KeyEnded { .. }
        | Refusal::BadToken(_)
        | Refusal::WrongAdminKey => StatusCode::UNAUTHORIZED,
        Refusal::ModelForbidden { .. } | Refusal::CallerDisabled { .. } | Refusal::NoRole | Refusal::AdminClosed => {
            StatusCode::FORBIDDEN
        }
        Refusal::Unpriced { .. } | Refusal::WrongAddress { .. } | Refusal::NoTarget { .. } => StatusCode::FORBIDDEN,
        Refusal::OverBudget(_) | Refusal::OverRate(_) | Refusal::TooManyBadKeys { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::UnknownModel { .. } | Refusal::UnknownPath(_) => StatusCode::NOT_FOUND,
        Refusal::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::NoWebSocket(_) => StatusCode::UPGRADE_REQUIRED,
        // 426 would make clients try the same again over HTTP.
        Refusal::OnlyWebSocket(_) => StatusCode::NOT_FOUND,
        Refusal::SlowHead(_) | Refusal::SlowBody(_) => StatusCode::REQUEST_TIMEOUT,
        Refusal::BodyTooLarge { .. } | Refusal::TooMuchMemory { .. } | Refusal::FileTooLong { .. } => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        // Anthropic's, for its own limit of storage. Source: <https://platform.claude.com/docs/en/build-with-claude/files>.
        Refusal::FilesFull(_) => StatusCode::FORBIDDEN,
        Refusal::WrongContentType(_) | Refusal::NoForm(_) | Refusal::WrongEncoding(_) => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        // 409 would be right too, but every official SDK tries a 409 again by itself.
        Refusal::OtherRequest { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::UnknownStream | Refusal::UnknownHit => StatusCode::NOT_FOUND,
        // Source: <https://www.rfc-editor.org/rfc/rfc9111#section-5.2.1.7>.
        Refusal::CacheMiss => StatusCode::GATEWAY_TIMEOUT,
        Refusal::Draining | Refusal::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Manage(refused) => of_refused(refused),
        Refusal::Wrong(WrongRequest::Untranslatable(failure)) | Refusal::Failed(failure) => of_failure(failure),
    }
}

/// What has the wrong form is a bad request; what has the right form and breaks a rule cannot be processed.
fn of_refused(refused: &ManageError) -> StatusCode {
    match refused {
        ManageError::Wrong(mistakes) if mistakes.iter().any(|mistake| !mistake.is_rule) => StatusCode::BAD_REQUEST,
        ManageError::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ManageError::Duplicate { .. } | ManageError::InUse { .. } => StatusCode::CONFLICT,
        ManageError::Unknown { .. } | ManageError::NoRow { .. } => StatusCode::NOT_FOUND,
        ManageError::Forbidden { .. } => StatusCode::FORBIDDEN,
        ManageError::Stale { .. } => StatusCode::PRECONDITION_FAILED,
        ManageError::Unavailable(_) | ManageError::Unrecorded => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// What the admin API may answer besides what was asked for, and when.
pub(crate) fn documented() -> [(StatusCode, &'static str); 12] {
    [
        (StatusCode::BAD_REQUEST, "Something has the wrong form: everything that is wrong is told"),
        (StatusCode::UNAUTHORIZED, "The admin key or token is not valid"),
        (StatusCode::FORBIDDEN, "The role does not suffice: the message says which one does"),
        (StatusCode::NOT_FOUND, "There is nothing of this name"),
        (StatusCode::METHOD_NOT_ALLOWED, "The path does not take this method"),
        (StatusCode::CONFLICT, "There is one of this name already, or others need it"),
        (StatusCode::PRECONDITION_FAILED, "It was changed since it was read"),
        (StatusCode::PAYLOAD_TOO_LARGE, "The body is too long"),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not application/json"),
        (StatusCode::UNPROCESSABLE_ENTITY, "Something has the right form and breaks a rule: everything is told"),
        (StatusCode::TOO_MANY_REQUESTS, "Too many keys from this address were not valid"),
        (StatusCode::SERVICE_UNAVAILABLE, "This cannot be answered now: try again"),
    ]
}

fn of_failure(failure: &Failure) -> StatusCode {
    match failure.kind {
        FailureKind::RateLimited | FailureKind::Budget => StatusCode::TOO_MANY_REQUESTS,
        FailureKind::Overloaded | FailureKind::NoPool | FailureKind::Busy | FailureKind::Ledger => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        FailureKind::ServerError
        | FailureKind::Connect
        | FailureKind::Broken
        | FailureKind::ProviderAuth
        | FailureKind::Hedge
        | FailureKind::Lost => StatusCode::BAD_GATEWAY,
        FailureKind::Timeout | FailureKind::Deadline => StatusCode::GATEWAY_TIMEOUT,
        FailureKind::ContextTooLong
        | FailureKind::ContentRefused
        | FailureKind::BadRequest
        | FailureKind::Unsupported => StatusCode::BAD_REQUEST,
        FailureKind::Revoked => StatusCode::UNAUTHORIZED,
        FailureKind::NotFound => StatusCode::NOT_FOUND,
        FailureKind::Conflict => StatusCode::CONFLICT,
        FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FailureKind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        FailureKind::Cancelled => cancelled(),
        FailureKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// For a caller who is gone.
pub(crate) fn cancelled() -> StatusCode {
    StatusCode::from_u16(CLIENT_CLOSED_REQUEST).expect("499 is a status")
}
