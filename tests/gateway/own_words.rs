//! Errors and dropped fields are named as the caller has written them, in each client's dialect.

use penstock_tests::{Ask, Upstream, World};
use serde_json::{Value, json};

/// A world with `claude`, which speaks Anthropic's dialect, and `lax`, the same where what it lacks is dropped.
async fn world() -> (World, Upstream) {
    let claude = Upstream::start("claude").await;
    let config = format!(
        "[providers.claude]\ndialect = \"anthropic\"\nbase_url = \"{}\"\nkeys = [\"a-key\"]\nprobe = false\n\
         [models.lax]\nunsupported = \"drop\"\ntargets = [{{ model = \"claude/m\" }}]\n",
        claude.url().trim_end_matches("/v1")
    );
    (World::setup().config(&config).start().await, claude)
}

/// A request of each dialect with something that Anthropic's models cannot do, and what the caller calls it.
fn asks(world: &World, model: &str) -> [(Ask, &'static str); 3] {
    let turns = json!([{ "parts": [{ "text": "Hello!" }] }]);
    let two = json!({ "contents": turns, "generationConfig": { "candidateCount": 2 } });
    let odds = json!({ "model": model, "input": "Hello!", "include": ["message.output_text.logprobs"] });
    [
        (world.ask(model).field("logit_bias", json!({ "1": 2 })), "logit_bias"),
        (world.post("/v1/responses", &odds), "include"),
        (world.post(&format!("/v1beta/models/{model}:generateContent"), &two), "generationConfig.candidateCount"),
    ]
}

#[tokio::test]
async fn a_refusal_names_the_field_as_its_caller_does() {
    let (world, claude) = world().await;
    for (ask, name) in asks(&world, "claude/m") {
        let answer = ask.await;
        let (status, error) = (answer.status.as_u16(), answer.json()["error"].take());
        let message = error["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(&format!("`{name}`")), "{name}: {status} {error}");
        assert!(error.get("param").is_none_or(|param| param == name), "{name}: {error}");
    }
    assert_eq!(claude.calls().len(), 0);
}

#[tokio::test]
async fn what_is_dropped_is_named_as_its_caller_does() {
    let (world, claude) = world().await;
    let answer = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{ "type": "text", "text": "hello" }],
        "stop_reason": "end_turn", "stop_sequence": Value::Null, "usage": { "input_tokens": 1, "output_tokens": 1 } });
    claude.replies(penstock_tests::Reply::whole(200, answer.to_string())).always();
    for (ask, name) in asks(&world, "lax") {
        let answer = ask.await;
        assert_eq!(answer.header("x-penstock-dropped-params"), name, "{}", answer.raw());
    }
}
