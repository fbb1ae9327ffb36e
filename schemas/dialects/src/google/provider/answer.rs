//! An answer of `generateContent`, or a piece of one, as far as the gateway reads it.
//! Source: <https://ai.google.dev/api/generate-content#generatecontentresponse>.

use super::thinking::Generation;
use super::usage;
use crate::provider::Observed;
use penstock_schemas::failure::{Failure, FailureKind};
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

/// An answer, or a piece of one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<Value>,
    usage_metadata: Option<Value>,
    model_version: Option<String>,
    response_id: Option<String>,
    pub(super) error: Option<Value>,
}

/// One answer of several.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) index: Option<u32>,
    content: Option<Content>,
    pub(super) finish_reason: Option<String>,
    finish_message: Option<String>,
    pub(super) citation_metadata: Option<Value>,
    pub(super) grounding_metadata: Option<Value>,
    pub(super) logprobs_result: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Content {
    parts: Option<Vec<Part>>,
}

/// One part of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) thought: Option<bool>,
    pub(super) thought_signature: Option<String>,
    pub(super) function_call: Option<FunctionCall>,
    pub(super) inline_data: Option<Blob>,
    pub(super) executable_code: Option<Value>,
    pub(super) code_execution_result: Option<Value>,
}

/// A call of a function.
#[derive(Debug, Deserialize)]
pub(super) struct FunctionCall {
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) name: String,
    /// Unread, so that no number is rounded.
    pub(super) args: Option<Box<RawValue>>,
}

/// Bytes in place.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob {
    #[serde(default)]
    pub(super) mime_type: String,
    #[serde(default)]
    pub(super) data: String,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    Filtered,
    /// The model went wrong, and what there is of the answer is not one.
    Failed,
}

impl Finish {
    /// Source: <https://ai.google.dev/api/generate-content#FinishReason>.
    pub(super) fn of(reason: &str) -> Self {
        match reason {
            "MAX_TOKENS" | "CONTINUATION" => Self::Length,
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "MODEL_ARMOR"
            | "ESCALATION"
            | "PUP_LIMITED_DISABLED"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => Self::Filtered,
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MALFORMED_RESPONSE"
            | "MISSING_THOUGHT_SIGNATURE"
            | "OTHER"
            | "IMAGE_OTHER"
            | "NO_IMAGE" => Self::Failed,
            _ => Self::Stop,
        }
    }
}

impl Answer {
    /// Reads it.
    ///
    /// # Errors
    /// When it is not JSON of this shape.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(bytes).map_err(|error| {
            // The parser's own words may quote the answer.
            let what = match error.classify() {
                Category::Eof => "is cut short",
                Category::Syntax | Category::Io => "is not JSON",
                Category::Data => "is not an answer of generateContent",
            };
            let at = format!("at line {} column {}", error.line(), error.column());
            Failure::provider(FailureKind::Broken, format!("the provider's answer {what} {at}"))
        })
    }

    /// Why the provider will not answer the prompt, in its word.
    pub(super) fn blocked(&self) -> Option<&str> {
        self.prompt_feedback.as_ref()?.get("blockReason")?.as_str()
    }

    /// That, as a failure.
    pub(super) fn refusal(&self) -> Option<Failure> {
        let reason = self.blocked()?;
        let said = self.prompt_feedback.as_ref().and_then(|feedback| feedback.get("blockReasonMessage")?.as_str());
        let message = said.map_or_else(|| format!("the provider blocked the prompt: {reason}"), str::to_owned);
        let provider_code = Some(reason.to_owned());
        Some(Failure { provider_code, ..Failure::provider(FailureKind::ContentRefused, message) })
    }

    pub(super) fn candidates(&self) -> &[Candidate] {
        self.candidates.as_deref().unwrap_or_default()
    }

    pub(super) fn into_candidates(self) -> Vec<Candidate> {
        self.candidates.unwrap_or_default()
    }

    /// Adds what it says besides its content to what is known.
    pub(super) fn observe(&self, observed: &mut Observed) {
        if observed.provider_request_id.is_none() {
            observed.provider_request_id.clone_from(&self.response_id);
        }
        if observed.model_version.is_none() {
            observed.model_version.clone_from(&self.model_version);
        }
        if observed.finish_reason.is_none() {
            observed.finish_reason = self.candidates().iter().find_map(|candidate| candidate.finish_reason.clone());
            observed.finish_reason = observed.finish_reason.take().or(self.blocked().map(str::to_owned));
        }
        if let Some(metadata) = &self.usage_metadata {
            usage::observe(metadata, observed);
        }
        let parts = self.candidates().iter().flat_map(Candidate::parts);
        for call in parts.filter_map(|part| part.function_call.as_ref()) {
            observed.tools.add(&call.name);
        }
        let generation = observed.model_version.as_deref().map(Generation::of);
        let searches: u64 = self.candidates().iter().filter_map(|candidate| candidate.searches(generation)).sum();
        if let Some(usage) = observed.usage.as_mut().filter(|_| searches > 0) {
            usage.searches = Some(usage.searches.unwrap_or(0).max(searches));
        }
    }
}

