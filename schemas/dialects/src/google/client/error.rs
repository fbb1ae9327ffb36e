//! Errors in Google's shape: `{"error": {"code", "message", "status", "details"}}`, whole or as an event of a stream. What a
//! refusal is called, and its HTTP status, is decided elsewhere.
//! Sources: <https://google.aip.dev/193>, <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>.

use crate::client::ClientError;
use bytes::Bytes;
use serde_json::{Value, json};

/// An error of this HTTP status, for this reason.
pub fn body(error: &ClientError<'_>, status: u16, reason: &str) -> Value {
    let message = &error.message;
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason.to_ascii_uppercase(),
        "domain": "penstock",
        "metadata": { "request_id": error.request_id },
    })];
    if let Some(field) = error.param {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{ "field": field, "description": message }],
        }));
    }
    if let Some(wait) = error.retry_after {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", wait.as_secs_f64()),
        }));
    }
    // Another dialect's members are none that Google's clients know; its own list goes along.
    if let Some(Value::Array(own)) = error.details.and_then(|details| details.get("details")) {
        let is_said = |detail: &&Value| details.iter().any(|said| said["@type"] == detail["@type"]);
        let new: Vec<Value> = own.iter().filter(|detail| !is_said(detail)).cloned().collect();
        details.extend(new);
    }
    // `type` and `request_id` are for people who compare dialects; Google's clients pass over them.
    json!({ "error": {
        "code": status,
        "message": message,
        "status": canonical(status),
        "details": details,
        "type": reason,
        "request_id": error.request_id,
    }})
}

/// The last event of a stream that broke after its first content.
pub fn event(body: &Value) -> Bytes {
    format!("data: {body}\r\n\r\n").into()
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
