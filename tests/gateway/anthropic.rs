//! Anthropic's messages, as clients and as providers speak them: passed on untouched between the two, translated elsewhere.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use penstock_tests::{Answer, Ask, Gate, Part, Reply, Upstream, World, words};
use serde_json::{Value, json};

/// A provider of the dialect, and a world that knows it as `claude`.
async fn world() -> (World, Upstream) {
    let claude = Upstream::start("claude").await;
    let url = claude.url();
    let url = url.strip_suffix("/v1").unwrap();
    let config = format!(
        "[providers.claude]\ndialect = \"anthropic\"\nbase_url = \"{url}\"\nkeys = [\"env:CLAUDE_KEY\"]\n\
         [models.once]\ntargets = [{{ model = \"claude/m\", retries = 0 }}]\n"
    );
    (World::setup().config(&config).env("CLAUDE_KEY", "sk-ant-the-only").start().await, claude)
}

fn messages(world: &World, model: &str) -> Ask {
    let key = world.key();
    let ask = world.ask(model).path("/v1/messages?beta=true").header("authorization", "").header("x-api-key", key);
    ask.header("anthropic-version", "2023-06-01").field("max_tokens", json!(100))
}

const WHOLE: &str = r#"{ "id":"msg_1","type":"message","role":"assistant", "model":"m-2026","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"cache_read_input_tokens":4,"cache_creation_input_tokens":0,"output_tokens":5},"x":1.50 }"#;

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

fn stream() -> Vec<String> {
    let usage = json!({ "input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 1 });
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m-2026", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage });
    let delta = |text: &str| json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } });
    [
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "ping" }),
        delta("hel"),
        delta("lo"),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": { "output_tokens": 5 } }),
        json!({ "type": "message_stop" }),
    ]
    .iter()
    .map(event)
    .collect()
}

/// The events of a stream, each named as its data says.
fn events(answer: &Answer) -> Vec<Value> {
    let raw = answer.raw();
    let read = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    raw.split_terminator("\n\n").map(read).collect()
}

fn error(answer: &Answer) -> String {
    let body = answer.json();
    assert_eq!(body["type"], "error");
    assert_eq!([answer.header("request-id"), answer.header("x-request-id")], [body["request_id"].as_str().unwrap(); 2]);
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
    format!("{} {}", answer.status.as_u16(), body["error"]["type"].as_str().unwrap())
}

#[tokio::test]
async fn between_equal_dialects_bytes_pass_with_the_name_that_was_asked_for() {
    let (world, claude) = world().await;
    claude.accepts_anything().replies(Reply::whole(200, WHOLE)).once();
    claude.replies(Reply::stream(stream())).always();
    let odd = r#" { "messages" : [{"role":"user","content":"caf\u00e9"}], "max_tokens":5, "model" :"claude/m","not_yet_known":1.50 } "#;
    let answer = messages(&world, "m").body(odd).header("anthropic-beta", "one-2026-01-01,two").await;
    assert_eq!((answer.status.as_u16(), answer.raw()), (200, WHOLE.replace("m-2026", "claude/m")));
    let call = claude.received(1).await;
    assert_eq!(String::from_utf8_lossy(&call.body), odd.replace("claude/m", "m"));
    let sent = ["x-api-key", "anthropic-version", "anthropic-beta", "authorization"].map(|name| call.header(name));
    assert_eq!(sent, ["sk-ant-the-only", "2023-06-01", "one-2026-01-01,two", ""]);
    assert_eq!(claude.targets(), ["/v1/messages?beta=true"]);
    let answer = messages(&world, "claude/m").stream().await;
    assert_eq!(answer.raw(), stream().concat().replace("m-2026", "claude/m"));
    assert_eq!(world.attempts(2).await, ["claude 200", "claude 200"]);
    let rows = world.sql("SELECT DISTINCT input_tokens, cache_read_tokens, output_tokens FROM attempts").await;
    assert_eq!(rows, [json!({ "input_tokens": 10, "cache_read_tokens": 4, "output_tokens": 5 })]);
}

