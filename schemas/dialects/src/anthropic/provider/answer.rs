//! The parts of an answer or of a stream's events that the gateway reads, and how they are said in the agnostic form.
//! Leaves are of any type where nobody acts on them, so that a copy's odd spelling of one field does not fail the answer.

use super::usage::Counts;
use crate::provider::Observed;
use penstock_schemas::chat::{Issuer, ReasoningDetail};
use penstock_schemas::failure::{Failure, FailureKind};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The tool whose arguments are the answer, where a shape is asked for that the provider cannot keep to otherwise. A
/// reader knows nothing of the request, so it tells the tool by this beginning of its name.
pub(super) const ANSWER_TOOL: &str = "structured_answer__";

/// A whole answer, or what `message_start` says of it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Option<Value>,
    pub(super) role: Option<Value>,
    pub(super) id: Option<Value>,
    pub(super) model: Option<Value>,
    #[serde(borrow)]
    pub(super) content: Option<Vec<&'a RawValue>>,
    pub(super) stop_reason: Option<Value>,
    #[serde(default, deserialize_with = "even_null")]
    pub(super) stop_sequence: Option<Value>,
    pub(super) stop_details: Option<Value>,
    pub(super) usage: Option<Value>,
}

/// Tells a member that is null from one that is missing.
pub(super) fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What a `content_block_delta` or a `message_delta` adds.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Added {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) partial_json: Option<JsonPiece>,
    pub(super) citation: Option<Value>,
    pub(super) stop_reason: Option<Value>,
    #[serde(default, deserialize_with = "even_null")]
    pub(super) stop_sequence: Option<Value>,
    pub(super) stop_details: Option<Value>,
}

/// A piece of a call's arguments: a text, by the book.
#[derive(Debug)]
pub(super) struct JsonPiece {
    pub(super) text: String,
    /// Whether it came as the value that the text is of.
    pub(super) is_read: bool,
}

impl<'de> Deserialize<'de> for JsonPiece {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        match serde_json::from_str(raw.get()) {
            Ok(text) => Ok(Self { text, is_read: false }),
            Err(_) if raw.get().starts_with('"') => Err(serde::de::Error::custom("no text")),
            Err(_) => Ok(Self { text: raw.get().to_owned(), is_read: true }),
        }
    }
}

/// A block of an answer, whole or as it begins in a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Block<'a> {
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    pub(super) text: Option<String>,
    pub(super) citations: Option<Vec<Value>>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) data: Option<String>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    /// Never parsed, so that no number in it is rounded.
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

impl Block<'_> {
    /// Notes the tool that the caller is to use, if the block asks for one.
    pub(super) fn note_tool(&self, observed: &mut Observed) {
        let name = self.name.as_deref().filter(|name| self.kind == "tool_use" && !name.starts_with(ANSWER_TOOL));
        if let Some(name) = name {
            observed.tools.add(name);
        }
    }
}

/// Reads JSON that the provider sent.
///
/// # Errors
/// When it is not of that type; the failure quotes nothing of it.
pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            Category::Eof => "is cut short",
            Category::Syntax | Category::Io => "is not JSON",
            Category::Data => "is not a message",
        };
        let at = format!("at line {} column {}", error.line(), error.column());
        Failure::provider(FailureKind::Broken, format!("the provider's answer {what} {at}"))
    })
}

impl Message<'_> {
    /// Adds what it says to what is known.
    pub(super) fn observe(&self, counts: &mut Counts, observed: &mut Observed) {
        observed.provider_request_id = observed.provider_request_id.take().or_else(|| text(self.id.as_ref()));
        observed.model_version = observed.model_version.take().or_else(|| text(self.model.as_ref()));
        observed.finish_reason = text(self.stop_reason.as_ref()).or_else(|| observed.finish_reason.take());
        if let Some(usage) = &self.usage {
            counts.note(usage);
            counts.observe(observed);
        }
    }
}

/// A text that is not empty.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Why the answer ended, and what else there is to say about that.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// The agnostic word.
    pub(super) reason: &'static str,
    /// What the agnostic word does not tell: Anthropic's own, and the sequence that was met.
    pub(super) extra: Map<String, Value>,
    /// Why the model will not go on.
    pub(super) refusal: Option<String>,
}

impl Stop {
    /// Source: <https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons>.
    pub(super) fn of(reason: &str, sequence: Option<&Value>, details: Option<&Value>) -> Self {
        let word = match reason {
            "max_tokens" | "model_context_window_exceeded" => "length",
            "tool_use" => "tool_calls",
            "refusal" => "content_filter",
            _ => "stop",
        };
        let mut extra = Map::new();
        if !matches!(reason, "end_turn" | "max_tokens" | "tool_use") {
            extra.insert("native_finish_reason".to_owned(), reason.into());
        }
        if let Some(sequence) = text(sequence) {
            extra.insert("stop_sequence".to_owned(), sequence.into());
        }
        let explanation = details.and_then(|details| details.get("explanation"));
        let refusal = if reason == "refusal" { text(explanation) } else { None };
        Self { reason: word, extra, refusal }
    }

    /// With the word for an answer that calls nothing: its only call was the answer itself, or there was none.
    /// Source: <https://github.com/earendil-works/pi/issues/9681>.
    pub(super) fn unless_called(mut self, calls: u32) -> Self {
        if calls == 0 && self.reason == "tool_calls" {
            self.reason = "stop";
        }
        self
    }
}

/// A thought to read, with its signature.
pub(super) fn thought(index: u32, text: Option<String>, signature: Option<String>) -> ReasoningDetail {
    let kind = "reasoning.text".to_owned();
    let format = Some(Issuer::Anthropic);
    ReasoningDetail { kind, text, signature, format, index: Some(index), ..ReasoningDetail::default() }
}

/// A thought that only the issuer can read.
pub(super) fn hidden_thought(index: u32, data: Option<String>) -> ReasoningDetail {
    let kind = "reasoning.encrypted".to_owned();
    ReasoningDetail { kind, data, format: Some(Issuer::Anthropic), index: Some(index), ..ReasoningDetail::default() }
}

/// A citation as OpenAI spells annotations, with Anthropic's own words under `citation`. `span` is where the text that it
/// stands behind lies in the answer, in characters.
/// Source: <https://platform.openai.com/docs/api-reference/chat/object#chat-object-choices-message-annotations>.
pub(super) fn annotation(citation: &Value, span: (usize, usize)) -> Value {
    let (start, end) = span;
    match citation.get("url").and_then(Value::as_str) {
        Some(url) => {
            let title = citation.get("title").and_then(Value::as_str).unwrap_or_default();
            let place = json!({ "start_index": start, "end_index": end, "url": url, "title": title });
            json!({ "type": "url_citation", "url_citation": place, "citation": citation })
        }
        None => json!({ "type": "document_citation", "start_index": start, "end_index": end, "citation": citation }),
    }
}
