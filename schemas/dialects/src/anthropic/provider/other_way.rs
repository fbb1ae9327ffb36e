//! A whole answer where a stream was asked for, as the events of one. Knows nothing of what the answer says.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use bytes::Bytes;
use penstock_schemas::sse;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// What of a block comes in pieces, and the events that bring it: a call's arguments are the text that they are.
#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Blocks<'a> {
    #[serde(borrow)]
    content: Vec<&'a RawValue>,
}

/// The events of an answer; `None` when it is none.
pub(super) fn events_of(whole: &[u8]) -> Option<Vec<sse::Event>> {
    let mut message: Map<String, Value> = serde_json::from_slice(whole).ok()?;
    let blocks: Blocks<'_> = serde_json::from_slice(whole).ok()?;
    let ends = ["stop_reason", "stop_sequence", "stop_details"];
    let delta: Map<String, Value> =
        ends.iter().filter_map(|name| Some(((*name).to_owned(), message.get(*name)?.clone()))).collect();
    let usage = message.get("usage").cloned().unwrap_or_else(|| json!({}));
    ends.iter().filter(|name| delta.contains_key(**name)).for_each(|name| {
        message.insert((*name).to_owned(), Value::Null);
    });
    message.insert("content".to_owned(), json!([]));
    let mut all = vec![json!({ "type": "message_start", "message": message })];
    for (at, raw) in blocks.content.into_iter().enumerate() {
        let (start, deltas) = pieces(raw)?;
        all.push(json!({ "type": "content_block_start", "index": at, "content_block": start }));
        let delta = |delta| json!({ "type": "content_block_delta", "index": at, "delta": delta });
        all.extend(deltas.into_iter().map(delta));
        all.push(json!({ "type": "content_block_stop", "index": at }));
    }
    all.push(json!({ "type": "message_delta", "delta": delta, "usage": usage }));
    all.push(json!({ "type": "message_stop" }));
    Some(all.iter().map(event).collect())
}

/// A block as it begins, and what is added to it.
fn pieces(raw: &RawValue) -> Option<(Value, Vec<Value>)> {
    let mut block: Value = serde_json::from_str(raw.get()).ok()?;
    let mut deltas = Vec::new();
    let mut move_text = |block: &mut Value, name: &str, kind: &str| {
        if let Some(text) = block.get_mut(name).filter(|text| text.is_string()) {
            let text = std::mem::replace(text, "".into());
            deltas.push(json!({ "type": kind, name: text }));
        }
    };
    match block.get("type")?.as_str()? {
        "text" => {
            move_text(&mut block, "text", "text_delta");
            let cited =
                block.get_mut("citations").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
            deltas.extend(cited.into_iter().map(|one| json!({ "type": "citations_delta", "citation": one })));
        }
        "thinking" => {
            move_text(&mut block, "thinking", "thinking_delta");
            move_text(&mut block, "signature", "signature_delta");
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let arguments: Arguments<'_> = serde_json::from_str(raw.get()).ok()?;
            let input = arguments.input.map_or("{}", RawValue::get);
            deltas.push(json!({ "type": "input_json_delta", "partial_json": input }));
            block["input"] = json!({});
        }
        _ => {}
    }
    Some((block, deltas))
}

fn event(data: &Value) -> sse::Event {
    let name = data["type"].as_str().unwrap_or_default();
    let text = data.to_string();
    let raw = format!("event: {name}\ndata: {text}\n\n").into();
    sse::Event { raw, event: Some(Bytes::copy_from_slice(name.as_bytes())), data: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::provider::Anthropic;
    use crate::openai::provider::other_way::events;
    use crate::provider::{Form, ProviderFormat, Step, Wanted};
    use penstock_schemas::envelope::{Delivery, Operation};
    use penstock_schemas::failure::FailureKind;

    fn read(body: &str, form: Form) -> Result<(Vec<Value>, Option<u64>), FailureKind> {
        let mut reader = Anthropic.stream(Wanted { operation: Operation::Chat, form, delivery: Delivery::Stream });
        let raw = Bytes::copy_from_slice(body.as_bytes());
        let step = reader.read(&sse::Event { raw, event: None, data: Bytes::new() }).map_err(|failure| failure.kind)?;
        let Step::Content(bytes) = step else { panic!("it is content") };
        assert!(reader.is_done());
        let sent = events(&bytes).into_iter().filter_map(|event| serde_json::from_slice(&event.data).ok()).collect();
        Ok((sent, reader.observed().usage.unwrap().output))
    }

    #[test]
    fn a_whole_answer_where_a_stream_was_wanted_goes_out_as_one() {
        let whole = r#"{"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "ab"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"n": 9007199254740993123}}],
            "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 2}}"#;
        let (own, output) = read(whole, Form::Own).unwrap();
        let kinds: Vec<&str> = own.iter().filter_map(|event| event["type"].as_str()).collect();
        let block = |deltas: usize| {
            [&["content_block_start"][..], &vec!["content_block_delta"; deltas], &["content_block_stop"]].concat()
        };
        let expected =
            [&["message_start"][..], &block(2), &block(1), &block(1), &["message_delta", "message_stop"]].concat();
        assert_eq!(kinds, expected);
        assert_eq!((&own[0]["message"]["stop_reason"], &own[0]["message"]["content"]), (&Value::Null, &json!([])));
        assert_eq!(own[2]["delta"], json!({"type": "thinking_delta", "thinking": "hm"}));
        assert_eq!(own[9]["delta"]["partial_json"], "{\"n\": 9007199254740993123}");
        assert_eq!((&own[11]["delta"]["stop_reason"], output), (&json!("tool_use"), Some(2)));

        let (chunks, _) = read(whole, Form::Agnostic).unwrap();
        let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(said, "ab");
        assert_eq!(chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "tool_calls").count(), 1);

        let mut reader =
            Anthropic.stream(Wanted { operation: Operation::Chat, form: Form::Own, delivery: Delivery::Stream });
        let ended = |text: &str| sse::Event {
            raw: format!("data: {text}\n\n").into(),
            event: None,
            data: text.to_owned().into(),
        };
        let stopped =
            r#"{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}"#;
        assert!(matches!(reader.read(&ended(stopped)).unwrap(), Step::Content(_)));
        assert_eq!(reader.read(&ended("[DONE]")).unwrap(), Step::Hide, "OpenAI's word is none of the answer");
        assert!(reader.finish().unwrap().ends_with(b"message_stop\"}\n\n"));

        let error = r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
        assert_eq!(read(error, Form::Own).unwrap_err(), FailureKind::Overloaded);
    }
}
