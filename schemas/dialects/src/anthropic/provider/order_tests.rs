//! Tests of the order of events: last words that come too early, and what stands behind them.

use super::Anthropic;
use crate::openai::provider::other_way::{completion_of, events};
use crate::provider::{Form, ProviderFormat, Step, StreamReader, Wanted};
use penstock_schemas::envelope::{Delivery, Operation};
use penstock_schemas::sse;
use serde_json::{Value, json};

fn event(data: &Value) -> sse::Event {
    let kind = data["type"].as_str().unwrap();
    let raw = format!("event: {kind}\ndata: {data}\n\n").into();
    sse::Event { raw, event: Some(kind.to_owned().into()), data: data.to_string().into() }
}

fn reader(form: Form) -> Box<dyn StreamReader> {
    Anthropic.stream(Wanted { operation: Operation::Chat, form, delivery: Delivery::Stream })
}

/// What the events go out as.
fn read(form: Form, sent: &[Value]) -> Vec<u8> {
    let (mut reader, mut out) = (reader(form), Vec::new());
    for data in sent {
        if let Step::Hold(bytes) | Step::Content(bytes) = reader.read(&event(data)).unwrap() {
            out.extend_from_slice(&bytes);
        }
    }
    out.extend_from_slice(&reader.finish().unwrap());
    out
}

/// The types of the events of its own form, and the data of the last but one.
fn own(sent: &[Value]) -> (Vec<String>, Value) {
    let out = read(Form::Own, sent);
    let data: Vec<Value> = events(&out).iter().map(|event| serde_json::from_slice(&event.data).unwrap()).collect();
    let kinds = data.iter().map(|data| data["type"].as_str().unwrap().to_owned()).collect();
    (kinds, data[data.len() - 2].clone())
}

fn chat(sent: &[Value]) -> Value {
    let whole: Value = serde_json::from_slice(&completion_of(&read(Form::Agnostic, sent)).unwrap()).unwrap();
    whole["choices"][0].clone()
}

fn start() -> Value {
    let usage = json!({ "input_tokens": 3, "output_tokens": 1 });
    json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant", "content": [],
        "model": "m", "stop_reason": null, "stop_sequence": null, "usage": usage } })
}

fn block(at: u8, block: &Value, delta: &Value) -> [Value; 3] {
    [
        json!({ "type": "content_block_start", "index": at, "content_block": block }),
        json!({ "type": "content_block_delta", "index": at, "delta": delta }),
        json!({ "type": "content_block_stop", "index": at }),
    ]
}

fn text(at: u8, said: &str) -> [Value; 3] {
    block(at, &json!({ "type": "text", "text": "" }), &json!({ "type": "text_delta", "text": said }))
}

fn call(at: u8, arguments: &Value) -> [Value; 3] {
    let start = json!({ "type": "tool_use", "id": "toolu_1", "name": "f", "input": {} });
    block(at, &start, &json!({ "type": "input_json_delta", "partial_json": arguments }))
}

fn last(reason: &str) -> Value {
    json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null }, "usage": { "output_tokens": 2 } })
}

const BLOCK: [&str; 3] = ["content_block_start", "content_block_delta", "content_block_stop"];

#[test]
fn a_last_word_that_comes_too_early_ends_nothing() {
    let stop = json!({ "type": "message_stop" });
    let kinds = |blocks: usize| -> Vec<String> {
        let all = [&["message_start"][..], &BLOCK.repeat(blocks), &["message_delta", "message_stop"]].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let early =
        [&[start()][..], &text(0, "o"), std::slice::from_ref(&stop), &text(1, "k"), &call(2, &json!("{}"))].concat();
    let said = [&early[..], &[last("tool_use"), stop.clone()]].concat();
    assert_eq!(own(&said), (kinds(3), last("tool_use")));
    assert_eq!(
        (&chat(&said)["message"]["content"], &chat(&said)["finish_reason"]),
        (&json!("ok"), &json!("tool_calls"))
    );

    let swapped = [&[start()][..], &text(0, "ok"), &[stop.clone(), last("max_tokens")]].concat();
    assert_eq!(own(&swapped), (kinds(1), last("max_tokens")));
    assert_eq!(chat(&swapped)["finish_reason"], "length");

    // Nothing says why it ended: the end of the stream is its end.
    let silent = [&early[..], &[stop]].concat();
    let (said, end) = own(&silent);
    assert_eq!((said, &end["delta"]["stop_reason"]), (kinds(3), &json!("tool_use")));
    assert_eq!(chat(&silent)["finish_reason"], "tool_calls");
}

#[test]
fn arguments_that_come_as_the_object_that_they_are_reach_clients_as_the_text_of_it() {
    let all = |arguments: &Value| [&[start()][..], &call(0, arguments), &[last("tool_use")]].concat();
    let object = json!({ "n": 9_007_199_254_740_993_u64, "s": "a" });
    let out = read(Form::Own, &all(&object));
    let piece: Value = serde_json::from_slice(&events(&out)[2].data).unwrap();
    assert_eq!(piece["delta"], json!({ "type": "input_json_delta", "partial_json": object.to_string() }));
    assert_eq!(chat(&all(&object))["message"]["tool_calls"][0]["function"]["arguments"], object.to_string());
}
