//! Writes an agnostic answer as a message, whole or as named events in their order: `message_start`, `ping`, the blocks one
//! after the other, `message_delta` with the usage, `message_stop`.
//! Sources: <https://platform.claude.com/docs/en/api/messages/create>,
//! <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use super::lanes::{Lane, Lanes, write};
use super::thoughts;
use crate::call_arguments;
use crate::client::{Writer, read_chunk, unreadable};
use crate::thought_order::{ThoughtOrText, after, weave};
use bytes::Bytes;
use penstock_schemas::chat::{
    Choice, Completion, CompletionChunk, Content, FunctionCall, Message, ReasoningDetail, ToolCall,
};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use penstock_schemas::usage::Usage;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Writes one message.
#[derive(Debug)]
pub(crate) struct Messages {
    id: RequestId,
    /// The model, as the caller names it.
    model: String,
    has_begun: bool,
    lanes: Lanes,
    stop: Stop,
    has_calls: bool,
    /// What the request was counted to be, for the beginning of a stream.
    input: u64,
}

/// Why the model stopped.
#[derive(Debug, Default)]
struct Stop {
    reason: Option<String>,
    native: Option<String>,
    sequence: Option<String>,
}

/// A block of a whole answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Block {
    Plain(Value),
    Call {
        #[serde(rename = "type")]
        kind: &'static str,
        id: String,
        name: String,
        /// As the model wrote it, so that no number in it is rounded.
        input: Box<RawValue>,
    },
}

/// A whole answer.
#[derive(Serialize)]
struct Whole<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block>,
    stop_reason: String,
    stop_sequence: Option<String>,
    usage: Value,
}

impl Messages {
    pub(crate) fn new(id: RequestId, model: String) -> Self {
        let (lanes, stop) = (Lanes::default(), Stop::default());
        Self { id, model, has_begun: false, lanes, stop, has_calls: false, input: 0 }
    }

    /// The provider's own id of the answer, or else one of ours.
    fn message_id(&self, id: &str) -> String {
        if id.is_empty() { format!("msg_{}", self.id) } else { id.to_owned() }
    }

    fn begin(&mut self, chunk: &CompletionChunk, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        // What was consumed is known at the end: `message_delta` says it then, the input too.
        let counted = Usage { input: Some(self.input), ..Usage::default() };
        let message = json!({
            "id": self.message_id(&chunk.id), "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage(&counted),
        });
        write(out, "message_start", &json!({ "type": "message_start", "message": message }));
        write(out, "ping", &json!({ "type": "ping" }));
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            let delta = json!({ "type": "text_delta", "text": text });
            self.lanes.add(&Lane::Text, || json!({ "type": "text", "text": "" }), Some(delta), out);
        }
    }

    fn call(&mut self, call: ToolCall, out: &mut Vec<u8>) {
        self.has_calls = true;
        let lane = Lane::Call(call.index.unwrap_or(0));
        let function = call.function.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let id = call.id.unwrap_or_else(|| format!("toolu_{}_{}", self.id, call.index.unwrap_or(0)));
        let start = || json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
        let arguments = function.arguments.filter(|arguments| !arguments.is_empty());
        let delta = arguments.map(|json| json!({ "type": "input_json_delta", "partial_json": json }));
        self.lanes.add(&lane, start, delta, out);
    }
}

impl Writer for Messages {
    fn counted(&mut self, input_tokens: u64) {
        self.input = input_tokens;
    }

    fn whole(&mut self, answer: &Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        let answer: Completion = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
        let Some(choice) = answer.choices.into_iter().next() else {
            return Err(Failure::provider(FailureKind::Broken, "the provider's answer holds no choice"));
        };
        let stop = Stop::of(choice.finish_reason.as_deref(), &choice.extra);
        let has_calls = choice.message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
        let is_cut = choice.finish_reason.as_deref() == Some("length");
        let whole = Whole {
            id: self.message_id(&answer.id),
            kind: "message",
            role: "assistant",
            model: &self.model,
            content: self.blocks(choice, is_cut)?,
            stop_reason: stop.word(has_calls).to_owned(),
            stop_sequence: stop.sequence,
            usage: usage(&summary.usage),
        };
        serde_json::to_vec(&whole).map(Bytes::from).map_err(|error| unreadable(&error))
    }

