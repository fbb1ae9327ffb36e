//! Answers in OpenAI's dialect, whole or streamed, to a request for a message: some routers write no other.
//! Source: <https://github.com/decolua/9router/issues/3199>.

use super::answer::{Message, read as read_json};
use super::odd;
use crate::anthropic::client::Messages;
use crate::call_arguments;
use crate::client::Writer;
use crate::openai::provider::Openai;
use crate::openai::provider::other_way::events;
use crate::provider::{Form, Observed, ProviderFormat, Step, StreamReader, Wanted, Whole};
use bytes::Bytes;
use memchr::memmem;
use penstock_schemas::chat::Completion;
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use penstock_schemas::sse;
use penstock_schemas::usage::UsageSource;
use serde_json::{Value, json};

/// In the place of a request's id, which a provider's answer has not: chunks have ids of their own.
const NO_ID: &str = "00000000-0000-0000-0000-000000000000";

/// The answer, in the form that is wanted; `None` when it is none of OpenAI's.
pub(super) fn read(wanted: Wanted, message: &Message<'_>, body: &Bytes) -> Option<Result<Whole, Failure>> {
    let is_one = message.content.is_none() && memmem::find(body, b"\"choices\"").is_some();
    is_one.then(|| {
        let whole = Openai.read_whole(Wanted { form: Form::Agnostic, ..wanted }, body)?;
        if wanted.form == Form::Agnostic {
            return Ok(whole);
        }
        let said = message_of(read_json(&whole.bytes)?);
        let spelt = odd::whole(&read_json(&said)?, &said, false);
        Ok(Whole { bytes: spelt.unwrap_or(said).into(), ..whole })
    })
}

/// What of a message is its own; what each has is added where it is spelt.
fn message_of(completion: Completion) -> Vec<u8> {
    let (mut content, mut reason) = (Vec::new(), Value::Null);
    if let Some(choice) = completion.choices.into_iter().next() {
        reason = choice.finish_reason.into();
        let said = choice.message;
        if let Some(thought) = said.reasoning_content {
            content.push(json!({ "type": "thinking", "thinking": thought, "signature": "" }));
        }
        if let Some(text) = said.content.map(|content| content.text()).filter(|text| !text.is_empty()) {
            content.push(json!({ "type": "text", "text": text }));
        }
        for call in said.tool_calls.unwrap_or_default() {
            let function = call.function.unwrap_or_default();
            let input = call_arguments::object(&function);
            content.push(json!({ "type": "tool_use", "id": call.id, "name": function.name, "input": input }));
        }
    }
    let usage = completion
        .usage
        .map(|usage| json!({ "input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens }));
    let message = json!({ "id": completion.id, "model": completion.model, "content": content, "stop_reason": reason, "usage": usage });
    message.to_string().into_bytes()
}

/// The reader of a stream of chunks, where the first event is one, or of a whole answer in the place of a stream.
pub(super) fn reader(event: &sse::Event, wanted: Wanted) -> Option<Box<dyn StreamReader>> {
    let first = if event.data.is_empty() { &event.raw } else { &event.data };
    let chunk: Value = serde_json::from_slice(first).ok()?;
    if !chunk["choices"].is_array() {
        return None;
    }
    let agnostic = |delivery| Openai.stream(Wanted { form: Form::Agnostic, delivery, ..wanted });
    if wanted.form == Form::Agnostic {
        return Some(agnostic(wanted.delivery));
    }
    let (id, model) = (RequestId::parse(NO_ID)?, chunk["model"].as_str().unwrap_or_default());
    let (reader, writer) = (agnostic(Delivery::StreamWithUsage), Messages::new(id, model.to_owned()));
    Some(Box::new(ChunksAsEvents { reader, writer }))
}

/// Chunks of OpenAI's as the events that they come to.
#[derive(Debug)]
struct ChunksAsEvents {
    reader: Box<dyn StreamReader>,
    writer: Messages,
}

impl ChunksAsEvents {
    fn events(&mut self, chunks: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        for chunk in events(chunks) {
            self.writer.event(&chunk, &mut out)?;
        }
        Ok(out)
    }
}

impl StreamReader for ChunksAsEvents {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        Ok(match self.reader.read(event)? {
            Step::Hold(chunks) => Step::Hold(self.events(&chunks)?.into()),
            Step::Content(chunks) => Step::Content(self.events(&chunks)?.into()),
            Step::Hide => Step::Hide,
        })
    }

    fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        let last = self.reader.finish()?;
        let mut out = self.events(&last)?;
        let usage = self.reader.observed().usage.unwrap_or_default();
        self.writer.end(&Summary { usage, usage_source: UsageSource::Provider, cost: None }, &mut out);
        Ok(out.into())
    }

    fn observed(&self) -> &Observed {
        self.reader.observed()
    }
}
