//! The older way of calling: `functions`, `function_call` and the role `function`, as tools. A call had no id then: it gets
//! one, the same each time. Knows no provider.
//! Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-functions>.

use super::{has, member_at};
use memchr::memmem;
use serde_json::{Map, Value, json};

/// Whether a request may hold some of it.
pub(super) fn is_told(body: &[u8]) -> bool {
    let is_role = |at: usize| member_at(&body[at..]).is_some_and(|value| value.starts_with(b"\"function\""));
    has(body, "\"functions\"")
        || has(body, "\"function_call\"")
        || memmem::find_iter(body, b"\"role\"").any(|at| is_role(at + b"\"role\"".len()))
}

/// The request in today's words; whether its answer is to be in the older ones.
pub(super) fn settle(request: &mut Map<String, Value>) -> (bool, bool) {
    let is_settled = settle_messages(request);
    let functions = request.shift_remove("functions");
    let choice = request.shift_remove("function_call").filter(|choice| !choice.is_null());
    let has_either = functions.is_some() || choice.is_some();
    let functions = match functions {
        Some(Value::Array(functions)) => functions,
        _ => Vec::new(),
    };
    let is_old = !functions.is_empty();
    if is_old {
        let tools = functions.into_iter().map(|function| json!({ "type": "function", "function": function }));
        match request.get_mut("tools") {
            Some(Value::Array(known)) => known.extend(tools),
            _ => drop(request.insert("tools".to_owned(), tools.collect())),
        }
        // There was one call at a time: the answer has no place for more.
        request.insert("parallel_tool_calls".to_owned(), false.into());
        let choice = choice.map(|choice| match choice.get("name") {
            Some(name) => json!({ "type": "function", "function": { "name": name } }),
            None => choice,
        });
        request.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
    }
    (is_settled || has_either, is_old)
}

fn settle_messages(request: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(messages)) = request.get_mut("messages") else { return false };
    let is_old = |message: &Value| {
        message["role"] == "function" || message.get("function_call").is_some_and(|call| !call.is_null())
    };
    if !messages.iter().any(is_old) {
        return false;
    }
    let mut settled: Vec<Value> = Vec::with_capacity(messages.len());
    // The call that has no result yet.
    let mut open: Option<(String, String)> = None;
    for (at, message) in std::mem::take(messages).into_iter().enumerate() {
        let Value::Object(mut message) = message else {
            settled.push(message);
            continue;
        };
        let id = format!("call_{at}");
        let call = message.shift_remove("function_call").filter(Value::is_object);
        if message.get("role").is_some_and(|role| role == "function") {
            let name = message.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let called = open.take().filter(|(called, _)| *called == name).map(|(_, id)| id);
            let called = called.unwrap_or_else(|| {
                // The result of a call that the conversation does not hold. Providers want the call before it, so it gets one.
                settled.push(asked(&id, &json!({ "name": name, "arguments": "{}" })));
                id
            });
            message.insert("role".to_owned(), "tool".into());
            message.insert("tool_call_id".to_owned(), called.into());
            message.entry("content").or_insert_with(|| "".into());
        } else if let Some(call) = call.filter(|_| !message.contains_key("tool_calls")) {
            open = Some((call["name"].as_str().unwrap_or_default().to_owned(), id.clone()));
            message.insert("tool_calls".to_owned(), asked(&id, &call)["tool_calls"].take());
        }
        settled.push(Value::Object(message));
    }
    *messages = settled;
    true
}

fn asked(id: &str, function: &Value) -> Value {
    json!({ "role": "assistant", "content": null,
        "tool_calls": [{ "id": id, "type": "function", "function": function }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(request: Value) -> (Value, bool) {
        let Value::Object(mut request) = request else { panic!("a request is an object") };
        let (_, is_old) = settle(&mut request);
        (Value::Object(request), is_old)
    }

    #[test]
    fn functions_and_their_calls_are_tools_and_theirs() {
        let call = json!({"name": "f", "arguments": "{\"a\":1}"});
        let (found, is_old) = settled(
            json!({"model": "m", "functions": [{"name": "f", "parameters": {"type": "object"}}],
            "function_call": {"name": "f"}, "messages": [{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "function_call": call}, {"role": "function", "name": "f", "content": "1"},
            {"role": "function", "name": "g", "content": "2"}]}),
        );
        assert!(is_old);
        let tool_call = |id: &str, function: &Value| json!([{"id": id, "type": "function", "function": function}]);
        assert_eq!(
            found,
            json!({"model": "m", "messages": [{"role": "user", "content": "a"},
                {"role": "assistant", "content": null, "tool_calls": tool_call("call_1", &call)},
                {"role": "tool", "name": "f", "content": "1", "tool_call_id": "call_1"},
                {"role": "assistant", "content": null, "tool_calls": tool_call("call_3", &json!({"name": "g", "arguments": "{}"}))},
                {"role": "tool", "name": "g", "content": "2", "tool_call_id": "call_3"}],
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
                "parallel_tool_calls": false, "tool_choice": {"type": "function", "function": {"name": "f"}}})
        );
        let chosen = |choice: &str| {
            settled(json!({"functions": [{"name": "f"}], "function_call": choice})).0["tool_choice"].clone()
        };
        assert_eq!((chosen("auto"), chosen("none")), (json!("auto"), json!("none")));
        assert_eq!(settled(json!({"functions": [], "function_call": "none"})), (json!({}), false));
        let today = json!({"messages": [{"role": "tool", "content": "x"}], "tools": [{"type": "function"}]});
        assert_eq!(settled(today.clone()), (today, false));
    }
}
