//! Brings the events of copies into Anthropic's order, for clients that go by it: the message begins once, before anything
//! else; blocks have the next number each, begin empty and end before the message does; what is added to a block is of its
//! kind; every event is named. Events that are so already go on as they came. Knows nothing of where they go.
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use super::answer::text;
use super::odd;
use super::seen::SeenEvent;
use crate::claude::is_claude;
use crate::json::RawObject;
use crate::most;
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse;
use serde_json::{Value, json};

/// The data of the last event.
const LAST_WORD: &str = r#"{"type":"message_stop"}"#;

/// What a block is made of, as far as it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Text,
    Thought,
    Call,
    Other,
}

impl Lane {
    fn of(block: &str) -> Self {
        match block {
            "text" => Self::Text,
            "thinking" => Self::Thought,
            kind if kind.ends_with("tool_use") => Self::Call,
            _ => Self::Other,
        }
    }

    fn of_delta(delta: &str) -> Self {
        match delta {
            "text_delta" | "citations_delta" => Self::Text,
            "thinking_delta" | "signature_delta" => Self::Thought,
            "input_json_delta" => Self::Call,
            _ => Self::Other,
        }
    }

    /// What is added to its blocks, as JSON has it.
    fn deltas(self) -> &'static [&'static [u8]] {
        match self {
            Self::Text => &[b"\"text_delta\"", b"\"citations_delta\""],
            Self::Thought => &[b"\"thinking_delta\"", b"\"signature_delta\""],
            Self::Call => &[b"\"input_json_delta\""],
            Self::Other => &[],
        }
    }
}

/// A block that has not ended.
#[derive(Debug)]
struct Open {
    /// Its number, as the provider says it.
    theirs: u64,
    /// Its number, as the client knows it.
    ours: u64,
    lane: Lane,
    /// The arguments that it began with, while no others have come.
    input: Option<String>,
}

/// What is known of the order of one stream.
#[derive(Debug, Default)]
pub(super) struct EventOrder {
    /// The id of the message, once it has begun.
    message: Option<String>,
    blocks: Vec<Open>,
    /// The number of the next block.
    next: u64,
    /// A text that has begun and of which nothing has come: some copies begin every block so.
    waiting: Option<sse::Event>,
    /// Whether the message is of a model of Anthropic's own, whose blocks begin as what they are.
    is_claude: bool,
    has_called: bool,
    /// Why the answer ended, in Anthropic's word, once that was said.
    stop: Option<String>,
    /// Whether the last word came before that: more may come.
    has_last_word: bool,
    /// The tokens of the answer that were reported last.
    output: u64,
}

