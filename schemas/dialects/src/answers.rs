//! Reads answers, also those in another dialect than they were asked in, as routers write them that know one alone or pass on
//! whatever their backend wrote: these come in the agnostic form, whatever was wanted, and say so. Above the formats: none of
//! them knows that there are others.
//! Sources: <https://github.com/decolua/9router/issues/3199> (chunks for a message), <https://github.com/decolua/9router/issues/210>,
//! <https://github.com/vllm-project/semantic-router/issues/2446> (chunks for responses),
//! <https://github.com/Wei-Shaw/claude-relay-service/pull/1015> (responses for a chat).

use crate::anthropic::provider::Anthropic;
use crate::openai::provider::Openai;
use crate::openai::provider::other_way::{events, is_stream};
use crate::provider::{Form, Observed, ProviderFormat, Step, StreamReader, Wanted, Whole};
use crate::responses::provider::Responses;
use crate::surrogates;
use bytes::Bytes;
use memchr::memmem;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde_json::Value;

/// Reads a whole answer.
///
/// # Errors
/// As the format's own.
pub fn read_whole(format: &dyn ProviderFormat, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
    let Some(other) = asked(format, wanted).and_then(|asked| other_of_whole(asked, body)) else {
        return surrogates::read_whole(format, wanted, body);
    };
    let mut whole = surrogates::read_whole(other, Wanted { form: Form::Agnostic, ..wanted }, body)?;
    whole.observed.is_translated = true;
    Ok(whole)
}

/// A reader of a stream.
pub fn reader(format: &dyn ProviderFormat, wanted: Wanted) -> Box<dyn StreamReader> {
    let own = surrogates::reader(format, wanted);
    match asked(format, wanted) {
        Some(asked) => Box::new(Reader { own, asked: Some(asked), wanted, other: None }),
        None => own,
    }
}

/// The dialect in which a chat was asked for, where servers are known that answer in another.
fn asked(format: &dyn ProviderFormat, wanted: Wanted) -> Option<Dialect> {
    format.answers().filter(|_| wanted.operation == Operation::Chat)
}

/// The format of a body that is not of the dialect in which it was asked for.
fn other_of_whole(asked: Dialect, body: &Bytes) -> Option<&'static dyn ProviderFormat> {
    // Only answers to a chat hold `choices`, so nearly all answers need no reading here.
    let has_choices = memmem::find(body, br#""choices""#).is_some();
    if has_choices == (asked == Dialect::Openai) {
        return None;
    }
    let first = is_stream(body).then(|| events(body).into_iter().next()).flatten();
    other(asked, first.as_ref().map_or(body, |event| &event.data))
}

/// The format of an answer, or of the first event of one.
fn other(asked: Dialect, answer: &[u8]) -> Option<&'static dyn ProviderFormat> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let kind = |name: &str| answer[name].as_str();
    match (asked, kind("type"), kind("object")) {
        (Dialect::Openai, Some("message"), _) if answer["content"].is_array() => Some(&Anthropic),
        (Dialect::Openai, Some("message_start"), _) => Some(&Anthropic),
        (Dialect::Openai, _, Some("response")) if answer["output"].is_array() => Some(&Responses),
        (Dialect::Openai, Some("response.created"), _) => Some(&Responses),
        (Dialect::Anthropic | Dialect::Responses, _, _) if answer["choices"].is_array() => Some(&Openai),
        _ => None,
    }
}

/// Reads a stream in the dialect in which it was asked for, or in the one that its first event is of.
#[derive(Debug)]
struct Reader {
    own: Box<dyn StreamReader>,
    /// Until the first event came.
    asked: Option<Dialect>,
    wanted: Wanted,
    other: Option<Other>,
}

#[derive(Debug)]
struct Other {
    reader: Box<dyn StreamReader>,
    observed: Observed,
}

impl Other {
    fn new(format: &dyn ProviderFormat, wanted: Wanted) -> Self {
        let mut other = Self {
            reader: surrogates::reader(format, Wanted { form: Form::Agnostic, ..wanted }),
            observed: Observed::default(),
        };
        other.observe();
        other
    }

