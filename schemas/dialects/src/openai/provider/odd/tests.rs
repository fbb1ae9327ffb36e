//! What copies write otherwise, and what a client reads of it; regular answers stay byte for byte.

use super::*;
use serde_json::json;

fn out(answer: &Value) -> Value {
    let json = answer.to_string();
    let is_whole = answer["choices"][0].get("message").is_some() && answer["object"] != "chat.completion.chunk";
    let mended = if is_whole {
        mended(json.as_bytes(), false)
    } else {
        Streamed::default().mended(json.as_bytes(), Seen::default())
    };
    mended.map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap())
}

/// The chunks of a stream as a client gets them.
fn sent(chunks: &[Value]) -> Vec<Value> {
    let mut streamed = Streamed::default();
    let mut send = |(place, chunk): (usize, &Value)| {
        let mended = streamed.mended(chunk.to_string().as_bytes(), Seen { opens: place == 0, ..Seen::default() });
        mended.map_or(chunk.clone(), |json| serde_json::from_slice(&json).unwrap())
    };
    chunks.iter().enumerate().map(&mut send).collect()
}

#[test]
fn what_is_spelt_as_openais_stays_as_it_is() {
    for answer in [
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "\"role\":\"\""}, "finish_reason": null}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "function_call"}], "usage": null}),
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls":
            [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "tool_calls"}]}),
    ] {
        assert_eq!(out(&answer), Value::Null, "{answer}");
    }
}

#[test]
fn a_chunk_that_only_tells_of_a_filter_has_a_delta() {
    let chunk = |more: Value| {
        let mut choice = json!({"index": 0, "finish_reason": null, "content_filter_offsets": {"check_offset": 44}});
        choice.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"id": "", "choices": [choice]})
    };
    for theirs in [json!({}), json!({"delta": null})] {
        assert_eq!(out(&chunk(theirs.clone()))["choices"][0]["delta"], json!({}), "{theirs}");
    }
    for other in [
        json!({"choices": [], "prompt_filter_results": []}),
        json!({"choices": [ ], "usage": {}}),
        json!({"choices": [{"index": 0, "text": "a", "finish_reason": null}]}),
    ] {
        assert_eq!(out(&other), Value::Null, "{other}");
    }
}

#[test]
fn empty_roles_and_types_are_left_out_and_ids_are_texts() {
    let chunk = |delta: Value| json!({"id": "chatcmpl-0123456789abcdef0123456789abcdef", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
    let call = |call: Value| json!({"tool_calls": [call]});
    let function = json!({"name": "f", "arguments": ""});
    for (theirs, ours) in [
        (json!({"role": "", "content": "a"}), json!({"content": "a"})),
        (
            call(json!({"index": 1, "id": "x", "type": "", "function": function})),
            call(json!({"index": 0, "id": "x", "type": "function", "function": function})),
        ),
        (
            call(json!({"index": 1, "id": 7, "type": "function", "function": function})),
            call(json!({"index": 0, "id": "call_7", "type": "function", "function": function})),
        ),
        (
            call(json!({"index": 0, "type": "function", "function": function})),
            call(
                json!({"index": 0, "type": "function", "function": function, "id": "call_89abcdef0123456789abcdef_0_0"}),
            ),
        ),
    ] {
        assert_eq!(out(&chunk(theirs)), chunk(ours));
    }
}

#[test]
fn a_call_has_a_type_its_arguments_are_a_text_and_its_answer_ends_for_it() {
    let function = json!({"name": "f", "arguments": {"n": 9_007_199_254_740_993_u64}});
    let whole = json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": function}]}}]});
    let mended = out(&whole);
    let call =
        json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"n\":9007199254740993}"}});
    assert_eq!(mended["choices"][0]["message"]["tool_calls"][0], call);
    assert_eq!(mended["choices"][0]["finish_reason"], "tool_calls");

    let mut streamed = Streamed::default();
    let mut chunk = |index: u64, delta: &Value, reason: &Value| {
        let chunk = json!({"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": reason}]});
        let mended = streamed.mended(chunk.to_string().as_bytes(), Seen::default());
        mended.map_or(chunk, |json| serde_json::from_slice(&json).unwrap())["choices"][0]["finish_reason"].clone()
    };
    let begun = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    assert_eq!(chunk(1, &begun, &Value::Null), Value::Null);
    assert_eq!(chunk(0, &json!({}), &json!("stop")), "stop", "it has called nothing");
    assert_eq!(chunk(1, &json!({}), &json!("stop")), "tool_calls");
}

