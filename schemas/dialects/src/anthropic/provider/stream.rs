//! Reads a stream event by event, and passes it on as it is for a caller of the same dialect.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use super::answer::{Block, Message, Stop, read, text};
use super::usage::Counts;
use super::{errors, other_way};
use crate::openai::provider::other_way::read_all;
use crate::provider::{Observed, Step, StreamReader};
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The last event of a stream, for copies that forget it.
const STOP: Bytes = Bytes::from_static(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");

/// OpenAI's last word, which some copies say.
const DONE: &[u8] = b"[DONE]";

/// An event's data.
#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(borrow)]
    pub(super) message: Option<Message<'a>>,
    #[serde(borrow)]
    pub(super) content_block: Option<&'a RawValue>,
    pub(super) index: Option<u64>,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    pub(super) usage: Option<Value>,
}

/// What a `content_block_delta` or a `message_delta` adds.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Added {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) partial_json: Option<String>,
    pub(super) citation: Option<Value>,
    pub(super) stop_reason: Option<Value>,
    pub(super) stop_sequence: Option<Value>,
    pub(super) stop_details: Option<Value>,
}

/// What is known of one stream, in whichever form it goes on.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) counts: Counts,
    pub(super) observed: Observed,
    pub(super) has_content: bool,
    pub(super) has_stopped: bool,
    pub(super) is_done: bool,
}

impl Known {
    /// The event, unless there is none in it or the stream is over.
    pub(super) fn event<'a>(&self, event: &'a sse::Event) -> Result<Option<Event<'a>>, Failure> {
        if event.data.is_empty() || self.is_done || event.data.trim_ascii() == DONE {
            return Ok(None);
        }
        if event.event.as_deref() == Some(b"error") {
            return Err(errors::within(&read(&event.data)?));
        }
        let read_event: Event<'_> = read(&event.data)?;
        match read_event.kind.as_str() {
            "error" => Err(errors::within(&read(&event.data)?)),
            _ => Ok(Some(read_event)),
        }
    }

    pub(super) fn start(&mut self, message: Option<&Message<'_>>) {
        if let Some(message) = message {
            message.observe(&mut self.counts, &mut self.observed);
        }
    }

    /// Notes a `message_delta`; why the answer ended, once it says so.
    pub(super) fn delta(&mut self, event: &Event<'_>) -> Result<Option<Stop>, Failure> {
        if let Some(usage) = &event.usage {
            self.counts.note(usage);
            self.counts.observe(&mut self.observed);
        }
        let added = added(event)?;
        let Some(reason) = text(added.stop_reason.as_ref()) else { return Ok(None) };
        let stop = Stop::of(&reason, added.stop_sequence.as_ref(), added.stop_details.as_ref());
        self.observed.finish_reason = Some(reason);
        self.has_stopped = true;
        Ok(Some(stop))
    }

    /// Whether the stream is complete.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let why = match (self.has_content || self.has_stopped, self.has_stopped) {
            (_, true) => return Ok(()),
            (true, false) => "the provider's stream ended before it was complete",
            (false, false) => "the provider's stream ended without an answer",
        };
        Err(Failure::provider(FailureKind::Broken, why))
    }
}

pub(super) fn added(event: &Event<'_>) -> Result<Added, Failure> {
    event.delta.map_or_else(|| Ok(Added::default()), |delta| read(delta.get().as_bytes()))
}

/// An answer in one piece as the events of a stream, where it is one; `None` where the event is no such answer.
///
/// # Errors
/// What it says is wrong.
pub(super) fn whole(event: &sse::Event) -> Result<Option<Vec<sse::Event>>, Failure> {
    if !event.data.is_empty() || !event.raw.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let is_answer = |answer: &Value| answer["content"].is_array() && answer.get("error").is_none();
    let events = read::<Value>(&event.raw).ok().filter(is_answer).and_then(|_| other_way::events_of(&event.raw));
    events.map_or_else(|| Err(not_a_stream(&event.raw)), |events| Ok(Some(events)))
}

/// Some answer with plain JSON where a stream was asked for, to say what is wrong.
fn not_a_stream(body: &[u8]) -> Failure {
    match read::<Value>(body) {
        Err(failure) => failure,
        Ok(answer) if answer.get("error").is_some() => errors::within(&answer),
        Ok(_) => {
            Failure::provider(FailureKind::Broken, "the provider answered in one piece where a stream was asked for")
        }
    }
}

/// Passes a stream on as it is.
#[derive(Debug, Default)]
pub(super) struct Passing {
    known: Known,
    has_pinged: bool,
}

impl StreamReader for Passing {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        if let Some(events) = whole(event)? {
            return read_all(self, &events);
        }
        let raw = event.raw.clone();
        if self.known.has_content && event.event.as_deref() == Some(b"content_block_delta") {
            return Ok(Step::Content(raw));
        }
        if event.data.trim_ascii() == DONE {
            return Ok(Step::Hide);
        }
        let Some(read_event) = self.known.event(event)? else {
            // Comments keep a connection alive. Before the first content they must not pile up.
            return Ok(if self.known.has_content && !self.known.is_done { Step::Hold(raw) } else { Step::Hide });
        };
        let has_content = match read_event.kind.as_str() {
            "message_start" => {
                self.known.start(read_event.message.as_ref());
                false
            }
            "ping" if !self.known.has_content && std::mem::replace(&mut self.has_pinged, true) => {
                return Ok(Step::Hide);
            }
            // An empty text or thought is no content yet.
            "content_block_start" => match read_event.content_block {
                None => false,
                Some(block) => {
                    let block: Block<'_> = read(block.get().as_bytes())?;
                    block.note_tool(&mut self.known.observed);
                    !matches!(block.kind.as_str(), "text" | "thinking")
                        || block.text.is_some_and(|text| !text.is_empty())
                }
            },
            "content_block_delta" => true,
            "message_delta" => self.known.delta(&read_event)?.is_some(),
            "message_stop" => {
                self.known.finish()?;
                self.known.is_done = true;
                false
            }
            _ => false,
        };
        self.known.has_content |= has_content;
        Ok(if has_content { Step::Content(raw) } else { Step::Hold(raw) })
    }

    fn is_done(&self) -> bool {
        self.known.is_done
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        self.known.finish()?;
        Ok(if self.known.is_done { Bytes::new() } else { STOP })
    }

    fn observed(&self) -> &Observed {
        &self.known.observed
    }
}
