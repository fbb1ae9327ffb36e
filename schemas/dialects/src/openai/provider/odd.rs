//! What strict clients of OpenAI's dialect cannot read, mended in answers of copies that go on as they came otherwise: the
//! types of the head and of the usage, missing roles, indexes, deltas and choices, content in pieces, likelihoods of the older
//! kind, reasons to stop that OpenAI does not have or that hide a call, and what `OwnCalls` knows of calls. Most answers need
//! none of it, which a look at their bytes tells. Knows nothing of the agnostic form.

use super::agnostic::finish_reason;
use super::frame::{self, AnswerKind};
use super::likelihoods;
use super::own_calls::OwnCalls;
use bytes::Bytes;
use penstock_schemas::sse;
use serde_json::{Map, Value};

mod look;
mod said;
#[cfg(test)]
mod tests;

/// OpenAI's reasons to stop.
/// Source: <https://platform.openai.com/docs/api-reference/chat/object#chat/object-choices>.
const REASONS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "function_call"];

/// The characters of an answer's id that an id of a call takes: OpenAI takes back 40 in all.
const ID_PART: usize = 24;

/// What was seen of a chunk when it was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Whether it is the first of a choice, which has a role.
    pub(super) opens: bool,
    /// Whether its head is of other types than OpenAI's.
    pub(super) is_odd: bool,
    /// Whether it has choices: then those of the whole stream are like it.
    pub(super) has_choices: bool,
    /// Whether a choice stops that has stopped before.
    pub(super) stops_again: bool,
}

/// What one stream showed that its later chunks are read by.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    calls: OwnCalls,
    /// Whether every chunk must be read: its head is odd in each.
    is_odd: bool,
}

/// A whole answer as OpenAI would spell it; `None` when it is spelt so. `is_odd` says that its head is not.
pub(super) fn mended(json: &[u8], is_odd: bool) -> Option<Bytes> {
    if !is_odd && !look::may_be_odd(json, AnswerKind::Whole) {
        return None;
    }
    let mut calls = OwnCalls::default();
    mend(json, AnswerKind::Whole, |choice, index, id| {
        let mut is_mended = false;
        if let Some(Value::Object(said)) = choice.get_mut("message") {
            is_mended |= said::mend(said, AnswerKind::Whole);
            is_mended |= calls.mend_whole(said, index, id);
        }
        is_mended | likelihoods::mend(choice) | mend_reason(choice, AnswerKind::Whole, calls.has_called(index))
    })
}

impl Streamed {
    /// Whether the stream has more calls than an answer may have.
    pub(super) fn has_too_many_calls(&self) -> bool {
        self.calls.are_too_many()
    }

    /// The same of a chunk.
    pub(super) fn mended(&mut self, json: &[u8], seen: Seen) -> Option<Bytes> {
        self.is_odd |= seen.is_odd && seen.has_choices;
        let may_stop = self.calls.is_any() && look::stops(json);
        if !self.is_odd
            && !seen.is_odd
            && !seen.opens
            && !seen.stops_again
            && !may_stop
            && !look::may_be_odd(json, AnswerKind::Chunk)
        {
            return None;
        }
        mend(json, AnswerKind::Chunk, |choice, index, id| self.mend_choice(choice, index, id, seen))
    }

    fn mend_choice(&mut self, choice: &mut Map<String, Value>, index: u64, id: &str, seen: Seen) -> bool {
        let mut is_mended = false;
        if !choice.get("delta").is_some_and(Value::is_object) && !choice.contains_key("text") {
            choice.insert("delta".to_owned(), Value::Object(Map::new()));
            is_mended = true;
        }
        if seen.stops_again {
            // Some say it once more beside the usage, and clients would do once more what follows from it.
            choice.insert("finish_reason".to_owned(), Value::Null);
            is_mended = true;
        }
        let is_last = choice.get("finish_reason").and_then(Value::as_str).is_some_and(|reason| !reason.is_empty());
        if let Some(Value::Object(said)) = choice.get_mut("delta") {
            is_mended |= said::mend(said, AnswerKind::Chunk);
            if seen.opens && said.get("role").is_none_or(Value::is_null) {
                said.insert("role".to_owned(), "assistant".into());
                is_mended = true;
            }
            is_mended |= self.calls.mend_delta(said, index, id);
            is_mended |= is_last && self.calls.end(said, index);
        }
        is_mended | likelihoods::mend(choice) | mend_reason(choice, AnswerKind::Chunk, self.calls.has_called(index))
    }

