//! What OpenAI's chat completions look like on the wire, as the upstreams say them: with a field that nobody knows, and
//! spaced as no serializer would, so that bytes which were read and written again would show.

use serde_json::{Value, json};

/// The last event of a stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// The usage of every answer: 10 tokens in, of which 4 were cached, and 5 out, of which 2 were reasoning.
pub const USAGE: &str = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}"#;

/// A whole answer.
pub fn whole(text: &str) -> String {
    let content = json!(text);
    format!(
        r#"{{ "id": "chatcmpl-1","object":"chat.completion","created":1,  "model":"m-2026-11-22","choices":[{{"index":0,"message":{{"role":"assistant","content":{content}}},"finish_reason":"stop"}}],
"usage":{USAGE},"x_unknown":{{"kept":[1,2.50,null]}} }}"#
    )
}

/// One event of a stream.
pub fn event(choices: &str, usage: &str) -> String {
    format!(
        "data: {{ \"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-2026-11-22\",\"choices\":[{choices}],\"usage\":{usage},\"x\":2.50 }}\n\n"
    )
}

/// The same bytes with the name that the caller asked for in the place of the upstreams' own.
pub fn named(answer: &str, model: &str) -> String {
    answer.replace("\"m-2026-11-22\"", &json!(model).to_string())
}

/// The event that only names the role.
pub fn role() -> String {
    event(r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#, "null")
}

/// An event with content.
pub fn content(text: &str) -> String {
    event(&format!(r#"{{"index":0,"delta":{{"content":{}}},"finish_reason":null}}"#, json!(text)), "null")
}

/// The event that says why the model stopped.
pub fn finish() -> String {
    event(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, "null")
}

/// The event with the usage, which comes when it is asked for.
pub fn usage() -> String {
    event("", USAGE)
}

/// A whole stream, a word at a time.
pub fn stream(text: &str) -> Vec<String> {
    let words = text.split_inclusive(' ').map(content);
    [role()].into_iter().chain(words).chain([finish(), usage(), DONE.to_owned()]).collect()
}

/// An error, as a body.
pub fn error(message: &str, class: &str, param: Option<&str>, code: Option<&str>) -> Value {
    json!({ "error": { "message": message, "type": class, "param": param, "code": code } })
}
