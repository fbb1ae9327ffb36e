//! Tests of `conversion`: answers that go into the cache and come out again in their form.

use super::*;
use penstock_schemas::usage::{Usage, UsageSource};
use serde_json::json;

fn summary() -> Summary {
    let usage = Usage { input: Some(3), output: Some(5), ..Usage::default() };
    Summary { usage, usage_source: UsageSource::Provider, cost: None }
}

fn whole() -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [
            { "index": 0, "finish_reason": "tool_calls", "logprobs": { "content": [{ "token": "a" }] }, "message": {
                "role": "assistant", "content": "é".repeat(700), "reasoning_content": "hm, so",
                "reasoning_details": [{ "type": "reasoning.text", "text": "hm, so", "signature": "sig", "index": 0 }],
                "annotations": [{ "type": "url_citation" }],
                "tool_calls": [
                    { "index": 0, "id": "c1", "type": "function", "function": { "name": "f", "arguments": "x".repeat(300) } },
                    { "index": 1, "id": "c2", "type": "function", "function": { "name": "g", "arguments": "{}" } },
                ] } },
            { "index": 1, "finish_reason": "stop", "message": { "role": "assistant", "content": "b" } },
        ],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 },
        "system_fingerprint": "fp",
    })
}

#[test]
fn a_whole_answer_comes_back_from_its_stream_cut_anywhere() {
    let stream = events(whole().to_string().as_bytes(), Delivery::StreamWithUsage).unwrap();
    for size in [1, 7, 64, stream.len()] {
        let pieces: Vec<Bytes> = stream.chunks(size).map(Bytes::copy_from_slice).collect();
        let back = collected(&pieces, &summary()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&back.bytes).unwrap(), whole());
        assert!(!back.cut);
    }
    let text = String::from_utf8(stream.to_vec()).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n") && text.matches("\"usage\"").count() == 1);
    let silent = events(whole().to_string().as_bytes(), Delivery::Stream).unwrap();
    assert!(!String::from_utf8(silent.to_vec()).unwrap().contains("usage"));
}

#[test]
fn a_stream_without_a_report_of_its_usage_has_that_of_its_end() {
    let stream = events(whole().to_string().as_bytes(), Delivery::Stream).unwrap();
    let back: Value = serde_json::from_slice(&collected(&[stream], &summary()).unwrap().bytes).unwrap();
    assert_eq!(back["usage"], whole()["usage"]);
}

#[test]
fn only_what_is_complete_and_neither_refused_nor_filtered_may_be_given_again() {
    let with = |finish: Value, message: Value| {
        let answer = json!({ "choices": [{ "index": 0, "finish_reason": finish, "message": message }] });
        complete(Operation::Chat, answer.to_string().into()).map(|completed| completed.cut)
    };
    let said = json!({ "role": "assistant", "content": "a" });
    assert_eq!(with(json!("stop"), said.clone()), Some(false));
    assert_eq!(with(json!("tool_calls"), said.clone()), Some(false));
    assert_eq!(with(json!("length"), said.clone()), Some(true));
    assert_eq!(with(json!("content_filter"), said.clone()), None);
    assert_eq!(with(json!("a_word_of_next_year"), said.clone()), None);
    assert_eq!(with(Value::Null, said), None);
    assert_eq!(with(json!("stop"), json!({ "role": "assistant", "refusal": "No." })), None);
    for answer in [json!({ "choices": [] }), json!({ "error": { "message": "x" } }), json!([])] {
        assert!(complete(Operation::Chat, answer.to_string().into()).is_none(), "{answer}");
    }
    assert!(complete(Operation::Embeddings, json!({ "data": [] }).to_string().into()).is_some());
    assert!(complete(Operation::Embeddings, json!({ "error": {} }).to_string().into()).is_none());
}

#[test]
fn a_stream_that_broke_was_gone_on_with_or_says_what_is_not_known_is_not_kept() {
    let role = json!({ "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "a" } }] });
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let of = |events: &[&Value]| {
        let text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        collected(&[text.into()], &summary()).is_some()
    };
    assert!(of(&[&role, &end]));
    assert!(!of(&[&role]));
    assert!(!of(&[&role, &json!({ "error": { "message": "x" } }), &end]));
    assert!(!of(&[&role, &json!({ "choices": [], "penstock": { "resumed": {} } }), &end]));
    let odd = |text: &str| json!({ "choices": [{ "index": 0, "delta": { "odd": text } }] });
    assert!(of(&[&role, &odd("x"), &odd("x"), &end]));
    assert!(!of(&[&role, &odd("x"), &odd("y"), &end]));
    assert!(collected(&["event: error\ndata: {}\n\n".into()], &summary()).is_none());
}