    fn observe(&mut self) {
        self.observed = Observed { is_translated: true, ..self.reader.observed().clone() };
    }
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        // An answer in one piece is an event without data.
        let is_whole = event.data.is_empty();
        let tells = || match is_whole {
            true => event.raw.trim_ascii_start().starts_with(b"{"),
            false => event.event.as_deref() != Some(b"ping"),
        };
        if let Some(asked) = self.asked.take_if(|_| tells()) {
            let format = other(asked, if is_whole { &event.raw } else { &event.data });
            self.other = format.map(|format| Other::new(format, self.wanted));
        }
        let Some(other) = &mut self.other else { return self.own.read(event) };
        let step = other.reader.read(event);
        other.observe();
        step
    }

    fn is_done(&self) -> bool {
        self.other.as_ref().map_or(&self.own, |other| &other.reader).is_done()
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        let Some(other) = &mut self.other else { return self.own.finish() };
        let last = other.reader.finish();
        other.observe();
        last
    }

    fn observed(&self) -> &Observed {
        self.other.as_ref().map_or_else(|| self.own.observed(), |other| &other.observed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::provider::other_way::{completion_of, event, named_event};
    use penstock_schemas::envelope::Delivery;
    use serde_json::json;

    const FORMATS: [&dyn ProviderFormat; 3] = [&Openai, &Anthropic, &Responses];

    fn wanted(form: Form, delivery: Delivery) -> Wanted {
        Wanted { operation: Operation::Chat, form, delivery }
    }

    fn message(content: &Value, reason: &Value) -> Value {
        json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": reason, "stop_sequence": null, "usage": { "input_tokens": 3, "output_tokens": 2 } })
    }

    fn output() -> Value {
        let part = json!({ "type": "output_text", "text": "ok", "annotations": [] });
        json!([{ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part] }])
    }

    fn response(status: &str, output: &Value) -> Value {
        let usage = json!({ "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 });
        json!({ "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "output": output, "usage": usage })
    }

    fn usage() -> Value {
        json!({ "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5 })
    }

    fn chunk(delta: &Value, reason: &Value) -> Value {
        let choices = json!([{ "index": 0, "delta": delta, "finish_reason": reason }]);
        json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices })
    }

    /// The same answer in one piece, in each dialect.
    fn wholes() -> [Value; 3] {
        let choices =
            json!([{ "index": 0, "message": { "role": "assistant", "content": "ok" }, "finish_reason": "stop" }]);
        [
            json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage() }),
            message(&json!([{ "type": "text", "text": "ok" }]), &json!("end_turn")),
            response("completed", &output()),
        ]
    }

    /// The same as a stream.
    fn streams() -> [Vec<sse::Event>; 3] {
        let last = json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage() });
        let chunks = [
            chunk(&json!({ "role": "assistant", "content": "ok" }), &Value::Null),
            chunk(&json!({}), &json!("stop")),
            last,
        ];
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
        let named = |data: &Value| named_event(data["type"].as_str().unwrap(), data);
        [
            chunks.iter().map(event).collect(),
            messages.iter().map(named).collect(),
            responses.iter().map(named).collect(),
        ]
    }

    fn is_right(answer: &[u8], observed: &Observed) {
        let chat: Value = serde_json::from_slice(answer).unwrap();
        let choice = &chat["choices"][0];
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("ok"), &json!("stop")));
        assert_eq!((observed.is_translated, observed.usage.unwrap().input), (true, Some(3)));
    }

    /// Which of the dialects one may come as to whom who asked in another.
    fn crossed() -> impl Iterator<Item = (usize, usize)> {
        [(0, 1), (0, 2), (1, 0), (2, 0)].into_iter()
    }

    #[test]
    fn a_whole_answer_in_another_dialect_is_read_as_a_chat() {
        for (asked, came) in crossed() {
            for form in [Form::Own, Form::Agnostic] {
                let body = wholes()[came].to_string().into();
                let whole = read_whole(FORMATS[asked], wanted(form, Delivery::Whole), &body).unwrap();
                is_right(&whole.bytes, &whole.observed);
                let stream: Vec<u8> = streams()[came].iter().flat_map(|event| event.raw.to_vec()).collect();
                let whole = read_whole(FORMATS[asked], wanted(form, Delivery::Whole), &stream.into()).unwrap();
                is_right(&whole.bytes, &whole.observed);
            }
        }
        let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "m" } });
        assert!(read_whole(&Openai, wanted(Form::Own, Delivery::Whole), &error.to_string().into()).is_err());
    }

    #[test]
    fn a_stream_in_another_dialect_is_read_as_chunks() {
        for (asked, came) in crossed() {
            for form in [Form::Own, Form::Agnostic] {
                let raw = wholes()[came].to_string().into();
                let in_one_piece = vec![sse::Event { raw, event: None, data: Bytes::new() }];
                for events in [streams()[came].clone(), in_one_piece] {
                    let (mut reader, mut out) =
                        (reader(FORMATS[asked], wanted(form, Delivery::StreamWithUsage)), Vec::new());
                    for event in &events {
                        if let Step::Hold(bytes) | Step::Content(bytes) = reader.read(event).unwrap() {
                            out.extend_from_slice(&bytes);
                        }
                    }
                    out.extend_from_slice(&reader.finish().unwrap());
                    is_right(&completion_of(&out).unwrap(), reader.observed());
                }
            }
        }
    }

    #[test]
    fn an_answer_in_the_dialect_of_its_request_is_not_translated() {
        for (format, body) in FORMATS.into_iter().zip(wholes()) {
            let whole = read_whole(format, wanted(Form::Own, Delivery::Whole), &body.to_string().into()).unwrap();
            assert!(!whole.observed.is_translated, "{whole:?}");
        }
    }
}
