//! What passes through unchanged, and what does not: the caller gets the provider's bytes with the model's name that it
//! asked for, the provider gets the caller's with its own.

use penstock_tests::{Reply, World, words};
use serde_json::json;

/// A request as no serializer would write it, with fields that nobody knows.
const ODD: &str = r#" { "messages" : [ {"role":"user","content":"caf\u00e9 ☃"} ],
  "temperature":1.0, "model" :"alpha/m" , "not_yet_known":{"deep":[1,2.50,null]}, "n": 1 } "#;

#[tokio::test]
async fn a_whole_answer_passes_byte_for_byte_in_both_directions() {
    let world = World::start().await;
    let answer = world.ask("alpha/m").body(ODD).await;
    assert_eq!(answer.raw(), words::named(&words::whole("hello"), "alpha/m"));
    assert_eq!(answer.status, 200);
    let call = world.upstream("alpha").received(1).await;
    assert_eq!(String::from_utf8_lossy(&call.body), ODD.replace("\"alpha/m\"", "\"m\""));
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-penstock-target", "alpha/m"),
        ("x-penstock-attempts", "1"),
        ("x-penstock-cache", "off"),
        ("x-penstock-cost-usd", "0.00006"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert_eq!(answer.header("x-penstock-request-id").len(), 36);
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_but_for_the_usage_that_nobody_asked_for() {
    let world = World::start().await;
    let body = ODD.replace("\"n\"", "\"stream\" :true, \"n\"");
    let answer = world.ask("alpha/m").body(body.clone()).await;
    let events = words::stream("hello");
    assert_eq!(answer.raw(), words::named(&events.concat().replace(&words::usage(), ""), "alpha/m"));
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(answer.header("x-penstock-target"), "alpha/m");
    let call = world.upstream("alpha").received(1).await;
    let asked = r#" ,"stream_options":{"include_usage":true}}"#;
    let expected = body.replace("\"alpha/m\"", "\"m\"");
    assert_eq!(
        String::from_utf8_lossy(&call.body).trim_end(),
        expected.trim_end().replace(" }", asked),
        "\n{expected}"
    );
}

#[tokio::test]
async fn a_stream_shows_its_usage_when_it_is_asked_for() {
    let world = World::start().await;
    let answer = world.ask("alpha/m").stream().field("stream_options", json!({ "include_usage": true, "x": 1 })).await;
    assert_eq!(answer.raw(), words::named(&words::stream("hello").concat(), "alpha/m"));
    let call = world.upstream("alpha").received(1).await;
    assert_eq!(call.json()["stream_options"], json!({ "include_usage": true, "x": 1 }));
    let answer = world.ask("alpha/m").stream().field("stream_options", json!({ "include_usage": false })).await;
    assert_eq!(answer.raw(), words::named(&words::stream("hello").concat().replace(&words::usage(), ""), "alpha/m"));
    assert_eq!(world.upstream("alpha").received(2).await.json()["stream_options"], json!({ "include_usage": true }));
}

#[tokio::test]
async fn a_stream_ends_with_done_also_where_the_provider_forgets_it() {
    let world = World::start().await;
    let events = [words::role(), words::content("hello"), words::finish()];
    world.upstream("alpha").replies(Reply::stream(events.clone())).always();
    let answer = world.ask("alpha/m").stream().await;
    assert_eq!(answer.raw(), words::named(&events.concat(), "alpha/m") + words::DONE);
    assert_eq!(world.attempts(1).await, ["alpha 200"]);
}

#[tokio::test]
async fn line_ends_and_events_cut_anywhere_pass_as_they_are_and_comments_end_no_event() {
    let world = World::start().await;
    let hello = words::content("héllo ☃").replace("\n\n", "\r\n\r\n").replace("data: ", "data:");
    let whole = [words::role(), hello, ": still here\n\n".to_owned(), words::finish(), words::DONE.to_owned()].concat();
    let pieces: Vec<String> = whole.chars().map(String::from).collect();
    world.upstream("alpha").replies(Reply::stream(pieces)).always();
    let answer = world.ask("alpha/m").stream().await;
    // Behind a comment, openai-python takes an empty line for the end of an event that has no data.
    let expected = whole.replace(": still here\n\n", ": still here\n");
    assert_eq!(answer.raw(), words::named(&expected, "alpha/m"));
}

#[tokio::test]
async fn a_providers_keys_take_turns_and_the_callers_key_never_leaves_the_gateway() {
    let world = World::start().await;
    for _ in 0..4 {
        assert_eq!(world.ask("alpha/m").header("x-api-key", world.key()).await.status, 200);
    }
    let calls = world.upstream("alpha").calls();
    let keys: Vec<&str> = calls.iter().map(|call| call.header("authorization")).collect();
    let (first, second) = ("Bearer sk-alpha-the-first", "Bearer sk-alpha-the-second");
    assert_eq!(keys, [first, second, first, second]);
    for call in &calls {
        let headers = format!("{:?}", call.headers);
        assert!(!headers.contains(world.key()) && !headers.contains("x-penstock"), "{headers}");
    }
}

#[tokio::test]
async fn the_provider_learns_the_trace_and_the_attempt_and_the_ledger_knows_both_sides() {
    let world = World::start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let ask = world.ask("fast").header("traceparent", trace).header("x-penstock-tags", "feature=search, team=web");
    let answer = ask.field("user", json!("ann")).await;
    let call = world.upstream("alpha").received(1).await;
    assert!(call.header("traceparent").contains("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(world.attempts(1).await, ["alpha 200"]);
    let columns =
        "toString(attempt_id) AS id, toString(request_id) AS request, project, user, key_id, model, virtual_model,
        model_version, outcome, number, link, stream, input_tokens, cache_read_tokens, output_tokens, reasoning_tokens,
        usage_source, toString(cost_usd) AS cost, price_id, provider_request_id, finish_reason, tags,
        first_token_us <= total_us AS is_timed";
    let mut rows = world.sql(&format!("SELECT {columns} FROM attempts")).await;
    let expected = json!({
        "id": call.attempt_id(), "request": answer.header("x-penstock-request-id"), "project": "default", "user": "ann",
        "key_id": "preset", "model": "m", "virtual_model": "fast", "model_version": "m-2026-11-22", "outcome": "served",
        "number": 1, "link": 0, "stream": false, "input_tokens": 6, "cache_read_tokens": 4, "output_tokens": 3,
        "reasoning_tokens": 2, "usage_source": "provider", "cost": "0.00006", "price_id": "own/alpha/m",
        "provider_request_id": "chatcmpl-1", "finish_reason": "stop", "tags": { "feature": "search", "team": "web" },
        "is_timed": 1,
    });
    assert_eq!(rows.remove(0), expected);
    let requests = world.requests(1).await;
    let request = &requests[0];
    assert_eq!(
        (&request["outcome"], &request["status"], &request["target"]),
        (&json!("served"), &json!(200), &json!("alpha/m"))
    );
}
