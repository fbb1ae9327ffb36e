//! Usage that no provider reported is counted, and the ledger says so: nothing that was sent is free.

use penstock_tests::{Gate, Part, Reply, World, words};
use serde_json::{Value, json};

/// What the ledger knows of each attempt.
const ROWS: &str = "SELECT outcome, usage_source, input_tokens, output_tokens, toString(cost_usd) AS cost FROM attempts
    WHERE outcome != 'unknown' ORDER BY started_at";

/// An answer without a usage.
fn silent_about_usage(text: &str) -> Reply {
    let answer = json!({"id": "a", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
    Reply::whole(200, answer.to_string())
}

fn row(outcome: &str, output: u64, cost: &str) -> Value {
    json!({"outcome": outcome, "usage_source": "counted", "input_tokens": 9, "output_tokens": output, "cost": cost})
}

#[tokio::test]
async fn an_answer_without_a_usage_is_counted_and_says_so() {
    let world = World::start().await;
    world.upstream("alpha").replies(silent_about_usage("hello world")).once();
    let answer = world.ask("alpha/m").await;
    assert_eq!(answer.header("x-penstock-usage"), "counted");
    assert_eq!(answer.header("x-penstock-cost-usd"), "0.000029");
    let events =
        [words::role(), words::content("hello "), words::content("world"), words::finish(), words::DONE.to_owned()];
    world.upstream("alpha").replies(Reply::stream(events)).once();
    assert_eq!(world.ask("alpha/m").stream().await.text(), "hello world");
    world.attempts(2).await;
    assert_eq!(world.sql(ROWS).await, [row("served", 2, "0.000029"), row("served", 2, "0.000029")]);
    world.upstream("alpha").answers("hello").once();
    let answer = world.ask("alpha/m").await;
    assert!(!answer.headers.contains_key("x-penstock-usage"), "what the provider reported is not counted");
}

#[tokio::test]
async fn what_was_sent_of_a_stream_that_was_cut_is_not_free() {
    let world = World::start().await;
    let gate = Gate::new();
    let parts = [words::role().into(), words::content("hello world").into(), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("alpha").replies(Reply::stream(parts)).once();
    let parts = [words::role().into(), words::content("hello world").into(), Part::Silence];
    world.upstream("alpha").replies(Reply::stream(parts)).always();
    let mut open = world.ask("alpha/m").stream().open().await;
    open.until("hello world").await;
    gate.open();
    assert!(!open.rest().await.raw().contains("[DONE]"));
    let mut open = world.ask("alpha/m").stream().open().await;
    open.until("hello world").await;
    drop(open);
    assert_eq!(world.attempts(2).await, ["alpha 200 broken", "alpha 200 cancelled"]);
    assert_eq!(world.sql(ROWS).await, [row("broken", 2, "0.000029"), row("cancelled", 2, "0.000029")]);
}

#[tokio::test]
async fn tokens_are_counted_in_front_of_a_provider_that_does_not() {
    let world = World::start().await;
    let answer = world.ask("alpha/m").path("/v1/messages/count_tokens").header("anthropic-version", "2023-06-01").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"input_tokens": 9})));
    assert_eq!(answer.header("x-penstock-usage"), "counted");
    let requests = world.requests(1).await;
    assert_eq!((&requests[0]["outcome"], &requests[0]["attempts"]), (&json!("served"), &json!(0)));
    assert!(world.upstream("alpha").calls().is_empty(), "nobody is asked");
    assert_eq!(world.count("SELECT count() FROM attempts").await, 0);
}
