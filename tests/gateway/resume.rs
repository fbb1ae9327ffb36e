//! A stream that breaks goes on at another target, where the operator wants it.

use penstock_tests::{Answer, Gate, Part, Reply, World, words};
use serde_json::json;

const RESUMED: &str = r#"
[models.resumed]
on_break = "resume"
targets = [{ model = "alpha/m", retries = 0 }, { model = "beta/m", prefill = true }]

[models.alone]
on_break = "resume"
targets = [{ model = "alpha/m", retries = 0 }, { model = "beta/m" }]
"#;

/// What the client gets of a stream that breaks off after its first words.
async fn ask(world: &World, model: &str) -> Answer {
    let gate = Gate::new();
    let parts = [words::role().into(), words::content("Once upon ").into(), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("alpha").replies(Reply::stream(parts)).once();
    let mut open = world.ask(model).stream().open().await;
    let begun = open.until("Once upon ").await;
    gate.open();
    let rest = open.rest().await;
    Answer { body: [begun.as_bytes(), &rest.body].concat().into(), ..rest }
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_where_a_target_can_continue_it() {
    let world = World::setup().config(RESUMED).start().await;
    world.upstream("beta").replies(Reply::stream(words::stream("a time.").iter().map(String::as_str))).once();
    let answer = ask(&world, "resumed").await;
    assert_eq!(answer.text(), "Once upon a time.", "{}", answer.raw());
    assert!(answer.raw().contains("[DONE]") && !answer.raw().contains("\"error\""));
    let events = answer.events();
    let marker = events.iter().find(|event| event["penstock"].is_object()).expect("the client is told");
    assert_eq!(marker["penstock"]["resumed"], json!({"from": "alpha/m", "to": "beta/m", "failure": "broken"}));
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]), "it stays one stream");
    assert_eq!(events.iter().filter(|event| event["choices"][0]["delta"]["role"].is_string()).count(), 1);
    let asked = world.upstream("beta").calls()[0].json();
    let said = json!({"role": "assistant", "content": "Once upon "});
    assert_eq!(asked["messages"].as_array().and_then(|messages| messages.last()), Some(&said));
    assert_eq!(world.attempts(2).await, ["alpha 200 broken", "beta 200"]);
}

#[tokio::test]
async fn without_a_target_that_continues_texts_a_break_is_an_error() {
    let world = World::setup().config(RESUMED).start().await;
    let answer = ask(&world, "alone").await;
    assert!(answer.raw().contains("\"error\"") && !answer.raw().contains("[DONE]"), "{}", answer.raw());
    assert_eq!(world.upstream("beta").calls().len(), 0);
}
