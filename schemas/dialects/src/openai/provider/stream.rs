//! Reads a stream chunk by chunk: what is content, what the client did not ask for, when it is complete. Knows nothing of
//! where the chunks go.

use super::agnostic::Mender;
use super::answer::Answer;
use super::frame::AnswerKind;
use super::odd::Seen;
use super::{errors, glance, odd, other_way};
use crate::errors::tells;
use crate::most;
use crate::provider::{Form, Observed, Step, StreamReader, Wanted};
use bytes::Bytes;
use penstock_schemas::chat::{CompletionChunk, CompletionUsage};
use penstock_schemas::envelope::{Delivery, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;

/// The end of a stream, for providers that forget it.
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// What is known of one stream.
#[derive(Debug)]
pub(super) struct Reader {
    delivery: Delivery,
    has_content: bool,
    is_done: bool,
    /// Each choice seen, and whether it has stopped.
    choices: Vec<(u64, bool)>,
    observed: Observed,
    /// Where the agnostic form is wanted.
    mender: Option<Mender>,
    /// Where it is not, of a chat: what is mended in the chunks themselves.
    streamed: Option<odd::Streamed>,
    /// What was seen of the event at hand.
    seen: Seen,
    /// Whether the client got the usage.
    has_told: bool,
    /// Whether its chunks have messages where OpenAI's have deltas.
    has_messages: bool,
    /// What chunks of our own begin with, as those of the provider do.
    head: CompletionChunk,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        if event.data.is_empty() && event.raw.trim_ascii_start().starts_with(b"{") {
            return self.take_whole(&event.raw);
        }
        let may_have_messages = !self.has_content || self.has_messages;
        if let Some(chunk) = may_have_messages.then(|| odd::with_deltas(event)).flatten() {
            self.has_messages = true;
            return self.read(&chunk);
        }
        self.seen = Seen::default();
        let step = self.pass(event)?;
        let seen = self.seen;
        let Some(mender) = &mut self.mender else {
            let Some(streamed) = &mut self.streamed else { return Ok(step) };
            let step = spelt_as_openais(step, event, |chunk| streamed.mended(chunk, seen));
            return if streamed.has_too_many_calls() { Err(most::too_many_calls()) } else { Ok(step) };
        };
        if !event.data.trim_ascii_start().starts_with(b"{") {
            return Ok(step);
        }
        let mended = |mender: &mut Mender| -> Result<Bytes, Failure> {
            Ok([b"data: ".as_slice(), &mender.mend(&event.data)?, b"\n\n"].concat().into())
        };
        Ok(match step {
            Step::Hold(_) => Step::Hold(mended(mender)?),
            Step::Content(_) => Step::Content(mended(mender)?),
            Step::Hide => Step::Hide,
        })
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        let all_stopped = self.choices.iter().all(|(_, stopped)| *stopped);
        if !self.has_content {
            return Err(without_answer());
        }
        match (self.is_done, all_stopped) {
            (true, _) => Ok(Bytes::new()),
            (false, true) => Ok([self.last_words(), DONE].concat().into()),
            (false, false) => {
                Err(Failure::provider(FailureKind::Broken, "the provider's stream ended before it was complete"))
            }
        }
    }

    fn observed(&self) -> &Observed {
        &self.observed
    }
}

impl Reader {
    /// An answer in one piece: an error, or what was asked for as a stream.
    fn take_whole(&mut self, whole: &[u8]) -> Result<Step, Failure> {
        let failure = not_a_stream(whole);
        let is_error = Answer::read(whole).map_or(true, |answer| answer.error().is_some());
        let events = other_way::chunks(whole).filter(|_| !is_error).ok_or(failure)?;
        let mut out = Vec::new();
        for event in &events {
            if let Step::Hold(bytes) | Step::Content(bytes) = self.read(event)? {
                out.extend_from_slice(&bytes);
            }
        }
        Ok(if self.has_content { Step::Content(out.into()) } else { Step::Hold(out.into()) })
    }

    /// What to do with an event whose bytes go on as they are.
    fn pass(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        let raw = event.raw.clone();
        if event.event.as_deref() == Some(b"error") {
            return Err(errors::within_stream(&event.data));
        }
        if event.data.is_empty() {
            // Comments keep a connection alive. Before the first content they must not pile up. SDKs take any other event
            // for a chunk, and an empty one is no JSON.
            let comment = other_way::comment(&raw).filter(|_| self.has_content);
            return Ok(comment.map_or(Step::Hide, Step::Hold));
        }
        if self.is_done {
            return Ok(Step::Hide);
        }
        if self.has_content && glance::is_plain(&event.data) {
            return Ok(Step::Content(raw));
        }
        if event.data.trim_ascii() == b"[DONE]" {
            if !self.has_content {
                return Err(without_answer());
            }
            self.is_done = true;
            return Ok(Step::Hold([self.last_words(), raw].concat().into()));
        }
        let chunk = Answer::read(&event.data)?;
        if let Some(error) = chunk.error() {
            return Err(errors::within_success(&error, &event.data));
        }
        chunk.observe(&mut self.observed);
        self.seen.is_odd = chunk.is_odd(AnswerKind::Chunk);
        self.seen.has_choices = chunk.choices.as_ref().is_some_and(|choices| !choices.is_empty());
        self.has_told |= chunk.tells_usage();
        if self.head.object.is_empty() {
            self.head = chunk.head();
        }
        if let Some(failure) = chunk.failure() {
            return Err(failure);
        }
        if !self.has_content && chunk.choices.is_none() && tells(&event.data) {
            return Err(errors::within_stream(&event.data));
        }
        if chunk.choices.is_none() && chunk.is_empty() {
            return Ok(Step::Hide); // A note of the server's own, which strict clients would take for a broken chunk.
        }
        if chunk.is_usage_alone() && self.delivery != Delivery::StreamWithUsage {
            return Ok(Step::Hide);
        }
        if self.mender.is_some() && chunk.is_empty() {
            return Ok(Step::Hide);
        }
        Ok(if self.note_choices(&chunk)? { Step::Content(raw) } else { Step::Hold(raw) })
    }