impl EventOrder {
    /// Whether an event adds to the block that is open what a block of its kind takes, by how it begins.
    pub(super) fn is_plain(&self, event: &sse::Event) -> bool {
        let open = self.blocks.last().filter(|open| open.ours == open.theirs && open.input.is_none());
        let Some(open) = open.filter(|_| self.waiting.is_none()) else { return false };
        let begins = || {
            let rest = event.data.strip_prefix(br#"{"type":"content_block_delta","index":"#.as_slice());
            let rest = rest.or_else(|| {
                words(&event.data, &[b"{", b"\"type\"", b":", b"\"content_block_delta\"", b",", b"\"index\"", b":"])
            })?;
            let rest = number(rest.trim_ascii_start(), open.ours)?;
            let kind = rest.strip_prefix(br#","delta":{"type":"#.as_slice());
            kind.or_else(|| words(rest, &[b",", b"\"delta\"", b":", b"{", b"\"type\"", b":"]))
        };
        event.event.as_deref() == Some(b"content_block_delta")
            && begins().is_some_and(|kind| {
                let kind = kind.trim_ascii_start();
                open.lane.deltas().iter().any(|delta| kind.starts_with(delta)) && !is_odd_piece(kind)
            })
    }

    /// The events that stand in the place of one; `None` when it stays as it came.
    ///
    /// # Errors
    /// When the provider begins another answer, or more blocks than may be open at once.
    pub(super) fn mend(
        &mut self,
        event: &sse::Event,
        seen: &SeenEvent<'_>,
    ) -> Result<Option<Vec<sse::Event>>, Failure> {
        let mut out = Vec::new();
        if self.message.is_none() && !matches!(seen.kind.as_str(), "message_start" | "ping" | "") {
            self.message = Some(String::new());
            out.extend(odd::message_start(b"{}", None).map(|json| named("message_start", &json)));
        }
        match seen.kind.as_str() {
            "message_start" => self.start(event, seen, &mut out)?,
            "content_block_start" => self.open(event, seen, &mut out)?,
            "content_block_delta" => self.add(event, seen, &mut out)?,
            "content_block_stop" => self.end(event, seen, &mut out),
            "message_delta" => self.last(event, seen, &mut out),
            "message_stop" => self.stop(event, seen, &mut out),
            "" => {}
            _ => {
                out.extend(self.waiting.take());
                out.push(as_it_came(event, seen));
            }
        }
        let is_same = matches!(&out[..], [one] if one.raw.as_ptr() == event.raw.as_ptr());
        Ok((!is_same).then_some(out))
    }

    fn start(&mut self, event: &sse::Event, seen: &SeenEvent<'_>, out: &mut Vec<sse::Event>) -> Result<(), Failure> {
        let message = seen.event.message.as_ref();
        let id = message.and_then(|message| text(message.id.as_ref())).unwrap_or_default();
        match &self.message {
            Some(known) if self.next > 0 && !id.is_empty() && *known != id => {
                let why = "the provider's stream began another answer before the first was complete";
                return Err(Failure::provider(FailureKind::Broken, why));
            }
            Some(_) => return Ok(()), // said again
            None => {}
        }
        let told = message.and_then(|message| message.usage.as_ref()?.get("output_tokens")?.as_u64());
        self.output = told.unwrap_or(0);
        self.is_claude = message.and_then(|message| text(message.model.as_ref())).is_some_and(|name| is_claude(&name));
        self.message = Some(id);
        out.push(match odd::message_start(&event.data, message) {
            Some(json) => named("message_start", &json),
            None => as_it_came(event, seen),
        });
        Ok(())
    }

    fn open(&mut self, event: &sse::Event, seen: &SeenEvent<'_>, out: &mut Vec<sse::Event>) -> Result<(), Failure> {
        let (Some(block), Some(raw)) = (&seen.block, seen.event.content_block) else { return Ok(()) };
        let theirs = seen.event.index.unwrap_or(self.next);
        // One at a time, save for calls, which some servers write side by side.
        self.close(|open| open.theirs == theirs || open.lane != Lane::Call, out);
        self.has_called |= block.kind == "tool_use";
        let message = self.message.as_deref().unwrap_or_default();
        let opening = odd::opening(block, raw, || odd::call_id(message, self.next));
        let ours = self.push(theirs, Lane::of(&block.kind))?;
        let Some(opening) = opening else {
            let start = numbered(event, seen, ours);
            match block.kind.as_str() {
                "text" if !self.is_claude => self.waiting = Some(start),
                _ => out.push(start),
            }
            return Ok(());
        };
        let block = opening.block;
        let start = json!({ "type": "content_block_start", "index": ours, "content_block": block });
        out.push(named("content_block_start", &start.to_string()));
        out.extend(opening.deltas.into_iter().map(|delta| addition(ours, &delta)));
        if let Some(open) = self.blocks.last_mut() {
            open.input = opening.input;
        }
        Ok(())
    }

    /// Notes a block that begins; its number.
    fn push(&mut self, theirs: u64, lane: Lane) -> Result<u64, Failure> {
        if self.blocks.len() >= most::BLOCKS {
            return Err(most::too_many_blocks());
        }
        let ours = self.next;
        self.next += 1;
        self.blocks.push(Open { theirs, ours, lane, input: None });
        Ok(ours)
    }

    /// Ends blocks of which the provider says nothing more.
    fn close(&mut self, is_over: impl Fn(&Open) -> bool, out: &mut Vec<sse::Event>) {
        for open in std::mem::take(&mut self.blocks) {
            if !is_over(&open) {
                self.blocks.push(open);
                continue;
            }
            let ours = open.ours;
            self.say_all(open, out);
            out.push(named("content_block_stop", &json!({ "type": "content_block_stop", "index": ours }).to_string()));
        }
    }

    /// What a block that ends has not said.
    fn say_all(&mut self, open: Open, out: &mut Vec<sse::Event>) {
        if open.lane == Lane::Text {
            out.extend(self.waiting.take());
        }
        if let Some(input) = open.input {
            out.push(addition(open.ours, &json!({ "type": "input_json_delta", "partial_json": input })));
        }
    }

    fn end(&mut self, event: &sse::Event, seen: &SeenEvent<'_>, out: &mut Vec<sse::Event>) {
        let theirs = seen.event.index.or_else(|| Some(self.blocks.last()?.theirs));
        let is_it = |open: &Open| Some(open.theirs) == theirs;
        if self.blocks.iter().filter(|open| is_it(open)).count() != 1 {
            return self.close(is_it, out);
        }
        if let Some(at) = self.blocks.iter().position(is_it) {
            let open = self.blocks.remove(at);
            let ours = open.ours;
            self.say_all(open, out);
            out.push(numbered(event, seen, ours));
        }
    }

    fn add(&mut self, event: &sse::Event, seen: &SeenEvent<'_>, out: &mut Vec<sse::Event>) -> Result<(), Failure> {
        let kind = odd::kind_of_delta(&seen.added);
        let (lane, index) = (Lane::of_delta(kind), seen.event.index);
        let is_there = |open: &Open| index.is_none_or(|index| index == open.theirs);
        let fits = |open: &Open| is_there(open) && (open.lane == lane || lane == Lane::Other);
        let anywhere = |open: &Open| open.lane == lane;
        let says_nothing = match kind {
            "input_json_delta" => seen.added.partial_json.as_ref().is_none_or(|piece| piece.text.is_empty()),
            // What stands between two calls.
            "text_delta" => seen.added.text.as_ref().is_none_or(|text| text.trim().is_empty()),
            _ => false,
        };
        let at = match self.blocks.iter().rposition(fits) {
            Some(at) => at,
            None if says_nothing && self.blocks.iter().any(is_there) => return Ok(()),
            None if matches!(kind, "input_json_delta" | "signature_delta") || lane == Lane::Other => {
                let Some(at) = self.blocks.iter().rposition(anywhere) else { return Ok(()) };
                at
            }
            None => self.begin(index.unwrap_or(self.next), lane, out)?,
        };
        let open = &mut self.blocks[at];
        match lane {
            Lane::Call if !says_nothing => open.input = None,
            Lane::Text => out.extend(self.waiting.take()),
            _ => {}
        }
        let ours = self.blocks[at].ours;
        let read = seen.added.partial_json.as_ref().filter(|piece| piece.is_read);
        if seen.added.kind.as_deref() == Some(kind) && read.is_none() {
            out.push(numbered(event, seen, ours));
        } else {
            let delta = seen.event.delta.and_then(|delta| RawObject::read(delta.get().as_bytes()).ok());
            let mut delta = delta.unwrap_or_default();
            delta.set("type", &kind);
            if let Some(piece) = read {
                delta.set("partial_json", &piece.text);
            }
            out.push(addition(ours, &delta));
        }
        Ok(())
    }

    /// Begins a block for what is added to none; its place.
    fn begin(&mut self, theirs: u64, lane: Lane, out: &mut Vec<sse::Event>) -> Result<usize, Failure> {
        let waits = self.waiting.is_some() && self.blocks.last().is_some_and(|open| open.theirs == theirs);
        if waits && self.waiting.take().is_some() {
            self.blocks.pop();
            self.next -= 1;
        }
        self.close(|open| open.lane != Lane::Call, out);
        let ours = self.push(theirs, lane)?;
        let block = match lane {
            Lane::Thought => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            _ => json!({ "type": "text", "text": "" }),
        };
        let start = json!({ "type": "content_block_start", "index": ours, "content_block": block });
        out.push(named("content_block_start", &start.to_string()));
        Ok(self.blocks.len() - 1)
    }

    fn last(&mut self, event: &sse::Event, seen: &SeenEvent<'_>, out: &mut Vec<sse::Event>) {
        let said = text(seen.added.stop_reason.as_ref());
        if let Some(said) = said.as_deref() {
            self.stop = Some(odd::reason(Some(said), self.has_called).to_owned());
        }
        if self.stop.is_some() {
            self.close(|_| true, out);
        }
        let usage = seen.event.usage.as_ref();
        self.output = usage.and_then(|usage| usage.get("output_tokens")?.as_u64()).unwrap_or(self.output);
        out.push(match odd::message_delta(&event.data, (&seen.added, usage), self.stop.as_deref(), self.output) {
            Some(json) => named("message_delta", &json),
            None => as_it_came(event, seen),
        });
        if self.stop.is_some() && std::mem::take(&mut self.has_last_word) {
            out.push(named("message_stop", LAST_WORD));
        }
    }

    /// The last word waits where nothing said why the answer ended: some say it too early.
    fn stop(&mut self, event: &sse::Event, seen: &SeenEvent<'_>, out: &mut Vec<sse::Event>) {
        self.has_last_word = self.stop.is_none() && self.next > 0;
        if !self.has_last_word {
            out.push(as_it_came(event, seen));
        }
    }

    /// The end of a message whose last word came, though nothing said why it ended; else nothing.
    pub(super) fn finish(&mut self) -> Vec<sse::Event> {
        let mut out = Vec::new();
        if std::mem::take(&mut self.has_last_word) {
            self.close(|_| true, &mut out);
            let delta = json!({ "stop_reason": odd::reason(None, self.has_called), "stop_sequence": null });
            let usage = json!({ "output_tokens": self.output });
            let last = json!({ "type": "message_delta", "delta": delta, "usage": usage });
            out.extend([named("message_delta", &last.to_string()), named("message_stop", LAST_WORD)]);
        }
        out
    }
}

/// Whether a thought without words is added, beside which some copies write the signature, or arguments that are no text.
fn is_odd_piece(kind: &[u8]) -> bool {
    let said = |rest, name: &[u8]| words(rest, &[b",", name, b":"]).map(<[u8]>::trim_ascii_start);
    if let Some(rest) = kind.strip_prefix(b"\"thinking_delta\"") {
        return said(rest, b"\"thinking\"").is_none_or(|said| said.starts_with(b"\"\""));
    }
    let arguments = kind.strip_prefix(b"\"input_json_delta\"");
    arguments.is_some_and(|rest| !said(rest, b"\"partial_json\"").is_some_and(|said| said.starts_with(b"\"")))
}

/// What stands behind these words, with or without spaces between them.
fn words<'a>(text: &'a [u8], words: &[&[u8]]) -> Option<&'a [u8]> {
    words.iter().try_fold(text, |rest, word| rest.trim_ascii_start().strip_prefix(*word))
}

