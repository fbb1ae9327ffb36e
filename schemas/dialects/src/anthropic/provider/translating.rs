//! Turns a stream into agnostic chunks: blocks become pieces of text, of reasoning and of calls, each call with an index of
//! its own. Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use super::answer::{ANSWER_TOOL, Added, Block, Stop, annotation, hidden_thought, thought};
use super::order::EventOrder;
use super::seen::SeenEvent;
use super::stream::{Known, pass_all, whole};
use crate::most;
use crate::openai::provider::other_way::read_all;
use crate::provider::{Observed, Step, StreamReader};
use crate::thought_order;
use bytes::Bytes;
use penstock_schemas::chat::{
    ChunkChoice, CompletionChunk, CompletionUsage, Delta, FunctionCall, ReasoningDetail, ToolCall,
};
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde_json::{Map, Value};

/// What a block that is under way becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Lane {
    Text,
    /// Its place among the reasoning's pieces.
    Thought(u32),
    /// Its place among the calls, and whether any arguments came.
    Call(u32, bool),
    /// The answer itself, as a tool's arguments.
    Answer,
    /// Nothing that a caller of another dialect could understand.
    #[default]
    Hidden,
}

/// Turns a stream into agnostic chunks.
#[derive(Debug)]
pub(super) struct Translating {
    delivery: Delivery,
    known: Known,
    order: EventOrder,
    /// The blocks under way, by their index: one at a time by the book.
    lanes: Vec<(u64, Lane)>,
    thoughts: u32,
    calls: u32,
    has_ended: bool,
    /// The text's length so far, in characters; and where the current block's begins.
    length: usize,
    block_start: usize,
}

impl Translating {
    pub(super) fn new(delivery: Delivery) -> Self {
        Self {
            delivery,
            known: Known::default(),
            order: EventOrder::default(),
            lanes: Vec::new(),
            thoughts: 0,
            calls: 0,
            has_ended: false,
            length: 0,
            block_start: 0,
        }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>) -> CompletionChunk {
        let observed = &self.known.observed;
        CompletionChunk {
            id: observed.provider_request_id.clone().unwrap_or_default(),
            object: "chat.completion.chunk".to_owned(),
            model: observed.model_version.clone().unwrap_or_default(),
            choices,
            ..CompletionChunk::default()
        }
    }

    fn bytes(&self, delta: Delta) -> Vec<u8> {
        event(&self.chunk(vec![ChunkChoice { index: 0, delta, ..ChunkChoice::default() }]))
    }

    fn content(&mut self, delta: Delta) -> Step {
        self.known.has_content = true;
        Step::Content(self.bytes(delta).into())
    }

    fn lane(&mut self, index: Option<u64>) -> Lane {
        let index = index.unwrap_or(0);
        self.lanes.iter().find(|(at, _)| *at == index).map(|(_, lane)| lane.clone()).unwrap_or_default()
    }

    fn begin(&mut self, index: Option<u64>, block: Block<'_>) -> Result<Step, Failure> {
        let index = index.unwrap_or(0);
        self.make_room(index)?;
        let (lane, delta) = match block.kind.as_str() {
            "text" => {
                self.block_start = self.length;
                let text = block.text.filter(|text| !text.is_empty());
                self.length += text.as_deref().map_or(0, |text| text.chars().count());
                (Lane::Text, text.map(|text| Delta { content: Some(text), ..Delta::default() }))
            }
            "thinking" => {
                let at = self.next_thought();
                let text = block.thinking.filter(|text| !text.is_empty());
                let mut detail = thought(at, text.clone(), None);
                thought_order::mark(&mut detail, self.length);
                // An empty thought behind a text is sent too: it holds the place, and its text comes later.
                let delta = (text.is_some() || self.length > 0).then(|| reasoning(text, detail));
                (Lane::Thought(at), delta)
            }
            "redacted_thinking" => {
                let mut detail = hidden_thought(self.next_thought(), block.data);
                thought_order::mark(&mut detail, self.length);
                (Lane::Hidden, Some(reasoning(None, detail)))
            }
            "tool_use" if block.name.as_deref().is_some_and(|name| name.starts_with(ANSWER_TOOL)) => {
                (Lane::Answer, None)
            }
            "tool_use" if self.calls as usize >= most::CALLS => return Err(most::too_many_calls()),
            "tool_use" => {
                let at = self.calls;
                self.calls += 1;
                (Lane::Call(at, false), Some(call(at, block.id, block.name, "")))
            }
            _ => (Lane::Hidden, None),
        };
        self.lanes.push((index, lane));
        Ok(delta.map_or(Step::Hide, |delta| self.content(delta)))
    }

    /// A block that begins ends what its place held.
    fn make_room(&mut self, index: u64) -> Result<(), Failure> {
        self.lanes.retain(|(at, _)| *at != index);
        if self.lanes.len() >= most::BLOCKS { Err(most::too_many_blocks()) } else { Ok(()) }
    }

    fn next_thought(&mut self) -> u32 {
        self.thoughts += 1;
        self.thoughts - 1
    }