    pub(super) fn new(wanted: Wanted) -> Self {
        let observed = Observed::default();
        let mender = (wanted.form == Form::Agnostic).then(Mender::default);
        let is_own_chat = wanted.form == Form::Own && wanted.operation == Operation::Chat;
        let streamed = is_own_chat.then(odd::Streamed::default);
        Self {
            delivery: wanted.delivery,
            has_content: false,
            is_done: false,
            choices: Vec::new(),
            observed,
            mender,
            streamed,
            seen: Seen::default(),
            has_told: false,
            has_messages: false,
            head: CompletionChunk::default(),
        }
    }

    /// What the client was to be told and was not: that a choice has ended, and the usage that it asked for.
    fn last_words(&mut self) -> Bytes {
        let mut chunks = Vec::new();
        for (index, has_stopped) in self.choices.iter_mut().filter(|(_, has_stopped)| !*has_stopped) {
            *has_stopped = true;
            let usual = || serde_json::json!({ "index": index, "delta": {}, "finish_reason": "stop" });
            let choice = self.streamed.as_mut().map_or_else(usual, |streamed| streamed.end(*index));
            chunks.push(CompletionChunk {
                choices: serde_json::from_value(choice).into_iter().collect(),
                ..self.head.clone()
            });
        }
        let usage = self.observed.usage.as_ref().and_then(CompletionUsage::of);
        if usage.is_some() && self.delivery == Delivery::StreamWithUsage && !self.has_told {
            chunks.push(CompletionChunk { usage, ..self.head.clone() });
        }
        let mut out = Vec::new();
        for chunk in chunks.iter().filter_map(|chunk| serde_json::to_vec(chunk).ok()).map(Bytes::from) {
            let mended = self.mender.as_mut().and_then(|mender| mender.mend(&chunk).ok());
            out.extend_from_slice(&[b"data: ", mended.as_ref().unwrap_or(&chunk).as_ref(), b"\n\n"].concat());
        }
        out.into()
    }

    /// Notes which choices the chunk brings on; whether any of them has content.
    fn note_choices(&mut self, chunk: &Answer) -> Result<bool, Failure> {
        let mut has_content = false;
        for choice in chunk.choices.as_deref().unwrap_or_default() {
            let stopped = choice.finish_reason().is_some();
            let is_full = self.choices.len() >= most::CHOICES;
            match self.choices.iter_mut().find(|(index, _)| *index == choice.index()) {
                Some((_, has_stopped)) => {
                    self.seen.stops_again |= *has_stopped && stopped;
                    *has_stopped |= stopped;
                }
                None if is_full => return Err(most::too_many_choices()),
                None => {
                    self.seen.opens = true;
                    self.choices.push((choice.index(), stopped));
                }
            }
            has_content |= choice.has_content();
        }
        self.has_content |= has_content;
        Ok(has_content)
    }
}

/// The step with the chunk as OpenAI would spell it, for clients that read it as it comes.
fn spelt_as_openais(step: Step, event: &sse::Event, mut mend: impl FnMut(&[u8]) -> Option<Bytes>) -> Step {
    let mut mended = |raw: Bytes| match mend(event.data.trim_ascii()) {
        Some(json) => [b"data: ".as_slice(), &json, b"\n\n"].concat().into(),
        None => raw,
    };
    match step {
        Step::Hold(raw) => Step::Hold(mended(raw)),
        Step::Content(raw) => Step::Content(mended(raw)),
        Step::Hide => Step::Hide,
    }
}

fn without_answer() -> Failure {
    Failure::provider(FailureKind::Broken, "the provider's stream ended without an answer")
}

/// Some answer with plain JSON where a stream was asked for, mostly to say what is wrong.
pub(super) fn not_a_stream(body: &[u8]) -> Failure {
    match Answer::read(body) {
        Err(failure) => failure,
        Ok(answer) => match answer.error() {
            Some(error) => errors::within_success(&error, body),
            None if answer.choices.is_none() && tells(body) => errors::within_stream(body),
            None => Failure::provider(
                FailureKind::Broken,
                "the provider answered in one piece where a stream was asked for",
            ),
        },
    }
}
