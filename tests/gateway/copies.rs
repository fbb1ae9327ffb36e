//! Answers as copies of OpenAI really give them: compressed, with half characters, with calls that share an index, with errors
//! of more members than OpenAI's.

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use penstock_tests::{Ask, Reply, World, words};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// One target without retries.
const ONCE: &str = "[models.once]\ntargets = [{ model = \"alpha/m\", retries = 0 }]\n";

const ENCODINGS: [&str; 4] = ["gzip", "br", "zstd", "deflate"];

pub(crate) async fn compressed(encoding: &str, body: &[u8]) -> Vec<u8> {
    macro_rules! with {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all(body).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    match encoding {
        "gzip" => with!(GzipEncoder),
        "br" => with!(BrotliEncoder),
        "zstd" => with!(ZstdEncoder),
        _ => with!(ZlibEncoder),
    }
}

fn respond(world: &World, stream: &Value) -> Ask {
    let body = json!({ "model": "once", "input": "Hi", "stream": stream });
    world.ask("once").path("/v1/responses").body(body.to_string())
}

fn messages(world: &World, model: &str) -> Ask {
    let ask = world.ask(model).path("/v1/messages").header("anthropic-version", "2023-06-01");
    ask.field("max_tokens", json!(100))
}

#[tokio::test]
async fn a_compressed_answer_is_decompressed_in_each_encoding_that_the_provider_is_told() {
    let world = World::setup().config(ONCE).start().await;
    let alpha = world.upstream("alpha");
    for encoding in ENCODINGS {
        let whole = compressed(encoding, words::whole("hello").as_bytes()).await;
        alpha.replies(Reply::whole(200, whole).header("content-encoding", encoding)).once();
        assert_eq!(world.ask("once").await.raw(), words::whole("hello").replace("m-2026-11-22", "once"), "{encoding}");
        let stream = compressed(encoding, words::stream("hello").concat().as_bytes()).await;
        let reply = Reply::whole(200, stream).header("content-encoding", encoding);
        alpha.replies(reply.header("content-type", "text/event-stream")).once();
        assert_eq!(world.ask("once").stream().await.text(), "hello", "{encoding}");
        let error = words::error("too odd", "invalid_request_error", Some("x"), Some("odd")).to_string();
        let error = compressed(encoding, error.as_bytes()).await;
        alpha.replies(Reply::whole(400, error).header("content-encoding", encoding)).once();
        assert_eq!(world.ask("once").await.error(), "400 invalid_request_error odd (x)", "{encoding}");
    }
    for encoding in ["gzip", "zstd", "deflate"] {
        let reply = Reply::answer("hello").header("content-encoding", encoding);
        alpha.replies(reply).once();
        assert_eq!(world.ask("once").await.text(), "hello", "{encoding} was only said");
    }
    for call in alpha.calls() {
        let told = call.header("accept-encoding");
        assert!(ENCODINGS.iter().all(|encoding| told.contains(encoding)), "{told}");
    }
}

#[tokio::test]
async fn what_swells_beyond_the_limit_of_an_answer_or_is_encoded_otherwise_is_a_broken_answer() {
    let world = World::setup().config(ONCE).start().await;
    let alpha = world.upstream("alpha");
    let bomb = compressed("gzip", &vec![b' '; (64 << 20) + 1]).await;
    assert!(bomb.len() < 100_000);
    alpha.replies(Reply::whole(200, bomb.clone()).header("content-encoding", "gzip")).once();
    assert_eq!(world.ask("once").await.error(), "502 server_error broken");
    // Of a refusal, the beginning is read.
    alpha.replies(Reply::whole(400, bomb).header("content-encoding", "gzip")).once();
    assert_eq!(world.ask("once").await.error(), "400 invalid_request_error -");
    alpha.replies(Reply::whole(200, words::whole("hello")).header("content-encoding", "compress")).once();
    let answer = world.ask("once").await;
    assert_eq!(answer.error(), "502 server_error broken");
    assert!(answer.raw().contains("the encoding compress"), "{}", answer.raw());
}

fn delta(delta: &str) -> String {
    words::event(&format!(r#"{{"index":0,"delta":{delta},"finish_reason":null}}"#), "null")
}

fn stream(deltas: &[&str], reason: &str) -> Reply {
    let last = words::event(&format!(r#"{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}"#), "null");
    let deltas = deltas.iter().map(|one| delta(one));
    Reply::stream([words::role()].into_iter().chain(deltas).chain([last, words::usage(), words::DONE.to_owned()]))
}

#[tokio::test]
async fn half_characters_are_joined_across_chunks_and_replaced_where_the_other_half_never_comes() {
    let world = World::setup().config(ONCE).start().await;
    let halves = [r#"{"content":"a\ud83d"}"#, r#"{"content":"\ude00b\ud83d"}"#, r#"{"content":"c\ud83d"}"#];
    for ask in [messages(&world, "once").stream(), respond(&world, &json!(true))] {
        world.upstream("alpha").replies(stream(&halves, "stop")).once();
        let raw = ask.await.raw();
        let pieces = raw.lines().filter_map(|line| line.strip_prefix("data: "));
        let pieces = pieces.map(|data| serde_json::from_str::<Value>(data).unwrap());
        let text = |event: &Value| event["delta"]["text"].as_str().or(event["delta"].as_str()).map(ToOwned::to_owned);
        assert_eq!(pieces.filter_map(|event| text(&event)).collect::<String>(), "a😀b\u{fffd}c\u{fffd}", "{raw}");
    }
    let whole = words::whole("a").replace(r#""content":"a""#, r#""content":"a\ud83d""#);
    world.upstream("alpha").replies(Reply::whole(200, whole.clone())).always();
    assert_eq!(messages(&world, "once").await.json()["content"][0]["text"], "a\u{fffd}");
    let own = whole.replace("m-2026-11-22", "once");
    assert_eq!(world.ask("once").await.raw(), own, "an OpenAI client gets the copy's own bytes");
}

#[tokio::test]
async fn calls_that_share_an_index_or_are_named_late_reach_every_client_as_calls_of_their_own() {
    let world = World::setup().config(ONCE).start().await;
    let whole = |n: u32| {
        let call =
            json!({"index": 0, "type": "function", "function": {"name": "f", "arguments": format!("{{\"n\":{n}}}")}});
        json!({"tool_calls": [call]}).to_string()
    };
    let three = [whole(1), whole(2), whole(3)];
    let late = [
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"","arguments":"{\"n\":"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"1}"}}]}"#,
    ];
    for (deltas, calls) in [(three.iter().map(String::as_str).collect::<Vec<_>>(), 3), (late.to_vec(), 1)] {
        world.upstream("alpha").replies(stream(&deltas, "tool_calls")).always();
        let raw = messages(&world, "once").stream().await.raw();
        let named = raw.matches(r#""name":"f""#).count();
        assert_eq!((named, raw.matches("content_block_start").count() / 2), (calls, calls), "{raw}");
        let ask = respond(&world, &json!(true));
        let raw = ask.await.raw();
        let last = raw.lines().rfind(|line| line.starts_with("data: ")).unwrap().strip_prefix("data: ").unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        let said = |call: &Value| format!("{} {}", call["name"].as_str().unwrap(), call["arguments"].as_str().unwrap());
        let said: Vec<String> = last["response"]["output"].as_array().unwrap().iter().map(said).collect();
        let all = ["f {\"n\":1}", "f {\"n\":2}", "f {\"n\":3}"];
        assert_eq!(said, all[..calls], "{raw}");
    }
}

#[tokio::test]
async fn what_a_provider_says_of_an_error_reaches_the_caller_with_its_status() {
    let world = World::setup().config(ONCE).start().await;
    let more = json!({"error": {"message": "m", "code": "json_validate_failed", "type": "invalid_request_error",
        "failed_generation": "{\"a\":", "metadata": {"raw": "used sk-beta-the-only"}, "request_id": "theirs"}});
    world.upstream("beta").replies(Reply::whole(400, more.to_string())).always();
    for (error, name) in
        [
            (world.ask("beta/m").await.json()["error"].clone(), "OpenAI's"),
            (messages(&world, "beta/m").await.json()["error"].clone(), "Anthropic's"),
            (
                respond(&world, &json!(false))
                    .body(json!({ "model": "beta/m", "input": "Hi" }).to_string())
                    .await
                    .json()["error"]
                    .clone(),
                "responses",
            ),
        ]
    {
        assert_eq!(error["failed_generation"], "{\"a\":", "{name}: {error}");
        assert!(!error.to_string().contains("sk-beta"), "{name}: {error}");
        assert_ne!(error["request_id"], "theirs", "{name}");
    }
    let unknown = words::error("no such model", "invalid_request_error", None, Some("model_not_found"));
    for status in [400, 404] {
        world.upstream("alpha").replies(Reply::whole(status, unknown.to_string())).always();
        let found = world.ask("once").await.error();
        assert_eq!(found, format!("{status} invalid_request_error model_not_found"));
    }
}

#[tokio::test]
async fn previews_that_a_caller_switches_on_go_along_between_equal_dialects() {
    let world = World::setup().config(ONCE).start().await;
    let ask = world.ask("once").path("/v1/chat/completions?beta=true&key=x&other=1");
    assert_eq!(ask.header("openai-beta", "a=v1").await.status, 200);
    assert_eq!(world.upstream("alpha").targets(), ["/v1/chat/completions?beta=true"]);
    assert_eq!(world.upstream("alpha").received(1).await.header("openai-beta"), "a=v1");
    let translated = messages(&world, "once").path("/v1/messages?beta=true").header("anthropic-beta", "b").await;
    assert_eq!(translated.status, 200);
    assert_eq!(world.upstream("alpha").targets()[1], "/v1/chat/completions");
    assert_eq!(world.upstream("alpha").received(2).await.header("anthropic-beta"), "");
    let long = "x".repeat(3000);
    assert_eq!(
        world.ask("once").header("openai-beta", &long).await.error(),
        "400 invalid_request_error invalid_header"
    );
}

/// How SGLang says that a prompt does not fit, in a stream that has begun with 200, and that vLLM says whole.
const OVERFLOWS: [&str; 2] = [
    "Input length (600013 tokens) exceeds the maximum allowed length (536826 tokens).",
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
];

#[tokio::test]
async fn a_prompt_that_does_not_fit_goes_to_the_next_target_and_is_named_so_that_clients_shorten_it() {
    let two = "[models.two]\ntargets = [{ model = \"alpha/m\", retries = 0 }, { model = \"beta/m\", retries = 0 }]\n";
    let world = World::setup().config(&format!("{ONCE}{two}")).start().await;
    world.upstream("beta").answers("roomier").always();
    for message in OVERFLOWS {
        let error =
            json!({"object": "error", "message": message, "type": "BadRequestError", "param": null, "code": 400});
        let within = Reply::stream([format!("data: {}\n\n", json!({ "error": error })), words::DONE.to_owned()]);
        world.upstream("alpha").replies(within).once();
        assert_eq!(world.ask("two").stream().await.text(), "roomier", "{message}");
        world.upstream("alpha").replies(Reply::whole(400, error.to_string())).always();
        assert_eq!(world.ask("two").await.text(), "roomier", "{message}");
        assert_eq!(world.ask("once").await.error(), "400 invalid_request_error context_length_exceeded");
        let said = messages(&world, "once").await.json()["error"]["message"].clone();
        assert_eq!(said, format!("prompt is too long: {message}"));
    }
}

#[tokio::test]
async fn odd_roles_types_ids_and_reasons_of_a_copy_reach_an_openai_client_as_openais() {
    let world = World::setup().config(ONCE).start().await;
    let deltas = [
        r#"{"role":"","content":"a"}"#,
        r#"{"role":"","content":"b"}"#,
        r#"{"tool_calls":[{"index":0,"id":7,"type":"","function":{"name":"f","arguments":"{}"}}]}"#,
    ];
    world.upstream("alpha").replies(stream(&deltas, "tool_use")).once();
    let raw = world.ask("once").stream().await.raw();
    assert!(!raw.contains(r#""role":"""#) && !raw.contains(r#""type":"""#), "{raw}");
    assert!(raw.contains(r#""id":"call_7""#) && raw.contains(r#""finish_reason":"tool_calls""#), "{raw}");
    for (theirs, ours) in [(json!(""), "stop"), (Value::Null, "stop"), (json!("sensitive"), "content_filter")] {
        let mut whole: Value = serde_json::from_str(&words::whole("hello")).unwrap();
        whole["choices"][0]["finish_reason"] = theirs.clone();
        world.upstream("alpha").replies(Reply::whole(200, whole.to_string())).once();
        assert_eq!(world.ask("once").await.json()["choices"][0]["finish_reason"], ours, "{theirs}");
    }
}

#[tokio::test]
async fn an_answer_that_a_provider_could_not_finish_is_a_failure_and_no_end_of_a_turn() {
    let world = World::setup().config(ONCE).start().await;
    let said = [r#"{"content":"hello"}"#];
    for (reason, error) in [
        ("error", "502 server_error server_error"),
        ("network_error", "502 server_error broken"),
        ("insufficient_system_resource", "503 service_unavailable_error overloaded"),
    ] {
        let whole =
            words::whole("hello").replace(r#""finish_reason":"stop""#, &format!(r#""finish_reason":"{reason}""#));
        assert!(whole.contains(reason), "{whole}");
        world.upstream("alpha").replies(Reply::whole(200, whole)).once();
        assert_eq!(world.ask("once").await.error(), error, "{reason}");
    }
    world.upstream("alpha").replies(stream(&said, "error")).once();
    let raw = messages(&world, "once").stream().await.raw();
    assert!(!raw.contains("message_stop") && raw.contains("could not finish its answer"), "{raw}");
}
