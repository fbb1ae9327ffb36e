//! What clients that know Anthropic's messages or OpenAI's responses best put into a chat: blocks of calls, results, thoughts
//! and images in its messages, tools with an `input_schema` or without their `function`, a choice in Anthropic's words.
//! Sources: <https://platform.claude.com/docs/en/api/messages/create>,
//! <https://platform.openai.com/docs/guides/migrate-to-responses#5-update-function-definitions>.

use super::{has, member_at};
use crate::anthropic::client::{choice, message};
use crate::json::Fields;
use memchr::memmem;
use penstock_schemas::chat::ChatRequest;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

/// What tells that a request may hold some of it: calls, and what else.
const CALLS: [&str; 4] = ["\"tool_use\"", "\"tool_result\"", "\"input_schema\"", "\"custom\""];
const OTHERS: [&str; 3] = ["\"redacted_thinking\"", "\"source\"", "\"any\""];

/// Whether a request may hold some of it.
pub(super) fn is_told(body: &[u8]) -> bool {
    CALLS.iter().chain(&OTHERS).any(|word| has(body, word)) || has_flat_tools(body)
}

/// Whether a chat that goes to a server of its own dialect may hold calls or tools that no chat has.
pub(super) fn is_told_of_calls(body: &[u8]) -> bool {
    CALLS.iter().any(|word| has(body, word))
}

/// Whether there are tools and none holds its `function`.
fn has_flat_tools(body: &[u8]) -> bool {
    let member = b"\"function\"";
    has(body, "\"tools\"") && !memmem::find_iter(body, member).any(|at| member_at(&body[at + member.len()..]).is_some())
}

/// The blocks that a chat does not have.
const BLOCKS: [&str; 6] = ["tool_use", "tool_result", "thinking", "redacted_thinking", "image", "document"];

/// The request in a chat's words; whether something changed. What cannot be read stays, to be refused by name.
pub(super) fn settle(request: &mut Map<String, Value>) -> bool {
    let are_settled = [settle_messages(request), settle_tools(request), settle_choice(request)];
    are_settled.contains(&true)
}

fn is_block(part: &Value) -> bool {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    BLOCKS.contains(&kind)
        && (!matches!(kind, "image" | "document") || part.get("source").is_some_and(Value::is_object))
}

fn settle_messages(request: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(messages)) = request.get_mut("messages") else { return false };
    let holds = |message: &Value| message["content"].as_array().is_some_and(|parts| parts.iter().any(is_block));
    if !messages.iter().any(holds) {
        return false;
    }
    let mut settled: Vec<Value> = Vec::with_capacity(messages.len());
    for (at, message) in std::mem::take(messages).into_iter().enumerate() {
        match read(&message, at).filter(|_| holds(&message)) {
            Some(several) => settled.extend(several),
            None => settled.push(message),
        }
    }
    *messages = settled;
    true
}

