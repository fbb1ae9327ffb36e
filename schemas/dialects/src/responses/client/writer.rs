//! The writer of answers from providers of other dialects. Whole or streamed, an answer becomes items in one way.

use super::compaction::{Compacting, Counted};
use super::echo::Echo;
use super::error_event;
use super::native::Native;
use super::stream::Stream;
use super::trigger;
use crate::client::{ClientRequest, Now, Purpose, Writer, read_chunk, unreadable};
use crate::thought_order::{ThoughtOrText, after, weave};
use bytes::Bytes;
use penstock_schemas::chat::{Completion, Content, Delta};
use penstock_schemas::conversation::hex;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use serde_json::{Map, Value};

/// A writer for the answer to a request.
pub(crate) fn writer(asked: &ClientRequest, id: RequestId, now: Now) -> Box<dyn Writer> {
    if asked.operation == Operation::CountTokens {
        return Box::new(Counted);
    }
    let stream = Stream::new(Echo::of(&asked.body, id), hex(id), now);
    let response = Box::new(Translated { id, native: Native::of(&asked.body, id), stream, kept: None });
    match asked.purpose {
        Purpose::Answer if trigger::is_last(&asked.body) => Box::new(trigger::Triggered::new(id, response)),
        Purpose::Answer => response,
        Purpose::Compaction => Box::new(Compacting { id, response }),
    }
}

struct Translated {
    id: RequestId,
    native: Native,
    stream: Stream,
    kept: Option<Bytes>,
}

impl Writer for Translated {
    fn whole(&mut self, answer: &Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        let completion: Completion = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
        let mut unheard = Vec::new();
        if let Some(choice) = completion.choices.into_iter().next() {
            let message = choice.message;
            let mut calls = message.tool_calls.unwrap_or_default();
            for (at, call) in calls.iter_mut().enumerate() {
                call.index = u32::try_from(at).ok();
            }
            let logprobs = logprobs(&choice.extra);
            self.stream.finish_reason = choice.finish_reason;
            let mut delta = Delta {
                content: message.content.as_ref().map(Content::text),
                refusal: message.refusal,
                reasoning_content: message.reasoning_content,
                reasoning_details: message.reasoning_details,
                tool_calls: Some(calls),
                extra: message.extra,
                ..Delta::default()
            };
            for piece in first_runs(&mut delta) {
                self.stream.add(piece, &[], &mut unheard);
            }
            self.stream.add(delta, &logprobs, &mut unheard);
        }
        let response = Bytes::from(self.stream.end(&summary.usage, &mut unheard).to_string());
        self.kept = Some(response.clone());
        Ok(response)
    }

    fn chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let chunk = read_chunk(chunk)?;
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            if choice.finish_reason.is_some() {
                self.stream.finish_reason = choice.finish_reason;
            }
            self.stream.add(choice.delta, &logprobs(&choice.extra), out);
        }
        Ok(())
    }

    fn end(&mut self, summary: &Summary, out: &mut Vec<u8>) {
        let response = self.stream.end(&summary.usage, out);
        self.kept = Some(response.to_string().into());
    }

    fn native(self: Box<Self>) -> Option<Box<dyn Writer>> {
        Some(Box::new(self.native))
    }

    fn broken(&mut self, failure: &Failure) -> Option<Bytes> {
        Some(error_event(failure, self.id, self.stream.sequence()))
    }

    fn kept(&mut self) -> Option<(Bytes, bool)> {
        self.kept.take().map(|response| (response, false))
    }

    fn collects(&self) -> bool {
        true
    }
}

/// What stands before the last text of an answer that thought between its texts, piece by piece; the rest stays.
fn first_runs(delta: &mut Delta) -> Vec<Delta> {
    if !delta.reasoning_details.iter().flatten().any(|detail| after(detail) > 0) {
        return Vec::new();
    }
    delta.reasoning_content = None;
    let details = delta.reasoning_details.take().unwrap_or_default();
    let details = details.into_iter().map(|detail| (after(&detail), detail)).collect();
    let mut runs = weave(delta.content.take().map(Content::Text), details);
    if let Some(ThoughtOrText::Said(last)) = runs.pop_if(|run| matches!(run, ThoughtOrText::Said(_))) {
        delta.content = Some(last.text());
    }
    let piece = |run| match run {
        ThoughtOrText::Said(said) => Delta { content: Some(said.text()), ..Delta::default() },
        ThoughtOrText::Thought(detail) => Delta { reasoning_details: Some(vec![detail]), ..Delta::default() },
    };
    runs.into_iter().map(piece).collect()
}

fn logprobs(extra: &Map<String, Value>) -> Vec<Value> {
    let content = extra.get("logprobs").and_then(|logprobs| logprobs.get("content"));
    content.and_then(Value::as_array).cloned().unwrap_or_default()
}
