//! The parts of an answer or of a chunk that the gateway reads. Knows nothing of what clients make of them: content is
//! looked at only for whether there is any.

use super::frame::{self, AnswerHead, AnswerKind};
use super::usage;
use crate::errors::{ErrorParts, within};
use crate::provider::Observed;
use penstock_schemas::chat::CompletionChunk;
use penstock_schemas::failure::{Failure, FailureKind};
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

/// An answer or a chunk. Leaves are of any type, so that a copy's odd spelling of one field does not fail the answer.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    id: Option<Value>,
    created: Option<Value>,
    model: Option<Value>,
    system_fingerprint: Option<Value>,
    service_tier: Option<Value>,
    /// Each answer, or its next piece.
    pub(super) choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    /// The copy of one provider that reports the usage here, unasked.
    x_groq: Option<Elsewhere>,
    error: Option<Value>,
    object: Option<Value>,
    message: Option<Value>,
}

/// One answer, or a piece of it.
#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    index: Option<Value>,
    finish_reason: Option<Value>,
    delta: Option<Delta>,
    /// What a completion of a text adds.
    text: Option<Value>,
    /// One provider's streams report the usage here.
    usage: Option<Value>,
    /// Why the answer stopped as it did, where a gateway's own provider failed.
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Elsewhere {
    usage: Option<Value>,
    error: Option<Value>,
}

/// What a piece adds. `reasoning`, `reasoning_content`, `reasoning_details` and `images` are the copies' own.
#[derive(Debug, Deserialize)]
struct Delta {
    content: Option<Value>,
    refusal: Option<Value>,
    tool_calls: Option<Value>,
    function_call: Option<Value>,
    audio: Option<Value>,
    reasoning: Option<Value>,
    reasoning_content: Option<Value>,
    reasoning_details: Option<Value>,
    images: Option<Value>,
    annotations: Option<Value>,
}

impl Answer {
    /// Reads it, the last of a field's values counting when it comes twice.
    ///
    /// # Errors
    /// When it is not a JSON object with choices in a list.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let twice = |_| serde_json::from_slice::<Value>(bytes).and_then(serde_json::from_value);
        serde_json::from_slice(bytes).or_else(twice).map_err(|error: serde_json::Error| {
            // The parser's own words may quote the answer.
            let what = match error.classify() {
                Category::Eof => "is cut short",
                Category::Syntax | Category::Io => "is not JSON",
                Category::Data => "is not a chat completion",
            };
            let at = format!("at line {} column {}", error.line(), error.column());
            Failure::provider(FailureKind::Broken, format!("the provider's answer {what} {at}"))
        })
    }

    /// The error in it, if it is one: under `error`, or the whole of it.
    pub(super) fn error(&self) -> Option<Said<'_>> {
        let elsewhere = self.x_groq.as_ref().and_then(|elsewhere| elsewhere.error.as_ref());
        if let Some(error) = self.error.as_ref().or(elsewhere).filter(|error| is_filled(Some(error))) {
            return Some(Said::Part(error));
        }
        let is_error = self.object.as_ref().is_some_and(|object| object == "error")
            || (self.choices.is_none() && is_filled(self.message.as_ref()));
        is_error.then_some(Said::Whole)
    }

    /// The failure that a choice ended with, by its reason to stop. Sources: <https://openrouter.ai/docs/api-reference/overview>,
    /// <https://docs.z.ai/api-reference/llm/chat-completion>, <https://api-docs.deepseek.com/api/create-chat-completion>,
    /// <https://github.com/vllm-project/vllm/blob/main/vllm/v1/engine/__init__.py>.
    pub(super) fn failure(&self) -> Option<Failure> {
        let choices = self.choices.iter().flatten();
        choices.filter_map(|choice| Some((choice, choice.finish_reason()?))).find_map(|(choice, reason)| {
            let kind = match reason {
                "error" => FailureKind::ServerError,
                "network_error" | "abort" => FailureKind::Broken,
                "insufficient_system_resource" => FailureKind::Overloaded,
                _ => return None,
            };
            let said = choice.error.as_ref().filter(|error| is_filled(Some(error)));
            Some(match said {
                Some(error) => within(&ErrorParts::of(error)),
                None => Failure::provider(kind, format!("the provider could not finish its answer ({reason})")),
            })
        })
    }

    /// Whether what stands around its choices is of other types than OpenAI's.
    pub(super) fn is_odd(&self, piece: AnswerKind) -> bool {
        let head = AnswerHead {
            id: self.id.as_ref(),
            object: self.object.as_ref(),
            created: self.created.as_ref(),
            model: self.model.as_ref(),
            service_tier: self.service_tier.as_ref(),
            system_fingerprint: self.system_fingerprint.as_ref(),
            usage: self.usage.as_ref(),
        };
        frame::is_odd(head, piece) || self.choices.is_none()
    }

    /// What a chunk of the same stream begins with. What is not known is empty.
    pub(super) fn head(&self) -> CompletionChunk {
        let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        CompletionChunk {
            id: text(&self.id),
            object: "chat.completion.chunk".to_owned(),
            created: self.created.as_ref().and_then(frame::seconds).unwrap_or(0),
            model: text(&self.model),
            ..CompletionChunk::default()
        }
    }

    /// Whether it reports a usage where OpenAI does.
    pub(super) fn tells_usage(&self) -> bool {
        self.usage.as_ref().is_some_and(|usage| usage::read(usage).is_some())
    }

    /// Whether it reports a usage and nothing else.
    pub(super) fn is_usage_alone(&self) -> bool {
        self.usage.is_some() && self.choices.as_ref().is_none_or(Vec::is_empty)
    }

    /// Whether it holds neither a choice nor a usage, as Azure's report on the prompt does.
    pub(super) fn is_empty(&self) -> bool {
        self.usage.is_none() && self.choices.as_ref().is_none_or(Vec::is_empty)
    }

    /// Adds what it says to what is known.
    pub(super) fn observe(&self, observed: &mut Observed) {
        let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        let known = |text: Option<String>| text.filter(|text| !text.is_empty());
        if observed.provider_request_id.is_none() {
            observed.provider_request_id = known(text(&self.id));
        }
        if observed.model_version.is_none() {
            observed.model_version = known(text(&self.model));
        }
        let choices = self.choices.as_deref().unwrap_or_default();
        observed.note_fingerprint(self.system_fingerprint.as_ref().and_then(Value::as_str));
        for delta in choices.iter().filter_map(|choice| choice.delta.as_ref()) {
            note_calls([delta.tool_calls.as_ref(), delta.function_call.as_ref()], observed);
            note_citations(delta.annotations.as_ref(), observed);
        }
        if let Some(tier) = text(&self.service_tier) {
            observed.note_tier(Some(&tier));
        }
        if observed.finish_reason.is_none() {
            observed.finish_reason = choices.iter().find_map(Choice::finish_reason).map(str::to_owned);
        }
        let usages = [self.x_groq.as_ref().and_then(|elsewhere| elsewhere.usage.as_ref()), self.usage.as_ref()];
        let usages = choices.iter().map(|choice| choice.usage.as_ref()).chain(usages);
        // A stream may count on in each chunk: the last figures are the whole stream's.
        for usage in usages.flatten() {
            if let Some(read) = usage::read(usage) {
                (observed.usage, observed.usage_mismatch) = (Some(read.usage), read.mismatch);
                observed.told_cost = usage::cost(usage);
            }
        }
        note_search(observed);
    }
}

