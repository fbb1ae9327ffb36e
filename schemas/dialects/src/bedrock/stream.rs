//! Reads a stream event by event. Blocks are told apart by their index, so that they may be interleaved.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>.

use super::answer::{annotation, finish_reason, is_servers, sealed_detail, stop_sequence, text_detail};
use super::usage::TokenUsage;
use super::{broken, errors, format};
use crate::provider::{Form, Observed, Step, StreamReader, Wanted};
use crate::thought_order;
use bytes::Bytes;
use penstock_schemas::chat::{
    ChunkChoice, CompletionChunk, CompletionUsage, Delta, FunctionCall, ReasoningDetail, ToolCall,
};
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// What is known of one stream.
#[derive(Debug)]
pub(super) struct Reader {
    wanted: Wanted,
    /// The blocks that are open, by their index.
    open: HashMap<u64, Open>,
    calls: u32,
    thoughts: u32,
    /// How many characters of text there were.
    characters: usize,
    has_stopped: bool,
    is_done: bool,
    observed: Observed,
}

/// A block that more pieces may come of.
#[derive(Clone, Copy, Debug)]
enum Open {
    /// The call of this place, and whether arguments have come.
    Call(u32, bool),
    /// The tool that stands for the answer, and whether any of it has come.
    Answer(bool),
    /// The thought of this place.
    Thought(u32),
    /// A call that the provider answers itself.
    Servers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart {
    content_block_index: u64,
    #[serde(default)]
    start: Started,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    tool_use: Option<CallStart>,
}

#[derive(Deserialize)]
struct CallStart {
    #[serde(rename = "toolUseId", default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    kind: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta {
    content_block_index: u64,
    #[serde(default)]
    delta: Piece,
}

/// A piece of one of the kinds that are known here, or of none of them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    text: Option<String>,
    tool_use: Option<CallPiece>,
    reasoning_content: Option<ThoughtPiece>,
    citation: Option<Value>,
}

#[derive(Deserialize)]
struct CallPiece {
    #[serde(default)]
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThoughtPiece {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStop {
    content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop {
    stop_reason: Option<String>,
    additional_model_response_fields: Option<Value>,
}

#[derive(Deserialize)]
struct Metadata {
    usage: Option<Value>,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        let step = self.translate(event)?;
        if self.wanted.form == Form::Agnostic {
            return Ok(step);
        }
        let raw = event.raw.clone();
        Ok(if matches!(step, Step::Content(_)) { Step::Content(raw) } else { Step::Hold(raw) })
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        if !self.has_stopped {
            return Err(broken("the provider's stream ended before it was complete"));
        }
        if self.wanted.form == Form::Own {
            return Ok(Bytes::new());
        }
        let mut last = Vec::new();
        let usage = self.observed.usage.as_ref().and_then(CompletionUsage::of);
        if usage.is_some() && self.wanted.delivery == Delivery::StreamWithUsage {
            last.extend(written(&CompletionChunk { usage, ..empty() })?);
        }
        last.extend_from_slice(b"data: [DONE]\n\n");
        Ok(last.into())
    }

    fn observed(&self) -> &Observed {
        &self.observed
    }
}

impl Reader {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            open: HashMap::new(),
            calls: 0,
            thoughts: 0,
            characters: 0,
            has_stopped: false,
            is_done: false,
            observed: Observed::default(),
        }
    }

    fn translate(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        let name = event.event.as_deref().unwrap_or_default();
        if let Some(exception) = name.strip_prefix(b"exception:") {
            return Err(errors::within_stream(&String::from_utf8_lossy(exception), &event.data));
        }
        match name {
            b"messageStart" => {
                let delta =
                    Delta { role: Some("assistant".to_owned()), content: Some(String::new()), ..Delta::default() };
                Ok(Step::Hold(chunk(delta)?))
            }
            b"contentBlockStart" => self.start(parse(&event.data)?),
            b"contentBlockDelta" => self.piece(parse(&event.data)?),
            b"contentBlockStop" => self.stop(&parse::<BlockStop>(&event.data)?),
            b"messageStop" => self.end(parse(&event.data)?),
            b"metadata" => {
                let metadata: Metadata = parse(&event.data)?;
                if let Some(usage) = metadata.usage.and_then(|usage| serde_json::from_value::<TokenUsage>(usage).ok()) {
                    usage.observe(&mut self.observed);
                }
                self.is_done = self.has_stopped;
                Ok(Step::Hide)
            }
            _ => Ok(Step::Hide),
        }
    }

    fn start(&mut self, block: BlockStart) -> Result<Step, Failure> {
        let Some(call) = block.start.tool_use else { return Ok(Step::Hide) };
        if is_servers(call.kind.as_ref()) {
            self.open.insert(block.content_block_index, Open::Servers);
            return Ok(Step::Hide);
        }
        if format::is_answer(&call.name) {
            self.open.insert(block.content_block_index, Open::Answer(false));
            return Ok(Step::Hide);
        }
        self.observed.tools.add(&call.name);
        let index = self.calls;
        self.calls += 1;
        self.open.insert(block.content_block_index, Open::Call(index, false));
        let function =
            FunctionCall { name: Some(call.name), arguments: Some(String::new()), ..FunctionCall::default() };
        let call = ToolCall {
            index: Some(index),
            id: Some(call.id),
            kind: Some("function".to_owned()),
            function: Some(function),
            ..ToolCall::default()
        };
        Ok(Step::Content(chunk(Delta { tool_calls: Some(vec![call]), ..Delta::default() })?))
    }