    fn chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let chunk = read_chunk(chunk)?;
        self.begin(&chunk, out);
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            let delta = choice.delta;
            let details = delta.reasoning_details.unwrap_or_default();
            match delta.reasoning_content.filter(|text| !text.is_empty()) {
                Some(text) if !details.iter().any(|piece| thoughts::readable(piece).is_some()) => {
                    self.lanes.think(&unsigned(text), out);
                }
                _ => {}
            }
            details.iter().for_each(|piece| self.lanes.think(piece, out));
            self.text(&delta.content.unwrap_or_default(), out);
            self.text(&delta.refusal.unwrap_or_default(), out);
            for citation in citations(&delta.extra) {
                let delta = json!({ "type": "citations_delta", "citation": citation });
                self.lanes.add(&Lane::Text, || json!({ "type": "text", "text": "" }), Some(delta), out);
            }
            delta.tool_calls.into_iter().flatten().for_each(|call| self.call(call, out));
            if choice.finish_reason.is_some() {
                self.stop = Stop::of(choice.finish_reason.as_deref(), &choice.extra);
            }
        }
        Ok(())
    }

    fn end(&mut self, summary: &Summary, out: &mut Vec<u8>) {
        self.begin(&CompletionChunk::default(), out);
        self.lanes.finish(out);
        let (reason, sequence) = (self.stop.word(self.has_calls), &self.stop.sequence);
        let delta = json!({ "stop_reason": reason, "stop_sequence": sequence });
        let usage = usage(&summary.usage);
        write(out, "message_delta", &json!({ "type": "message_delta", "delta": delta, "usage": usage }));
        write(out, "message_stop", &json!({ "type": "message_stop" }));
    }
}

impl Messages {
    fn blocks(&self, choice: Choice, is_cut: bool) -> Result<Vec<Block>, Failure> {
        let Message { content, refusal, reasoning_content, reasoning_details, tool_calls, extra, .. } = choice.message;
        let mut details = reasoning_details.unwrap_or_default();
        if !details.iter().any(|piece| thoughts::readable(piece).is_some()) {
            details.splice(..0, reasoning_content.filter(|text| !text.is_empty()).map(unsigned));
        }
        let details = details.into_iter().map(|piece| (after(&piece), piece)).collect();
        let text = content.map(|content| content.text()).unwrap_or_default() + &refusal.unwrap_or_default();
        let text = Some(text).filter(|text| !text.is_empty()).map(Content::Text);
        let woven = weave(text, details).into_iter().map(|run| match run {
            ThoughtOrText::Thought(piece) => thoughts::block(&piece),
            ThoughtOrText::Said(said) => json!({ "type": "text", "text": said.text() }),
        });
        let mut woven: Vec<Value> = woven.collect();
        let citations = citations(&extra);
        if let Some(last) = woven.iter_mut().rfind(|block| block["type"] == "text").filter(|_| !citations.is_empty()) {
            last["citations"] = citations.into();
        }
        let mut blocks: Vec<Block> = woven.into_iter().map(Block::Plain).collect();
        for (at, call) in tool_calls.into_iter().flatten().enumerate() {
            let function = call.function.unwrap_or_default();
            let id = call.id.unwrap_or_else(|| format!("toolu_{}_{at}", self.id));
            let input = input(&function, is_cut)?;
            blocks.push(Block::Call { kind: "tool_use", id, name: function.name.unwrap_or_default(), input });
        }
        Ok(blocks)
    }
}