    fn add(&mut self, index: Option<u64>, added: Added) -> Step {
        let delta = match (self.lane(index), added.kind.as_deref()) {
            (Lane::Text, Some("text_delta")) => {
                let text = added.text.unwrap_or_default();
                self.length += text.chars().count();
                Delta { content: Some(text), ..Delta::default() }
            }
            (Lane::Text, Some("citations_delta")) => {
                let Some(citation) = added.citation else { return Step::Hide };
                let annotation = annotation(&citation, (self.block_start, self.length));
                let extra = Map::from_iter([("annotations".to_owned(), Value::Array(vec![annotation]))]);
                Delta { extra, ..Delta::default() }
            }
            (Lane::Thought(at), Some("thinking_delta")) => thinking(at, added.thinking.unwrap_or_default()),
            (Lane::Thought(at), Some("signature_delta")) => reasoning(None, thought(at, None, added.signature)),
            (Lane::Call(at, ..), Some("input_json_delta")) => {
                let piece = added.partial_json.map(|piece| piece.text).filter(|text| !text.is_empty());
                let Some(json) = piece else { return Step::Hide };
                self.note_arguments(index);
                call(at, None, None, &json)
            }
            (Lane::Answer, Some("input_json_delta")) => {
                Delta { content: added.partial_json.map(|piece| piece.text), ..Delta::default() }
            }
            _ => return Step::Hide,
        };
        self.content(delta)
    }

    fn note_arguments(&mut self, index: Option<u64>) {
        let lane = self.lanes.iter_mut().find(|(at, _)| Some(*at) == index);
        if let Some((_, Lane::Call(_, has_arguments))) = lane {
            *has_arguments = true;
        }
    }

    /// A call without arguments has an empty object of them.
    fn close(&mut self, index: Option<u64>) -> Step {
        let lane = self.lane(index);
        self.lanes.retain(|(at, _)| Some(*at) != index);
        match lane {
            Lane::Call(at, false) => self.content(call(at, None, None, "{}")),
            _ => Step::Hide,
        }
    }

    fn end(&mut self, stop: Stop) -> Step {
        if std::mem::replace(&mut self.has_ended, true) {
            return Step::Hide; // said again
        }
        let stop = stop.unless_called(self.calls);
        let mut out = Vec::new();
        if let Some(refusal) = stop.refusal {
            out.extend(self.bytes(Delta { refusal: Some(refusal), ..Delta::default() }));
        }
        let finish_reason = Some(stop.reason.to_owned());
        let last = ChunkChoice { index: 0, delta: Delta::default(), finish_reason, extra: stop.extra };
        out.extend(event(&self.chunk(vec![last])));
        self.known.has_content = true;
        Step::Content(out.into())
    }

    fn pass(&mut self, seen: SeenEvent<'_>) -> Result<Step, Failure> {
        let index = seen.event.index;
        match (seen.kind.as_str(), seen.block) {
            ("message_start", _) => {
                let role = Some("assistant".to_owned());
                Ok(Step::Hold(self.bytes(Delta { role, ..Delta::default() }).into()))
            }
            ("content_block_start", Some(block)) => self.begin(index, block),
            ("content_block_delta", _) => Ok(self.add(index, seen.added)),
            ("content_block_stop", _) => Ok(self.close(index)),
            ("message_delta", _) => Ok(self.known.stop(&seen.added).map_or(Step::Hide, |stop| self.end(stop))),
            ("message_stop", _) => {
                self.known.finish()?;
                self.known.is_done = true;
                Ok(Step::Hide)
            }
            _ => Ok(Step::Hide),
        }
    }

    fn closing(&self) -> Bytes {
        let mut out = Vec::new();
        if self.delivery == Delivery::StreamWithUsage
            && let Some(usage) = self.known.observed.usage.as_ref().and_then(CompletionUsage::of)
        {
            out.extend(event(&CompletionChunk { usage: Some(usage), ..self.chunk(Vec::new()) }));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        out.into()
    }
}

impl StreamReader for Translating {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        if let Some(events) = whole(event)? {
            return read_all(self, &events);
        }
        let Some(seen) = self.known.see(event)? else { return Ok(Step::Hide) };
        self.known.observe(&seen);
        if self.order.is_plain(event) {
            return self.pass(seen);
        }
        match self.order.mend(event, &seen)? {
            None => self.pass(seen),
            Some(events) => pass_all(&events, |seen, _| self.pass(seen)),
        }
    }

    fn is_done(&self) -> bool {
        self.known.is_done
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        let last = pass_all(&self.order.finish(), |seen, _| self.pass(seen))?;
        self.known.finish()?;
        Ok(match last {
            Step::Hold(bytes) | Step::Content(bytes) => [bytes, self.closing()].concat().into(),
            Step::Hide => self.closing(),
        })
    }

    fn observed(&self) -> &Observed {
        &self.known.observed
    }
}

fn event(chunk: &CompletionChunk) -> Vec<u8> {
    let mut out = b"data: ".to_vec();
    serde_json::to_writer(&mut out, chunk).expect("a chunk has a JSON form");
    out.extend_from_slice(b"\n\n");
    out
}

fn thinking(at: u32, text: String) -> Delta {
    reasoning(Some(text.clone()), thought(at, Some(text), None))
}

fn reasoning(text: Option<String>, detail: ReasoningDetail) -> Delta {
    Delta { reasoning_content: text, reasoning_details: Some(vec![detail]), ..Delta::default() }
}

/// A piece of a call; only the first one has an id.
fn call(at: u32, id: Option<String>, name: Option<String>, arguments: &str) -> Delta {
    let kind = id.is_some().then(|| "function".to_owned());
    let function = Some(FunctionCall { name, arguments: Some(arguments.to_owned()), ..FunctionCall::default() });
    let call = ToolCall { index: Some(at), id, kind, function, ..ToolCall::default() };
    Delta { tool_calls: Some(vec![call]), ..Delta::default() }
}
