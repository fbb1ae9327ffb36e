//! Reads a stream event by event, and passes it on as it is for a caller of the same dialect.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use super::answer::{Added, Stop, read, text};
use super::order::EventOrder;
use super::seen::SeenEvent;
use super::usage::Counts;
use super::{errors, other_way};
use crate::openai::provider::other_way::{comment, read_all};
use crate::provider::{Observed, Step, StreamReader};
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;
use serde_json::Value;

/// The last event of a stream, for copies that forget it.
const STOP: Bytes = Bytes::from_static(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");

/// OpenAI's last word, which some copies say.
const DONE: &[u8] = b"[DONE]";

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
    pub(super) fn see<'a>(&self, event: &'a sse::Event) -> Result<Option<SeenEvent<'a>>, Failure> {
        if event.data.is_empty() || self.is_done || event.data.trim_ascii() == DONE {
            return Ok(None);
        }
        if event.event.as_deref() == Some(b"error") {
            return Err(errors::within(&read(&event.data)?));
        }
        match SeenEvent::of(event) {
            Err(_) if self.has_stopped => Ok(None), // the last word, cut short
            seen => seen.map(Some),
        }
    }

    /// Notes what the provider says of its answer.
    pub(super) fn observe(&mut self, seen: &SeenEvent<'_>) {
        match seen.kind.as_str() {
            "message_start" => {
                if let Some(message) = &seen.event.message {
                    message.observe(&mut self.counts, &mut self.observed);
                }
            }
            "content_block_start" => {
                if let Some(block) = &seen.block {
                    block.note_tool(&mut self.observed);
                }
            }
            "message_delta" => {
                if let Some(usage) = &seen.event.usage {
                    self.counts.note(usage);
                    self.counts.observe(&mut self.observed);
                }
                self.observed.finish_reason =
                    text(seen.added.stop_reason.as_ref()).or_else(|| self.observed.finish_reason.take());
            }
            _ => {}
        }
    }

    /// Why the answer ended, once a `message_delta` says so.
    pub(super) fn stop(&mut self, added: &Added) -> Option<Stop> {
        let reason = text(added.stop_reason.as_ref())?;
        self.has_stopped = true;
        Some(Stop::of(&reason, added.stop_sequence.as_ref(), added.stop_details.as_ref()))
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

/// Passes on the events that stand in the place of one.
///
/// # Errors
/// Those of `pass`.
pub(super) fn pass_all(
    events: &[sse::Event],
    mut pass: impl FnMut(SeenEvent<'_>, Bytes) -> Result<Step, Failure>,
) -> Result<Step, Failure> {
    let (mut out, mut has_content) = (Vec::new(), false);
    for event in events {
        let step = pass(SeenEvent::of(event)?, event.raw.clone())?;
        has_content |= matches!(step, Step::Content(_));
        if let Step::Hold(bytes) | Step::Content(bytes) = step {
            out.extend_from_slice(&bytes);
        }
    }
    Ok(match (has_content, out.is_empty()) {
        (true, _) => Step::Content(out.into()),
        (false, true) => Step::Hide,
        (false, false) => Step::Hold(out.into()),
    })
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

/// Passes a stream on as it is, save for what strict clients cannot read.
#[derive(Debug, Default)]
pub(super) struct Passing {
    known: Known,
    order: EventOrder,
    has_pinged: bool,
}

impl Passing {
    fn pass(&mut self, seen: &SeenEvent<'_>, raw: Bytes) -> Result<Step, Failure> {
        let has_content = match seen.kind.as_str() {
            "ping" if !self.known.has_content && std::mem::replace(&mut self.has_pinged, true) => {
                return Ok(Step::Hide);
            }
            // An empty text or thought is no content yet.
            "content_block_start" => seen.block.as_ref().is_some_and(|block| {
                !matches!(block.kind.as_str(), "text" | "thinking")
                    || block.text.as_ref().is_some_and(|text| !text.is_empty())
            }),
            "content_block_delta" => true,
            "message_delta" => self.known.stop(&seen.added).is_some(),
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
}

impl StreamReader for Passing {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        if let Some(events) = whole(event)? {
            return read_all(self, &events);
        }
        if self.known.has_content && self.order.is_plain(event) {
            return Ok(Step::Content(event.raw.clone()));
        }
        let Some(seen) = self.known.see(event)? else {
            // Comments keep a connection alive. Before the first content they must not pile up.
            let is_passed = self.known.has_content && !self.known.is_done && comment(&event.raw).is_some();
            return Ok(if is_passed { Step::Hold(event.raw.clone()) } else { Step::Hide });
        };
        self.known.observe(&seen);
        match self.order.mend(event, &seen)? {
            None => self.pass(&seen, event.raw.clone()),
            Some(events) => pass_all(&events, |seen, raw| self.pass(&seen, raw)),
        }
    }

    fn is_done(&self) -> bool {
        self.known.is_done
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        let last = pass_all(&self.order.finish(), |seen, raw| self.pass(&seen, raw))?;
        self.known.finish()?;
        Ok(match last {
            Step::Hold(bytes) | Step::Content(bytes) => bytes,
            Step::Hide if self.known.is_done => Bytes::new(),
            Step::Hide => STOP,
        })
    }

    fn observed(&self) -> &Observed {
        &self.known.observed
    }
}
