//! The blocks of a streamed answer. Only one is open at a time and their indexes have no gaps, while agnostic chunks of
//! several calls may come in turns: then one call goes out as it comes, and the others wait until it is complete.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>. Knows nothing of chunks.

use super::thoughts;
use crate::braces::Braces;
use penstock_schemas::chat::ReasoningDetail;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// What a block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Text,
    /// A piece of reasoning, by its place; `None` for a thought that nobody has numbered.
    Thought(Option<u32>),
    /// A thought that nobody can read: complete with its beginning.
    Hidden,
    /// A call, by its place.
    Call(u32),
}

#[derive(Debug)]
struct Block {
    lane: Lane,
    start: Value,
    /// What has come while it waits.
    waiting: Vec<Value>,
    braces: Braces,
    /// What the thought is signed with at its end.
    thought: ReasoningDetail,
}

/// The blocks of one answer.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    open: Option<Block>,
    waiting: VecDeque<Block>,
    next: u64,
}

impl Lanes {
    /// Adds a delta to the block of this lane, which begins with `start` if there is none.
    pub(super) fn add(&mut self, lane: &Lane, start: impl FnOnce() -> Value, delta: Option<Value>, out: &mut Vec<u8>) {
        let (block, is_open) = self.block(lane, start, out);
        if let Some(delta) = delta {
            block.braces.note(delta.get("partial_json").and_then(Value::as_str).unwrap_or_default());
            if is_open {
                let index = self.next;
                write(
                    out,
                    "content_block_delta",
                    &json!({ "type": "content_block_delta", "index": index, "delta": delta }),
                );
            } else {
                block.waiting.push(delta);
            }
        }
        self.advance(out);
    }

    /// Adds a piece of reasoning.
    pub(super) fn think(&mut self, piece: &ReasoningDetail, out: &mut Vec<u8>) {
        let text = thoughts::readable(piece).filter(|text| !text.is_empty());
        if text.is_none() && piece.signature.is_none() {
            if piece.data.is_some() {
                self.add(&Lane::Hidden, || thoughts::block(piece), None, out);
            }
            return;
        }
        let lane = Lane::Thought(piece.index);
        let start = || json!({ "type": "thinking", "thinking": "", "signature": "" });
        let delta = text.map(|text| json!({ "type": "thinking_delta", "thinking": text }));
        self.add(&lane, start, delta, out);
        let block = self.open.iter_mut().chain(self.waiting.iter_mut()).rfind(|block| block.lane == lane);
        if let Some(block) = block {
            let known = &mut block.thought;
            known.kind.clone_from(&piece.kind);
            known.format = piece.format.or(known.format);
            known.id = piece.id.clone().or(known.id.take());
            known.data = piece.data.clone().or(known.data.take());
            known.signature = piece.signature.clone().or(known.signature.take());
            known.index = piece.index;
        }
    }

    /// Closes what is open and writes what waits.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        while let Some(block) = self.waiting.pop_front() {
            self.begin(block, out);
            self.close(out);
        }
    }

    fn block(&mut self, lane: &Lane, start: impl FnOnce() -> Value, out: &mut Vec<u8>) -> (&mut Block, bool) {
        let is_same = |block: &Block| block.lane == *lane && *lane != Lane::Hidden;
        if self.open.as_ref().is_some_and(is_same) && self.waiting.is_empty() || self.is_open_call(lane) {
            return (self.open.as_mut().expect("it was just seen"), true);
        }
        // A call is one wherever it waits; a text that goes on behind something else is another text.
        let found = match lane {
            Lane::Call(_) => self.waiting.iter().position(is_same),
            _ => self.waiting.back().filter(|block| is_same(block)).map(|_| self.waiting.len() - 1),
        };
        if let Some(at) = found {
            return (&mut self.waiting[at], false);
        }
        let block = Block {
            lane: lane.clone(),
            start: start(),
            waiting: Vec::new(),
            braces: Braces::default(),
            thought: ReasoningDetail::default(),
        };
        if self.waiting.is_empty() && self.open.as_ref().is_none_or(Block::is_complete) {
            self.close(out);
            self.begin(block, out);
            return (self.open.as_mut().expect("it was just opened"), true);
        }
        self.waiting.push_back(block);
        (self.waiting.back_mut().expect("it was just added"), false)
    }

    fn is_open_call(&self, lane: &Lane) -> bool {
        matches!(lane, Lane::Call(_)) && self.open.as_ref().is_some_and(|block| block.lane == *lane)
    }

    /// Goes on to what waits, as long as what is open is complete.
    fn advance(&mut self, out: &mut Vec<u8>) {
        while !self.waiting.is_empty() && self.open.as_ref().is_none_or(Block::is_complete) {
            self.close(out);
            if let Some(block) = self.waiting.pop_front() {
                self.begin(block, out);
            }
        }
    }

    fn begin(&mut self, mut block: Block, out: &mut Vec<u8>) {
        let index = self.next;
        let start = json!({ "type": "content_block_start", "index": index, "content_block": block.start });
        write(out, "content_block_start", &start);
        for delta in block.waiting.drain(..) {
            write(
                out,
                "content_block_delta",
                &json!({ "type": "content_block_delta", "index": index, "delta": delta }),
            );
        }
        self.open = Some(block);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(block) = self.open.take() else { return };
        let index = self.next;
        if let Lane::Thought(_) = block.lane {
            let signature = thoughts::signature(&block.thought);
            let delta = json!({ "type": "signature_delta", "signature": signature });
            write(
                out,
                "content_block_delta",
                &json!({ "type": "content_block_delta", "index": index, "delta": delta }),
            );
        }
        write(out, "content_block_stop", &json!({ "type": "content_block_stop", "index": index }));
        self.next += 1;
    }
}

impl Block {
    /// Whether nothing more can come for it.
    fn is_complete(&self) -> bool {
        !matches!(self.lane, Lane::Call(_)) || self.braces.are_closed()
    }
}

/// Writes an event.
pub(super) fn write(out: &mut Vec<u8>, name: &str, data: &Value) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    serde_json::to_writer(&mut *out, data).expect("an event has a JSON form");
    out.extend_from_slice(b"\n\n");
}
