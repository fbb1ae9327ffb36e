//! The text of a request, whichever dialect it is in: every text but those in fields that hold no words for the model.
//! What frames a message is counted as OpenAI describes it.
//! Source: <https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken>.

use bytes::Bytes;
use serde_json::{Map, Value};

/// Around each message, and before the answer.
const MESSAGE: u64 = 4;
const PRIMING: u64 = 3;

/// An image of 1024 by 1024 in full detail, and any in low. Source: <https://platform.openai.com/docs/guides/images-vision>.
const IMAGE: u64 = 765;
const SMALL_IMAGE: u64 = 85;

/// Fields that hold no words: names of kinds, ids, addresses, data, and what only the provider itself acts on.
const WORDLESS: [&str; 33] = [
    "model",
    "role",
    "type",
    "id",
    "tool_call_id",
    "tool_use_id",
    "call_id",
    "url",
    "uri",
    "fileUri",
    "file_uri",
    "file_url",
    "file_id",
    "file_data",
    "data",
    "media_type",
    "mimeType",
    "mime_type",
    "format",
    "detail",
    "signature",
    "thoughtSignature",
    "thought_signature",
    "encrypted_content",
    "cache_control",
    "reasoning_details",
    "user",
    "metadata",
    "encoding_format",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
    "reasoning_effort",
];

/// Fields that the model reads with all their names and brackets.
const SCHEMAS: [&str; 7] =
    ["tools", "functions", "response_format", "input", "args", "responseSchema", "output_config"];

/// Fields of which a list of numbers is tokens that the caller has counted itself.
const NUMBERED: [&str; 2] = ["input", "prompt"];

/// How many tokens a request is; `None` when it is not JSON.
pub(super) fn tokens_of(request: &Bytes) -> Option<u64> {
    let request: Map<String, Value> = serde_json::from_slice(request).ok()?;
    let mut found = Found::default();
    found.object(&request);
    Some(super::tokens(&found.text) + found.besides + if found.has_messages { PRIMING } else { 0 })
}

#[derive(Default)]
struct Found {
    text: String,
    /// Tokens of what is no text.
    besides: u64,
    has_messages: bool,
}

impl Found {
    fn object(&mut self, object: &Map<String, Value>) {
        if object.contains_key("role") {
            self.has_messages = true;
            self.besides += MESSAGE;
        }
        self.besides += image(object);
        for (name, value) in object {
            let name = name.as_str();
            let is_schema = SCHEMAS.contains(&name) && (value.is_object() || (name != "input" && value.is_array()));
            if is_schema {
                self.say(&value.to_string());
            } else if NUMBERED.contains(&name) && value.is_array() {
                self.besides += numbers(value);
                self.value(value);
            } else if !WORDLESS.contains(&name) {
                self.value(value);
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.say(text),
            Value::Array(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(object) => self.object(object),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// On a line of its own: texts of different messages make no word together.
    fn say(&mut self, text: &str) {
        if !text.is_empty() && !text.starts_with("data:") {
            self.text.push_str(text);
            self.text.push('\n');
        }
    }
}

/// Numbers in lists, and in lists of these.
fn numbers(value: &Value) -> u64 {
    match value {
        Value::Number(_) => 1,
        Value::Array(items) => items.iter().map(numbers).sum(),
        _ => 0,
    }
}

/// The tokens of an image, if it is one.
fn image(object: &Map<String, Value>) -> u64 {
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let of = |name: &str, field: &str| object.get(name).and_then(|value| value.get(field)).and_then(Value::as_str);
    let is_inline = ["inlineData", "inline_data"]
        .iter()
        .any(|name| of(name, "mimeType").or(of(name, "mime_type")).is_some_and(|kind| kind.starts_with("image/")));
    match kind {
        "image_url" | "image" | "input_image" if of("image_url", "detail") == Some("low") => SMALL_IMAGE,
        "image_url" | "image" | "input_image" => IMAGE,
        _ if is_inline => IMAGE,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_dialects_words_are_counted_and_nothing_else() {
        let hello = 3 + 4 + 3; // "hello world\n", its frame, the answer's
        for (request, count) in [
            (json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello world"}]}), hello),
            (
                json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hello world",
                    "cache_control": {"type": "ephemeral"}}]}], "user": "somebody", "max_tokens": 5}),
                hello,
            ),
            (json!({"contents": [{"role": "user", "parts": [{"text": "hello world"}]}]}), hello),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hello world"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}),
                hello + 765,
            ),
            (json!({"input": ["hello world", "hello world"]}), 6),
            (json!({"input": "hello world"}), 3),
            (json!({"input": [1, 2, 3]}), 3),
            (json!({"input": [[1, 2, 3], [4, 5]]}), 5),
            (json!({"prompt": [1, 2, 3], "stop": [1, 2]}), 3),
            (json!({}), 0),
        ] {
            assert_eq!(tokens_of(&request.to_string().into()), Some(count), "{request}");
        }
        let tools =
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]});
        assert!(tokens_of(&tools.to_string().into()).unwrap() > 10);
        assert_eq!(tokens_of(&Bytes::from_static(b"--form")), None);
    }
}
