//! Reads an answer that came in one piece, and says what its words stand for. A call's arguments pass as the text they are.

use super::usage::TokenUsage;
use super::{broken, format};
use crate::provider::{Form, Observed, Wanted, Whole};
use crate::thought_order;
use bytes::Bytes;
use penstock_schemas::chat::{
    Choice, Completion, CompletionUsage, Content, FunctionCall, Issuer, Message, ReasoningDetail, ToolCall,
};
use penstock_schemas::failure::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    stop_reason: Option<String>,
    usage: Option<Value>,
    additional_model_response_fields: Option<Value>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<Said<'a>>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
}

/// A block of content; one of the kinds that are known here, or none of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    text: Option<String>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    reasoning_content: Option<Thought>,
    citations_content: Option<Cited>,
}

#[derive(Deserialize)]
struct ToolUse<'a> {
    #[serde(rename = "toolUseId", default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    kind: Option<Value>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thought {
    reasoning_text: Option<ThoughtText>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct ThoughtText {
    #[serde(default)]
    text: String,
    signature: Option<String>,
}

#[derive(Deserialize)]
struct Cited {
    #[serde(default)]
    content: Vec<CitedText>,
    #[serde(default)]
    citations: Vec<Value>,
}

#[derive(Deserialize)]
struct CitedText {
    text: Option<String>,
}

/// What an answer that is none says of itself.
pub(super) fn observe(body: &Bytes) -> Observed {
    let mut observed = Observed::default();
    let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
    if let Some(usage) = answer.get("usage").and_then(|usage| TokenUsage::deserialize(usage).ok()) {
        usage.observe(&mut observed);
    }
    observed
}

/// The answer in the form that is wanted.
///
/// # Errors
/// When it holds no message, or one that the model has spoilt.
pub(super) fn read_whole(wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
    let answer: Answer<'_> =
        serde_json::from_slice(body).map_err(|_| broken("the provider's answer is cut short or no Converse answer"))?;
    let said = answer.output.and_then(|output| output.message);
    let said = said.ok_or_else(|| broken("the provider's answer holds no message"))?;
    let mut observed = Observed { finish_reason: answer.stop_reason.clone(), ..Observed::default() };
    if let Some(usage) = answer.usage.and_then(|usage| serde_json::from_value::<TokenUsage>(usage).ok()) {
        usage.observe(&mut observed);
    }
    let reason = finish_reason(answer.stop_reason.as_deref())?;
    for call in said.content.iter().filter_map(|block| block.tool_use.as_ref()) {
        if !is_servers(call.kind.as_ref()) && !format::is_answer(&call.name) {
            observed.tools.add(&call.name);
        }
    }
    if wanted.form == Form::Own {
        return Ok(Whole { bytes: body.clone(), observed });
    }
    let mut gathered = Gathered::default();
    for block in said.content {
        gathered.take(block);
    }
    let has_calls = !gathered.calls.is_empty();
    let reason = if reason == "tool_calls" && !has_calls { "stop" } else { reason };
    let extra = stop_sequence(answer.additional_model_response_fields.as_ref());
    let choice =
        Choice { message: gathered.message(), finish_reason: Some(reason.to_owned()), extra, ..Choice::default() };
    let completion = Completion {
        object: "chat.completion".to_owned(),
        choices: vec![choice],
        usage: observed.usage.as_ref().and_then(CompletionUsage::of),
        ..Completion::default()
    };
    let bytes = serde_json::to_vec(&completion).map_err(|_| broken("the provider's answer cannot be written"))?;
    Ok(Whole { bytes: bytes.into(), observed })
}

/// Why the model stopped, in the agnostic form's word.
/// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_ResponseSyntax>.
///
/// # Errors
/// When it was not the model's will.
pub(super) fn finish_reason(reason: Option<&str>) -> Result<&'static str, Failure> {
    Ok(match reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") => "tool_calls",
        Some("guardrail_intervened" | "content_filtered" | "refusal") => "content_filter",
        Some("malformed_model_output" | "malformed_tool_use") => {
            return Err(broken("the model's answer was malformed, the provider says"));
        }
        None => return Err(broken("the provider's answer does not say why it ended")),
        Some(_) => "stop",
    })
}

/// The sequence that ended the answer, in a member of its own; whole answers and streams have it in different places.
/// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#bedrock-runtime_Converse-request-additionalModelResponseFieldPaths>.
pub(super) fn stop_sequence(fields: Option<&Value>) -> Map<String, Value> {
    let met = SEQUENCE_PATHS.iter().find_map(|path| fields?.pointer(path)?.as_str());
    met.map(|sequence| ("stop_sequence".to_owned(), sequence.into())).into_iter().collect()
}

/// Where Claude's own answers have the sequence.
pub(super) const SEQUENCE_PATHS: [&str; 2] = ["/stop_sequence", "/delta/stop_sequence"];

/// Whether a call is one that the provider makes and answers itself: no caller can answer it.
/// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html>.
pub(super) fn is_servers(kind: Option<&Value>) -> bool {
    kind.is_some_and(|kind| kind == "server_tool_use")
}

/// What the blocks come to.
#[derive(Default)]
struct Gathered {
    text: String,
    /// The arguments of the tool that stands for the answer.
    answer: Option<String>,
    thoughts: Vec<ReasoningDetail>,
    calls: Vec<ToolCall>,
    annotations: Vec<Value>,
}