#[test]
fn a_reason_that_openai_does_not_have_becomes_one_of_its_own() {
    let whole = |reason: Value| json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": reason}]});
    for (theirs, ours) in [
        (json!(""), "stop"),
        (Value::Null, "stop"),
        (json!("eos_token"), "stop"),
        (json!("sensitive"), "content_filter"),
        (json!("guardrail_intervened"), "content_filter"),
        (json!("MAX_TOKENS"), "length"),
        (json!("tool_use"), "tool_calls"),
    ] {
        assert_eq!(out(&whole(theirs)), whole(json!(ours)));
    }
    let chunk = |reason: Value| json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": reason}]});
    assert_eq!(out(&chunk(json!(""))), chunk(Value::Null));
}

#[test]
fn a_chunk_has_choices_an_index_and_a_role_at_its_beginning() {
    let choice = |more: Value| {
        let mut choice = json!({"delta": {"content": "a"}, "finish_reason": null});
        choice.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        choice
    };
    let stream = [
        json!({"id": "i", "choices": [choice(json!({}))]}),
        json!({"id": "i", "choices": [choice(json!({"index": 0, "delta": {"content": "b", "tool_calls": null}}))]}),
        json!({"id": "i", "choices": [{"delta": {}, "finish_reason": "stop"}]}),
        json!({"id": "i", "usage": {"prompt_tokens": 1}}),
    ];
    let sent = sent(&stream);
    assert_eq!(sent[0]["choices"][0]["delta"], json!({"content": "a", "role": "assistant"}));
    assert_eq!((&sent[0]["choices"][0]["index"], &sent[2]["choices"][0]["index"]), (&json!(0), &json!(0)));
    assert_eq!(sent[1]["choices"][0]["delta"], json!({"content": "b"}));
    assert_eq!(sent[3]["choices"], json!([]));
}

#[test]
fn a_chunk_that_came_on_several_lines_gets_its_role_on_one() {
    let chunk =
        b"{\"id\": \"x\",\n\"choices\": [{\"index\": 0,\n\"delta\": {\"content\": \"Hi\"}, \"finish_reason\": null}]}";
    let mended = Streamed::default().mended(chunk, Seen { opens: true, ..Seen::default() }).unwrap();
    assert!(!mended.contains(&b'\n'), "{}", String::from_utf8_lossy(&mended));
    let mended: Value = serde_json::from_slice(&mended).unwrap();
    assert_eq!(mended["choices"][0]["delta"], json!({"content": "Hi", "role": "assistant"}));
}

#[test]
fn a_chunk_that_has_a_message_too_goes_on_until_its_stream_ends() {
    let chunk = |reason: Value| {
        json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": reason,
            "message": {"role": "assistant", "content": "ab"}, "delta": {"role": "assistant", "content": "b"}}]})
    };
    assert_eq!(out(&chunk(Value::Null)), Value::Null, "it stays as it is");
}

#[test]
fn calls_of_a_stream_have_an_index_and_an_id_of_their_own() {
    let piece = |call: Value| json!({"id": "i", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]});
    let call = |more: Value, name: &str, arguments: &str| {
        let mut call = json!({"function": {"name": name, "arguments": arguments}, "type": "function"});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        piece(call)
    };
    let told = |chunks: &[Value]| -> Vec<Value> {
        let call = |chunk: &Value| chunk["choices"][0]["delta"]["tool_calls"][0].clone();
        let short = |call: Value| json!([call["index"], call["id"], call["function"]["arguments"]]);
        sent(chunks).iter().map(|chunk| short(call(chunk))).collect()
    };
    let two = |a: &str, b: &str| vec![json!([0, a, "{\"q\":1}"]), json!([1, b, "{\"q\":2}"])];
    for (first, second, ids) in [
        (json!({"id": "a"}), json!({"id": "b"}), ("a", "b")),
        (json!({"index": 0, "id": "a"}), json!({"index": 0, "id": "b"}), ("a", "b")),
        (json!({"index": 0, "id": "a"}), json!({"index": 1, "id": "a"}), ("a", "a_1")),
        (json!({"index": 0}), json!({"index": 0}), ("call_i_0_0", "call_i_0_1")),
    ] {
        let calls = [call(first.clone(), "f", "{\"q\":1}"), call(second.clone(), "f", "{\"q\":2}")];
        assert_eq!(told(&calls), two(ids.0, ids.1), "{first} {second}");
    }
    let regular = [
        call(json!({"index": 0, "id": "a"}), "f", ""),
        piece(json!({"index": 0, "function": {"arguments": "{}"}})),
        call(json!({"index": 1, "id": "b"}), "g", "{}"),
    ];
    assert_eq!(sent(&regular)[1..], regular[1..], "what is regular stays as it is");
}

#[test]
fn calls_of_a_whole_answer_have_ids_of_their_own() {
    let call = json!({"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let whole = json!({"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": [call, call]}, "finish_reason": "tool_calls"}]});
    let choice = &out(&whole)["choices"][0];
    assert_eq!(choice["index"], 0);
    assert_eq!(
        (&choice["message"]["tool_calls"][0]["id"], &choice["message"]["tool_calls"][1]["id"]),
        (&json!("call_0"), &json!("call_0_1"))
    );
}
