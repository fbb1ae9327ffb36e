//! What Google's errors are: `{"error": {"code", "message", "status", "details"}}`. Kinds come from the status, the
//! canonical code and the reason in the details, not from the words of a message, save for `crate::overflow` and where one
//! code has two meanings.
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
        (Some(FailureKind::BadRequest), 0 | 400) if is_operators(parts) => FailureKind::ProviderAuth,
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
        "RATE_LIMIT_EXCEEDED" | "RESOURCE_QUOTA_EXCEEDED" | "RESOURCE_EXHAUSTED" => FailureKind::RateLimited,
        "NOT_FOUND" => FailureKind::NotFound,
        "ABORTED" | "ALREADY_EXISTS" => FailureKind::Conflict,
        "UNAVAILABLE" => FailureKind::Overloaded,
        "DEADLINE_EXCEEDED" => FailureKind::Timeout,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "CANCELLED" => FailureKind::ServerError,
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "UNIMPLEMENTED" | PRECONDITION => FailureKind::BadRequest,
        _ => return None,
    })
}

/// Said of a file that is not ready yet or of a model that a project may not use, which are the caller's to mend, and of
/// where the project is. Sources: <https://github.com/yym68686/uni-api/issues/41>,
/// <https://ai.google.dev/gemini-api/docs/troubleshooting>.
const PRECONDITION: &str = "FAILED_PRECONDITION";

/// Whether only the operator can mend it: the free tier is not available where the project is, or no one is served there.
fn is_operators(parts: &ErrorParts) -> bool {
    let message = parts.message.as_deref().unwrap_or_default();
    let is_told = [&parts.code, &parts.class].into_iter().flatten().any(|word| word == PRECONDITION);
    is_told && ["location is not supported", "free tier", "enable billing"].iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precondition_takes_no_key_out_of_use_unless_it_is_about_the_project() {
        for (message, expected) in [
            ("User location is not supported for the API use.", FailureKind::ProviderAuth),
            ("Gemini API free tier is not available in your country.", FailureKind::ProviderAuth),
            ("The File abc is not in an ACTIVE state and usage is not allowed.", FailureKind::BadRequest),
            ("Project `p` is not allowed to use Publisher Model `m`", FailureKind::BadRequest),
        ] {
            let said = json!([{ "error": { "code": 400, "message": message, "status": PRECONDITION } }]);
            assert_eq!(kind(400, &ErrorParts::of(&plain(&said))), expected, "{message}");
        }
    }
}