#[tokio::test]
async fn an_openai_client_talks_to_an_anthropic_provider() {
    let (world, claude) = world().await;
    claude.replies(Reply::whole(200, WHOLE)).once();
    claude.replies(Reply::stream(stream())).always();
    let answer = world.ask("claude/m").field("user", json!("ann")).field("store", json!(true)).await;
    assert_eq!((answer.text().as_str(), answer.header("x-penstock-dropped-params")), ("hello", "store"));
    assert_eq!(answer.json()["usage"]["prompt_tokens"], 14);
    let sent = claude.received(1).await.json();
    assert_eq!(sent["messages"], json!([{ "role": "user", "content": [{ "type": "text", "text": "Hello!" }] }]));
    assert_eq!((&sent["max_tokens"], &sent["metadata"]), (&json!(4096), &json!({ "user_id": "ann" })));
    let answer = world.ask("claude/m").stream().field("stream_options", json!({ "include_usage": true })).await;
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.events().last().unwrap()["usage"]["completion_tokens"], 5);
    let answer = world.ask("claude/m").stream().field("seed", json!(7)).await;
    assert_eq!((answer.text().as_str(), answer.header("x-penstock-dropped-params")), ("hello", "seed"));
    let answer = world.ask("claude/m").field("n", json!(2)).await;
    assert_eq!(answer.error(), "400 invalid_request_error unsupported (n)");
}

#[tokio::test]
async fn an_anthropic_client_talks_to_an_openai_provider() {
    let (world, _claude) = world().await;
    let answer = messages(&world, "alpha/m").field("system", json!([{ "type": "text", "text": "Be brief." }])).await;
    let message = answer.json();
    assert_eq!(message["content"], json!([{ "type": "text", "text": "hello" }]));
    let found = ["type", "role", "id", "model", "stop_reason"].map(|name| message[name].as_str().unwrap());
    assert_eq!(found, ["message", "assistant", "chatcmpl-1", "alpha/m", "end_turn"]);
    let usage = json!({ "input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
        "output_tokens": 5, "output_tokens_details": { "thinking_tokens": 2 } });
    assert_eq!(message["usage"], usage);
    let sent = world.upstream("alpha").received(1).await.json();
    assert_eq!(sent["messages"][0]["role"], "system");
    assert_eq!(sent["messages"][1], json!({ "role": "user", "content": "Hello!" }));

    let answer = messages(&world, "alpha/m").stream().await;
    let events = events(&answer);
    let names: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let order = [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, order);
    assert_eq!((&events[3]["delta"]["text"], &events[5]["usage"]), (&json!("hello"), &usage));
}

/// One event of an OpenAI provider with a piece of a call.
fn call(index: u32, first: bool, arguments: &str) -> String {
    let mut call = json!({ "index": index, "function": { "arguments": arguments } });
    if first {
        call["id"] = format!("call_{index}").into();
        call["type"] = "function".into();
        call["function"]["name"] = format!("f{index}").into();
    }
    words::event(&json!({ "index": 0, "delta": { "tool_calls": [call] }, "finish_reason": null }).to_string(), "null")
}

#[tokio::test]
async fn parallel_calls_that_come_in_turns_are_blocks_one_after_the_other() {
    let (world, _claude) = world().await;
    let finish = json!({ "index": 0, "delta": {}, "finish_reason": "tool_calls" }).to_string();
    let parts = [
        words::content("Let me see."),
        call(0, true, "{\"a\": 90071992"),
        call(1, true, "{\"b\""),
        call(2, true, ""),
        call(1, false, ": \"}\"}"),
        call(0, false, "54740993}"),
        call(2, false, "{}"),
        words::event(&finish, "null"),
        words::usage(),
        words::DONE.to_owned(),
    ];
    world.upstream("alpha").replies(Reply::stream(parts)).always();
    let answer = messages(&world, "alpha/m").stream().await;
    let mut blocks: Vec<(Value, String)> = Vec::new();
    let mut open = None;
    for event in events(&answer) {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!((open, event["index"].as_u64()), (None, Some(blocks.len() as u64)));
                open = event["index"].as_u64();
                blocks.push((event["content_block"]["name"].clone(), String::new()));
            }
            "content_block_delta" => {
                assert_eq!(open, event["index"].as_u64());
                let delta = &event["delta"];
                let piece = delta["partial_json"].as_str().or(delta["text"].as_str()).unwrap();
                blocks.last_mut().unwrap().1 += piece;
            }
            "content_block_stop" => assert_eq!(open.take(), event["index"].as_u64()),
            "message_delta" => assert_eq!(event["delta"]["stop_reason"], "tool_use"),
            _ => {}
        }
    }
    let expected = [
        (json!(null), "Let me see."),
        (json!("f0"), "{\"a\": 9007199254740993}"),
        (json!("f1"), "{\"b\": \"}\"}"),
        (json!("f2"), "{}"),
    ];
    assert_eq!(blocks, expected.map(|(name, text)| (name, text.to_owned())));
}

