//! Answers in Anthropic's dialect or in OpenAI's newer one, whole or streamed, to a request for a chat: some routers pass on
//! whatever their backend writes. Knows nothing of chunks.

use crate::anthropic::provider::Anthropic;
use crate::provider::{Form, ProviderFormat, StreamReader, Wanted, Whole};
use crate::responses::provider::Responses;
use bytes::Bytes;
use memchr::memmem;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde_json::Value;

/// The answer as a chat; `None` when it is one, or nothing that is known.
pub(super) fn read(wanted: Wanted, body: &Bytes) -> Option<Result<Whole, Failure>> {
    if wanted.operation != Operation::Chat || memmem::find(body, b"\"choices\"").is_some() {
        return None;
    }
    let answer: Value = serde_json::from_slice(body).ok()?;
    let format: &dyn ProviderFormat = match (answer["type"].as_str(), answer["object"].as_str()) {
        (Some("message"), _) if answer["content"].is_array() => &Anthropic,
        (_, Some("response")) if answer["output"].is_array() => &Responses,
        _ => return None,
    };
    Some(format.read_whole(agnostic(wanted), body))
}

/// The reader of a stream that begins so, where it is none of chunks.
pub(super) fn reader(event: &sse::Event, wanted: Wanted) -> Option<Box<dyn StreamReader>> {
    match event.event.as_deref()? {
        b"message_start" => Some(Anthropic.stream(agnostic(wanted))),
        b"response.created" => Some(Responses.stream(agnostic(wanted))),
        _ => None,
    }
}

/// The agnostic form is a chat's.
fn agnostic(wanted: Wanted) -> Wanted {
    Wanted { form: Form::Agnostic, ..wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::provider::Openai;
    use crate::openai::provider::other_way::{completion_of, named_event};
    use crate::provider::Step;
    use penstock_schemas::envelope::Delivery;
    use serde_json::json;

    fn wanted(form: Form, delivery: Delivery) -> Wanted {
        Wanted { operation: Operation::Chat, form, delivery }
    }

    fn message(content: &Value, reason: &Value) -> Value {
        json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": reason, "stop_sequence": null, "usage": { "input_tokens": 3, "output_tokens": 2 } })
    }

    fn response(status: &str, output: &Value) -> Value {
        let usage = json!({ "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 });
        json!({ "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "output": output, "usage": usage })
    }

    fn output() -> Value {
        let part = json!({ "type": "output_text", "text": "ok", "annotations": [] });
        json!([{ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part] }])
    }

    #[test]
    fn a_whole_answer_in_another_dialect_is_read_as_a_chat() {
        let text = json!([{ "type": "text", "text": "ok" }]);
        for body in [message(&text, &json!("end_turn")), response("completed", &output())] {
            for form in [Form::Own, Form::Agnostic] {
                let whole = Openai.read_whole(wanted(form, Delivery::Whole), &body.to_string().into()).unwrap();
                let chat: Value = serde_json::from_slice(&whole.bytes).unwrap();
                let choice = &chat["choices"][0];
                assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("ok"), &json!("stop")));
                assert_eq!((&chat["usage"]["total_tokens"], whole.observed.usage.unwrap().input), (&json!(5), Some(3)));
            }
        }
        let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "m" } });
        assert!(Openai.read_whole(wanted(Form::Own, Delivery::Whole), &error.to_string().into()).is_err());
    }

    #[test]
    fn a_stream_in_another_dialect_is_read_as_chunks() {
        let messages = [
            json!({ "type": "message_start", "message": message(&json!([]), &Value::Null) }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "ok" } }),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 2 } }),
            json!({ "type": "message_stop" }),
        ];
        let place = |kind: &str, more: (&str, Value)| json!({ "type": kind, "item_id": "msg_1", "output_index": 0, "content_index": 0, more.0: more.1 });
        let responses = [
            json!({ "type": "response.created", "response": response("in_progress", &json!([])) }),
            json!({ "type": "response.output_item.added", "output_index": 0, "item": { "type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": [] } }),
            place("response.output_text.delta", ("delta", json!("ok"))),
            place("response.output_text.done", ("text", json!("ok"))),
            json!({ "type": "response.output_item.done", "output_index": 0, "item": output()[0] }),
            json!({ "type": "response.completed", "response": response("completed", &output()) }),
        ];
        for events in [messages, responses] {
            for form in [Form::Own, Form::Agnostic] {
                let (mut reader, mut out) = (Openai.stream(wanted(form, Delivery::StreamWithUsage)), Vec::new());
                for event in &events {
                    let event = named_event(event["type"].as_str().unwrap(), event);
                    if let Step::Hold(bytes) | Step::Content(bytes) = reader.read(&event).unwrap() {
                        out.extend_from_slice(&bytes);
                    }
                }
                out.extend_from_slice(&reader.finish().unwrap());
                let chat: Value = serde_json::from_slice(&completion_of(&out).unwrap()).unwrap();
                let choice = &chat["choices"][0];
                assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("ok"), &json!("stop")));
                assert_eq!(chat["usage"]["prompt_tokens"], 3);
            }
        }
    }
}