    fn piece(&mut self, block: BlockDelta) -> Result<Step, Failure> {
        let index = block.content_block_index;
        let Piece { text, tool_use, reasoning_content, citation } = block.delta;
        let delta = if let Some(text) = text {
            self.characters += text.chars().count();
            Delta { content: Some(text), ..Delta::default() }
        } else if let Some(CallPiece { input }) = tool_use {
            if input.is_empty() {
                return Ok(Step::Hide);
            }
            match self.open.get_mut(&index) {
                Some(Open::Call(call, has_arguments)) => {
                    *has_arguments = true;
                    arguments(*call, input)
                }
                Some(Open::Answer(has_begun)) => {
                    *has_begun = true;
                    Delta { content: Some(input), ..Delta::default() }
                }
                Some(Open::Servers) => return Ok(Step::Hide),
                _ => return Err(broken("the provider's stream brings arguments of a call that never began")),
            }
        } else if let Some(thought) = reasoning_content {
            let detail = self.thought(index, thought);
            let text = detail.text.clone();
            Delta { reasoning_content: text, reasoning_details: Some(vec![detail]), ..Delta::default() }
        } else if let Some(citation) = citation {
            let annotations = vec![annotation(&citation, 0, self.characters)];
            let extra = Map::from_iter([("annotations".to_owned(), annotations.into())]);
            Delta { extra, ..Delta::default() }
        } else {
            return Ok(Step::Hide);
        };
        let has_content = delta.content.as_ref().is_none_or(|text| !text.is_empty());
        let bytes = chunk(delta)?;
        Ok(if has_content { Step::Content(bytes) } else { Step::Hold(bytes) })
    }

    fn thought(&mut self, index: u64, thought: ThoughtPiece) -> ReasoningDetail {
        let place = match self.open.get(&index) {
            Some(Open::Thought(place)) => *place,
            _ => {
                let place = self.thoughts;
                self.thoughts += 1;
                self.open.insert(index, Open::Thought(place));
                place
            }
        };
        let mut detail = match thought.redacted_content {
            Some(data) => sealed_detail(Some(place), data),
            None => text_detail(Some(place), thought.text, thought.signature),
        };
        thought_order::mark(&mut detail, self.characters);
        detail
    }

    /// A call or an answer of which nothing came has no arguments.
    fn stop(&mut self, block: &BlockStop) -> Result<Step, Failure> {
        match self.open.remove(&block.content_block_index) {
            Some(Open::Call(call, false)) => Ok(Step::Content(chunk(arguments(call, "{}".to_owned()))?)),
            Some(Open::Answer(false)) => {
                Ok(Step::Content(chunk(Delta { content: Some("{}".to_owned()), ..Delta::default() })?))
            }
            _ => Ok(Step::Hide),
        }
    }

    fn end(&mut self, stop: MessageStop) -> Result<Step, Failure> {
        let reason = finish_reason(stop.stop_reason.as_deref());
        self.observed.finish_reason = stop.stop_reason;
        let reason = match reason? {
            "tool_calls" if self.calls == 0 => "stop",
            reason => reason,
        };
        self.has_stopped = true;
        let extra = stop_sequence(stop.additional_model_response_fields.as_ref());
        let choice = ChunkChoice { finish_reason: Some(reason.to_owned()), extra, ..ChunkChoice::default() };
        Ok(Step::Content(written(&CompletionChunk { choices: vec![choice], ..empty() })?.into()))
    }
}

fn parse<T: DeserializeOwned>(data: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(data).map_err(|_| broken("an event of the provider's stream cannot be understood"))
}

fn arguments(index: u32, arguments: String) -> Delta {
    let function = FunctionCall { arguments: Some(arguments), ..FunctionCall::default() };
    let call = ToolCall { index: Some(index), function: Some(function), ..ToolCall::default() };
    Delta { tool_calls: Some(vec![call]), ..Delta::default() }
}

fn empty() -> CompletionChunk {
    CompletionChunk { object: "chat.completion.chunk".to_owned(), ..CompletionChunk::default() }
}

fn chunk(delta: Delta) -> Result<Bytes, Failure> {
    let choices = vec![ChunkChoice { delta, ..ChunkChoice::default() }];
    Ok(written(&CompletionChunk { choices, ..empty() })?.into())
}

fn written(chunk: &CompletionChunk) -> Result<Vec<u8>, Failure> {
    let mut out = b"data: ".to_vec();
    serde_json::to_writer(&mut out, chunk).map_err(|_| broken("a chunk cannot be written"))?;
    out.extend_from_slice(b"\n\n");
    Ok(out)
}
