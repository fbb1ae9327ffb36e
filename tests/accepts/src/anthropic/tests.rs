//! Samples that Anthropic accepts, and samples that it refuses, each with the message that it is known to give.

use crate::{Reference, Request};
use serde_json::{Value, json};

const MODEL: &str = "claude-sonnet-4-5";

/// A request of this model, with some fields changed; a field of null is left out.
fn request(model: &str, changes: &Value) -> Value {
    let mut request =
        json!({ "model": model, "max_tokens": 4096, "messages": [{ "role": "user", "content": "Greet me." }] });
    for (name, value) in changes.as_object().unwrap() {
        request[name] = value.clone();
    }
    request.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    request
}

fn check(body: &Value) -> Result<(), String> {
    Reference::Anthropic.check(&Request { path: "v1/messages", body }).map_err(|refused| refused.to_string())
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "input_schema": { "type": "object", "properties": {} } })
}

fn call(id: &str) -> Value {
    json!({ "type": "tool_use", "id": id, "name": "look", "input": {} })
}

fn result(id: &str) -> Value {
    json!({ "type": "tool_result", "tool_use_id": id, "content": "42" })
}

fn format(schema: &Value) -> Value {
    json!({ "output_config": { "format": { "type": "json_schema", "schema": schema } } })
}

#[test]
fn a_request_as_the_reference_shows_it_is_accepted() {
    let thought = json!({ "type": "thinking", "thinking": "Hm.", "signature": "c2ln" });
    let conversation = |first: Value| {
        json!([
            { "role": "user", "content": "Look." },
            { "role": "assistant", "content": [first, call("toolu_1"), call("toolu_2")] },
            { "role": "user", "content": [result("toolu_1"), result("toolu_2"), { "type": "text", "text": "Go on." }] },
        ])
    };
    for (model, changes) in [
        (MODEL, json!({})),
        (MODEL, json!({ "tools": [tool("look")], "tool_choice": { "type": "tool", "name": "look" } })),
        (MODEL, json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 }, "messages": conversation(thought) })),
        (
            MODEL,
            json!({ "messages": [{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "Well," }] }),
        ),
        (MODEL, format(&json!({ "type": "object", "properties": {}, "additionalProperties": false }))),
        ("claude-3-5-haiku-20241022", json!({ "temperature": 0.5, "top_p": 0.9, "top_k": 40 })),
        (
            "claude-sonnet-5-5",
            json!({ "thinking": { "type": "between_tools" }, "output_config": { "effort": "high" } }),
        ),
        ("claude-haiku-5-5", json!({ "thinking": { "type": "disabled" } })),
        ("claude-sonnet-4-6", json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "max" } })),
    ] {
        assert_eq!(check(&request(model, &changes)), Ok(()), "{model} {changes}");
    }
}

#[test]
fn what_anthropic_refuses_is_refused() {
    let user = |content: Value| json!({ "messages": [{ "role": "user", "content": content }] });
    let spoken = |assistant: Value, then: Value| {
        json!({ "messages": [{ "role": "user", "content": "Look." }, { "role": "assistant", "content": assistant },
            { "role": "user", "content": then }] })
    };
    let image = |kind: &str| json!([{ "type": "image", "source": { "type": "base64", "media_type": kind, "data": "/9j/4AAQ" } }]);
    let any = json!({ "tools": [tool("look")], "tool_choice": { "type": "any" } });
    for (model, changes, message) in [
        (MODEL, json!({ "seed": 1 }), "seed: Extra inputs"),
        (MODEL, json!({ "max_tokens": null }), "max_tokens: Field required"),
        (MODEL, json!({ "messages": [] }), "at least one message"),
        (MODEL, json!({ "messages": [{ "role": "assistant", "content": "Hi" }] }), "first message"),
        (MODEL, user(json!("  ")), "non-whitespace"),
        (MODEL, spoken(json!([{ "type": "text", "text": "\n\n" }, call("t")]), json!([result("t")])), "non-whitespace"),
        (MODEL, spoken(json!([call("t")]), json!("Go on.")), "without `tool_result`"),
        (MODEL, spoken(json!("Hi"), json!([result("t")])), "unexpected `tool_use_id`"),
        (MODEL, spoken(json!([call("a.b")]), json!([result("a.b")])), "id: String should match"),
        (MODEL, user(image("image/jpg")), "media_type"),
        (MODEL, user(image("image/png")), "does not appear"),
        (MODEL, json!({ "tool_choice": { "type": "auto" } }), "tool_choice may only"),
        (MODEL, json!({ "tools": [tool("a"), tool("a")] }), "unique"),
        (
            MODEL,
            json!({ "tools": [{ "name": "a", "input_schema": { "type": "object", "properties": { "n":
            { "minimum": 0, "exclusiveMinimum": true } } } }] }),
            "draft 2020-12",
        ),
        (MODEL, json!({ "tools": [tool("a.b")] }), "name: String should match"),
        (MODEL, json!({ "metadata": { "user_id": "ann@example.org" } }), "email"),
        (MODEL, json!({ "stop_sequences": ["\n"] }), "non-whitespace"),
        (MODEL, json!({ "temperature": 0.5, "top_p": 0.9 }), "cannot both"),
        (MODEL, json!({ "thinking": { "type": "adaptive" } }), "thinking.type.adaptive"),
        (MODEL, json!({ "thinking": { "type": "enabled", "budget_tokens": 5000 } }), "greater than"),
        (MODEL, json!({ "output_config": { "effort": "low" } }), "effort parameter"),
        (MODEL, format(&json!({ "type": "integer", "minimum": 1 })), "'minimum' is not supported"),
        (MODEL, format(&json!({ "type": "object" })), "additionalProperties"),
        ("claude-opus-5-5", any.clone(), "Forced tool use"),
        ("claude-sonnet-5-5", any.clone(), "Forced tool use"),
        ("claude-fable-5-1", any, "Forced tool use"),
        ("claude-sonnet-5-5", json!({ "thinking": { "type": "disabled" } }), "thinking.type.disabled"),
        ("claude-sonnet-4-6", json!({ "output_config": { "effort": "xhigh" } }), "one of"),
        ("claude-opus-4-7", json!({ "temperature": 0.5 }), "deprecated"),
        ("claude-opus-4-7", json!({ "top_k": 5 }), "deprecated"),
    ] {
        let refused = check(&request(model, &changes)).expect_err(&format!("{model} accepts {changes}"));
        assert!(refused.contains(message), "{model}: {refused}, and not {message}");
    }
}

#[test]
fn a_model_that_thinks_by_a_budget_must_have_thought_before_its_call() {
    let thinking = json!({ "type": "enabled", "budget_tokens": 1024 });
    let asked = json!({ "role": "user", "content": "Look." });
    let called = json!({ "role": "assistant", "content": [call("toolu_1")] });
    let answered = json!({ "role": "user", "content": [result("toolu_1")] });
    let open = json!({ "thinking": thinking, "messages": [asked, called, answered] });
    assert!(check(&request(MODEL, &open)).is_err_and(|refused| refused.contains("must start with a thinking block")));
    // What is over needs no thought any more.
    let said = json!({ "role": "assistant", "content": "It is 42." });
    let over = json!({ "thinking": thinking, "messages": [asked, called, answered, said, asked] });
    assert_eq!(check(&request(MODEL, &over)), Ok(()));
}
