//! Samples that Gemini accepts, and samples that it refuses, each with the message that it is known to give.

use crate::{Reference, Request};
use serde_json::{Value, json};

fn check(model: &str, changes: &Value) -> Result<(), String> {
    let mut body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Greet me." }] }] });
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    let path = format!("models/{model}:generateContent");
    Reference::Google.check(&Request { path: &path, body: &body }).map_err(|refused| refused.to_string())
}

fn tools(schema: &Value) -> Value {
    json!([{ "functionDeclarations": [{ "name": "look", "parametersJsonSchema": schema }] }])
}

fn call(signature: Option<&str>) -> Value {
    let mut part = json!({ "functionCall": { "name": "look", "args": {} } });
    if let Some(signature) = signature {
        part["thoughtSignature"] = signature.into();
    }
    json!({ "role": "model", "parts": [part] })
}

fn result(response: &Value) -> Value {
    json!({ "role": "user", "parts": [{ "functionResponse": { "name": "look", "response": response } }] })
}

#[test]
fn a_request_as_the_reference_shows_it_is_accepted() {
    let asked = json!({ "role": "user", "parts": [{ "text": "Look." }] });
    let open = json!({ "type": "object", "properties": {} });
    for (model, changes) in [
        ("gemini-2.5-flash", json!({})),
        ("gemini-2.5-flash", json!({ "contents": [asked, call(None), result(&json!({ "output": "42" }))] })),
        (
            "gemini-3-pro-preview",
            json!({ "contents": [asked, call(Some("c2ln")), result(&json!({ "output": "42" }))] }),
        ),
        (
            "gemini-2.5-flash",
            json!({ "tools": tools(&open), "toolConfig": { "functionCallingConfig":
            { "mode": "ANY", "allowedFunctionNames": ["look"] } } }),
        ),
        ("gemini-2.5-flash", json!({ "generationConfig": { "thinkingConfig": { "thinkingBudget": 0 }, "topK": 64 } })),
        ("gemini-3-flash-preview", json!({ "generationConfig": { "thinkingConfig": { "thinkingLevel": "MINIMAL" } } })),
    ] {
        assert_eq!(check(model, &changes), Ok(()), "{model} {changes}");
    }
}

#[test]
fn what_google_refuses_is_refused() {
    const MODEL: &str = "gemini-2.5-flash";
    let asked = json!({ "role": "user", "parts": [{ "text": "Look." }] });
    let open = json!({ "type": "object", "properties": {} });
    let config = |config: Value| json!({ "generationConfig": config });
    let blob = |kind: &str, data: &str| json!({ "contents": [{ "role": "user", "parts": [{ "inlineData": { "mimeType": kind, "data": data } }] }] });
    let beside = json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/A", "title": "A" } },
        "$defs": { "A": { "type": "string" } } });
    for (model, changes, message) in [
        (MODEL, json!({ "seed": 1 }), "Extra inputs"),
        (MODEL, json!({ "contents": [] }), "contents is not specified"),
        (MODEL, json!({ "contents": [{ "role": "user", "parts": [] }] }), "must not be empty"),
        (MODEL, json!({ "contents": [{ "role": "user", "parts": [{ "text": "" }] }] }), "text parameter"),
        (MODEL, json!({ "contents": [asked, call(None)] }), "followed by its response"),
        (MODEL, json!({ "contents": [call(None), result(&json!({}))] }), "immediately after a user turn"),
        (MODEL, json!({ "contents": [asked, result(&json!({}))] }), "number of function response parts"),
        ("gemini-3-pro-preview", json!({ "contents": [asked, call(None), result(&json!({}))] }), "thought_signature"),
        (
            "gemini-3-pro-preview",
            json!({ "contents": [asked, call(Some("s")), result(&json!({ "$ref": "#/x" }))] }),
            "$ref",
        ),
        (MODEL, blob("image/jpg", "/9j/4AAQ"), "Unsupported MIME type"),
        (MODEL, blob("image/png", "/9j/4AAQ"), "Unable to process"),
        (MODEL, blob("application/zip", "UEsDBA=="), "Unsupported MIME type"),
        (MODEL, json!({ "tools": tools(&beside) }), "no other properties"),
        (
            MODEL,
            json!({ "toolConfig": { "functionCallingConfig": { "mode": "ANY" } } }),
            "without function_declarations",
        ),
        (
            MODEL,
            json!({ "tools": tools(&open), "toolConfig": { "functionCallingConfig":
            { "mode": "AUTO", "allowedFunctionNames": ["look"] } } }),
            "only when",
        ),
        (
            MODEL,
            json!({ "tools": tools(&open), "generationConfig": { "responseMimeType": "application/json" } }),
            "unsupported",
        ),
        (MODEL, config(json!({ "seed": 9_007_199_254_740_991_i64 })), "seed"),
        (MODEL, config(json!({ "stopSequences": ["a", "b", "c", "d", "e", "f"] })), "at most 5"),
        (MODEL, config(json!({ "thinkingConfig": { "thinkingLevel": "LOW" } })), "Thinking level"),
        ("gemini-2.0-flash", config(json!({ "thinkingConfig": { "includeThoughts": true } })), "not enabled"),
        ("gemini-2.5-pro", config(json!({ "thinkingConfig": { "thinkingBudget": 0 } })), "budget is invalid"),
        ("gemini-3-pro-preview", config(json!({ "thinkingConfig": { "thinkingLevel": "MINIMAL" } })), "one of"),
    ] {
        let refused = check(model, &changes).expect_err(&format!("{model} accepts {changes}"));
        assert!(refused.contains(message), "{model}: {refused}, and not {message}");
    }
}
