//! The response around its items: what was asked, said back as the SDKs' types want it. Knows nothing of how items are made.
//! Source: <https://platform.openai.com/docs/api-reference/responses/object>.

use super::tools::Names;
use crate::client::own_words;
use penstock_schemas::conversation::{response_id, seconds};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::Failure;
use penstock_schemas::name::RequestId;
use penstock_schemas::usage::Usage;
use serde_json::{Map, Value, json};

/// What is said back of a request.
#[derive(Debug)]
pub(super) struct Echo {
    id: String,
    created_at: u64,
    request: Map<String, Value>,
    names: Names,
}

/// How far a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Queued,
    InProgress,
    Completed,
    /// Cut, and why.
    Incomplete(&'static str),
    Failed,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed => "failed",
        }
    }
}

impl Echo {
    /// Of a request that was read before.
    pub(super) fn of(body: &[u8], id: RequestId) -> Self {
        let request: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let names = Names::of(&request);
        Self { id: response_id(id), created_at: seconds(id), request, names }
    }

    /// What the request's functions are called in a chat.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// The response, as far as it is; one that is completed is given the time of that. Its model is the one that was asked for, whoever answers.
    pub(super) fn response(&self, status: Status, output: &[Value], usage: Option<&Usage>) -> Value {
        let said = |name: &str| self.request.get(name).cloned().filter(|value| !value.is_null());
        let or = |name: &str, other: Value| said(name).unwrap_or(other);
        let why = match status {
            Status::Incomplete(reason) => json!({ "reason": reason }),
            _ => Value::Null,
        };
        let text = or("text", json!({}));
        let text = self::text(&text);
        let reasoning = or("reasoning", json!({}));
        let of_reasoning = |name: &str| reasoning.get(name).cloned().unwrap_or(Value::Null);
        let mut response = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "completed_at": null,
            "status": status.as_str(),
            "background": or("background", false.into()),
            "error": null,
            "incomplete_details": why,
            "instructions": or("instructions", Value::Null),
            "max_output_tokens": or("max_output_tokens", Value::Null),
            "max_tool_calls": or("max_tool_calls", Value::Null),
            "model": or("model", "".into()),
            "output": output,
            "parallel_tool_calls": or("parallel_tool_calls", true.into()),
            "previous_response_id": or("previous_response_id", Value::Null),
            "reasoning": { "effort": of_reasoning("effort"), "summary": of_reasoning("summary") },
            "store": or("store", true.into()),
            "temperature": or("temperature", json!(1.0)),
            "text": text,
            "tool_choice": or("tool_choice", "auto".into()),
            "tools": tools(&or("tools", json!([]))),
            "top_logprobs": or("top_logprobs", 0.into()),
            "top_p": or("top_p", json!(1.0)),
            "truncation": or("truncation", "disabled".into()),
            "presence_penalty": or("presence_penalty", json!(0.0)),
            "frequency_penalty": or("frequency_penalty", json!(0.0)),
            "service_tier": said("service_tier").filter(|tier| tier != "auto").unwrap_or_else(|| "default".into()),
            "safety_identifier": or("safety_identifier", Value::Null),
            "prompt_cache_key": or("prompt_cache_key", Value::Null),
            "usage": usage.map_or(Value::Null, self::usage),
            "metadata": or("metadata", json!({})),
        });
        if let Some(conversation) = said("conversation") {
            response["conversation"] =
                if conversation.is_string() { json!({ "id": conversation }) } else { conversation };
        }
        for name in ["user", "prompt_cache_options", "prompt_cache_retention"] {
            if let Some(value) = said(name) {
                response[name] = value;
            }
        }
        response
    }
}

/// How the text is shaped, with every field that the reference requires.
fn text(asked: &Value) -> Map<String, Value> {
    let mut format = asked.get("format").filter(|format| format.is_object()).cloned();
    if let Some(format) =
        format.as_mut().filter(|format| format["type"] == "json_schema").and_then(Value::as_object_mut)
    {
        format.entry("description").or_insert(Value::Null);
        format.entry("strict").or_insert(false.into());
    }
    let mut text = asked.as_object().cloned().unwrap_or_default();
    text.insert("format".to_owned(), format.unwrap_or_else(|| json!({ "type": "text" })));
    text
}

/// The tools, functions with every field that the reference requires. Other dialects enforce a schema only on request: `strict`
/// is false where the caller did not set it.
fn tools(asked: &Value) -> Vec<Value> {
    let mut tools = asked.as_array().cloned().unwrap_or_default();
    let functions = tools.iter_mut().filter(|tool| tool["type"] == "function").filter_map(Value::as_object_mut);
    for function in functions {
        for (name, value) in [("description", Value::Null), ("parameters", Value::Null), ("strict", false.into())] {
            let known = function.entry(name).or_insert(Value::Null);
            if known.is_null() {
                *known = value;
            }
        }
    }
    tools
}

/// What an answer consumed; the details are parts of the totals.
fn usage(usage: &Usage) -> Value {
    if *usage == Usage::default() {
        return Value::Null;
    }
    let (input, output) = (usage.input_total(), usage.output_total());
    let written = usage.cache_write.unwrap_or(0) + usage.cache_write_1h.unwrap_or(0);
    json!({
        "input_tokens": input,
        "input_tokens_details": { "cached_tokens": usage.cache_read.unwrap_or(0), "cache_write_tokens": written },
        "output_tokens": output,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning.unwrap_or(0) },
        "total_tokens": input + output,
    })
}

/// A response in the background before anybody works on it, and while somebody does.
pub fn waiting(body: &[u8], id: RequestId, is_begun: bool) -> Value {
    let status = if is_begun { Status::InProgress } else { Status::Queued };
    Echo::of(body, id).response(status, &[], None)
}

/// A response that will never be complete.
pub fn failed(body: &[u8], id: RequestId, failure: &Failure) -> Value {
    let mut response = Echo::of(body, id).response(Status::Failed, &[], None);
    let own = own_words::failure(Dialect::Responses, failure);
    let failure = own.as_ref().unwrap_or(failure);
    let code = failure.provider_code.clone().unwrap_or_else(|| failure.kind.as_str().to_owned());
    response["error"] = json!({ "code": code, "message": failure.message });
    response
}
