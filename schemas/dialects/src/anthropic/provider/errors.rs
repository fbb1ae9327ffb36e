//! Which kind of failure an error of Anthropic's is, by its status and its `type`.
//! Source: <https://platform.claude.com/docs/en/api/errors>. A prompt that is too long has no word of its own there: it is
//! an `invalid_request_error` like others, told apart by its message.

use crate::errors::{self, ErrorParts};
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

/// The kind of failure that a status and a type stand for.
pub(super) fn kind(status: u16, parts: &ErrorParts) -> FailureKind {
    match (status, parts.class.as_deref().and_then(kind_of_type)) {
        // The closest word for a request that the provider understood; others of its statuses say more than the type.
        (400 | 500.., Some(kind)) => kind,
        _ => errors::kind(status, parts),
    }
}

fn kind_of_type(class: &str) -> Option<FailureKind> {
    Some(match class {
        "invalid_request_error" => FailureKind::BadRequest,
        "authentication_error" | "permission_error" | "billing_error" => FailureKind::ProviderAuth,
        "not_found_error" => FailureKind::NotFound,
        "conflict_error" => FailureKind::Conflict,
        "request_too_large" => FailureKind::TooLarge,
        "rate_limit_error" => FailureKind::RateLimited,
        "timeout_error" => FailureKind::Timeout,
        "api_error" => FailureKind::ServerError,
        "overloaded_error" => FailureKind::Overloaded,
        _ => return None,
    })
}

/// The failure that an error within an answer of status 200 stands for: `{"type": "error", "error": {"type", "message"}}`.
pub(super) fn within(error: &Value) -> Failure {
    let parts = ErrorParts::of(error);
    let kind = parts.class.as_deref().and_then(kind_of_type).unwrap_or(FailureKind::Broken);
    errors::told(kind, &parts)
}
