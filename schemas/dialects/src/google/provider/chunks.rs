//! One answer on its way into the agnostic form, part by part: what each adds. Knows nothing of streams and events.

use super::annotations;
use super::answer::{Candidate, Finish, FunctionCall, Part};
use crate::data_url;
use crate::provider::Observed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use penstock_schemas::chat::{self, Delta, Issuer, ReasoningDetail, ToolCall};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What is known of one answer of several.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Its place among the answers.
    pub(super) index: u32,
    finish: Option<Finish>,
    text: String,
    calls: u32,
    images: u32,
    /// The next piece of reasoning, and the thought that is being thought.
    details: u32,
    thought: Option<u32>,
}

/// What calls without ids are named after.
#[derive(Debug)]
pub(super) enum CallIdSource {
    /// The answer's own name.
    Answer(String),
    /// How many tokens were asked with, where an answer has no name: more in each round of a conversation, so that a call that
    /// is made again has another id than before.
    Asked(u64),
}

impl CallIdSource {
    pub(super) fn of(observed: &Observed) -> Self {
        let named = observed.provider_request_id.clone().filter(|id| !id.is_empty()).map(Self::Answer);
        named.unwrap_or_else(|| Self::Asked(observed.usage.map_or(0, |usage| usage.input_total())))
    }
}

impl Turn {
    pub(super) fn new(index: u32) -> Self {
        Self { index, ..Self::default() }
    }

    /// Whether it has come to its end.
    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Notes how it goes on, for a client that reads it itself.
    pub(super) fn note(&mut self, candidate: &Candidate) {
        self.finish = self.finish.or(candidate.finish_reason.as_deref().map(Finish::of));
    }

