//! Reads a stream event by event: each is a piece of an answer of the same shape as a whole one. It has no last word: it is
//! complete when every answer has said why it stopped.
//! Source: <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>.

use super::answer::{Answer, Candidate};
use super::chunks::{CallIdSource, Turn};
use super::{annotations, errors};
use crate::provider::{Form, Observed, Step, StreamReader, Wanted};
use bytes::Bytes;
use penstock_schemas::chat::{ChunkChoice, CompletionChunk, CompletionUsage, Delta};
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;

/// What is known of one stream.
#[derive(Debug)]
pub(super) struct Reader {
    wanted: Wanted,
    has_content: bool,
    /// Whether the prompt was blocked: an answer of its own, for a client of this dialect.
    is_blocked: bool,
    turns: Vec<Turn>,
    observed: Observed,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        let raw = event.raw.clone();
        if event.data.is_empty() && raw.trim_ascii_start().starts_with(b"{") {
            return Err(not_a_stream(&raw));
        }
        if event.data.is_empty() {
            // Comments keep a connection alive. Before the first content they must not pile up.
            let is_passed = self.has_content && self.wanted.form == Form::Own;
            return Ok(if is_passed { Step::Hold(raw) } else { Step::Hide });
        }
        let answer = Answer::read(&event.data)?;
        if let Some(error) = &answer.error {
            return Err(errors::within(error));
        }
        answer.observe(&mut self.observed);
        match self.wanted.form {
            Form::Own => Ok(self.pass(&answer, raw)),
            Form::Agnostic => self.translate(answer),
        }
    }

    fn is_done(&self) -> bool {
        false
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        let is_complete = self.is_blocked || (!self.turns.is_empty() && self.turns.iter().all(Turn::is_finished));
        if !is_complete {
            let why = if self.has_content { "before it was complete" } else { "without an answer" };
            return Err(Failure::provider(FailureKind::Broken, format!("the provider's stream ended {why}")));
        }
        Ok(if self.wanted.form == Form::Own { Bytes::new() } else { self.last() })
    }

    fn observed(&self) -> &Observed {
        &self.observed
    }
}

impl Reader {
    pub(super) fn new(wanted: Wanted) -> Self {
        let observed = Observed::default();
        Self { wanted, has_content: false, is_blocked: false, turns: Vec::new(), observed }
    }

    fn pass(&mut self, answer: &Answer, raw: Bytes) -> Step {
        self.is_blocked |= answer.blocked().is_some();
        let mut has_content = self.is_blocked;
        for candidate in answer.candidates() {
            has_content |= candidate.has_content();
            self.turn(candidate.index()).note(candidate);
        }
        self.has_content |= has_content;
        if has_content { Step::Content(raw) } else { Step::Hold(raw) }
    }

    fn translate(&mut self, answer: Answer) -> Result<Step, Failure> {
        if answer.candidates().is_empty()
            && let Some(failure) = answer.refusal()
        {
            return Err(failure);
        }
        if let Some(failure) = answer.candidates().iter().find_map(Candidate::failure) {
            return Err(failure);
        }
        let origin = CallIdSource::of(&self.observed);
        let (mut out, mut has_content) = (Vec::new(), false);
        for candidate in answer.into_candidates() {
            has_content |= candidate.has_content();
            self.candidate(candidate, &origin, &mut out);
        }
        self.has_content |= has_content;
        Ok(match (out.is_empty(), has_content) {
            (true, false) => Step::Hide,
            (_, true) => Step::Content(out.into()),
            (false, false) => Step::Hold(out.into()),
        })
    }

    fn candidate(&mut self, candidate: Candidate, origin: &CallIdSource, out: &mut Vec<u8>) {
        let index = candidate.index();
        let is_new = self.turns.iter().all(|turn| turn.index != index);
        let logprobs = candidate.logprobs_result.as_ref().map(annotations::logprobs);
        let mut delta = self.turn(index).add(candidate, origin);
        if is_new {
            let role = Delta { role: Some("assistant".to_owned()), content: Some(String::new()), ..Delta::default() };
            self.write(vec![ChunkChoice { index, delta: role, ..ChunkChoice::default() }], out);
        }
        // What was thought comes before what is said, and each kind of content in a chunk of its own.
        let details = delta.reasoning_details.take();
        let thought =
            Delta { reasoning_content: delta.reasoning_content.take(), reasoning_details: details, ..Delta::default() };
        let calls = Delta { tool_calls: delta.tool_calls.take(), ..Delta::default() };
        let mut pieces: Vec<ChunkChoice> = [thought, delta, calls]
            .into_iter()
            .filter(|piece| *piece != Delta::default())
            .map(|delta| ChunkChoice { index, delta, ..ChunkChoice::default() })
            .collect();
        if let Some(logprobs) = logprobs {
            if pieces.is_empty() {
                pieces.push(ChunkChoice { index, ..ChunkChoice::default() });
            }
            if let Some(last) = pieces.last_mut() {
                last.extra.insert("logprobs".to_owned(), logprobs);
            }
        }
        for piece in pieces {
            self.write(vec![piece], out);
        }
    }

    /// Why each answer stopped, and the usage. Held back to the end: the provider may say why before it has said all.
    fn last(&mut self) -> Bytes {
        let mut out = Vec::new();
        let finished: Vec<(u32, Option<&str>)> =
            self.turns.iter().map(|turn| (turn.index, turn.finish_reason())).collect();
        for (index, reason) in finished {
            let finish_reason = reason.map(str::to_owned);
            self.write(vec![ChunkChoice { index, finish_reason, ..ChunkChoice::default() }], &mut out);
        }
        if self.wanted.delivery == Delivery::StreamWithUsage {
            self.write(Vec::new(), &mut out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        out.into()
    }

    fn write(&self, choices: Vec<ChunkChoice>, out: &mut Vec<u8>) {
        let usage = if choices.is_empty() { self.observed.usage.as_ref().and_then(CompletionUsage::of) } else { None };
        let chunk = CompletionChunk {
            id: self.observed.provider_request_id.clone().unwrap_or_default(),
            object: "chat.completion.chunk".to_owned(),
            model: self.observed.model_version.clone().unwrap_or_default(),
            choices,
            usage,
            ..CompletionChunk::default()
        };
        out.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut *out, &chunk).expect("a chunk has a JSON form");
        out.extend_from_slice(b"\n\n");
    }

    fn turn(&mut self, index: u32) -> &mut Turn {
        let at = self.turns.iter().position(|turn| turn.index == index).unwrap_or_else(|| {
            self.turns.push(Turn::new(index));
            self.turns.len() - 1
        });
        &mut self.turns[at]
    }
}

/// Plain JSON where a stream was asked for, mostly to say what is wrong.
fn not_a_stream(body: &[u8]) -> Failure {
    match Answer::read(body) {
        Err(failure) => failure,
        Ok(Answer { error: Some(error), .. }) => errors::within(&error),
        Ok(_) => {
            Failure::provider(FailureKind::Broken, "the provider answered in one piece where a stream was asked for")
        }
    }
}