#[tokio::test]
async fn what_is_refused_is_said_in_the_callers_words_with_the_status_its_sdk_knows() {
    let (world, claude) = world().await;
    let ask = || messages(&world, "claude/m");
    let block = |block: Value| json!([{ "role": "user", "content": [block] }]);
    for (ask, expected) in [
        (ask().header("x-api-key", ""), "401 authentication_error"),
        (ask().header("x-api-key", "psk_wrong"), "401 authentication_error"),
        (ask().body("{"), "400 invalid_request_error"),
        (ask().field("messages", json!([])), "400 invalid_request_error"),
        (ask().field("model", json!("nobody/m")), "404 not_found_error"),
        (ask().path("/v1/messages/nothing"), "404 not_found_error"),
        (ask().method(http::Method::GET), "405 invalid_request_error"),
        (messages(&world, "alpha/m").field("messages", block(json!({ "type": "image" }))), "400 invalid_request_error"),
        (messages(&world, "alpha/m").field("thinking", json!({ "type": "deep" })), "400 invalid_request_error"),
    ] {
        assert_eq!(error(&ask.await), expected);
    }
    assert_eq!(claude.calls().len(), 0);
    for (status, class, expected) in [
        (400, "invalid_request_error", "400 invalid_request_error"),
        (401, "authentication_error", "502 api_error"),
        (403, "permission_error", "502 api_error"),
        (404, "not_found_error", "404 not_found_error"),
        (413, "request_too_large", "413 request_too_large"),
        (429, "rate_limit_error", "429 rate_limit_error"),
        (500, "api_error", "502 api_error"),
        (529, "overloaded_error", "529 overloaded_error"),
    ] {
        let body = json!({ "type": "error", "error": { "type": class, "message": "scripted" }, "request_id": "req_1" });
        claude.replies(Reply::whole(status, body.to_string())).once();
        assert_eq!(error(&messages(&world, "once").await), expected, "{status}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_event() {
    let (world, claude) = world().await;
    let gate = Gate::new();
    let end = || [Part::Wait(gate.clone()), Part::Cut];
    claude.replies(Reply::stream(stream().into_iter().take(4).map(Part::from).chain(end()))).always();
    world.upstream("alpha").replies(Reply::stream([words::content("hel").into()].into_iter().chain(end()))).always();
    let asks = ["claude/m", "alpha/m"].map(|model| messages(&world, model).stream());
    let mut open = Vec::new();
    for ask in asks.into_iter().chain([world.ask("claude/m").stream()]) {
        let mut answer = ask.open().await;
        answer.until("hel").await;
        open.push(answer);
    }
    gate.open();
    let mut answers = Vec::new();
    for answer in open {
        answers.push(answer.rest().await);
    }
    for answer in &answers[..2] {
        let events = events(answer);
        let last = events.last().unwrap();
        assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("api_error")));
        assert_eq!(last["request_id"], answer.header("request-id"));
        assert!(!answer.raw().contains("message_stop"));
    }
    assert_eq!(answers[2].events().last().unwrap()["error"]["code"], "broken");
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_or_else_here() {
    let (world, claude) = world().await;
    claude.replies(Reply::whole(200, r#"{"input_tokens":2095}"#)).once();
    let body =
        |model: &str| json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }] }).to_string();
    let count = |model: &str| messages(&world, model).path("/v1/messages/count_tokens").body(body(model));
    let answer = count("claude/m").await;
    assert_eq!((answer.status.as_u16(), answer.raw().as_str()), (200, r#"{"input_tokens":2095}"#));
    claude.replies(Reply::whole(404, "404 page not found")).once();
    let answer = count("claude/m").await;
    assert!(answer.json()["input_tokens"].as_u64().is_some_and(|count| count > 0), "a copy: {}", answer.raw());
    let unknown = r#"{"type":"error","error":{"type":"not_found_error","message":"model: m"}}"#;
    claude.replies(Reply::whole(404, unknown)).once();
    assert_eq!(count("claude/m").await.status, 404, "no such model");
    let answer = count("alpha/m").await;
    assert!(answer.json()["input_tokens"].as_u64().is_some_and(|count| count > 0), "{}", answer.raw());
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn models_are_listed_in_the_callers_shape() {
    let (world, _claude) = world().await;
    let get = |path: &str| world.get(path).header("x-api-key", world.key()).header("anthropic-version", "2023-06-01");
    let list = get("/v1/models?limit=1000").await.json();
    assert_eq!((&list["has_more"], &list["data"][0]["type"]), (&json!(false), &json!("model")));
    let first = list["data"][0]["id"].as_str().unwrap();
    assert_eq!(get(&format!("/v1/models/{first}")).await.json(), list["data"][0]);
    assert_eq!(error(&get("/v1/models/nobody/m").await), "404 not_found_error");
}

/// As Claude Code asks: blocks marked for the cache, thinking, what its context is to keep, calls and their results.
#[tokio::test]
async fn claude_codes_requests_are_served_by_any_provider() {
    let (world, _claude) = world().await;
    let mark = json!({ "type": "ephemeral" });
    let history = json!([
        { "role": "user", "content": [{ "type": "text", "text": "<system-reminder>x</system-reminder>" }, { "type": "text", "text": "List the files" }] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "EqQBCg==" }, { "type": "text", "text": "Sure." },
            { "type": "tool_use", "id": "toolu_1", "name": "Bash", "input": { "command": "ls", "timeout": 9_007_199_254_740_993_u64 } },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "toolu_1", "content": [{ "type": "text", "text": "a.rs" }], "is_error": false, "cache_control": mark },
            { "type": "text", "text": "And now?", "cache_control": mark },
        ] },
    ]);
    let tool = json!({ "name": "Bash", "description": "Runs", "input_schema": { "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object", "properties": { "command": { "type": "string" } }, "required": ["command"], "additionalProperties": false },
        "cache_control": mark, "eager_input_streaming": true });
    let answer = messages(&world, "alpha/m")
        .header("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14")
        .field("system", json!([{ "type": "text", "text": "You are Claude Code.", "cache_control": mark }]))
        .field("messages", history)
        .field("tools", json!([tool]))
        .field("thinking", json!({ "type": "adaptive" }))
        .field("output_config", json!({ "effort": "high" }))
        .field("context_management", json!({ "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] }))
        .field("metadata", json!({ "user_id": "user_1_account__session_2" }))
        .field("max_tokens", json!(32_000))
        .stream()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    assert_eq!(events(&answer).last().unwrap()["type"], "message_stop");
    let sent = world.upstream("alpha").received(1).await;
    let text = String::from_utf8_lossy(&sent.body).into_owned();
    assert!(!text.contains("cache_control") && !text.contains("context_management"), "{text}");
    assert!(text.contains("9007199254740993") && !text.contains("EqQBCg"), "{text}");
    let sent = sent.json();
    let roles: Vec<&str> =
        sent["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "user"]);
    assert_eq!(sent["tools"][0]["type"], "function");
    // The model is not known to think, and nobody else clears thoughts out of a conversation.
    assert_eq!(answer.header("x-penstock-dropped-params"), "output_config.effort,context_management");
}
