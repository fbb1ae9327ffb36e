//! Samples that Bedrock accepts, and samples that it refuses, each with the message that it is known to give.

use crate::{Reference, Request};
use serde_json::{Value, json};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0";

fn check(model: &str, changes: &Value) -> Result<(), String> {
    let mut body = json!({ "messages": [{ "role": "user", "content": [{ "text": "Greet me." }] }] });
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    let path = format!("model/{model}/converse");
    Reference::Bedrock.check(&Request { path: &path, body: &body }).map_err(|refused| refused.to_string())
}

fn tools(choice: &Value) -> Value {
    let mut config =
        json!({ "tools": [{ "toolSpec": { "name": "look", "inputSchema": { "json": { "type": "object" } } } }] });
    if !choice.is_null() {
        config["toolChoice"] = choice.clone();
    }
    config
}

fn turns(result: &Value) -> Value {
    json!([
        { "role": "user", "content": [{ "text": "Look." }] },
        { "role": "assistant", "content": [{ "toolUse": { "toolUseId": "t", "name": "look", "input": {} } }] },
        { "role": "user", "content": [{ "toolResult": { "toolUseId": "t", "content": result } }] },
    ])
}

#[test]
fn a_request_as_the_reference_shows_it_is_accepted() {
    let text = json!([{ "text": "42" }]);
    for (model, changes) in [
        (CLAUDE, json!({})),
        (CLAUDE, json!({ "messages": turns(&text), "toolConfig": tools(&json!(null)) })),
        ("amazon.nova-pro-v1%3A0", json!({ "toolConfig": tools(&json!({ "any": {} })) })),
        (
            CLAUDE,
            json!({ "inferenceConfig": { "maxTokens": 4096 },
            "additionalModelRequestFields": { "thinking": { "type": "enabled", "budget_tokens": 1024 } } }),
        ),
    ] {
        assert_eq!(check(model, &changes), Ok(()), "{model} {changes}");
    }
}

#[test]
fn what_bedrock_refuses_is_refused() {
    let text = json!([{ "text": "42" }]);
    let thinking = json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } });
    for (model, changes, message) in [
        (CLAUDE, json!({ "messages": [] }), "must have a message"),
        (CLAUDE, json!({ "messages": [{ "role": "user", "content": [{ "text": " " }] }] }), "blank"),
        (CLAUDE, json!({ "messages": [{ "role": "assistant", "content": [{ "text": "Hi" }] }] }), "start with a user"),
        (CLAUDE, json!({ "messages": turns(&text) }), "toolConfig field must be defined"),
        (CLAUDE, json!({ "messages": turns(&json!([])), "toolConfig": tools(&json!(null)) }), "empty"),
        (CLAUDE, json!({ "toolConfig": { "tools": [] } }), "at least 1"),
        (CLAUDE, json!({ "toolConfig": tools(&json!({ "tool": { "name": "see" } })) }), "none of the tools"),
        (
            CLAUDE,
            json!({ "toolConfig": tools(&json!({ "any": {} })), "inferenceConfig": { "maxTokens": 4096 },
            "additionalModelRequestFields": thinking }),
            "Thinking may not",
        ),
        (
            CLAUDE,
            json!({ "additionalModelRequestFields": thinking, "inferenceConfig": { "maxTokens": 1024 } }),
            "greater",
        ),
        (
            CLAUDE,
            json!({ "messages": turns(&text), "toolConfig": tools(&json!(null)), "inferenceConfig": { "maxTokens": 4096 },
            "additionalModelRequestFields": thinking }),
            "must start with",
        ),
        (CLAUDE, json!({ "inferenceConfig": { "temperature": 0.5, "topP": 0.5 } }), "cannot both"),
        ("anthropic.claude-opus-5-5", json!({ "toolConfig": tools(&json!({ "any": {} })) }), "toolChoice"),
        ("meta.llama3-1-70b-instruct-v1%3A0", json!({ "toolConfig": tools(&json!({ "any": {} })) }), "toolChoice"),
        ("anthropic.claude-opus-4-7", json!({ "inferenceConfig": { "temperature": 0.5 } }), "deprecated"),
    ] {
        let refused = check(model, &changes).expect_err(&format!("{model} accepts {changes}"));
        assert!(refused.contains(message), "{model}: {refused}, and not {message}");
    }
}
