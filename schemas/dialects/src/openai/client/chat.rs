//! The shape of a chat request: messages and tools. Checks types only; roles, kinds of parts and the pairing of calls and
//! results are judged by whoever translates them.

use crate::client::WrongRequest;
use crate::client::fields::{Rule, check as check_value, wrong};
use crate::json::{Fields, JsonKind, items, kind};
use serde_json::value::RawValue;

/// Checks messages and tools.
pub(super) fn check(fields: &Fields<'_>) -> Result<(), WrongRequest> {
    let messages = fields.get("messages").map(items).unwrap_or_default();
    if messages.is_empty() {
        return Err(wrong("messages", "it must hold at least one message".to_owned()));
    }
    for (at, message) in messages.into_iter().enumerate() {
        check_message(message, &format!("messages[{at}]"))?;
    }
    let tools = fields.get("tools").map(items).unwrap_or_default();
    for (at, tool) in tools.into_iter().enumerate() {
        check_tool(tool, &format!("tools[{at}]"))?;
    }
    Ok(())
}

fn check_message(message: &RawValue, place: &str) -> Result<(), WrongRequest> {
    let fields = object(message, place)?;
    for (name, rule) in [("role", Rule::Text), ("tool_calls", Rule::List), ("tool_call_id", Rule::Text)] {
        check_field(&fields, name, rule, place)?;
    }
    if fields.get("role").is_none() {
        return Err(wrong(&format!("{place}.role"), "it is missing".to_owned()));
    }
    let content = fields.get("content");
    if content.is_some_and(|content| !matches!(kind(content), JsonKind::Text | JsonKind::List)) {
        return Err(wrong(&format!("{place}.content"), "it must be a string or a list of parts".to_owned()));
    }
    for name in ["content", "tool_calls"] {
        let parts = fields.get(name).filter(|list| kind(list) == JsonKind::List).map(items).unwrap_or_default();
        if let Some(at) = parts.iter().position(|part| kind(part) != JsonKind::Object) {
            return Err(wrong(&format!("{place}.{name}[{at}]"), "it must be an object".to_owned()));
        }
    }
    Ok(())
}

fn check_tool(tool: &RawValue, place: &str) -> Result<(), WrongRequest> {
    let fields = object(tool, place)?;
    check_field(&fields, "type", Rule::Text, place)?;
    check_field(&fields, "function", Rule::Object, place)?;
    let Some(function) = fields.get("function") else { return Ok(()) };
    let (function, place) = (Fields::of(function), format!("{place}.function"));
    check_field(&function, "name", Rule::Text, &place)?;
    check_field(&function, "parameters", Rule::Object, &place)?;
    match function.get("name") {
        Some(_) => Ok(()),
        None => Err(wrong(&format!("{place}.name"), "it is missing".to_owned())),
    }
}

fn object<'a>(value: &'a RawValue, place: &str) -> Result<Fields<'a>, WrongRequest> {
    match kind(value) {
        JsonKind::Object => Ok(Fields::of(value)),
        _ => Err(wrong(place, "it must be an object".to_owned())),
    }
}

fn check_field(fields: &Fields<'_>, name: &str, rule: Rule, place: &str) -> Result<(), WrongRequest> {
    fields.get(name).map_or(Ok(()), |value| check_value(value, rule, || format!("{place}.{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn place(more: &Value) -> Option<String> {
        let mut request = json!({"messages": [{"role": "user", "content": "Hi"}]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let text = request.to_string();
        check(&Fields::of_body(&text).unwrap()).err().and_then(|refusal| refusal.param().map(ToOwned::to_owned))
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let message = |message: Value| json!({"messages": [{"role": "user", "content": null}, message]});
        for (request, found) in [
            (json!({}), None),
            (json!({"messages": []}), Some("messages")),
            (message(json!("Hi")), Some("messages[1]")),
            (message(json!(null)), Some("messages[1]")),
            (message(json!({"content": "Hi"})), Some("messages[1].role")),
            (message(json!({"role": 3})), Some("messages[1].role")),
            (message(json!({"role": "user", "content": 3})), Some("messages[1].content")),
            (message(json!({"role": "user", "content": {"text": "Hi"}})), Some("messages[1].content")),
            (message(json!({"role": "user", "content": [{"type": "text"}, "Hi"]})), Some("messages[1].content[1]")),
            (message(json!({"role": "assistant", "tool_calls": {}})), Some("messages[1].tool_calls")),
            (message(json!({"role": "assistant", "tool_calls": [3]})), Some("messages[1].tool_calls[0]")),
            (message(json!({"role": "tool", "tool_call_id": 3})), Some("messages[1].tool_call_id")),
            (message(json!({"role": "user", "content": [], "x": [1]})), None),
            (json!({"tools": [{"type": "web_search"}]}), None),
            (json!({"tools": ["f"]}), Some("tools[0]")),
            (json!({"tools": [{"type": 1}]}), Some("tools[0].type")),
            (json!({"tools": [{"type": "function", "function": "f"}]}), Some("tools[0].function")),
            (json!({"tools": [{"type": "function", "function": {}}]}), Some("tools[0].function.name")),
            (
                json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}),
                Some("tools[0].function.parameters"),
            ),
        ] {
            assert_eq!(place(&request).as_deref(), found, "{request}");
        }
    }
}
