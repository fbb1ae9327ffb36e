//! Servers that stream where a whole answer was asked for, and answer in one piece where a stream was: each caller gets what it
//! asked for, and what was used is in the ledger.

use penstock_tests::{Reply, Upstream, World, words};
use serde_json::{Value, json};

/// A provider of the responses dialect, in a world that knows it as `house`.
async fn world() -> (World, Upstream) {
    let house = Upstream::start("house").await;
    let config = format!(
        "[providers.house]\ndialect = \"responses\"\nbase_url = \"{}\"\nkeys = [\"env:HOUSE_KEY\"]\n",
        house.url()
    );
    (World::setup().config(&config).env("HOUSE_KEY", "sk-the-only").start().await, house)
}

fn response(output: &Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "error": null,
        "output": output, "usage": {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}})
}

fn output() -> Value {
    let text = json!({"type": "output_text", "text": "hello", "annotations": []});
    json!([{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}])
}

#[tokio::test]
async fn a_chat_that_was_not_to_be_streamed_is_answered_whole_by_a_server_that_streams_and_the_other_way_round() {
    let world = World::start().await;
    let alpha = world.upstream("alpha");
    alpha.replies(Reply::stream(words::stream("hello"))).once();
    let answer = world.ask("alpha/m").await;
    assert_eq!(
        (answer.text(), answer.json()["object"].as_str().unwrap_or_default()),
        ("hello".to_owned(), "chat.completion")
    );
    alpha.replies(Reply::answer("hello")).once();
    let answer = world.ask("alpha/m").stream().await;
    assert_eq!(answer.text(), "hello");
    assert!(
        answer.raw().contains("chat.completion.chunk") && answer.raw().ends_with("data: [DONE]\n\n"),
        "{}",
        answer.raw()
    );
    alpha.replies(Reply::stream(words::stream("hello"))).once();
    let ask = world.ask("alpha/m").path("/v1/messages").header("anthropic-version", "2023-06-01");
    assert_eq!(ask.field("max_tokens", json!(9)).await.json()["content"][0]["text"], "hello");
}

#[tokio::test]
async fn a_response_that_was_not_to_be_streamed_is_answered_whole_and_the_other_way_round() {
    let (world, house) = world().await;
    let item = json!({"type": "response.output_item.done", "output_index": 0, "item": output()[0]});
    let streamed = |output: &Value| {
        let last = json!({"type": "response.completed", "response": response(output)});
        Reply::stream(
            [item.clone(), last].map(|data| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())),
        )
    };
    let respond = |stream: bool| {
        world
            .ask("house/m")
            .path("/v1/responses")
            .body(json!({"model": "house/m", "input": "Hi", "stream": stream}).to_string())
    };
    // Some leave the output out of the last event.
    for last in [output(), json!([])] {
        house.replies(streamed(&last)).once();
        assert_eq!(respond(false).await.json()["output"], output());
        house.replies(streamed(&last)).once();
        assert_eq!(world.ask("house/m").await.text(), "hello");
    }
    house.replies(Reply::whole(200, response(&output()).to_string())).once();
    let raw = respond(true).await.raw();
    let kinds: Vec<&str> = raw.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"response.created"), Some(&"response.completed")), "{raw}");
    assert!(kinds.contains(&"response.output_text.delta"), "{raw}");
    house.replies(Reply::whole(200, response(&output()).to_string())).once();
    assert_eq!(world.ask("house/m").stream().await.text(), "hello");
}