    /// The end of a choice that the provider has ended without a word.
    pub(super) fn end(&mut self, choice: u64) -> Value {
        let mut delta = Map::new();
        self.calls.end(&mut delta, choice);
        let reason = if self.calls.has_called(choice) { "tool_calls" } else { "stop" };
        serde_json::json!({ "index": choice, "delta": delta, "finish_reason": reason })
    }
}

/// A chunk whose choices have messages where OpenAI's have deltas, with those; `None` when it is none.
/// Sources: <https://github.com/MetaGLM/zhipuai-sdk-java-v4/issues/40>, <https://github.com/Amm1rr/WebAI-to-API/issues/55>.
pub(super) fn with_deltas(event: &sse::Event) -> Option<sse::Event> {
    if !look::has_messages_alone(&event.data) {
        return None;
    }
    let mut chunk: Map<String, Value> = serde_json::from_slice(&event.data).ok()?;
    for choice in chunk.get_mut("choices")?.as_array_mut()? {
        let choice = choice.as_object_mut()?;
        let message = choice.shift_remove("message")?;
        choice.insert("delta".to_owned(), message);
    }
    chunk.insert("object".to_owned(), "chat.completion.chunk".into());
    let data = serde_json::to_vec(&chunk).ok()?;
    Some(sse::Event { raw: [b"data: ", &data[..], b"\n\n"].concat().into(), event: None, data: data.into() })
}

/// The answer with its choices mended, each with its index and a name for its calls; `None` when there was nothing to do.
fn mend(
    json: &[u8],
    piece: AnswerKind,
    mut mend_choice: impl FnMut(&mut Map<String, Value>, u64, &str) -> bool,
) -> Option<Bytes> {
    let mut answer: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let id = tail(answer.get("id").and_then(Value::as_str).unwrap_or_default());
    let mut is_mended = frame::mend(&mut answer, piece);
    if !answer.get("choices").is_some_and(Value::is_array) {
        answer.insert("choices".to_owned(), Value::Array(Vec::new()));
        is_mended = true;
    }
    let choices = answer.get_mut("choices").and_then(Value::as_array_mut)?;
    for (place, choice) in choices.iter_mut().enumerate() {
        let Value::Object(choice) = choice else { continue };
        let index = choice.get("index").and_then(Value::as_u64);
        if index.is_none() {
            choice.insert("index".to_owned(), place.into());
            is_mended = true;
        }
        is_mended |= mend_choice(choice, index.unwrap_or(place as u64), &format!("{id}_{place}"));
    }
    is_mended.then(|| serde_json::to_vec(&answer).ok().map(Bytes::from)).flatten()
}

/// Why a choice stopped. Agents go on by this word: one that has called a tool has not merely stopped.
fn mend_reason(choice: &mut Map<String, Value>, piece: AnswerKind, has_called: bool) -> bool {
    let is_whole = piece == AnswerKind::Whole;
    let theirs = match choice.get("finish_reason") {
        Some(theirs) => theirs.clone(),
        None if is_whole => Value::Null,
        None => return false,
    };
    let word = theirs.as_str().and_then(finish_reason);
    let reason = match word {
        Some("stop") if has_called => "tool_calls".into(),
        Some(word) if REASONS.contains(&word) => Value::from(word),
        // A word of the server's own; the ledger has it.
        Some(_) => "stop".into(),
        None if is_whole && has_called => "tool_calls".into(),
        None if is_whole => "stop".into(),
        None => Value::Null,
    };
    if reason == theirs || reason != "tool_calls" && REASONS.iter().any(|known| theirs == *known) {
        return false;
    }
    choice.insert("finish_reason".to_owned(), reason);
    true
}

/// The last letters and digits of an id.
fn tail(id: &str) -> String {
    let letters: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).collect();
    letters[letters.len().saturating_sub(ID_PART)..].iter().collect()
}