impl Gathered {
    fn take(&mut self, block: Block<'_>) {
        if let Some(text) = block.text {
            self.text += &text;
        }
        if let Some(call) = block.tool_use.filter(|call| !is_servers(call.kind.as_ref())) {
            let arguments = call.input.map_or("{}", RawValue::get).to_owned();
            if format::is_answer(&call.name) {
                self.answer.get_or_insert(arguments);
            } else {
                self.calls.push(ToolCall {
                    id: Some(call.id),
                    kind: Some("function".to_owned()),
                    function: Some(FunctionCall {
                        name: Some(call.name),
                        arguments: Some(arguments),
                        ..FunctionCall::default()
                    }),
                    ..ToolCall::default()
                });
            }
        }
        if let Some(thought) = block.reasoning_content {
            let index = u32::try_from(self.thoughts.len()).ok();
            let mut detail = match (thought.reasoning_text, thought.redacted_content) {
                (Some(ThoughtText { text, signature }), _) => text_detail(index, Some(text), signature),
                (None, Some(data)) => sealed_detail(index, data),
                (None, None) => return,
            };
            thought_order::mark(&mut detail, self.text.chars().count());
            self.thoughts.push(detail);
        }
        if let Some(cited) = block.citations_content {
            let start = self.text.chars().count();
            self.text.extend(cited.content.into_iter().filter_map(|part| part.text));
            let end = self.text.chars().count();
            self.annotations.extend(cited.citations.iter().map(|citation| annotation(citation, start, end)));
        }
    }

    fn message(self) -> Message {
        let text = self.answer.unwrap_or(self.text);
        let is_silent = text.is_empty() && !self.calls.is_empty();
        let thought: String = self.thoughts.iter().filter_map(|detail| detail.text.as_deref()).collect();
        let mut extra = Map::new();
        if !self.annotations.is_empty() {
            extra.insert("annotations".to_owned(), self.annotations.into());
        }
        Message {
            role: "assistant".to_owned(),
            content: (!is_silent).then_some(Content::Text(text)),
            reasoning_content: Some(thought).filter(|thought| !thought.is_empty()),
            reasoning_details: Some(self.thoughts).filter(|thoughts| !thoughts.is_empty()),
            tool_calls: Some(self.calls).filter(|calls| !calls.is_empty()),
            extra,
            ..Message::default()
        }
    }
}

/// A thought that can be read. Of all the makers here, only Anthropic signs.
pub(super) fn text_detail(index: Option<u32>, text: Option<String>, signature: Option<String>) -> ReasoningDetail {
    let signature = signature.filter(|signature| !signature.is_empty());
    ReasoningDetail {
        kind: "reasoning.text".to_owned(),
        text,
        format: signature.is_some().then_some(Issuer::Anthropic),
        signature,
        index,
        ..ReasoningDetail::default()
    }
}

/// A thought that only Anthropic can read.
pub(super) fn sealed_detail(index: Option<u32>, data: String) -> ReasoningDetail {
    ReasoningDetail {
        kind: "reasoning.encrypted".to_owned(),
        data: Some(data),
        format: Some(Issuer::Anthropic),
        index,
        ..ReasoningDetail::default()
    }
}

/// A citation of the characters from `start` to `end` of the answer: of a page as OpenAI writes it, of a document as Anthropic does.
/// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html>.
pub(super) fn annotation(citation: &Value, start: usize, end: usize) -> Value {
    let url = citation.pointer("/location/web/url").and_then(Value::as_str);
    match url {
        Some(url) => json!({ "type": "url_citation", "url_citation": {
            "url": url,
            "title": citation.get("title").and_then(Value::as_str).unwrap_or_default(),
            "start_index": start,
            "end_index": end,
        } }),
        None => {
            let citation = of_document(citation);
            json!({ "type": "document_citation", "start_index": start, "end_index": end, "citation": citation })
        }
    }
}

/// A citation of a document or a result of a search in Anthropic's words, which the agnostic form has for it.
/// Source: <https://platform.claude.com/docs/en/build-with-claude/citations#response-structure>.
fn of_document(citation: &Value) -> Value {
    const KINDS: [(&str, &str, &str, &str); 4] = [
        ("documentChar", "char_location", "start_char_index", "end_char_index"),
        ("documentPage", "page_location", "start_page_number", "end_page_number"),
        ("documentChunk", "content_block_location", "start_block_index", "end_block_index"),
        ("searchResultLocation", "search_result_location", "start_block_index", "end_block_index"),
    ];
    let location = citation.get("location").unwrap_or(&Value::Null);
    let found = KINDS.into_iter().find_map(|kind| Some((kind, location.get(kind.0)?)));
    let Some(((theirs, kind, start, end), place)) = found else { return citation.clone() };
    let sources = citation.get("sourceContent").and_then(Value::as_array).into_iter().flatten();
    let cited: String = sources.filter_map(|source| source.get("text")?.as_str()).collect();
    let mut own = json!({ "type": kind, "cited_text": cited, start: place["start"], end: place["end"] });
    if theirs == "searchResultLocation" {
        own["search_result_index"] = place["searchResultIndex"].clone();
        own["source"] = citation.get("source").cloned().unwrap_or_else(|| "".into());
        own["title"] = citation.get("title").cloned().unwrap_or_default();
    } else {
        own["document_index"] = place["documentIndex"].clone();
        own["document_title"] = citation.get("title").cloned().unwrap_or_default();
        own["file_id"] = Value::Null;
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_that_ended_an_answer_is_told_in_either_place() {
        for fields in [json!({"stop_sequence": "END"}), json!({"delta": {"stop_sequence": "END"}})] {
            assert_eq!(stop_sequence(Some(&fields))["stop_sequence"], "END", "{fields}");
        }
        for fields in [None, Some(json!({"stop_sequence": null})), Some(json!({}))] {
            assert!(stop_sequence(fields.as_ref()).is_empty(), "{fields:?}");
        }
    }
}