impl Candidate {
    pub(super) fn index(&self) -> u32 {
        self.index.unwrap_or(0)
    }

    pub(super) fn parts(&self) -> &[Part] {
        self.content.as_ref().and_then(|content| content.parts.as_deref()).unwrap_or_default()
    }

    pub(super) fn take_parts(&mut self) -> Vec<Part> {
        self.content.take().and_then(|content| content.parts).unwrap_or_default()
    }

    /// Whether it brings anything that a client could act on.
    /// The bytes in its parts.
    pub(super) fn into_blobs(self) -> impl Iterator<Item = Blob> {
        let parts = self.content.and_then(|content| content.parts).unwrap_or_default();
        parts.into_iter().filter_map(|part| part.inline_data)
    }

    pub(super) fn has_content(&self) -> bool {
        self.finish_reason.is_some() || self.parts().iter().any(Part::has_content)
    }

    /// That the model went wrong.
    pub(super) fn failure(&self) -> Option<Failure> {
        let reason = self.finish_reason.as_deref().filter(|reason| Finish::of(reason) == Finish::Failed)?;
        let said = self.finish_message.clone();
        let message = said.unwrap_or_else(|| format!("the provider's model gave no answer: {reason}"));
        let provider_code = Some(reason.to_owned());
        Some(Failure { provider_code, ..Failure::provider(FailureKind::Broken, message) })
    }

    /// How many searches are paid for: later models pay for each query, earlier ones for the grounded answer.
    /// Source: <https://ai.google.dev/gemini-api/docs/google-search#pricing>.
    fn searches(&self, generation: Option<Generation>) -> Option<u64> {
        let queries = self.grounding_metadata.as_ref()?.get("webSearchQueries")?.as_array()?.len() as u64;
        Some(if generation.is_some_and(Generation::is_signed) { queries } else { queries.min(1) })
    }
}

impl Part {
    fn has_content(&self) -> bool {
        self.text.as_ref().is_some_and(|text| !text.is_empty())
            || self.function_call.is_some()
            || self.inline_data.is_some()
            || self.executable_code.is_some()
            || self.code_execution_result.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_or_blocked_is_told_as_such() {
        for (reason, finish) in [
            ("STOP", Finish::Stop),
            ("MAX_TOKENS", Finish::Length),
            ("CONTINUATION", Finish::Length),
            ("MODEL_ARMOR", Finish::Filtered),
            ("ESCALATION", Finish::Filtered),
            ("MALFORMED_RESPONSE", Finish::Failed),
            ("NOT_YET_KNOWN", Finish::Stop),
        ] {
            assert_eq!(Finish::of(reason), finish, "{reason}");
        }
    }
}
