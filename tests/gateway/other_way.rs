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

/// <https://github.com/decolua/9router/issues/210>, <https://github.com/vllm-project/semantic-router/issues/2446>
#[tokio::test]
async fn a_server_that_answers_responses_with_a_chat_is_understood_by_every_client() {
    let (world, house) = world().await;
    house.answers("hello").always();
    let ask = |stream: bool| {
        let body = json!({"model": "house/m", "input": "Hi", "stream": stream}).to_string();
        world.ask("house/m").path("/v1/responses").body(body)
    };
    let whole = ask(false).await.json();
    assert_eq!((&whole["output"][0]["content"][0]["text"], &whole["status"]), (&json!("hello"), &json!("completed")));
    assert_eq!((&whole["model"], &whole["usage"]["input_tokens"]), (&json!("house/m"), &json!(10)));
    let events = ask(true).await.events();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"response.created"), Some(&"response.completed")), "{kinds:?}");
    assert_eq!(events.last().expect("there are events")["response"]["output"][0]["content"][0]["text"], "hello");
    for ask in [world.ask("house/m"), world.ask("house/m").stream()] {
        assert_eq!(ask.await.text(), "hello");
    }
    let columns = "SELECT input_tokens, cache_read_tokens FROM attempts";
    let rows = world.sql_until(columns, |rows| rows.len() == 4).await;
    assert!(rows.iter().all(|row| row["input_tokens"] == 6 && row["cache_read_tokens"] == 4), "{rows:?}");
}

/// <https://github.com/decolua/9router/issues/3199>
#[tokio::test]
async fn a_server_that_answers_messages_with_a_chat_is_understood_by_every_client() {
    let house = Upstream::start("house").await;
    let base = house.url().trim_end_matches("/v1").to_owned();
    let config = format!("[providers.house]\ndialect = \"anthropic\"\nbase_url = \"{base}\"\nkeys = [\"env:K\"]\n");
    let world = World::setup().config(&config).env("K", "sk-the-only").start().await;
    house.answers("hello").always();
    let ask = || {
        world
            .ask("house/m")
            .path("/v1/messages")
            .header("anthropic-version", "2023-06-01")
            .field("max_tokens", json!(9))
    };
    let message = ask().await.json();
    assert_eq!((&message["content"][0]["text"], &message["stop_reason"]), (&json!("hello"), &json!("end_turn")));
    let events = ask().stream().await.events();
    let said: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    let ends = events.last().map(|event| event["type"].clone());
    assert_eq!((said.as_str(), ends), ("hello", Some(json!("message_stop"))), "{events:?}");
    assert_eq!(world.ask("house/m").stream().await.text(), "hello");
}
