//! Completions of a text: `/v1/completions`, whole and as a stream.

mod stored;

use penstock_tests::{Gate, Part, Reply, World, words};
use serde_json::json;

const WHOLE: &str = r#"{ "id":"cmpl-1","object":"text_completion","created":1,"model":"m-1","choices":[{"text":" there","index":0,"logprobs":null,"finish_reason":"stop"}],
"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3} }"#;

fn piece(text: &str, reason: &str) -> String {
    format!(
        "data: {{ \"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m-1\",\"choices\":[{{\"text\":{},\"index\":0,\"finish_reason\":{reason}}}],\"usage\":null}}\n\n",
        json!(text)
    )
}

const USAGE: &str = "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":2,\"total_tokens\":4}}\n\n";

fn stream() -> Vec<String> {
    vec![
        piece(" over", "null"),
        piece(" there", "null"),
        piece("", "\"stop\""),
        USAGE.to_owned(),
        words::DONE.to_owned(),
    ]
}

#[tokio::test]
async fn a_whole_answer_passes_and_is_counted() {
    let world = World::start().await;
    world.upstream("alpha").replies(Reply::whole(200, WHOLE)).always();
    let request = json!({"model": "alpha/m", "prompt": "Hi", "max_tokens": 4, "user": "ann"});
    let answer = world.post("/v1/completions", &request).await;
    let named = WHOLE.replace("m-1", "alpha/m");
    assert_eq!((answer.raw(), answer.header("x-penstock-cost-usd")), (named, "0.000012"));
    let call = world.upstream("alpha").received(1).await;
    assert_eq!((call.path.as_str(), call.json()["model"].as_str()), ("completions", Some("m")));
    let sql = "SELECT operation, user, finish_reason FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    assert_eq!(rows[0], json!({"operation": "completions", "user": "ann", "finish_reason": "stop"}));
}

#[tokio::test]
async fn a_stream_hides_the_usage_that_nobody_asked_for() {
    let world = World::start().await;
    world.upstream("alpha").replies(Reply::stream(stream().into_iter().map(Part::from))).always();
    let request = json!({"model": "alpha/m", "prompt": ["Hi"], "stream": true});
    let answer = world.post("/v1/completions", &request).await;
    let named = |text: String| text.replace("m-1", "alpha/m");
    assert_eq!(answer.raw(), named(stream().concat().replace(USAGE, "")));
    assert_eq!(world.upstream("alpha").received(1).await.json()["stream_options"], json!({"include_usage": true}));
    let request =
        json!({"model": "alpha/m", "prompt": "Hi", "stream": true, "stream_options": {"include_usage": true}});
    assert_eq!(world.post("/v1/completions", &request).await.raw(), named(stream().concat()));
    let sql = "SELECT input_tokens, output_tokens FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 2).await;
    assert_eq!(rows[0], json!({"input_tokens": 2, "output_tokens": 2}));
}

#[tokio::test]
async fn a_stream_that_ends_early_is_had_from_elsewhere_or_ends_with_an_error() {
    let world = World::start().await;
    world.upstream("alpha").replies(Reply::stream([Part::from(piece("", "null")), Part::Cut])).always();
    world.upstream("beta").replies(Reply::stream(stream().into_iter().map(Part::from))).once();
    let request = json!({"model": "fast", "prompt": "Hi", "stream": true});
    let answer = world.post("/v1/completions", &request).await;
    let named = |text: String| text.replace("m-1", "fast");
    let whole = named(stream().concat().replace(USAGE, ""));
    assert_eq!((answer.raw(), answer.header("x-penstock-target")), (whole, "beta/m"));
    let gate = Gate::new();
    let parts = [Part::from(piece(" over", "null")), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("beta").replies(Reply::stream(parts)).always();
    let mut open = world.post("/v1/completions", &request).open().await;
    assert_eq!(open.until("\n\n").await, named(piece(" over", "null")));
    gate.open();
    let rest = open.rest().await.raw();
    assert!(rest.contains("\"error\"") && !rest.contains("[DONE]"), "{rest}");
}

/// A whole answer and a stream of Anthropic's.
fn claudes() -> (String, Vec<String>) {
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 2, "output_tokens": 2 } });
    let mut whole = message.clone();
    whole["content"] = json!([{ "type": "text", "text": "a time" }]);
    whole["stop_reason"] = json!("end_turn");
    let events = [
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "a " } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "time" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 2 } }),
        json!({ "type": "message_stop" }),
    ];
    let name = |event: &serde_json::Value| event["type"].as_str().expect("an event has a type").to_owned();
    let stream = events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", name(event))).collect();
    (whole.to_string(), stream)
}

#[tokio::test]
async fn a_provider_that_only_chats_completes_texts_too_and_others_fall_back_to_it() {
    let claude = penstock_tests::Upstream::start("claude").await;
    let config = format!(
        "[providers.claude]\ndialect = \"anthropic\"\nbase_url = \"{}\"\nkeys = [\"a-key\"]\nprobe = false\n\
         [models.either]\ntargets = [{{ model = \"alpha/m\", retries = 0 }}, {{ model = \"claude/c\" }}]\n",
        claude.url().trim_end_matches("/v1")
    );
    let world = World::setup().config(&config).start().await;
    world.upstream("alpha").fails(500).always();
    let (whole, stream) = claudes();
    for model in ["claude/c", "either"] {
        claude.replies(Reply::whole(200, whole.clone())).once();
        claude.replies(Reply::stream(stream.clone())).once();
        let request = json!({"model": model, "prompt": "Once upon", "max_tokens": 9});
        let answer = world.post("/v1/completions", &request).await.json();
        let choice = json!({ "text": "a time", "index": 0, "logprobs": null, "finish_reason": "stop" });
        assert_eq!((&answer["object"], &answer["choices"][0]), (&json!("text_completion"), &choice), "{answer}");
        assert_eq!((&answer["model"], &answer["usage"]["prompt_tokens"]), (&json!(model), &json!(2)), "{answer}");
        let request = json!({"model": model, "prompt": "Once upon", "max_tokens": 9, "stream": true});
        let streamed = world.post("/v1/completions", &request).await;
        let events = streamed.events();
        let text: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
        assert!(text == "a time" && streamed.raw().ends_with(words::DONE), "{}", streamed.raw());
        assert!(events.iter().all(|event| event["object"] == "text_completion" && event["model"] == model));
        assert_eq!(streamed.header("x-penstock-target"), "claude/c");
    }
    let sent = claude.received(1).await.json();
    assert_eq!(sent["messages"][0]["content"][0]["text"], "Once upon");
    let refused = world.post("/v1/completions", &json!({"model": "claude/c", "prompt": "a", "suffix": "b"})).await;
    assert_eq!(refused.error(), "400 invalid_request_error unsupported (suffix)");
    let sql = "SELECT operation, output_tokens FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 4).await;
    assert!(rows.iter().all(|row| *row == json!({"operation": "completions", "output_tokens": 2})), "{rows:?}");
}
