//! Reads a whole chat answer into the agnostic form.

use super::usage;
use crate::provider::{Observed, Whole};
use bytes::Bytes;
use penstock_schemas::chat::{Choice, Completion, CompletionUsage, Content, FunctionCall, Message, ToolCall};
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value, json};

/// The answer.
///
/// # Errors
/// When Cohere could not finish it, or it cannot be understood.
pub(super) fn read(body: &Bytes) -> Result<Whole, Failure> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| {
        let what = if error.is_eof() { "is cut short" } else { "is not JSON" };
        broken(format!("the provider's answer {what} at line {} column {}", error.line(), error.column()))
    })?;
    let Some(said) = answer.get("message").filter(|message| message.is_object()) else {
        return Err(broken("the provider's answer holds no message".to_owned()));
    };
    let reason = answer["finish_reason"].as_str().unwrap_or_default();
    let finish_reason = finish_reason(reason)?;
    let mut observed = Observed {
        usage: answer.get("usage").and_then(usage::read),
        provider_request_id: answer["id"].as_str().map(str::to_owned),
        finish_reason: Some(reason.to_owned()),
        ..Observed::default()
    };
    for call in said["tool_calls"].as_array().into_iter().flatten() {
        observed.tools.add(call["function"]["name"].as_str().unwrap_or_default());
    }
    let choice = Choice { message: message(said), finish_reason: Some(finish_reason.to_owned()), ..Choice::default() };
    let completion = Completion {
        id: answer["id"].as_str().unwrap_or_default().to_owned(),
        object: "chat.completion".to_owned(),
        choices: vec![choice],
        usage: observed.usage.as_ref().and_then(CompletionUsage::of),
        ..Completion::default()
    };
    let bytes = serde_json::to_vec(&completion).map_err(|error| broken(error.to_string()))?;
    Ok(Whole { bytes: bytes.into(), observed })
}

fn message(said: &Value) -> Message {
    let pieces = || said["content"].as_array().into_iter().flatten();
    let mut text = said["tool_plan"].as_str().unwrap_or_default().to_owned();
    text.extend(pieces().filter_map(|piece| piece["text"].as_str()));
    let thought: String = pieces().filter_map(|piece| piece["thinking"].as_str()).collect();
    let calls: Vec<ToolCall> = said["tool_calls"].as_array().into_iter().flatten().map(call).collect();
    let has_text = !text.is_empty() || calls.is_empty();
    Message {
        role: "assistant".to_owned(),
        content: has_text.then_some(Content::Text(text)),
        reasoning_content: Some(thought).filter(|thought| !thought.is_empty()),
        tool_calls: Some(calls).filter(|calls| !calls.is_empty()),
        extra: said["citations"].as_array().map(|citations| annotations(citations)).unwrap_or_default(),
        ..Message::default()
    }
}

/// A call of a tool, without its place.
pub(super) fn call(call: &Value) -> ToolCall {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let arguments = match &call["function"]["arguments"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let function = FunctionCall { name: text(&call["function"]["name"]), arguments, ..FunctionCall::default() };
    let kind = Some("function".to_owned());
    ToolCall { id: text(&call["id"]), kind, function: Some(function), ..ToolCall::default() }
}

/// Citations as OpenAI's annotations, where their source has an address; and all of them as they came.
pub(super) fn annotations(citations: &[Value]) -> Map<String, Value> {
    let mut annotations = Vec::new();
    for citation in citations {
        for source in citation["sources"].as_array().into_iter().flatten() {
            let document = &source["document"];
            if let Some(url) = document["url"].as_str() {
                annotations.push(json!({"type": "url_citation", "url_citation": {"start_index": citation["start"],
                    "end_index": citation["end"], "url": url, "title": document["title"].as_str().unwrap_or(url)}}));
            }
        }
    }
    let mut extra = Map::new();
    if !annotations.is_empty() {
        extra.insert("annotations".to_owned(), annotations.into());
    }
    if !citations.is_empty() {
        extra.insert("citations".to_owned(), citations.to_vec().into());
    }
    extra
}

/// The reason in OpenAI's word. Source: <https://docs.cohere.com/reference/chat#response.body.finish_reason>.
///
/// # Errors
/// When it says that the answer is none.
pub(super) fn finish_reason(theirs: &str) -> Result<&'static str, Failure> {
    match theirs {
        "COMPLETE" | "STOP_SEQUENCE" => Ok("stop"),
        "MAX_TOKENS" | "ERROR_LIMIT" => Ok("length"),
        "TOOL_CALL" => Ok("tool_calls"),
        "ERROR_TOXIC" => Ok("content_filter"),
        "TIMEOUT" => Err(Failure::provider(FailureKind::Timeout, "the provider did not finish its answer in time")),
        "ERROR" => Err(Failure::provider(FailureKind::ServerError, "the provider could not finish its answer")),
        "" => Err(broken("the provider's answer does not say why it ended".to_owned())),
        _ => Ok("stop"),
    }
}

pub(super) fn broken(why: String) -> Failure {
    Failure::provider(FailureKind::Broken, why)
}
