//! A request in its agnostic form: options one level deeper, items as messages. What only this dialect can say is refused by
//! name. Source: <https://platform.openai.com/docs/guides/migrate-to-responses>.

use super::{foreign, input, wrong};
use crate::refusal::Refusal;
use bytes::Bytes;
use penstock_schemas::chat::{ChatRequest, Content, Function, Message, Tool};
use serde_json::{Map, Value, json};

/// The request as a chat.
pub(crate) fn agnostic(body: &[u8]) -> Result<Bytes, Refusal> {
    let request: Value = serde_json::from_slice(body).map_err(|error| Refusal::InvalidJson(error.to_string()))?;
    let Value::Object(mut request) = request else {
        return Err(Refusal::InvalidJson("it must be an object".to_owned()));
    };
    let mut chat = ChatRequest::default();
    let instructions = request.remove("instructions").filter(|said| !said.is_null());
    match instructions {
        Some(Value::String(said)) => chat.messages.push(system(said)),
        Some(Value::Array(items)) => chat.messages.extend(input::messages(items, "instructions")?),
        Some(_) => return Err(wrong("instructions".to_owned(), "it must be a text")),
        None => {}
    }
    chat.messages.extend(match request.remove("input") {
        Some(Value::String(said)) => vec![user(said)],
        Some(Value::Array(items)) => input::messages(items, "input")?,
        _ => return Err(Refusal::MissingField("input")),
    });
    if chat.messages.is_empty() {
        return Err(wrong("input".to_owned(), "it must hold at least one item"));
    }
    for (name, value) in request.into_iter().filter(|(_, value)| !value.is_null()) {
        option(&mut chat, name, value)?;
    }
    Ok(serde_json::to_vec(&chat).expect("a chat request has a JSON form").into())
}

fn system(said: String) -> Message {
    Message { role: "system".to_owned(), content: Some(Content::Text(said)), ..Message::default() }
}

fn user(said: String) -> Message {
    Message { role: "user".to_owned(), content: Some(Content::Text(said)), ..Message::default() }
}

fn option(chat: &mut ChatRequest, name: String, value: Value) -> Result<(), Refusal> {
    let kind = |what: &str| wrong(name.clone(), what);
    match name.as_str() {
        "model" => value.as_str().ok_or_else(|| kind("it must be a text"))?.clone_into(&mut chat.model),
        "stream" => chat.stream = Some(value.as_bool().ok_or_else(|| kind("it must be true or false"))?),
        "max_output_tokens" => {
            chat.max_completion_tokens = Some(value.as_u64().ok_or_else(|| kind("it must be a whole number"))?);
        }
        "parallel_tool_calls" => {
            chat.parallel_tool_calls = Some(value.as_bool().ok_or_else(|| kind("it must be true or false"))?);
        }
        "user" => chat.user = Some(value.as_str().ok_or_else(|| kind("it must be a text"))?.to_owned()),
        "tools" => chat.tools = Some(tools(value)?).filter(|tools| !tools.is_empty()),
        "tool_choice" => chat.tool_choice = Some(choice(value)),
        "text" => text(chat, &value)?,
        "reasoning" => {
            let effort = value.get("effort").filter(|effort| !effort.is_null());
            let text = |effort: &Value| {
                effort
                    .as_str()
                    .map(ToOwned::to_owned)
                    .ok_or_else(|| wrong("reasoning.effort".to_owned(), "it must be a text"))
            };
            chat.reasoning_effort = effort.map(text).transpose()?;
        }
        "include" => {
            let asked = value.as_array().is_some_and(|all| all.iter().any(|one| one == "message.output_text.logprobs"));
            if asked {
                chat.extra.insert("logprobs".to_owned(), true.into());
            }
        }
        // They concern the response as it is kept here, or only its way.
        "metadata" | "store" | "previous_response_id" | "background" | "stream_options" => {}
        "truncation" if value == "disabled" => {}
        "service_tier" if value == "auto" => {}
        "truncation" | "max_tool_calls" | "conversation" | "prompt" | "context_management" | "moderation" => {
            return Err(foreign(name));
        }
        _ => {
            chat.extra.insert(name, value);
        }
    }
    Ok(())
}

/// `{"type": "function", "name", …}` → `{"type": "function", "function": {"name", …}}`.
fn tools(tools: Value) -> Result<Vec<Tool>, Refusal> {
    let Value::Array(tools) = tools else { return Err(wrong("tools".to_owned(), "it must be a list")) };
    let read = |(at, tool): (usize, Value)| {
        let place = format!("tools[{at}]");
        let Value::Object(mut tool) = tool else { return Err(wrong(place, "it must be an object")) };
        let Some(Value::String(kind)) = tool.remove("type") else {
            return Err(wrong(format!("{place}.type"), "it is missing"));
        };
        if kind == "custom" {
            let extra = Map::from_iter([(kind.clone(), Value::Object(tool))]);
            return Ok(Tool { kind, extra, ..Tool::default() });
        }
        if kind != "function" {
            return Ok(Tool { kind, extra: tool, ..Tool::default() });
        }
        tool.retain(|_, value| !value.is_null());
        let function: Function =
            serde_json::from_value(Value::Object(tool)).map_err(|error| wrong(place, &error.to_string()))?;
        Ok(Tool { kind, function: Some(function), ..Tool::default() })
    };
    tools.into_iter().enumerate().map(read).collect()
}

/// `{"type": "function", "name"}` → `{"type": "function", "function": {"name"}}`, also within `allowed_tools`.
fn choice(choice: Value) -> Value {
    let Value::Object(mut choice) = choice else { return choice };
    let kind = choice.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !matches!(kind.as_str(), "function" | "custom" | "allowed_tools") {
        return Value::Object(choice);
    }
    choice.remove("type");
    if let Some(Value::Array(tools)) = choice.get_mut("tools") {
        for tool in tools {
            *tool = self::choice(tool.take());
        }
    }
    json!({ "type": kind, kind.as_str(): choice })
}

/// The shape of the answer, and how much it says.
fn text(chat: &mut ChatRequest, text: &Value) -> Result<(), Refusal> {
    if let Some(verbosity) = text.get("verbosity").filter(|verbosity| !verbosity.is_null()) {
        chat.extra.insert("verbosity".to_owned(), verbosity.clone());
    }
    let Some(format) = text.get("format").filter(|format| !format.is_null()) else { return Ok(()) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => {}
        Some("json_schema") => {
            let mut schema = format.as_object().cloned().unwrap_or_default();
            schema.remove("type");
            schema.retain(|_, value| !value.is_null());
            chat.response_format = Some(json!({ "type": "json_schema", "json_schema": schema }));
        }
        Some(_) => chat.response_format = Some(format.clone()),
        None => return Err(wrong("text.format.type".to_owned(), "it is missing")),
    }
    Ok(())
}
