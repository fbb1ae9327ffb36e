//! Errors in Google's shape: `{"error": {"code", "message", "status", "details"}}`, whole or as an event of a stream.
//! Sources: <https://google.aip.dev/193>, <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>.

use crate::refusal::Refusal;
use crate::status;
use bytes::Bytes;
use penstock_schemas::failure::Failure;
use penstock_schemas::name::RequestId;
use serde_json::{Map, Value, json};

/// An error.
pub(crate) fn error_body(refusal: &Refusal, request_id: RequestId) -> Value {
    let code = status::of(refusal).as_u16();
    let message = refusal.to_string();
    let reason = reason(refusal);
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason.to_ascii_uppercase(),
        "domain": "penstock",
        "metadata": { "request_id": request_id },
    })];
    if let Some(field) = refusal.param() {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{ "field": field, "description": message }],
        }));
    }
    if let Some(wait) = refusal.retry_after() {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", wait.as_secs_f64()),
        }));
    }
    // Another dialect's members are none that Google's clients know; its own list goes along.
    let own = refusal.details(&Map::new()).find(|(name, _)| *name == "details").map(|(_, own)| own.clone());
    if let Some(Value::Array(own)) = own {
        let is_said = |detail: &Value| details.iter().any(|said| said["@type"] == detail["@type"]);
        let new: Vec<Value> = own.into_iter().filter(|detail| !is_said(detail)).collect();
        details.extend(new);
    }
    // `type` and `request_id` are for people who compare dialects; Google's clients pass over them.
    json!({ "error": {
        "code": code,
        "message": message,
        "status": canonical(code),
        "details": details,
        "type": reason,
        "request_id": request_id,
    }})
}

/// The last event of a stream that broke after its first content.
pub(crate) fn error_event(failure: &Failure, request_id: RequestId) -> Bytes {
    let body = error_body(&Refusal::from(failure.clone()), request_id);
    format!("data: {body}\r\n\r\n").into()
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

/// The canonical code that stands for an HTTP status.
fn canonical(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        405 | 501 => "UNIMPLEMENTED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        502 | 503 => "UNAVAILABLE",
        408 | 504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}
