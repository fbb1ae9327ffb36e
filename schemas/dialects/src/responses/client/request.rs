//! A request in its agnostic form: options one level deeper, items as messages. What only this dialect can say is refused by
//! name. Source: <https://platform.openai.com/docs/guides/migrate-to-responses>.

use super::tools::{self, Names};
use super::{foreign, input, trigger, wrong};
use crate::client::WrongRequest;
use bytes::Bytes;
use penstock_schemas::chat::{ChatRequest, Content, Message};
use serde_json::{Value, json};

/// The request as a chat.
pub(crate) fn agnostic(body: &[u8]) -> Result<Bytes, WrongRequest> {
    let compacting = trigger::request(body)?;
    let body = compacting.as_deref().unwrap_or(body);
    let request: Value = serde_json::from_slice(body).map_err(|error| WrongRequest::InvalidJson(error.to_string()))?;
    let Value::Object(mut request) = request else {
        return Err(WrongRequest::InvalidJson("it must be an object".to_owned()));
    };
    let names = Names::of(&request);
    let tools = tools::tools(&request, &names)?;
    let mut chat = ChatRequest { tools: Some(tools).filter(|tools| !tools.is_empty()), ..ChatRequest::default() };
    let instructions = request.remove("instructions").filter(|said| !said.is_null());
    match instructions {
        Some(Value::String(said)) => chat.messages.push(system(said)),
        Some(Value::Array(items)) => chat.messages.extend(input::messages(items, "instructions", &names)?),
        Some(_) => return Err(wrong("instructions".to_owned(), "it must be a text")),
        None => {}
    }
    let mut updates = Vec::new();
    chat.messages.extend(match request.remove("input") {
        Some(Value::String(said)) => vec![user(said)],
        Some(Value::Array(items)) => {
            updates.extend(items.iter().filter(|item| item["type"] == input::UPDATE).cloned());
            input::messages(items, "input", &names)?
        }
        _ => return Err(WrongRequest::MissingField("input")),
    });
    if chat.messages.is_empty() {
        return Err(wrong("input".to_owned(), "it must hold at least one item"));
    }
    for (name, value) in request.into_iter().filter(|(_, value)| !value.is_null()) {
        option(&mut chat, name, value, &names)?;
    }
    // Each holds until the next one.
    for mut update in updates {
        for name in ["reasoning", "text"] {
            let value = update[name].take();
            if !value.is_null() {
                option(&mut chat, name.to_owned(), value, &names)?;
            }
        }
    }
    Ok(serde_json::to_vec(&chat).expect("a chat request has a JSON form").into())
}

fn system(said: String) -> Message {
    Message { role: "system".to_owned(), content: Some(Content::Text(said)), ..Message::default() }
}

fn user(said: String) -> Message {
    Message { role: "user".to_owned(), content: Some(Content::Text(said)), ..Message::default() }
}

fn option(chat: &mut ChatRequest, name: String, value: Value, names: &Names) -> Result<(), WrongRequest> {
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
        "tools" => {}
        "tool_choice" => chat.tool_choice = Some(tools::choice(value, names)),
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
        "metadata"
        | "client_metadata"
        | "store"
        | "previous_response_id"
        | "background"
        | "background_options"
        | "stream_options" => {}
        // It counts calls of the provider's own tools alone.
        "max_tool_calls" if are_callers(chat) => {}
        "truncation" if value == "disabled" => {}
        "truncation" if value == "auto" => drop(chat.extra.insert(name, value)),
        // Where it is not known, a conversation just stays as long as it is.
        "context_management" => drop(chat.extra.insert(name, value)),
        "service_tier" if value == "auto" => {}
        "truncation" | "max_tool_calls" | "conversation" | "prompt" | "moderation" => {
            return Err(foreign(name));
        }
        _ => {
            chat.extra.insert(name, value);
        }
    }
    Ok(())
}

/// Whether the caller carries out all tools itself.
fn are_callers(chat: &ChatRequest) -> bool {
    chat.tools.iter().flatten().all(|tool| matches!(tool.kind.as_str(), "function" | "custom"))
}

/// The shape of the answer, and how much it says.
fn text(chat: &mut ChatRequest, text: &Value) -> Result<(), WrongRequest> {
    if let Some(verbosity) = text.get("verbosity").filter(|verbosity| !verbosity.is_null()) {
        chat.extra.insert("verbosity".to_owned(), verbosity.clone());
    }
    let Some(format) = text.get("format").filter(|format| !format.is_null()) else { return Ok(()) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => chat.response_format = None,
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