/// A message with such blocks as the messages that it comes to.
fn read(message: &Value, at: usize) -> Option<Vec<Value>> {
    let role = message["role"].as_str()?;
    let raw = to_raw_value(&message["content"]).ok()?;
    let made = message::of_blocks(&raw, role, &format!("messages[{at}].content")).ok()?;
    let mut made: Vec<Value> = made.iter().map(|message| json!(message)).collect();
    // What else the message says, its calls in a chat's own words among it, belongs to what is left of it.
    let last = made.last_mut().filter(|last| last["role"] == role).and_then(Value::as_object_mut);
    if let Some(last) = last {
        for (name, value) in message.as_object()?.iter().filter(|(name, _)| *name != "content") {
            last.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    Some(made)
}

fn settle_tools(request: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(tools)) = request.get_mut("tools") else { return false };
    let mut is_settled = false;
    for (at, tool) in tools.iter_mut().enumerate() {
        if tool.get("input_schema").is_some_and(Value::is_object) {
            let Ok(raw) = to_raw_value(tool) else { continue };
            let Ok(read) = choice::tool(&raw, &format!("tools[{at}]")) else { continue };
            *tool = json!(read);
            is_settled = true;
        } else if tool["type"] == "function" && tool.get("function").is_none() && tool["name"].is_string() {
            let Some(mut function) = tool.as_object().cloned() else { continue };
            function.shift_remove("type");
            *tool = json!({ "type": "function", "function": function });
            is_settled = true;
        } else if tool["type"] == "custom" && tool.get("custom").is_none() && tool["name"].is_string() {
            *tool = custom(tool);
            is_settled = true;
        }
    }
    is_settled
}

/// A tool of free text as a chat has it: one level deeper, its grammar two.
fn custom(flat: &Value) -> Value {
    let mut custom = flat.as_object().cloned().unwrap_or_default();
    custom.shift_remove("type");
    if let Some(Value::Object(format)) = custom.get_mut("format").filter(|format| format["type"] == "grammar")
        && !format.contains_key("grammar")
    {
        format.shift_remove("type");
        let grammar = std::mem::take(format);
        *format = Map::from_iter([("type".to_owned(), "grammar".into()), ("grammar".to_owned(), grammar.into())]);
    }
    json!({ "type": "custom", "custom": custom })
}

fn settle_choice(request: &mut Map<String, Value>) -> bool {
    let Some(theirs) = request.get("tool_choice").filter(|choice| choice.is_object()) else { return false };
    if theirs["type"] == "function" && theirs.get("function").is_none() && theirs["name"].is_string() {
        let named = json!({ "type": "function", "function": { "name": theirs["name"] } });
        request.insert("tool_choice".to_owned(), named);
        return true;
    }
    if !matches!(theirs["type"].as_str(), Some("auto" | "any" | "none" | "tool")) {
        return false;
    }
    let mut chat = ChatRequest::default();
    let read = to_raw_value(theirs).is_ok_and(|raw| choice::tool_choice(&Fields::of(&raw), &mut chat).is_ok());
    if let Some(choice) = chat.tool_choice.filter(|_| read) {
        request.insert("tool_choice".to_owned(), choice);
        if let Some(is_parallel) = chat.parallel_tool_calls {
            request.insert("parallel_tool_calls".to_owned(), is_parallel.into());
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(request: Value) -> (Value, bool) {
        let Value::Object(mut request) = request else { panic!("a request is an object") };
        let is_settled = settle(&mut request);
        (Value::Object(request), is_settled)
    }

    #[test]
    fn blocks_of_calls_and_results_in_a_chat_are_its_calls_and_results() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}});
        let (found, is_settled) = settled(json!({"messages": [{"role": "user", "content": [text("a"), image]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, text("b"),
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "name": "ann", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "42"}, text("c")]},
            {"role": "user", "content": "d"}]}));
        assert!(is_settled);
        let url = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
        let call = json!({"id": "t", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
        let messages = &found["messages"];
        assert_eq!(messages[0], json!({"role": "user", "content": [text("a"), url]}));
        assert_eq!(
            (&messages[1]["content"], &messages[1]["tool_calls"], &messages[1]["reasoning_details"][0]["signature"]),
            (&json!("b"), &json!([call]), &json!("s"))
        );
        assert_eq!(messages[2], json!({"role": "tool", "content": "42", "tool_call_id": "t"}));
        assert_eq!(messages[3], json!({"role": "user", "content": [text("c")], "name": "ann"}));
        assert_eq!(messages[4], json!({"role": "user", "content": "d"}));
        let wrong = json!({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "t"}]}]});
        assert_eq!(settled(wrong.clone()).0, wrong, "it is refused by name where it goes");
    }

    #[test]
    fn tools_and_choices_of_other_dialects_in_a_chat_are_its_own() {
        let schema = json!({"type": "object"});
        let nested = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}});
        let mut flat = nested["function"].clone();
        flat["type"] = json!("function");
        for tool in [
            json!({"name": "f", "description": "d", "input_schema": schema}),
            json!({"type": "custom", "name": "f", "description": "d", "input_schema": schema}),
            flat,
        ] {
            assert_eq!(settled(json!({"tools": [tool]})).0, json!({"tools": [nested]}));
        }
        let grammar = json!({"type": "grammar", "syntax": "lark", "definition": "start: x"});
        let flat = json!({"type": "custom", "name": "patch", "description": "d", "format": grammar});
        let inner = json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}});
        let custom = json!({"type": "custom", "custom": {"name": "patch", "description": "d", "format": inner}});
        assert_eq!(settled(json!({"tools": [nested, flat]})).0, json!({"tools": [nested, custom]}));
        assert_eq!(settled(json!({"tools": [custom]})), (json!({"tools": [custom]}), false));
        let named = json!({"type": "function", "function": {"name": "f"}});
        for (theirs, ours) in [
            (json!({"type": "any"}), json!("required")),
            (json!({"type": "auto"}), json!("auto")),
            (json!({"type": "tool", "name": "f"}), named.clone()),
            (json!({"type": "function", "name": "f"}), named.clone()),
        ] {
            assert_eq!(settled(json!({"tool_choice": theirs})).0, json!({"tool_choice": ours}));
        }
        for own in [json!({"tools": [nested], "tool_choice": named}), json!({"tools": [{"type": "web_search"}]})] {
            assert_eq!(settled(own.clone()), (own, false));
        }
    }
}