/// Where an answer's error is.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// In this part of it.
    Part(&'a Value),
    /// The answer is the error.
    Whole,
}

impl Choice {
    /// Its place among the answers.
    pub(super) fn index(&self) -> u64 {
        self.index.as_ref().and_then(Value::as_u64).unwrap_or(0)
    }

    /// Why it stopped, if it did. Some copies write an empty word while it has not.
    pub(super) fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_ref().and_then(Value::as_str).filter(|reason| !reason.is_empty())
    }

    /// Whether it brings anything that a client could act on.
    pub(super) fn has_content(&self) -> bool {
        self.finish_reason().is_some()
            || is_filled(self.text.as_ref())
            || self.delta.as_ref().is_some_and(|delta| {
                [
                    &delta.content,
                    &delta.refusal,
                    &delta.tool_calls,
                    &delta.function_call,
                    &delta.audio,
                    &delta.reasoning,
                    &delta.reasoning_content,
                    &delta.reasoning_details,
                    &delta.images,
                ]
                .into_iter()
                .any(|value| is_filled(value.as_ref()))
            })
    }
}

/// Notes which tools are asked for: of `tool_calls`, of functions and of free text, and of the older `function_call`.
pub(super) fn note_calls([calls, call]: [Option<&Value>; 2], observed: &mut Observed) {
    let calls = calls.and_then(Value::as_array).into_iter().flatten();
    let named = calls.filter_map(|call| call.get("function").or_else(|| call.get("custom"))).chain(call);
    for name in named.filter_map(|call| call.get("name")?.as_str()) {
        observed.tools.add(name);
    }
}

/// Notes whether an answer cites pages of the web: then its provider searched for it, which usages do not say.
/// Source: <https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat>, <https://openrouter.ai/docs/guides/features/plugins/web-search>.
pub(super) fn note_citations(annotations: Option<&Value>, observed: &mut Observed) {
    let annotations = annotations.and_then(Value::as_array).into_iter().flatten();
    observed.cites_pages |= annotations.into_iter().any(|annotation| annotation["type"] == "url_citation");
    note_search(observed);
}

fn note_search(observed: &mut Observed) {
    if let Some(usage) = observed.usage.as_mut().filter(|_| observed.cites_pages) {
        usage.searches = usage.searches.or(Some(1));
    }
}

pub(super) fn is_filled(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => true,
    }
}
