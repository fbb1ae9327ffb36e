//! Messages as items: an assistant's turn falls into its reasoning, its message and its calls. Knows nothing of options.
//! Source: <https://platform.openai.com/docs/guides/conversation-state>.

use super::content::{Side, output_text, parts};
use super::spelling::{Spelling, wrong};
use crate::thought_order::{ThoughtOrText, after, weave};
use crate::tool_results::tell_failure;
use penstock_schemas::chat::{Issuer, Message, ReasoningDetail, ToolCall};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// The items that the messages come to.
pub(super) fn items(messages: Vec<Message>, spelling: &mut Spelling) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::with_capacity(messages.len());
    let (mut open, mut custom) = (Vec::<String>::new(), HashSet::new());
    for (at, message) in messages.into_iter().enumerate() {
        let place = format!("messages[{at}]");
        check(&message, &place, spelling)?;
        if message.role != "tool"
            && let Some(id) = open.first()
        {
            return Err(wrong(place, &format!("the call `{id}` before it has no result")));
        }
        match message.role.as_str() {
            "system" | "developer" | "user" => {
                let content = match message.content {
                    Some(content) => parts(content, Side::Input, &place, spelling)?,
                    None => return Err(wrong(format!("{place}.content"), "it is missing")),
                };
                items.push(json!({ "type": "message", "role": message.role, "content": content }));
            }
            "assistant" => {
                open = ids(&message, &place)?;
                let said = items.len();
                assistant(message, &place, &mut items, spelling)?;
                let is_custom = |item: &&Value| item["type"] == "custom_tool_call";
                custom.extend(items[said..].iter().filter(is_custom).map(|item| item["call_id"].clone()));
            }
            "tool" => {
                let id = message.tool_call_id.clone().unwrap_or_default();
                let Some(called) = open.iter().position(|open| *open == id) else {
                    return Err(wrong(format!("{place}.tool_call_id"), "it answers no call of the turn before it"));
                };
                open.remove(called);
                let is_custom = custom.contains(&Value::from(id));
                items.push(result(message, (&place, is_custom), spelling)?);
            }
            _ => return Err(wrong(format!("{place}.role"), "it is none of those that there are")),
        }
    }
    Ok(items)
}

/// What a message may hold beyond what is read of it.
fn check(message: &Message, place: &str, spelling: &mut Spelling) -> Result<(), Failure> {
    for (name, value) in &message.extra {
        match name.as_str() {
            _ if value.is_null() => {}
            "annotations" | "reasoning" | "images" | "phase" => {}
            // Mistral's SDK always sends it.
            "prefix" if value == false => {}
            "name" => spelling.dropped.push(format!("{place}.{name}")),
            _ => spelling.cannot(format!("{place}.{name}"), "the provider takes no such field of a message")?,
        }
    }
    Ok(())
}

fn ids(message: &Message, place: &str) -> Result<Vec<String>, Failure> {
    let calls = message.tool_calls.as_deref().unwrap_or_default().iter().enumerate();
    let id = |(at, call): (usize, &ToolCall)| {
        call.id.clone().ok_or_else(|| wrong(format!("{place}.tool_calls[{at}].id"), "it is missing"))
    };
    calls.map(id).collect()
}

fn assistant(message: Message, place: &str, items: &mut Vec<Value>, spelling: &mut Spelling) -> Result<(), Failure> {
    let details = message.reasoning_details.unwrap_or_default();
    let details = details.into_iter().map(|detail| (after(&detail), detail)).collect();
    let mut thoughts: Vec<ReasoningDetail> = Vec::new();
    for run in weave(message.content, details) {
        match run {
            ThoughtOrText::Thought(detail) => thoughts.push(detail),
            ThoughtOrText::Said(said) => {
                reasoning(std::mem::take(&mut thoughts), items);
                say(parts(said, Side::Output, place, spelling)?, items);
            }
        }
    }
    reasoning(thoughts, items);
    if let Some(refusal) = message.refusal.filter(|refusal| !refusal.is_empty()) {
        say(vec![json!({ "type": "refusal", "refusal": refusal })], items);
    }
    for (at, call) in message.tool_calls.unwrap_or_default().into_iter().enumerate() {
        items.push(self::call(call, &format!("{place}.tool_calls[{at}]"))?);
    }
    Ok(())
}

/// Adds what an assistant says: to the message right before it, or as one.
fn say(mut content: Vec<Value>, items: &mut Vec<Value>) {
    content.retain(|part| *part != output_text(""));
    if content.is_empty() {
        return;
    }
    let last = items.last_mut().filter(|last| last["type"] == "message" && last["role"] == "assistant");
    match last.and_then(|last| last["content"].as_array_mut()) {
        Some(before) => before.extend(content),
        None => items.push(json!({ "type": "message", "role": "assistant", "content": content })),
    }
}

fn call(call: ToolCall, place: &str) -> Result<Value, Failure> {
    if let Some(custom) = call.extra.get("custom").filter(|custom| custom.is_object()) {
        return Ok(json!({
            "type": "custom_tool_call", "call_id": call.id, "name": custom["name"], "input": custom["input"],
        }));
    }
    let function = call.function.ok_or_else(|| wrong(format!("{place}.function"), "it is missing"))?;
    let name = function.name.ok_or_else(|| wrong(format!("{place}.function.name"), "it is missing"))?;
    let arguments = function.arguments.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".to_owned());
    Ok(json!({ "type": "function_call", "call_id": call.id, "name": name, "arguments": arguments }))
}

fn result(mut message: Message, (place, is_custom): (&str, bool), spelling: &mut Spelling) -> Result<Value, Failure> {
    use penstock_schemas::chat::Content;
    tell_failure(&mut message);
    let output = match message.content {
        None => Value::from(""),
        Some(Content::Text(text)) => text.into(),
        Some(Content::Parts(all)) if all.iter().all(|part| part.kind == "text") => Content::Parts(all).text().into(),
        Some(content) => parts(content, Side::Input, place, spelling)?.into(),
    };
    let kind = if is_custom { "custom_tool_call_output" } else { "function_call_output" };
    Ok(json!({ "type": kind, "call_id": message.tool_call_id, "output": output }))
}

/// What this provider's models thought, for them to go on with. Without its encrypted form a piece means nothing to a
/// provider that has not kept it.
fn reasoning(details: Vec<ReasoningDetail>, items: &mut Vec<Value>) {
    let mut pieces: Vec<(Option<String>, Map<String, Value>)> = Vec::new();
    for detail in details.into_iter().filter(|detail| detail.format == Some(Issuer::Openai)) {
        let is_new = pieces.last().is_none_or(|(id, item)| *id != detail.id || item.contains_key("encrypted_content"));
        if is_new {
            let mut item = Map::from_iter([("type".to_owned(), Value::from("reasoning"))]);
            item.extend(detail.id.clone().map(|id| ("id".to_owned(), id.into())));
            item.insert("summary".to_owned(), json!([]));
            pieces.push((detail.id.clone(), item));
        }
        let Some((_, item)) = pieces.last_mut() else { continue };
        if let Some(data) = detail.data {
            item.insert("encrypted_content".to_owned(), data.into());
        }
        for (list, kind, text) in
            [("summary", "summary_text", detail.summary), ("content", "reasoning_text", detail.text)]
        {
            if let Some(text) = text
                && let Value::Array(list) = item.entry(list).or_insert_with(|| json!([]))
            {
                list.push(json!({ "type": kind, "text": text }));
            }
        }
    }
    let whole = pieces.into_iter().map(|(_, item)| item).filter(|item| item.contains_key("encrypted_content"));
    items.extend(whole.map(Value::Object));
}
