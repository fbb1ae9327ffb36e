//! Reads a stream: as OpenAI's, with content in pieces, and with the usage in the last chunk that has content, where the
//! agnostic form has it in a chunk of its own.

use super::answer;
use crate::openai::provider::Openai;
use crate::provider::{Observed, ProviderFormat, Step, StreamReader, Wanted};
use bytes::Bytes;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde_json::{Value, json};

/// One stream, read by OpenAI's reader once it is spelt as OpenAI would.
#[derive(Debug)]
pub(super) struct Reader {
    inner: Box<dyn StreamReader>,
}

impl Reader {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { inner: Openai.stream(wanted) }
    }

    fn pass(&mut self, chunk: &Value) -> Result<Step, Failure> {
        let data = chunk.to_string();
        let raw = Bytes::from(format!("data: {data}\n\n"));
        self.inner.read(&sse::Event { raw, event: None, data: data.into() })
    }
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        let Ok(mut chunk @ Value::Object(_)) = serde_json::from_slice::<Value>(&event.data) else {
            return self.inner.read(event);
        };
        if chunk.get("choices").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            return self.inner.read(event);
        }
        answer::mend(&mut chunk)?;
        let usage =
            chunk.as_object_mut().and_then(|chunk| chunk.shift_remove("usage")).filter(|usage| !usage.is_null());
        let said = self.pass(&chunk)?;
        let Some(usage) = usage else { return Ok(said) };
        let of = |name: &str| chunk.get(name).cloned().unwrap_or_default();
        let report = json!({"id": of("id"), "object": of("object"), "created": of("created"), "model": of("model"),
            "choices": [], "usage": usage});
        let reported = self.pass(&report)?;
        Ok(both(said, reported))
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        self.inner.finish()
    }

    fn observed(&self) -> &Observed {
        self.inner.observed()
    }
}

/// Two steps as one.
fn both(first: Step, second: Step) -> Step {
    let joined = |a: &Bytes, b: &Bytes| [&a[..], b].concat().into();
    match (first, second) {
        (Step::Hide, other) | (other, Step::Hide) => other,
        (Step::Hold(a), Step::Hold(b)) => Step::Hold(joined(&a, &b)),
        (Step::Hold(a) | Step::Content(a), Step::Hold(b) | Step::Content(b)) => Step::Content(joined(&a, &b)),
    }
}
