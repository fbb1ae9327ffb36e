//! Reads the streams that name each event's kind: transcripts, speech as events, images in the making. Passes every event
//! on as it came, and knows the last one.
//! Sources: <https://platform.openai.com/docs/api-reference/audio/transcript-text-done-event>,
//! <https://platform.openai.com/docs/api-reference/audio/speech-audio-done-event>,
//! <https://platform.openai.com/docs/api-reference/images-streaming>.

use super::answer::{Said, is_filled};
use super::errors;
use super::other::Counts;
use super::stream::not_a_stream;
use crate::provider::{Observed, Step, StreamReader};
use bytes::Bytes;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;
use penstock_schemas::usage::Usage;
use serde::Deserialize;
use serde_json::Value;

/// What is known of one stream.
#[derive(Debug)]
pub(super) struct Reader {
    operation: Operation,
    has_content: bool,
    is_complete: bool,
    observed: Observed,
}

/// Of an event, what is read.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    usage: Option<Value>,
    error: Option<Value>,
}

impl Reader {
    pub(super) fn new(operation: Operation) -> Self {
        Self { operation, has_content: false, is_complete: false, observed: Observed::default() }
    }

    /// The event that ends the stream, or with images one of them.
    fn end(&mut self, usage: Option<&Value>) {
        self.is_complete = true;
        let counts = Counts::read(self.operation, usage);
        let images = self.operation.makes_images().then_some(1);
        let sum = self.observed.usage.unwrap_or_default().plus(counts.usage).plus(Usage { images, ..Usage::default() });
        self.observed.usage = Some(sum).filter(|usage| *usage != Usage::default());
        self.observed.usage_mismatch |= counts.mismatch;
    }
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        let raw = event.raw.clone();
        if event.event.as_deref() == Some(b"error") {
            return Err(errors::within_stream(&event.data));
        }
        if event.data.is_empty() && raw.trim_ascii_start().starts_with(b"{") {
            return Err(not_a_stream(&raw));
        }
        if event.data.is_empty() {
            return Ok(if self.has_content { Step::Hold(raw) } else { Step::Hide });
        }
        if event.data.trim_ascii() == b"[DONE]" {
            return Ok(if self.has_content { Step::Hold(raw) } else { Step::Hide });
        }
        let read: Event = serde_json::from_slice(&event.data)
            .map_err(|_| Failure::provider(FailureKind::Broken, "an event of the provider's stream cannot be read"))?;
        if let Some(error) = read.error.as_ref().filter(|error| is_filled(Some(error))) {
            return Err(errors::within_success(&Said::Part(error), &event.data));
        }
        match read.kind.as_deref() {
            Some("error") => return Err(errors::within_stream(&event.data)),
            Some(kind) if kind.ends_with(".done") || kind.ends_with(".completed") => self.end(read.usage.as_ref()),
            _ => {}
        }
        self.has_content = true;
        Ok(Step::Content(raw))
    }

    /// Never sure: each of several images ends with an event of its own, and some say `[DONE]` behind the last.
    fn is_done(&self) -> bool {
        false
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        if self.is_complete {
            return Ok(Bytes::new());
        }
        Err(Failure::provider(FailureKind::Broken, "the provider's stream ended before it was complete"))
    }

    fn observed(&self) -> &Observed {
        &self.observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(operation: Operation, stream: &str) -> Result<Value, FailureKind> {
        let mut parser = sse::Parser::new(1 << 20);
        parser.push(stream.as_bytes());
        let mut reader = Reader::new(operation);
        while let Some(event) = parser.next_event().unwrap() {
            reader.read(&event).map_err(|failure| failure.kind)?;
        }
        reader.finish().map_err(|failure| failure.kind)?;
        Ok(json!(reader.observed().usage))
    }

    #[test]
    fn the_last_event_brings_the_usage_and_a_stream_without_it_is_broken() {
        let delta = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Hi\"}\n\n";
        let done = "data: {\"type\":\"transcript.text.done\",\"text\":\"Hi\",\"usage\":{\"input_tokens\":14,\"output_tokens\":2,\"total_tokens\":16,\"input_token_details\":{\"audio_tokens\":14}}}\n\n";
        let usage = json!({"input": 0, "input_audio": 14, "output": 2});
        assert_eq!(read(Operation::Transcriptions, &format!("{delta}{done}data: [DONE]\n\n")), Ok(usage));
        assert_eq!(read(Operation::Transcriptions, delta), Err(FailureKind::Broken));
        let error = "data: {\"type\":\"error\",\"error\":{\"message\":\"m\",\"code\":\"rate_limit_exceeded\"}}\n\n";
        assert_eq!(read(Operation::Transcriptions, &format!("{delta}{error}")), Err(FailureKind::RateLimited));
        assert_eq!(
            read(Operation::Images, "{\"error\":{\"message\":\"m\",\"code\":\"server_error\"}}\n\n"),
            Err(FailureKind::ServerError)
        );
        let audio = "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":3,\"output_tokens\":9,\"total_tokens\":12}}\n\n";
        assert_eq!(read(Operation::Speech, audio), Ok(json!({"input": 3, "output_audio": 9})));
        let image = "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"\",\"usage\":{\"input_tokens\":1,\"output_tokens\":5}}\n\n";
        assert_eq!(read(Operation::Images, &image.repeat(2)), Ok(json!({"input": 2, "output_image": 10, "images": 2})));
    }
}
