//! Large inputs hold up nobody: while one is worked on, others are answered.

use penstock_tests::{Ask, Reply, World, words};
use serde_json::{Value, json};

/// How large the requests are, in bytes: large enough to take hundreds of milliseconds.
const LARGEST: usize = 6_000_000;

/// Sends a request, and asks for `/health` again and again meanwhile: how often that was answered, and the request's answer.
async fn meanwhile(world: &World, ask: Ask) -> (usize, penstock_tests::Answer) {
    let mut answer = Box::pin(ask.send());
    let mut answered = 0;
    loop {
        tokio::select! {
            answer = &mut answer => return (answered, answer),
            health = world.get("/health").send() => {
                assert_eq!(health.status, 200);
                answered += 1;
            }
        }
    }
}

fn turns(text: &str, count: usize) -> Vec<Value> {
    let roles = ["user", "assistant"];
    (0..count)
        .map(|at| json!({"role": roles[at % 2], "content": text}))
        .chain([json!({"role": "user", "content": "?"})])
        .collect()
}

#[tokio::test]
async fn while_large_requests_are_read_translated_and_sent_others_are_answered() {
    let world = World::start().await;
    world.upstream("alpha").replies(Reply::whole(200, words::whole("hello"))).always();
    // As many as a request may have, but for some.
    let many = 19_000;
    let short = "word ".repeat(LARGEST / many / 6);
    let long = "word ".repeat(LARGEST / 6);
    let requests = [
        ("/v1/chat/completions", json!({"model": "alpha/m", "messages": turns(&short, many)})),
        ("/v1/messages", json!({"model": "alpha/m", "max_tokens": 10, "messages": turns(&short, many)})),
        ("/v1/responses", json!({"model": "alpha/m", "store": false, "input": turns(&short, many)})),
        ("/v1beta/models/alpha/m:generateContent", json!({"contents": [{"role": "user", "parts": [{"text": long}]}]})),
    ];
    for (path, body) in requests {
        let body = body.to_string();
        assert!(body.len() > LARGEST / 2, "{path}: {}", body.len());
        let (answered, answer) = meanwhile(&world, world.post(path, &Value::Null).body(body)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.raw());
        // A runtime's thread that did it all in one go would have answered once or twice.
        assert!(answered >= 20, "{path}: {answered}");
    }
}

#[tokio::test]
async fn an_answer_that_takes_long_to_read_is_asked_for_once() {
    let world = World::start().await;
    // It comes at once, so that nobody knows yet which worker holds the call.
    let call = json!({"type": "function", "function": {"name": "f", "arguments": "{}"}});
    let calls = vec![call; 10_000];
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    let choice = json!({"index": 0, "finish_reason": "tool_calls", "message": message});
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 20_000, "total_tokens": 20_010});
    let answer = json!({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage});
    world.upstream("alpha").replies(Reply::whole(200, answer.to_string())).always();
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let answer = world.ask("alpha/m").field("tools", tools).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    assert_eq!(world.upstream("alpha").called(), 1);
}

#[tokio::test]
async fn names_of_any_length_that_do_not_exist_cost_little() {
    let world = World::start().await;
    for length in [64, 300, 1_000_000] {
        let answer = world.ask(&"gpt".repeat(length / 3)).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{}", answer.error());
        assert!(answer.body.len() < 2_000, "an error does not repeat a long name");
    }
}
