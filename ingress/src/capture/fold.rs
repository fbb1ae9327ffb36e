//! The events of a stream as one piece of JSON: texts that came in pieces are whole, so that a secret in them is seen, and
//! people can read them. Knows the fields that go on from event to event, and no dialect.

use serde_json::{Deserializer, Map, Value};

/// Fields whose texts go on where the event before ended; what others say replaces what they said. Sources: the streamed
/// fields of OpenAI (`content`, `arguments`, `refusal`, `text`), its responses (`delta`), Anthropic (`text`, `partial_json`,
/// `thinking`), Google (`text`), Ollama (`response`, `thinking`) and of those that stream thoughts beside them.
const GO_ON: [&str; 11] = [
    "content",
    "text",
    "delta",
    "arguments",
    "partial_json",
    "thinking",
    "reasoning",
    "reasoning_content",
    "refusal",
    "response",
    "transcript",
];

/// Fields that say which part of an answer an object goes on with: objects that differ in one are not joined.
const PLACES: [&str; 7] = ["index", "output_index", "content_index", "summary_index", "type", "thought", "id"];

/// Objects of a list that a new one is compared with, from the end: a stream goes on with its latest parts.
const BACK: usize = 64;

/// The events joined; `None` when there are none.
pub(super) fn fold(text: &str) -> Option<String> {
    let mut joined = Vec::new();
    for event in events(text) {
        join_item(&mut joined, event);
    }
    match joined.len() {
        0 => None,
        1 => Some(joined.remove(0).to_string()),
        _ => Some(Value::Array(joined).to_string()),
    }
}

/// Each event: the `data` of server-sent ones, or JSON after JSON, as in a list or line by line.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let of_events: Vec<Value> = data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect();
    if !of_events.is_empty() {
        return of_events;
    }
    let (mut rest, mut found) = (text, Vec::new());
    loop {
        rest = rest.trim_start_matches(['[', ',', ']', ' ', '\n', '\r', '\t']);
        let mut values = Deserializer::from_str(rest).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else { return found };
        rest = &rest[values.byte_offset()..];
        found.push(value);
    }
}

fn join_item(items: &mut Vec<Value>, item: Value) {
    let same = items.iter_mut().rev().take(BACK).find(|earlier| goes_on(earlier, &item));
    match same {
        Some(earlier) => join("", earlier, item),
        None => items.push(item),
    }
}

/// Whether an object is more of an earlier one.
fn goes_on(earlier: &Value, later: &Value) -> bool {
    let (Value::Object(earlier), Value::Object(later)) = (earlier, later) else { return false };
    let is_call = |object: &Map<String, Value>| object.contains_key("functionCall");
    let same = |name: &&str| match (earlier.get(*name), later.get(*name)) {
        (Some(one), Some(other)) => one == other,
        // A call's id, and what sort it is, are said once.
        _ if matches!(*name, "id" | "type") => true,
        (one, other) => one.is_none() && other.is_none(),
    };
    !is_call(earlier) && !is_call(later) && PLACES.iter().all(same)
}

/// Joins what comes later to what stands under a name.
fn join(name: &str, earlier: &mut Value, later: Value) {
    match (earlier, later) {
        (Value::Object(earlier), Value::Object(later)) => {
            for (name, value) in later {
                match earlier.get_mut(&name) {
                    Some(known) => join(&name, known, value),
                    None => drop(earlier.insert(name, value)),
                }
            }
        }
        (Value::Array(earlier), Value::Array(later)) => later.into_iter().for_each(|item| join_item(earlier, item)),
        (Value::String(earlier), Value::String(later)) if GO_ON.contains(&name) => earlier.push_str(&later),
        (_, Value::Null) => {}
        (earlier, later) => *earlier = later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folded(text: &str) -> Value {
        serde_json::from_str(&fold(text).unwrap()).unwrap()
    }

    #[test]
    fn pieces_of_texts_calls_and_thoughts_are_joined_in_every_form_of_stream() {
        let chat = "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"sk-\"}}]}\n\n\
            data: {\"id\":\"a\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"two\"}}]}\n\n\
            data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"abc\",\"tool_calls\":[{\"index\":0,\"id\":\"c\",\
            \"function\":{\"arguments\":\"{\"}}]}}]}\n\n\
            data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"delta\":{\"tool_calls\":[{\"index\":0,\
            \"function\":{\"arguments\":\"}\"}}]}}]}\n\ndata: [DONE]\n\n";
        let calls = json!([{ "index": 0, "id": "c", "function": { "arguments": "{}" } }]);
        let first = json!({ "index": 0, "delta": { "role": "assistant", "content": "sk-abc", "tool_calls": calls },
            "finish_reason": "stop" });
        let second = json!({ "index": 1, "delta": { "content": "two" } });
        assert_eq!(folded(chat), json!({ "id": "a", "choices": [first, second] }));
        let blocks = "event: x\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n\
            data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\"}}\n\n\
            data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}\n\n";
        assert_eq!(folded(blocks)[0]["delta"]["text"], "ab");
        let said = "data: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":0,\"delta\":\"a\"}\n\n\
            data: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":0,\"delta\":\"b\"}\n\n";
        assert_eq!(folded(said)["delta"], "ab");
        let part = |text: &str| json!({ "candidates": [{ "content": { "parts": [{ "text": text }] } }] });
        let call = json!({ "candidates": [{ "content": { "parts": [{ "functionCall": { "name": "f" } }] } }] });
        let parts = format!("[{}\n,\r\n{},{call},{call}]", part("a"), part("b"));
        let of_google = folded(&parts)["candidates"][0]["content"]["parts"].clone();
        assert_eq!((of_google[0]["text"].clone(), of_google.as_array().unwrap().len()), (json!("ab"), 3));
        let lines = "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"message\":{\"content\":\"b\"},\"done\":true}\n{\"mess";
        assert_eq!(folded(lines), json!({ "message": { "content": "ab" }, "done": true }));
        assert_eq!(fold("no JSON"), None);
    }
}