/// A call's arguments as an object. Those of an answer that was cut off are of no use to anybody; what a model wrote that is
/// none stands in one, so that its agent can tell it.
fn input(function: &FunctionCall, is_cut: bool) -> Result<Box<RawValue>, Failure> {
    let is_object =
        |text: &str| serde_json::from_str::<Box<RawValue>>(text).is_ok_and(|raw| raw.get().starts_with('{'));
    if is_cut && !function.arguments.as_deref().is_some_and(is_object) {
        return RawValue::from_string("{}".to_owned()).map_err(|error| unreadable(&error));
    }
    Ok(call_arguments::object(function))
}

impl Stop {
    fn of(reason: Option<&str>, extra: &Map<String, Value>) -> Self {
        let text = |name: &str| extra.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            reason: reason.map(str::to_owned),
            native: text("native_finish_reason"),
            sequence: text("stop_sequence"),
        }
    }

    /// Anthropic's word. Source: <https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons>.
    fn word(&self, has_calls: bool) -> &'static str {
        match (self.native.as_deref(), self.reason.as_deref()) {
            (Some("pause_turn"), _) => "pause_turn",
            (Some("model_context_window_exceeded"), _) => "model_context_window_exceeded",
            (Some("stop_sequence"), _) => "stop_sequence",
            (_, Some("length")) => "max_tokens",
            (_, Some("content_filter")) => "refusal",
            (_, Some("tool_calls" | "function_call")) => "tool_use",
            // Some providers say `stop` beside their calls, and callers go by this word.
            _ if has_calls => "tool_use",
            _ if self.sequence.is_some() => "stop_sequence",
            _ => "end_turn",
        }
    }
}

/// A thought that nobody has signed.
fn unsigned(text: String) -> ReasoningDetail {
    ReasoningDetail { kind: "reasoning.text".to_owned(), text: Some(text), ..ReasoningDetail::default() }
}

/// Annotations as citations: Anthropic's own as they were, others as results of a search.
fn citations(extra: &Map<String, Value>) -> Vec<Value> {
    let all = extra.get("annotations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter_map(|annotation| {
            if let Some(own) = annotation.get("citation") {
                return Some(own.clone());
            }
            let found = annotation.get("url_citation")?;
            Some(json!({
                "type": "web_search_result_location", "url": found.get("url")?, "title": found.get("title"),
                "encrypted_index": "", "cited_text": "",
            }))
        })
        .collect()
}

/// The counts as Anthropic spells them. Those that it requires are 0 where nobody has counted.
/// Source: <https://platform.claude.com/docs/en/api/messages#usage>.
fn usage(usage: &Usage) -> Value {
    let input: u64 = [usage.input, usage.input_audio, usage.input_image].into_iter().flatten().sum();
    let written = usage.cache_write.unwrap_or(0) + usage.cache_write_1h.unwrap_or(0);
    let mut counts = json!({
        "input_tokens": input,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read.unwrap_or(0),
        "output_tokens": usage.output_total(),
    });
    if let Some(long) = usage.cache_write_1h {
        let short = usage.cache_write.unwrap_or(0);
        counts["cache_creation"] = json!({ "ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long });
    }
    if let Some(reasoning) = usage.reasoning {
        counts["output_tokens_details"] = json!({ "thinking_tokens": reasoning });
    }
    if let Some(searches) = usage.searches {
        counts["server_tool_use"] = json!({ "web_search_requests": searches, "web_fetch_requests": 0 });
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_no_object_stand_in_one_and_those_of_a_cut_answer_are_none() {
        let read = |arguments: &str, is_cut: bool| {
            let function = FunctionCall { arguments: Some(arguments.to_owned()), ..FunctionCall::default() };
            input(&function, is_cut).unwrap().get().to_owned()
        };
        assert_eq!(read("{\"a\": 1.50}", false), "{\"a\": 1.50}");
        assert_eq!(read("{\"a\": 1", false), "{\"arguments\":\"{\\\"a\\\": 1\"}");
        assert_eq!((read("{\"a\": 1", true), read("", true)), ("{}".to_owned(), "{}".to_owned()));
    }
}
