//! The simulator's answers as OpenAI spells them. Knows nothing of timing.

use super::model::{self, Model};
use super::script::{Choice, DemoAnswer};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use penstock_schemas::chat::CompletionUsage;
use serde_json::{Value, json};

/// What every part of one answer says.
#[derive(Debug)]
pub(super) struct Wire {
    id: String,
    created: u64,
    model: &'static str,
}

impl Wire {
    /// For one answer; the same request gives the same id.
    pub(super) fn new(model: &Model, seed: u64) -> Self {
        let created = penstock_runtime::clock::now().0 / 1_000_000;
        Self { id: format!("chatcmpl-demo-{seed:016x}"), created, model: model.name }
    }

    /// A whole answer.
    pub(super) fn whole(&self, script: &DemoAnswer) -> String {
        let choices: Vec<Value> =
            script.choices.iter().enumerate().map(|(index, choice)| whole(index, choice)).collect();
        let Self { id, created, model } = self;
        json!({
            "id": id, "object": "chat.completion", "created": created, "model": model,
            "choices": choices, "usage": script.usage, "system_fingerprint": "demo",
        })
        .to_string()
    }

    /// A chunk with a piece of one choice.
    pub(super) fn piece(&self, index: usize, delta: &Value, finish_reason: Option<&str>) -> Bytes {
        self.chunk(&json!([{ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish_reason }]), None)
    }

    /// The chunk that reports the usage.
    pub(super) fn usage(&self, usage: &CompletionUsage) -> Bytes {
        self.chunk(&json!([]), Some(usage))
    }

    fn chunk(&self, choices: &Value, usage: Option<&CompletionUsage>) -> Bytes {
        let Self { id, created, model } = self;
        let mut chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": created, "model": model,
            "system_fingerprint": "demo", "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = json!(usage);
        }
        event(&chunk.to_string())
    }
}

fn whole(index: usize, choice: &Choice) -> Value {
    let has_text = choice.calls.is_empty();
    let mut message = json!({
        "role": "assistant",
        "content": has_text.then_some(&choice.text),
        "refusal": null,
    });
    if !choice.reasoning.is_empty() {
        message["reasoning_content"] = json!(choice.reasoning);
    }
    if !has_text {
        message["tool_calls"] = json!(choice.calls);
    }
    json!({ "index": index, "message": message, "logprobs": null, "finish_reason": choice.finish_reason })
}

/// One server-sent event.
pub(super) fn event(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// An error's body.
pub(super) fn error(message: &str, class: &str, code: Option<&str>) -> String {
    json!({ "error": { "message": message, "type": class, "param": null, "code": code } }).to_string()
}

/// An answer that is an error, with the type and code that OpenAI gives it.
pub(super) fn refuse(status: u16, message: &str, retry_after: Option<u64>) -> Response {
    let (class, code) = match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        _ => ("server_error", None),
    };
    let mut response = respond(status, "application/json", Body::from(error(message, class, code)));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// An answer.
pub(super) fn respond(status: u16, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The models, as `GET /v1/models` lists them.
pub(super) async fn models() -> Response {
    let list: Vec<Value> =
        model::names().map(|name| json!({ "id": name, "object": "model", "created": 0, "owned_by": "demo" })).collect();
    respond(200, "application/json", Body::from(json!({ "object": "list", "data": list }).to_string()))
}
