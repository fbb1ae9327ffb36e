//! One answer on its way to a client: what each piece of it adds as Google's parts. Google's calls come whole, so pieces
//! of calls are kept until the end.

use super::seal::seal;
use crate::data_url;
use penstock_schemas::chat::{Delta, Issuer, ReasoningDetail, ToolCall};
use penstock_schemas::usage::Usage;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An answer, or a piece of one.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response {
    pub(super) candidates: Vec<Candidate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage_metadata: Option<Value>,
    pub(super) model_version: String,
    pub(super) response_id: String,
}

/// One answer of several.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    content: Parts,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'static str>,
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    grounding_metadata: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs_result: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Parts {
    parts: Vec<Part>,
    role: &'static str,
}

/// One part.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<String>,
}

#[derive(Debug, Serialize)]
struct FunctionCall {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    name: String,
    args: Box<RawValue>,
}

/// A call in the making.
#[derive(Debug, Default)]
struct Call {
    id: Option<String>,
    name: String,
    arguments: String,
}

/// What is known of one answer of several.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) index: u32,
    text: String,
    calls: BTreeMap<u32, Call>,
    signatures: Vec<(String, String)>,
    text_signature: Option<String>,
    annotations: Vec<Value>,
    is_refused: bool,
    finish: Option<String>,
}

impl Turn {
    pub(super) fn new(index: u32) -> Self {
        Self { index, ..Self::default() }
    }

    pub(super) fn finishes(&mut self, reason: Option<String>) {
        self.finish = reason.or(self.finish.take());
    }

    /// The parts that can go out at once.
    pub(super) fn add(&mut self, mut delta: Delta) -> Vec<Part> {
        let mut parts = Vec::new();
        self.reasoning(&mut delta, &mut parts);
        self.is_refused |= delta.refusal.as_ref().is_some_and(|refusal| !refusal.is_empty());
        for text in [delta.content, delta.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
            self.text.push_str(&text);
            parts.push(Part { text: Some(text), ..Part::default() });
        }
        let images = delta.extra.get("images").and_then(Value::as_array).into_iter().flatten();
        parts.extend(images.filter_map(|image| {
            let (kind, data) = data_url::parts(image.get("image_url")?.get("url")?.as_str()?)?;
            Some(Part { inline_data: Some(json!({ "mimeType": kind, "data": data })), ..Part::default() })
        }));
        if let Some(Value::Array(annotations)) = delta.extra.remove("annotations") {
            self.annotations.extend(annotations);
        }
        for (at, call) in delta.tool_calls.into_iter().flatten().enumerate() {
            self.call(at, call);
        }
        parts
    }

    fn reasoning(&mut self, delta: &mut Delta, parts: &mut Vec<Part>) {
        let details = delta.reasoning_details.take().unwrap_or_default();
        let says = |detail: &ReasoningDetail| detail.text.is_some() || detail.summary.is_some();
        if !details.iter().any(says)
            && let Some(text) = delta.reasoning_content.take().filter(|text| !text.is_empty())
        {
            parts.push(Part { text: Some(text), thought: Some(true), ..Part::default() });
        }
        for detail in details {
            match (detail.format, &detail.id, &detail.data) {
                (Some(Issuer::Google), Some(id), Some(data)) => self.signatures.push((id.clone(), data.clone())),
                (Some(Issuer::Google), None, Some(data)) => self.text_signature = Some(data.clone()),
                _ => {
                    let thought_signature = seal(&detail);
                    let text = detail.text.or(detail.summary).unwrap_or_default();
                    if !text.is_empty() || thought_signature.is_some() {
                        parts.push(Part {
                            text: Some(text),
                            thought: Some(true),
                            thought_signature,
                            ..Part::default()
                        });
                    }
                }
            }
        }
    }

    fn call(&mut self, at: usize, piece: ToolCall) {
        let index = piece.index.or(u32::try_from(at).ok()).unwrap_or(0);
        let call = self.calls.entry(index).or_default();
        call.id = piece.id.filter(|id| !id.is_empty()).or(call.id.take());
        if let Some(function) = piece.function {
            call.name.push_str(&function.name.unwrap_or_default());
            call.arguments.push_str(&function.arguments.unwrap_or_default());
        }
    }

