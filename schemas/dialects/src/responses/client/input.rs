//! Items as messages: what an assistant thought, said and called between two turns of others is one message of a chat.
//! Knows nothing of options. Source: <https://platform.openai.com/docs/api-reference/responses/create>.

use super::tools::{self, Names};
use super::{compaction, foreign, reasoning, shell_calls, wrong};
use crate::client::WrongRequest;
use crate::thought_order;
use penstock_schemas::chat::{Content, FilePart, FunctionCall, ImageUrl, InputAudio, Message, Part, ToolCall};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The kind of an item that sets options for what follows it.
pub(super) const UPDATE: &str = "configuration_update";

/// The messages that the items at `place` come to.
pub(super) fn messages(items: Vec<Value>, place: &str, names: &Names) -> Result<Vec<Message>, WrongRequest> {
    let mut messages: Vec<Message> = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let place = format!("{place}[{at}]");
        if !item.is_object() {
            return Err(wrong(place, "it must be an object"));
        }
        let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
        match kind.as_str() {
            "message" => message(&item, &place, &mut messages)?,
            "reasoning" => think(&item, assistant(&mut messages)),
            "function_call" | "custom_tool_call" => {
                let call = call(&item, &place, names)?;
                assistant(&mut messages).tool_calls.get_or_insert_default().push(call);
            }
            // Some agents hand over what they heard elsewhere as the output of no call.
            "function_call_output" | "custom_tool_call_output" => messages.push(Message {
                role: "tool".to_owned(),
                tool_call_id: item["call_id"].as_str().map(ToOwned::to_owned),
                content: Some(output(item.get("output"), &format!("{place}.output"))?),
                ..Message::default()
            }),
            "tool_search_call" if item["call_id"].is_string() => {
                let call = search(&item, &place)?;
                assistant(&mut messages).tool_calls.get_or_insert_default().push(call);
            }
            "tool_search_output" if item["call_id"].is_string() => messages.push(Message {
                role: "tool".to_owned(),
                tool_call_id: Some(text(&item, "call_id", &place)?),
                content: Some(Content::Text(names.found(item["tools"].as_array().map_or(&[], Vec::as_slice)))),
                ..Message::default()
            }),
            // What a provider did on its own; what came of it stands in the message behind it.
            "web_search_call"
            | "file_search_call"
            | "code_interpreter_call"
            | "mcp_list_tools"
            | "mcp_call"
            | "image_generation_call"
            | "mcp_approval_request"
            | "mcp_approval_response"
            | "program"
            | "program_output"
            | "tool_search_call"
            | "tool_search_output" => {}
            // They are none of what was said.
            tools::ADDITIONAL | UPDATE => {}
            // The older name of it, which some versions of Codex write.
            "compaction" | "compaction_summary" => messages.push(compaction::read(&item)),
            "item_reference" => return Err(wrong(place, "there is no such item here")),
            _ => match (shell_calls::call(&item, &place), shell_calls::result(&item, &place)) {
                (Some(call), _) => assistant(&mut messages).tool_calls.get_or_insert_default().push(call?),
                (None, Some(result)) => messages.push(result?),
                (None, None) => return Err(foreign(format!("{place}.type"))),
            },
        }
    }
    Ok(messages)
}

/// Adds a thought to a turn, behind what was said.
fn think(item: &Value, turn: &mut Message) {
    let known = turn.reasoning_details.as_ref().map_or(0, Vec::len);
    reasoning::read(item, turn);
    let said = thought_order::length(turn.content.as_ref());
    turn.reasoning_details.iter_mut().flatten().skip(known).for_each(|detail| thought_order::mark(detail, said));
}

/// The assistant's turn that is being said, or a new one.
fn assistant(messages: &mut Vec<Message>) -> &mut Message {
    if messages.last().is_none_or(|last| last.role != "assistant") {
        messages.push(Message { role: "assistant".to_owned(), ..Message::default() });
    }
    messages.last_mut().expect("one was just added")
}

fn message(item: &Value, place: &str, messages: &mut Vec<Message>) -> Result<(), WrongRequest> {
    let role = text(item, "role", place)?;
    let said = content(item.get("content"), &format!("{place}.content"))?;
    match role.as_str() {
        "assistant" => {
            let turn = assistant(messages);
            turn.content = Some(match turn.content.take() {
                None => said,
                Some(before) => Content::Parts(before.into_parts().into_iter().chain(said.into_parts()).collect()),
            });
        }
        "user" | "system" | "developer" => {
            messages.push(Message { role, content: Some(said), ..Message::default() });
        }
        _ => return Err(wrong(format!("{place}.role"), "it is none of user, assistant, system, developer")),
    }
    Ok(())
}