    /// Why it ended, in OpenAI's word.
    pub(super) fn finish_reason(&self) -> Option<&'static str> {
        Some(match self.finish? {
            Finish::Stop | Finish::Failed if self.calls > 0 => "tool_calls",
            Finish::Stop | Finish::Failed => "stop",
            Finish::Length => "length",
            Finish::Filtered => "content_filter",
        })
    }

    /// What `candidate` adds.
    pub(super) fn add(&mut self, mut candidate: Candidate, origin: &CallIdSource) -> Delta {
        let mut delta = Delta::default();
        for part in candidate.take_parts() {
            self.part(part, origin, &mut delta);
        }
        let mut notes = Vec::new();
        if let Some(grounding) = &candidate.grounding_metadata {
            notes.extend(annotations::of_grounding(grounding, &self.text));
        }
        if let Some(citations) = &candidate.citation_metadata {
            notes.extend(annotations::of_citations(citations, &self.text));
        }
        if !notes.is_empty() {
            delta.extra.insert("annotations".to_owned(), notes.into());
        }
        self.finish = self.finish.or(candidate.finish_reason.as_deref().map(Finish::of));
        delta
    }

    fn part(&mut self, part: Part, origin: &CallIdSource, delta: &mut Delta) {
        if part.thought == Some(true) {
            return self.thought(part, delta);
        }
        self.thought = None;
        if let Some(call) = part.function_call {
            let mut call = self.call(call, origin);
            if let Some(signature) = part.thought_signature {
                // Where Google's own OpenAI endpoint has it, for clients that give back what a call holds and no details.
                let own = json!({ "google": { "thought_signature": signature } });
                call.extra.insert("extra_content".to_owned(), own);
                self.sign(signature, call.id.clone(), delta);
            }
            delta.tool_calls.get_or_insert_default().push(call);
            return;
        }
        // Code that the provider ran by itself is no text of the answer, as nothing is that a provider's own tool did.
        if let Some(text) = part.text.filter(|text| !text.is_empty()) {
            self.text.push_str(&text);
            delta.content.get_or_insert_default().push_str(&text);
        }
        if let Some(blob) = part.inline_data.as_ref().filter(|blob| blob.mime_type.starts_with("audio/")) {
            say(&blob.data, delta);
        } else if let Some(blob) = part.inline_data {
            // OpenRouter's place for what a chat model paints: https://openrouter.ai/docs/features/multimodal/image-generation
            let url = data_url::write(&blob.mime_type, &blob.data);
            let image = json!({ "type": "image_url", "index": self.images, "image_url": { "url": url } });
            self.images += 1;
            let images = delta.extra.entry("images").or_insert_with(|| json!([]));
            images.as_array_mut().expect("it was made as a list").push(image);
        }
        if let Some(signature) = part.thought_signature {
            self.sign(signature, None, delta);
        }
    }

    fn thought(&mut self, part: Part, delta: &mut Delta) {
        let index = *self.thought.get_or_insert(self.details);
        self.details = index + 1;
        let text = part.text.unwrap_or_default();
        delta.reasoning_content.get_or_insert_default().push_str(&text);
        let details = delta.reasoning_details.get_or_insert_default();
        match details.last_mut().filter(|last| last.index == Some(index)) {
            Some(last) => {
                last.text.get_or_insert_default().push_str(&text);
                last.signature = part.thought_signature.or(last.signature.take());
            }
            None => details.push(ReasoningDetail {
                kind: "reasoning.text".to_owned(),
                text: Some(text),
                signature: part.thought_signature,
                format: Some(Issuer::Google),
                index: Some(index),
                ..ReasoningDetail::default()
            }),
        }
    }

    /// A signature of the text, or of the call of this id.
    fn sign(&mut self, signature: String, id: Option<String>, delta: &mut Delta) {
        delta.reasoning_details.get_or_insert_default().push(ReasoningDetail {
            kind: "reasoning.encrypted".to_owned(),
            data: Some(signature),
            id,
            format: Some(Issuer::Google),
            index: Some(self.details),
            ..ReasoningDetail::default()
        });
        self.details += 1;
    }

    fn call(&mut self, call: FunctionCall, origin: &CallIdSource) -> ToolCall {
        let arguments = call.args.map_or_else(|| "{}".to_owned(), |args| compact(args.get()));
        let index = self.calls;
        self.calls += 1;
        let made_up = || {
            let answer = match origin {
                CallIdSource::Answer(id) => id.clone(),
                CallIdSource::Asked(tokens) => digest(&call.name, &arguments, *tokens),
            };
            // Several answers of one response are told apart.
            let choice = if self.index == 0 { String::new() } else { format!("{}_", self.index) };
            format!("call_{answer}_{choice}{index}")
        };
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(made_up);
        let name = call.name;
        ToolCall {
            index: Some(index),
            id: Some(id),
            kind: Some("function".to_owned()),
            function: Some(chat::FunctionCall {
                name: Some(name),
                arguments: Some(arguments),
                ..chat::FunctionCall::default()
            }),
            ..ToolCall::default()
        }
    }
}

/// A name for an answer that has none: no randomness here, so what it says and was asked with names it.
fn digest(name: &str, arguments: &str, asked: u64) -> String {
    let mut hasher = DefaultHasher::new();
    (name, arguments, asked).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// JSON without the blanks between its tokens.
pub(super) fn compact(json: &str) -> String {
    let (mut out, mut in_text, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_text = c == '"';
        }
        out.push(c);
    }
    out
}

/// Adds sound where OpenAI has it. Source: <https://platform.openai.com/docs/guides/audio>.
fn say(base64: &str, delta: &mut Delta) {
    let audio =
        delta.extra.entry("audio").or_insert_with(|| json!({ "id": "audio", "transcript": "", "expires_at": 0 }));
    let said = audio.get("data").and_then(Value::as_str).unwrap_or_default();
    let bytes = [said, base64].map(|piece| STANDARD.decode(piece).unwrap_or_default()).concat();
    audio["data"] = STANDARD.encode(bytes).into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_blanks_between_tokens_go() {
        for (json, short) in [
            ("{ \"a b\" :\n [ 1.50, \"c \\\" d\" ] }", "{\"a b\":[1.50,\"c \\\" d\"]}"),
            ("{\"a\": \"x\\\\\" , \"b\": 12345678901234567890123}", "{\"a\":\"x\\\\\",\"b\":12345678901234567890123}"),
        ] {
            assert_eq!(compact(json), short);
        }
    }
}