    /// A piece of the answer.
    pub(super) fn candidate(&self, parts: Vec<Part>, logprobs: Option<&Value>) -> Candidate {
        let content = Parts { parts, role: "model" };
        let logprobs_result = logprobs.map(logprobs_result);
        Candidate { content, finish_reason: None, index: self.index, grounding_metadata: None, logprobs_result }
    }

    /// The last piece, behind these parts.
    pub(super) fn last(self, mut parts: Vec<Part>, logprobs: Option<&Value>) -> Candidate {
        if let Some(signature) = self.text_signature.clone() {
            parts.push(Part { text: Some(String::new()), thought_signature: Some(signature), ..Part::default() });
        }
        for call in self.calls.values() {
            let args = arguments(&call.arguments);
            let signature = self.signatures.iter().find(|(id, _)| Some(id) == call.id.as_ref());
            parts.push(Part {
                function_call: Some(FunctionCall { id: call.id.clone(), name: call.name.clone(), args }),
                thought_signature: signature.map(|(_, signature)| signature.clone()),
                ..Part::default()
            });
        }
        let mut last = self.candidate(parts, logprobs);
        last.finish_reason = Some(match self.finish.as_deref() {
            _ if self.is_refused => "SAFETY",
            Some("length") => "MAX_TOKENS",
            Some("content_filter") => "SAFETY",
            _ => "STOP",
        });
        last.grounding_metadata = grounding(&self.annotations, &self.text);
        last
    }
}

/// Arguments as the object that Google has; what is none goes into one, so that nothing is lost.
fn arguments(text: &str) -> Box<RawValue> {
    let own = serde_json::from_str::<Box<RawValue>>(text.trim()).ok();
    let own = own.and_then(|raw| raw.get().starts_with('{').then_some(raw));
    own.unwrap_or_else(|| {
        let wrapped = if text.trim().is_empty() { json!({}) } else { json!({ "arguments": text }) };
        to_raw_value(&wrapped).expect("a JSON value has a JSON form")
    })
}

/// OpenAI's annotations as Google's grounding, whose offsets count bytes.
fn grounding(annotations: &[Value], text: &str) -> Option<Value> {
    let byte = |at: Option<&Value>| {
        let at = at.and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte)
    };
    let (mut chunks, mut supports) = (Vec::new(), Vec::new());
    for citation in annotations.iter().filter_map(|annotation| annotation.get("url_citation")) {
        let segment =
            json!({ "startIndex": byte(citation.get("start_index")), "endIndex": byte(citation.get("end_index")) });
        supports.push(json!({ "segment": segment, "groundingChunkIndices": [chunks.len()] }));
        chunks.push(json!({ "web": { "uri": citation.get("url"), "title": citation.get("title") } }));
    }
    (!chunks.is_empty()).then(|| json!({ "groundingChunks": chunks, "groundingSupports": supports }))
}

fn logprobs_result(logprobs: &Value) -> Value {
    let token = |one: &Value| json!({ "token": one.get("token"), "logProbability": one.get("logprob") });
    let all = logprobs.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let top = |one: &Value| {
        let tops = one.get("top_logprobs").and_then(Value::as_array).into_iter().flatten();
        json!({ "candidates": tops.map(token).collect::<Vec<_>>() })
    };
    json!({
        "chosenCandidates": all.iter().map(token).collect::<Vec<_>>(),
        "topCandidates": all.iter().map(top).collect::<Vec<_>>(),
    })
}

/// The counts as Google spells them; `None` when nothing is known.
pub(super) fn usage(usage: &Usage) -> Option<Value> {
    if *usage == Usage::default() {
        return None;
    }
    let (prompt, all) = (usage.input_total(), usage.output_total());
    let mut counts = json!({ "promptTokenCount": prompt });
    let visible = all - usage.reasoning.unwrap_or(0);
    counts["candidatesTokenCount"] = visible.into();
    counts["totalTokenCount"] = (prompt + all).into();
    if let Some(cached) = usage.cache_read {
        counts["cachedContentTokenCount"] = cached.into();
    }
    if let Some(thoughts) = usage.reasoning {
        counts["thoughtsTokenCount"] = thoughts.into();
    }
    if let Some(audio) = usage.input_audio {
        let text = prompt.saturating_sub(audio);
        counts["promptTokensDetails"] =
            json!([{ "modality": "TEXT", "tokenCount": text }, { "modality": "AUDIO", "tokenCount": audio }]);
    }
    Some(counts)
}
