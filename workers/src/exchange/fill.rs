//! What answers of some copies of OpenAI lack that clients of its dialect rely on: `id`, `object`, `created`, `model`. Adapters
//! hold no clock and make no names; here they are added. An answer that has them passes as it came.

use super::Exchange;
use bytes::{Bytes, BytesMut};
use memchr::memmem;
use penstock_dialects::provider::Form;
use penstock_runtime::clock;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::name::{ModelId, RequestId};
use serde_json::{Map, Value};

/// The head of an answer, with quotes as a look at its bytes needs them.
const HEAD: [&[u8]; 4] = [b"\"id\"", b"\"object\"", b"\"created\"", b"\"model\""];

/// How an event begins that holds JSON.
const EVENT: &[u8] = b"data: {";

/// What one answer gets where it has none of its own.
#[derive(Debug)]
pub(super) struct Fill {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
}

impl Fill {
    /// For one call; `None` where answers have no such head.
    pub(super) fn new(operation: Operation, is_stream: bool, id: RequestId, model: &ModelId) -> Option<Self> {
        let object = match (operation, is_stream) {
            (Operation::Chat, false) => "chat.completion",
            (Operation::Chat, true) => "chat.completion.chunk",
            (Operation::Completions, _) => "text_completion",
            _ => return None,
        };
        let (id, created) = (format!("chatcmpl-{id}"), clock::now().0 / 1_000_000);
        Some(Self { id, object, created, model: model.as_str().to_owned() })
    }

    /// A whole answer with what it lacked.
    pub(super) fn whole(&self, answer: Bytes) -> Bytes {
        if lacks(&answer) { self.filled(&answer).map_or(answer, Bytes::from) } else { answer }
    }

    /// Writes events of a stream with what they lacked.
    pub(super) fn put_on(&self, events: &[u8], out: &mut BytesMut) {
        for line in events.split_inclusive(|byte| *byte == b'\n') {
            let json = if line.starts_with(EVENT) { &line[EVENT.len() - 1..] } else { &[] };
            let is_needed = !json.is_empty() && lacks(json);
            match is_needed.then(|| self.filled(json)).flatten() {
                None => out.extend_from_slice(line),
                Some(filled) => {
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(&filled);
                    out.extend_from_slice(b"\n");
                }
            }
        }
    }

    /// An answer or a chunk with its head; `None` when it is none, such as an error.
    fn filled(&self, json: &[u8]) -> Option<Vec<u8>> {
        let mut answer: Map<String, Value> = serde_json::from_slice(json).ok()?;
        answer.get("choices")?;
        let is_nothing =
            |value: Option<&Value>| value.is_none_or(|value| value.is_null() || value == "" || *value == 0);
        let before = answer.clone();
        let own: [(&str, Value); 4] = [
            ("id", self.id.as_str().into()),
            ("object", self.object.into()),
            ("created", self.created.into()),
            ("model", self.model.as_str().into()),
        ];
        for (name, value) in own {
            if is_nothing(answer.get(name)) {
                answer.insert(name.to_owned(), value);
            }
        }
        if answer == before {
            return None;
        }
        serde_json::to_vec(&answer).ok()
    }
}

impl Exchange<'_> {
    /// What an answer in OpenAI's own bytes may lack.
    pub(super) fn fill(&self) -> Option<Fill> {
        let is_own = self.wanted.form == Form::Own && self.envelope.dialect == Dialect::Openai;
        let (operation, is_stream) = (self.wanted.operation, self.envelope.delivery.is_stream());
        let model = &self.envelope.plan.current().target.model;
        Fill::new(operation, is_stream, self.envelope.request_id, model).filter(|_| is_own)
    }
}

/// Whether a part of the head is nowhere, or there without a value. What a choice holds may have an `id` too: where choices
/// come first, an answer that lacks its id alone is looked into.
fn lacks(json: &[u8]) -> bool {
    let value = |name: &[u8]| {
        let at = memmem::find(json, name)?;
        Some((at, json[at + name.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start()))
    };
    let choices = memmem::find(json, b"\"choices\"").unwrap_or(json.len());
    HEAD.iter().any(|name| match value(name) {
        None => true,
        Some((at, value)) => {
            let is_calls = *name == HEAD[0] && at > choices && memmem::find(json, b"\"tool_calls\"").is_some();
            is_calls || [b"\"\"".as_slice(), b"null", b"0,", b"0}"].iter().any(|none| value.starts_with(none))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fill(is_stream: bool) -> Fill {
        let (object, model) = (if is_stream { "chat.completion.chunk" } else { "chat.completion" }, "m".to_owned());
        Fill { id: "chatcmpl-1".to_owned(), object, created: 7, model }
    }

    #[test]
    fn what_an_answer_lacks_is_added_and_one_that_lacks_nothing_keeps_its_bytes() {
        let whole = |text: &'static str| fill(false).whole(Bytes::from_static(text.as_bytes()));
        let complete = r#"{ "id": "c",  "object": "chat.completion", "created": 1, "model": "x", "choices": [] }"#;
        assert_eq!(whole(complete), complete);
        let filled: Value = serde_json::from_slice(&whole("{\n \"id\": \"c\", \"choices\": [1]}")).unwrap();
        assert_eq!(filled, json!({"id": "c", "choices": [1], "object": "chat.completion", "created": 7, "model": "m"}));
        let call =
            r#"{"choices": [{"message": {"tool_calls": [{"id": "a"}]}}], "object": "o", "created": 1, "model": "x"}"#;
        assert_eq!(serde_json::from_slice::<Value>(&whole(call)).unwrap()["id"], "chatcmpl-1");
        let error = r#"{"error": {"message": "x"}}"#;
        assert_eq!(whole(error), error);
    }

    #[test]
    fn all_chunks_of_a_stream_that_lacks_something_are_filled() {
        let written = |events: &str| {
            let (fill, mut out) = (fill(true), BytesMut::new());
            fill.put_on(events.as_bytes(), &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        let lacking = "data: {\"choices\":[1]}\n\n: x\n\ndata: {\"choices\":[2],\"model\":\"y\"}\n\ndata: [DONE]\n\n";
        let own = "\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":7";
        let expected = format!(
            "data: {{\"choices\":[1],{own},\"model\":\"m\"}}\n\n: x\n\ndata: {{\"choices\":[2],\"model\":\"y\",{own}}}\n\ndata: [DONE]\n\n"
        );
        assert_eq!(written(lacking), expected);
        let complete =
            "data: {\"id\": \"c\", \"object\": \"o\", \"created\": 1, \"model\": \"x\", \"choices\": []}\n\n";
        assert_eq!(written(&complete.repeat(2)), complete.repeat(2));
        let late = "data: {\"id\":\"\",\"object\":\"o\",\"created\":1,\"model\":null,\"choices\":[]}\n\n";
        let filled = "data: {\"id\":\"chatcmpl-1\",\"object\":\"o\",\"created\":1,\"model\":\"m\",\"choices\":[]}\n\n";
        assert_eq!(written(&format!("{complete}{late}")), format!("{complete}{filled}"));
    }
}
