//! What a chat must be at every server that is strict about OpenAI's form: tools have names, a choice names one of them, and
//! calls and results belong together. Refused here, by the caller's own fields. Knows no provider.
//! Source: <https://platform.openai.com/docs/guides/function-calling>.

use crate::fit::wrong;
use penstock_schemas::chat::{ChatRequest, Message, Tool};
use penstock_schemas::failure::Failure;
use serde_json::Value;

/// The longest name of a schema, in characters.
/// Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-response_format>.
const LONGEST_NAME: usize = 64;

/// That every function has a name, and the choice names one of them.
pub(crate) fn check_tools(request: &ChatRequest) -> Result<(), Failure> {
    let tools = request.tools.as_deref().unwrap_or_default();
    for (at, tool) in tools.iter().enumerate() {
        if name_of(tool).is_some_and(str::is_empty) {
            return Err(wrong(format!("tools[{at}].function.name"), "it is empty"));
        }
    }
    let Some(choice) = request.tool_choice.as_ref().filter(|choice| choice.is_object()) else { return Ok(()) };
    let Some(kind @ ("function" | "custom")) = choice.get("type").and_then(Value::as_str) else { return Ok(()) };
    let name = choice.get(kind).and_then(|named| named.get("name")?.as_str());
    if tools.is_empty() || tools.iter().any(|tool| name.is_some() && name_of(tool) == name) {
        return Ok(());
    }
    Err(wrong(format!("tool_choice.{kind}.name"), "it is none of the tools"))
}

fn name_of(tool: &Tool) -> Option<&str> {
    let custom = tool.extra.get("custom").and_then(|custom| custom.get("name")?.as_str());
    tool.function.as_ref().map(|function| function.name.as_str()).or(custom)
}

/// That each call has its result right behind it, and each result its call.
pub(crate) fn check_pairs(messages: &[Message]) -> Result<(), Failure> {
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        if message.role == "tool" {
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            let Some(found) = open.iter().position(|open| *open == id) else {
                return Err(wrong(format!("messages[{at}].tool_call_id"), "it answers no call of the turn before it"));
            };
            open.remove(found);
        } else if let Some(id) = open.first() {
            return Err(wrong(format!("messages[{at}]"), &format!("the call `{id}` before it has no result")));
        }
        open.extend(message.tool_calls.iter().flatten().filter_map(|call| call.id.as_deref()));
    }
    match open.first() {
        Some(id) => Err(wrong("messages", &format!("the call `{id}` has no result"))),
        None => Ok(()),
    }
}

/// Gives a schema a name that is taken: it is for people, and comes back nowhere.
pub(crate) fn name_format(format: &mut Option<Value>) {
    let Some(schema) = format.as_mut().and_then(|format| format.get_mut("json_schema")?.as_object_mut()) else {
        return;
    };
    let name = schema.get("name").and_then(Value::as_str).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let mut name: String = name.chars().map(plain).take(LONGEST_NAME).collect();
    if name.is_empty() {
        "answer".clone_into(&mut name);
    }
    schema.insert("name".to_owned(), name.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(more: &Value) -> ChatRequest {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"type": "function", "function": {"name": "f"}}]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(request).unwrap()
    }

    #[test]
    fn what_a_strict_server_would_refuse_is_refused_by_its_field() {
        let chosen = |name: &str| json!({"tool_choice": {"type": "function", "function": {"name": name}}});
        let place = |more: &Value| check_tools(&request(more)).err().and_then(|failure| failure.param);
        assert_eq!(place(&chosen("f")), None);
        assert_eq!(place(&json!({"tool_choice": "auto"})), None);
        assert_eq!(place(&chosen("g")).as_deref(), Some("tool_choice.function.name"));
        let empty = json!({"tools": [{"type": "function", "function": {"name": ""}}]});
        assert_eq!(place(&empty).as_deref(), Some("tools[0].function.name"));
        let call = json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]});
        let result = json!({"role": "tool", "tool_call_id": "a", "content": "1"});
        let user = json!({"role": "user", "content": "?"});
        for (messages, found) in [
            (json!([call, result, user]), None),
            (json!([call, user, result]), Some("messages[1]")),
            (json!([call]), Some("messages")),
            (json!([result]), Some("messages[0].tool_call_id")),
            (json!([call, result, result]), Some("messages[2].tool_call_id")),
        ] {
            let checked = check_pairs(&request(&json!({"messages": messages})).messages);
            assert_eq!(checked.err().and_then(|failure| failure.param).as_deref(), found, "{messages}");
        }
    }

    #[test]
    fn a_schemas_name_is_one_that_is_taken() {
        for (name, taken) in [("a b.c-d_1", "a_b_c-d_1"), ("", "answer"), (&"x".repeat(70), &"x".repeat(64))] {
            let mut format = Some(json!({"type": "json_schema", "json_schema": {"name": name, "schema": {}}}));
            name_format(&mut format);
            assert_eq!(format.unwrap()["json_schema"]["name"], taken);
        }
    }
}
