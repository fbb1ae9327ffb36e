//! A call as clients of the older `functions` know it: one function without an id.
//! Source: <https://platform.openai.com/docs/api-reference/chat/object#chat-object-choices-message-function_call>.

use serde_json::{Map, Value};

/// Puts the first call of a choice, or a piece of it, into `function_call`; `said` is `message` or `delta`.
pub(super) fn call(choice: &mut Value, said: &str) {
    if choice.get("finish_reason").is_some_and(|reason| reason == "tool_calls") {
        choice["finish_reason"] = "function_call".into();
    }
    let Some(said) = choice.get_mut(said).and_then(Value::as_object_mut) else { return };
    let Some(Value::Array(calls)) = said.shift_remove("tool_calls") else { return };
    let function = calls.into_iter().next().and_then(|mut call| Some(call.get_mut("function")?.take()));
    if let Some(Value::Object(mut function)) = function {
        function.retain(|name, _| matches!(name.as_str(), "name" | "arguments"));
        said.insert("function_call".to_owned(), Value::Object(Map::from_iter(function)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ToolMap, reader};
    use crate::openai::provider::Openai;
    use crate::openai::provider::other_way::{event, events};
    use crate::provider::{Form, ProviderFormat, Step, Wanted};
    use penstock_schemas::envelope::{Delivery, Operation};
    use serde_json::{Value, json};

    #[test]
    fn who_asked_with_functions_gets_one_function_call_whole_and_in_pieces() {
        let mut map = ToolMap::default();
        map.answer_with_functions();
        let tool = |index: u32, name: Value, arguments: &str| json!({"index": index, "id": "i", "type": "function", "function": {"name": name, "arguments": arguments}});
        let message = json!({"role": "assistant", "content": null, "tool_calls": [tool(0, json!("f"), "{}"), tool(1, json!("g"), "{}")]});
        let whole = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
        let found: Value = serde_json::from_slice(&map.whole(&whole.to_string().into())).unwrap();
        let called = json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}});
        assert_eq!(found["choices"][0], json!({"index": 0, "message": called, "finish_reason": "function_call"}));

        let wanted = Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Stream };
        let mut reader = reader(Openai.stream(wanted), Some(map));
        let delta =
            |delta: Value, reason: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
        let pieces = [
            delta(json!({"content": "a", "role": "assistant"}), Value::Null),
            delta(json!({"tool_calls": [tool(0, json!("f"), "")]}), Value::Null),
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}), Value::Null),
            delta(json!({"tool_calls": [tool(1, json!("g"), "{}")]}), Value::Null),
            delta(json!({}), json!("tool_calls")),
        ];
        let mut found = Vec::new();
        for piece in &pieces {
            let (Step::Hold(bytes) | Step::Content(bytes)) = reader.read(&event(piece)).unwrap() else { continue };
            for event in events(&bytes) {
                let mut chunk: Value = serde_json::from_slice(&event.data).unwrap();
                found.push((chunk["choices"][0]["delta"].take(), chunk["choices"][0]["finish_reason"].take()));
            }
        }
        let call = |function: Value| (json!({"function_call": function}), Value::Null);
        assert_eq!(
            found,
            [
                (json!({"content": "a", "role": "assistant"}), Value::Null),
                call(json!({"name": "f", "arguments": ""})),
                call(json!({"arguments": "{}"})),
                (json!({}), Value::Null),
                (json!({}), json!("function_call")),
            ]
        );
    }
}
