//! Reads a stream event by event: each is a piece of an answer of the same shape as a whole one. It has no last word: it is
//! complete when every answer has said why it stopped.
//! Source: <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>.

use super::answer::{Answer, Candidate};
use super::chunks::{CallIdSource, Turn, compact};
use super::{annotations, errors};
use crate::most;
use crate::openai::provider::other_way::{raw_event, read_all};
use crate::provider::{Form, Observed, Step, StreamReader, Wanted};
use bytes::Bytes;
use penstock_schemas::chat::{ChunkChoice, CompletionChunk, CompletionUsage, Delta};
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;
use serde_json::value::RawValue;

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
        if event.data.is_empty() && [b"{", b"["].iter().any(|start| raw.trim_ascii_start().starts_with(*start)) {
            return read_all(self, &in_one_piece(&raw)?);
        }
        if event.data.is_empty() {
            // Comments keep a connection alive. Before the first content they must not pile up.
            let is_passed = self.has_content && self.wanted.form == Form::Own;
            return Ok(if is_passed { Step::Hold(raw) } else { Step::Hide });
        }
        if event.data.trim_ascii() == b"[DONE]" {
            return Ok(Step::Hide); // OpenAI's word, which some copies end with
        }
        let answer = Answer::read(&event.data)?;
        if let Some(error) = &answer.error {
            return Err(errors::within(error));
        }
        answer.observe(&mut self.observed);
        match self.wanted.form {
            Form::Own => self.pass(&answer, raw),
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

    fn pass(&mut self, answer: &Answer, raw: Bytes) -> Result<Step, Failure> {
        self.is_blocked |= answer.blocked().is_some();
        let mut has_content = self.is_blocked;
        for candidate in answer.candidates() {
            has_content |= candidate.has_content();
            self.turn(candidate.index())?.note(candidate);
        }
        self.has_content |= has_content;
        Ok(if has_content { Step::Content(raw) } else { Step::Hold(raw) })
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
            self.candidate(candidate, &origin, &mut out)?;
        }
        self.has_content |= has_content;
        Ok(match (out.is_empty(), has_content) {
            (true, false) => Step::Hide,
            (_, true) => Step::Content(out.into()),
            (false, false) => Step::Hold(out.into()),
        })
    }

    fn candidate(&mut self, candidate: Candidate, origin: &CallIdSource, out: &mut Vec<u8>) -> Result<(), Failure> {
        let index = candidate.index();
        let is_new = self.turns.iter().all(|turn| turn.index != index);
        let logprobs = candidate.logprobs_result.as_ref().map(annotations::logprobs);
        let mut delta = self.turn(index)?.add(candidate, origin);
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
        Ok(())
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

    fn turn(&mut self, index: u32) -> Result<&mut Turn, Failure> {
        let known = self.turns.iter().position(|turn| turn.index == index);
        if known.is_none() && self.turns.len() >= most::CHOICES {
            return Err(most::too_many_choices());
        }
        let at = known.unwrap_or_else(|| {
            self.turns.push(Turn::new(index));
            self.turns.len() - 1
        });
        Ok(&mut self.turns[at])
    }
}

/// Plain JSON where a stream was asked for, as its events: one answer, or a list of pieces, which is how Google streams to
/// those who do not ask for events.
fn in_one_piece(body: &[u8]) -> Result<Vec<sse::Event>, Failure> {
    let pieces: Vec<&RawValue> = match serde_json::from_slice(body) {
        Ok(pieces) => pieces,
        Err(_) => match serde_json::from_slice(body) {
            Ok(one) => vec![one],
            Err(_) => return Err(Answer::read(body).map_or_else(|failure| failure, |_| broken())),
        },
    };
    // Each must be an answer, or an error: it is read again as an event.
    Ok(pieces.into_iter().map(|piece| raw_event(&compact(piece.get()))).collect())
}

fn broken() -> Failure {
    Failure::provider(FailureKind::Broken, "the provider's answer is not JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::google::provider::Service;
    use crate::openai::provider::other_way::events;
    use crate::provider::ProviderFormat;
    use penstock_schemas::envelope::Operation;
    use serde_json::{Value, json};

    #[test]
    fn json_where_events_were_wanted_goes_out_as_events_whether_one_answer_or_a_list_of_pieces() {
        let piece = |text: &str, more: &Value| {
            let mut candidate = json!({"content": {"role": "model", "parts": [{"text": text}]}, "index": 0});
            candidate.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}})
        };
        let last = json!({"finishReason": "STOP"});
        let list = json!([piece("a", &json!({})), piece("b", &last)]);
        for (body, form) in [(piece("ab", &last), Form::Own), (list.clone(), Form::Own), (list, Form::Agnostic)] {
            let wanted = Wanted { operation: Operation::Chat, form, delivery: Delivery::Stream };
            let mut reader = Service::Gemini.stream(wanted);
            let raw = serde_json::to_string_pretty(&body).unwrap().into();
            let step = reader.read(&sse::Event { raw, event: None, data: Bytes::new() }).unwrap();
            let Step::Content(bytes) = step else { panic!("it is content") };
            let sent: Vec<Value> =
                events(&bytes).iter().map(|event| serde_json::from_slice(&event.data).unwrap()).collect();
            let place =
                if form == Form::Own { "/candidates/0/content/parts/0/text" } else { "/choices/0/delta/content" };
            let said: String = sent.iter().filter_map(|one| one.pointer(place)?.as_str()).collect();
            assert_eq!(said, "ab");
            assert!(reader.finish().is_ok());
            assert_eq!(reader.observed().usage.unwrap().output, Some(2));
        }
    }
}
