//! What Google's errors are: `{"error": {"code", "message", "status", "details"}}`. Kinds come from the status, the
//! canonical code and the reason in the details, not from the words of a message, save for `crate::overflow`.
//! Sources: <https://google.aip.dev/193>, <https://ai.google.dev/gemini-api/docs/troubleshooting>,
//! <https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto>.

use crate::errors::{self, ErrorParts};
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Value, json};
use std::time::Duration;

/// The failure that an answer of status 200 holds, or an event of a stream.
pub(super) fn within(error: &Value) -> Failure {
    let said = json!({ "error": error });
    let parts = ErrorParts::of(&plain(&said));
    let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let kind = kind(status.unwrap_or(0), &parts);
    Failure { retry_after_ms: retry_delay(&said), ..errors::told(kind, &parts) }
}

/// The error with its reason in the place where OpenAI has its code, and its canonical code where OpenAI has its type. A
/// stream that is asked for without server-sent events wraps its error into a list.
pub fn plain(said: &Value) -> Value {
    let said = said.get(0).unwrap_or(said);
    let Some(error) = said.get("error").filter(|error| error.is_object()) else { return said.clone() };
    let reason = details(error).find_map(|detail| detail.get("reason")?.as_str());
    let violation = details(error).find_map(|detail| detail.get("fieldViolations")?.get(0)?.get("field")?.as_str());
    let status = error.get("status").and_then(Value::as_str);
    json!({ "error": {
        "message": error.get("message"),
        "code": reason.or(status),
        "type": status,
        "param": violation,
    }})
}

fn details(error: &Value) -> impl Iterator<Item = &Value> {
    error.get("details").and_then(Value::as_array).into_iter().flatten()
}

/// The wait that `RetryInfo` asks for: `"17s"`, `"0.5s"`.
pub fn retry_delay(said: &Value) -> Option<u64> {
    let error = said.get(0).unwrap_or(said).get("error")?;
    let text = details(error).find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let wait = Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()?;
    u64::try_from(wait.as_millis()).ok()
}

/// The kind of failure that a status stands for, told more closely by reason and canonical code.
pub fn kind(status: u16, parts: &ErrorParts) -> FailureKind {
    let words = [parts.code.as_deref(), parts.class.as_deref()];
    let said = words.into_iter().flatten().find_map(kind_of_word);
    match (said, status) {
        // A wrong key is a 400 there.
        (Some(kind), 0 | 400) => kind,
        (_, 499) => FailureKind::ServerError, // it cancelled the call by itself
        (_, 504) => FailureKind::Timeout,
        (Some(kind @ FailureKind::RateLimited), _) => kind,
        _ => errors::kind(status, &ErrorParts::default()),
    }
}

fn kind_of_word(word: &str) -> Option<FailureKind> {
    Some(match word {
        // Reasons: <https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto>.
        "API_KEY_INVALID"
        | "API_KEY_EXPIRED"
        | "API_KEY_SERVICE_BLOCKED"
        | "SERVICE_DISABLED"
        | "BILLING_DISABLED"
        | "ACCESS_TOKEN_EXPIRED"
        | "CONSUMER_INVALID"
        | "UNAUTHENTICATED"
        | "PERMISSION_DENIED" => FailureKind::ProviderAuth,
        // The free tier is not available where the project is: the operator must pay.
        "FAILED_PRECONDITION" => FailureKind::ProviderAuth,
        "RATE_LIMIT_EXCEEDED" | "RESOURCE_QUOTA_EXCEEDED" | "RESOURCE_EXHAUSTED" => FailureKind::RateLimited,
        "NOT_FOUND" => FailureKind::NotFound,
        "ABORTED" | "ALREADY_EXISTS" => FailureKind::Conflict,
        "UNAVAILABLE" => FailureKind::Overloaded,
        "DEADLINE_EXCEEDED" => FailureKind::Timeout,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "CANCELLED" => FailureKind::ServerError,
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "UNIMPLEMENTED" => FailureKind::BadRequest,
        _ => return None,
    })
}