/// What stands behind this number.
fn number(text: &[u8], wanted: u64) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let found = text[..end].iter().fold(0_u64, |sum, digit| sum.wrapping_mul(10) + u64::from(digit - b'0'));
    (end > 0 && end < 10 && found == wanted).then(|| &text[end..])
}

fn named(kind: &str, json: &str) -> sse::Event {
    let json = json.replace('\n', " "); // between two values: within a text it is escaped
    let raw = format!("event: {kind}\ndata: {json}\n\n").into();
    sse::Event { raw, event: Some(Bytes::copy_from_slice(kind.as_bytes())), data: json.into() }
}

/// A piece for a block.
fn addition(ours: u64, delta: &impl serde::Serialize) -> sse::Event {
    let delta: Value = serde_json::to_value(delta).unwrap_or_default();
    let event = json!({ "type": "content_block_delta", "index": ours, "delta": delta });
    named("content_block_delta", &event.to_string())
}

/// The event with its name.
fn as_it_came(event: &sse::Event, seen: &SeenEvent<'_>) -> sse::Event {
    changed(event, seen, None)
}

/// The event with its name, and the number of its block.
fn numbered(event: &sse::Event, seen: &SeenEvent<'_>, ours: u64) -> sse::Event {
    changed(event, seen, Some(ours).filter(|_| seen.event.index != Some(ours)))
}

fn changed(event: &sse::Event, seen: &SeenEvent<'_>, index: Option<u64>) -> sse::Event {
    let is_named = event.event.as_deref() == Some(seen.kind.as_bytes());
    if is_named && seen.event.kind.is_some() && index.is_none() {
        return event.clone();
    }
    let mut data = RawObject::read(&event.data).unwrap_or_default();
    data.set("type", &seen.kind);
    if let Some(index) = index {
        data.set("index", &index);
    }
    named(&seen.kind, &data.to_text())
}