fn call(item: &Value, place: &str, names: &Names) -> Result<ToolCall, WrongRequest> {
    let id = Some(text(item, "call_id", place)?);
    let space = item.get("namespace").and_then(Value::as_str);
    let name = names.flat(space, &text(item, "name", place)?);
    if item["type"] == "custom_tool_call" {
        let input = text(item, "input", place)?;
        let extra = Map::from_iter([("custom".to_owned(), json!({ "name": name, "input": input }))]);
        return Ok(ToolCall { id, kind: Some("custom".to_owned()), extra, ..ToolCall::default() });
    }
    function_call(id, name, (item, place))
}

/// The call of a search for tools that the client makes.
fn search(item: &Value, place: &str) -> Result<ToolCall, WrongRequest> {
    function_call(Some(text(item, "call_id", place)?), tools::SEARCH.to_owned(), (item, place))
}

fn function_call(id: Option<String>, name: String, (item, place): (&Value, &str)) -> Result<ToolCall, WrongRequest> {
    // Some agents give them back read.
    let read = item.get("arguments").filter(|arguments| arguments.is_object()).map(Value::to_string);
    let arguments = Some(read.map_or_else(|| text(item, "arguments", place), Ok)?);
    let function = FunctionCall { name: Some(name), arguments, extra: Map::new() };
    Ok(ToolCall { id, kind: Some("function".to_owned()), function: Some(function), ..ToolCall::default() })
}

fn text(item: &Value, name: &str, place: &str) -> Result<String, WrongRequest> {
    match item.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        None | Some(Value::Null) => Err(wrong(format!("{place}.{name}"), "it is missing")),
        Some(_) => Err(wrong(format!("{place}.{name}"), "it must be a text")),
    }
}

/// What a tool gave: a text, parts, or an object, which is the text that it is.
fn output(given: Option<&Value>, place: &str) -> Result<Content, WrongRequest> {
    match given {
        Some(object @ Value::Object(_)) => Ok(Content::Text(object.to_string())),
        given => content(given, place),
    }
}

/// What is said: a text, or parts.
fn content(said: Option<&Value>, place: &str) -> Result<Content, WrongRequest> {
    match said {
        None | Some(Value::Null) => Err(wrong(place.to_owned(), "it is missing")),
        Some(Value::String(text)) => Ok(Content::Text(text.clone())),
        Some(Value::Array(parts)) => {
            let read = |(at, part): (usize, &Value)| self::part(part, &format!("{place}[{at}]"));
            let parts: Vec<Part> = parts.iter().enumerate().map(read).collect::<Result<_, _>>()?;
            // A single text is mostly meant as that, and every provider takes it.
            Ok(match &parts[..] {
                [one] if one.kind == "text" => Content::Text(one.text.clone().unwrap_or_default()),
                _ => Content::Parts(parts),
            })
        }
        Some(_) => Err(wrong(place.to_owned(), "it must be a text or a list of parts")),
    }
}

fn part(part: &Value, place: &str) -> Result<Part, WrongRequest> {
    match part.get("type").and_then(Value::as_str) {
        Some("input_text" | "output_text" | "text") => Ok(Part::text(text(part, "text", place)?)),
        Some("refusal") => {
            let extra = Map::from_iter([("refusal".to_owned(), text(part, "refusal", place)?.into())]);
            Ok(Part { kind: "refusal".to_owned(), extra, ..Part::default() })
        }
        Some("input_image") if part.get("image_url").is_some_and(Value::is_string) => {
            let detail = part.get("detail").and_then(Value::as_str).filter(|detail| *detail != "auto");
            let image = ImageUrl {
                url: text(part, "image_url", place)?,
                detail: detail.map(ToOwned::to_owned),
                extra: Map::new(),
            };
            Ok(Part { kind: "image_url".to_owned(), image_url: Some(image), ..Part::default() })
        }
        Some("input_image") => Err(foreign(format!("{place}.file_id"))),
        Some("input_file") => {
            let own = |name: &str| part.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
            let file = FilePart {
                file_data: own("file_data"),
                filename: own("filename"),
                file_id: own("file_id"),
                file_url: own("file_url"),
                extra: Map::new(),
            };
            Ok(Part { kind: "file".to_owned(), file: Some(file), ..Part::default() })
        }
        Some("input_audio") => {
            let audio: InputAudio = inner(part, "input_audio", place)?;
            Ok(Part { kind: "input_audio".to_owned(), input_audio: Some(audio), ..Part::default() })
        }
        Some(_) => Err(foreign(format!("{place}.type"))),
        None => Err(wrong(format!("{place}.type"), "it is missing")),
    }
}

fn inner<T: DeserializeOwned>(part: &Value, name: &str, place: &str) -> Result<T, WrongRequest> {
    let value = part.get(name).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value).map_err(|error| wrong(format!("{place}.{name}"), &error.to_string()))
}
