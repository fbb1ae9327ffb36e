//! An answer whole and as a stream, in the agnostic form: one made of the other. Says which answers are complete. Knows no
//! dialect.

use bytes::Bytes;
use penstock_schemas::chat::{
    Choice, ChunkChoice, Completion, CompletionChunk, CompletionUsage, Content, Delta, Message, ReasoningDetail,
    ToolCall,
};
use penstock_schemas::envelope::{Delivery, Operation};
use penstock_schemas::frame::Summary;
use penstock_schemas::sse::{self, EVENT_BYTES};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Text in one event of a stream that is made of a whole answer, in bytes.
const PIECE: usize = 256;

/// An answer that may be given again.
#[derive(Debug)]
pub(crate) struct Completed {
    /// It, whole.
    pub(crate) bytes: Bytes,
    /// Whether it ended because of its limit of tokens.
    pub(crate) cut: bool,
}

/// What says how an answer ended.
#[derive(Deserialize)]
struct Ends {
    #[serde(default)]
    choices: Vec<End>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct End {
    finish_reason: Option<String>,
    message: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    refusal: Option<String>,
}

/// A whole answer, if it may be given again: complete, and neither refused nor filtered.
pub(crate) fn complete(operation: Operation, bytes: Bytes) -> Option<Completed> {
    let ends: Ends = serde_json::from_slice(&bytes).ok()?;
    // What cannot be made a stream of could not be given to all who ask for it.
    let is_readable = || operation != Operation::Chat || serde_json::from_slice::<Completion>(&bytes).is_ok();
    if ends.error.is_some() || !is_readable() {
        return None;
    }
    if !matches!(operation, Operation::Chat | Operation::Completions) {
        return Some(Completed { bytes, cut: false });
    }
    let is_refused = |end: &End| end.message.as_ref().is_some_and(|message| message.refusal.is_some());
    let is_complete = |end: &End| {
        matches!(end.finish_reason.as_deref(), Some("stop" | "length" | "tool_calls" | "function_call"))
            && !is_refused(end)
    };
    if ends.choices.is_empty() || !ends.choices.iter().all(is_complete) {
        return None;
    }
    let cut = ends.choices.iter().any(|end| end.finish_reason.as_deref() == Some("length"));
    Some(Completed { bytes, cut })
}

/// What a whole chat says, where it says something and nothing else: neither calls nor several choices.
pub(crate) fn text_of(bytes: &[u8]) -> Option<String> {
    let completion: Completion = serde_json::from_slice(bytes).ok()?;
    let [Choice { message, .. }] = &completion.choices[..] else { return None };
    match &message.content {
        Some(Content::Text(text)) if message.tool_calls.as_ref().is_none_or(Vec::is_empty) => Some(text.clone()),
        _ => None,
    }
}

/// A streamed chat as a whole one, if it may be given again and all that it says can be put together.
pub(crate) fn collected(pieces: &[Bytes], summary: &Summary) -> Option<Completed> {
    complete(Operation::Chat, put_together(pieces, summary)?)
}

/// A streamed chat as a whole one, if all that it says can be put together.
pub(crate) fn put_together(pieces: &[Bytes], summary: &Summary) -> Option<Bytes> {
    let mut parser = sse::Parser::new(EVENT_BYTES);
    pieces.iter().for_each(|piece| parser.push(piece));
    let mut sum = Sum::default();
    while let Some(event) = parser.next_event().ok()? {
        let data = event.data.trim_ascii();
        if event.event.as_deref() == Some(b"error") {
            return None;
        }
        if data.starts_with(b"{") {
            sum.add(serde_json::from_slice(data).ok()?)?;
        }
    }
    let completion = sum.finish(summary);
    serde_json::to_vec(&completion).ok().map(Bytes::from)
}

/// What has come of a streamed answer.
#[derive(Default)]
struct Sum {
    completion: Completion,
    choices: BTreeMap<u32, Choice>,
}

impl Sum {
    /// Adds a piece; `None` when it says what is not known here.
    fn add(&mut self, chunk: CompletionChunk) -> Option<()> {
        let sum = &mut self.completion;
        if chunk.extra.contains_key("error") || chunk.extra.contains_key("penstock") {
            return None;
        }
        if sum.id.is_empty() {
            (sum.id, sum.created) = (chunk.id, chunk.created);
        }
        if sum.model.is_empty() {
            sum.model = chunk.model;
        }
        sum.usage = chunk.usage.or(sum.usage.take());
        sum.extra.extend(chunk.extra.into_iter().filter(|(name, _)| name != "obfuscation"));
        for piece in chunk.choices {
            let choice = self.choices.entry(piece.index).or_default();
            choice.index = piece.index;
            choice.finish_reason = piece.finish_reason.or(choice.finish_reason.take());
            merge(&mut choice.extra, piece.extra)?;
            add(&mut choice.message, piece.delta)?;
        }
        Some(())
    }

    fn finish(self, summary: &Summary) -> Completion {
        let Self { mut completion, choices } = self;
        "chat.completion".clone_into(&mut completion.object);
        completion.usage = completion.usage.or_else(|| CompletionUsage::of(&summary.usage));
        completion.choices = choices.into_values().collect();
        completion
    }
}

fn add(message: &mut Message, delta: Delta) -> Option<()> {
    "assistant".clone_into(&mut message.role);
    if let Some(text) = delta.content {
        match message.content.get_or_insert_with(|| Content::Text(String::new())) {
            Content::Text(said) => said.push_str(&text),
            Content::Parts(_) => return None,
        }
    }
    append(&mut message.refusal, delta.refusal);
    append(&mut message.reasoning_content, delta.reasoning_content);
    for piece in delta.reasoning_details.into_iter().flatten() {
        add_thought(message.reasoning_details.get_or_insert_default(), piece);
    }
    for piece in delta.tool_calls.into_iter().flatten() {
        add_call(message.tool_calls.get_or_insert_default(), piece)?;
    }
    merge(&mut message.extra, delta.extra)
}

fn append(said: &mut Option<String>, more: Option<String>) {
    if let Some(more) = more {
        said.get_or_insert_default().push_str(&more);
    }
}

/// Pieces of one place are one.
fn add_thought(thoughts: &mut Vec<ReasoningDetail>, piece: ReasoningDetail) {
    let last = thoughts
        .last_mut()
        .filter(|last| piece.index.is_some() && last.index == piece.index && last.kind == piece.kind);
    let Some(last) = last else {
        thoughts.push(piece);
        return;
    };
    append(&mut last.text, piece.text);
    append(&mut last.summary, piece.summary);
    append(&mut last.data, piece.data);
    append(&mut last.signature, piece.signature);
    last.id = piece.id.or(last.id.take());
    last.format = piece.format.or(last.format.take());
    last.extra.extend(piece.extra);
}

fn add_call(calls: &mut Vec<ToolCall>, piece: ToolCall) -> Option<()> {
    let index = piece.index.unwrap_or_default();
    let Some(call) = calls.iter_mut().find(|call| call.index == Some(index)) else {
        calls.push(ToolCall { index: Some(index), ..piece });
        return Some(());
    };
    call.id = piece.id.or(call.id.take());
    call.kind = piece.kind.or(call.kind.take());
    if let Some(function) = piece.function {
        let said = call.function.get_or_insert_default();
        said.name = function.name.or(said.name.take());
        append(&mut said.arguments, function.arguments);
        merge(&mut said.extra, function.extra)?;
    }
    merge(&mut call.extra, piece.extra)
}

/// Adds fields that are not known here: lists grow, objects are merged, and what is there once stays. Of texts it is not known
/// whether the second goes on with the first.
fn merge(fields: &mut Map<String, Value>, more: Map<String, Value>) -> Option<()> {
    for (name, value) in more {
        match (fields.get_mut(&name), value) {
            (_, Value::Null) => {}
            (None | Some(Value::Null), value) => drop(fields.insert(name, value)),
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (Some(Value::Object(object)), Value::Object(more)) => merge(object, more)?,
            (Some(Value::String(text)), Value::String(more)) if GROWING.contains(&name.as_str()) => {
                text.push_str(&more);
            }
            (Some(have), value) if *have == value => {}
            (Some(_), _) => return None,
        }
    }
    Some(())
}

/// Texts that come in pieces: thoughts as OpenRouter names them, and the input of a call of a `custom` tool. Source:
/// <https://platform.openai.com/docs/api-reference/chat-streaming>.
const GROWING: [&str; 3] = ["reasoning", "input", "arguments"];

/// A whole chat as a stream.
///
/// # Errors
/// When it is no chat.
pub(crate) fn events(whole: &[u8], delivery: Delivery) -> Result<Bytes, serde_json::Error> {
    let Completion { id, created, model, choices, usage, extra, .. } = serde_json::from_slice(whole)?;
    let base = CompletionChunk {
        id,
        object: "chat.completion.chunk".to_owned(),
        created,
        model,
        extra,
        ..CompletionChunk::default()
    };
    let mut out = Vec::with_capacity(whole.len() * 4);
    for Choice { index, message, finish_reason, extra } in choices {
        for delta in deltas(message) {
            let choice = ChunkChoice { index, delta, ..ChunkChoice::default() };
            write(&base, vec![choice], None, &mut out)?;
        }
        let last = ChunkChoice { index, delta: Delta::default(), finish_reason, extra };
        write(&base, vec![last], None, &mut out)?;
    }
    if delivery == Delivery::StreamWithUsage && usage.is_some() {
        write(&base, Vec::new(), usage, &mut out)?;
    }
    out.extend_from_slice(b"data: [DONE]\n\n");
    Ok(out.into())
}

fn write(
    base: &CompletionChunk,
    choices: Vec<ChunkChoice>,
    usage: Option<CompletionUsage>,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    out.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *out, &CompletionChunk { choices, usage, ..base.clone() })?;
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// The pieces of a message, in the order in which models say them.
fn deltas(message: Message) -> Vec<Delta> {
    let mut all = vec![Delta { role: Some(message.role), ..Delta::default() }];
    if message.reasoning_content.is_some() || message.reasoning_details.is_some() {
        let (reasoning_content, reasoning_details) = (message.reasoning_content, message.reasoning_details);
        all.push(Delta { reasoning_content, reasoning_details, ..Delta::default() });
    }
    if !message.extra.is_empty() {
        all.push(Delta { extra: message.extra, ..Delta::default() });
    }
    let text = message.content.map(|content| content.text()).unwrap_or_default();
    all.extend(cut(&text).map(|piece| Delta { content: Some(piece.to_owned()), ..Delta::default() }));
    if let Some(refusal) = message.refusal {
        all.push(Delta { refusal: Some(refusal), ..Delta::default() });
    }
    for (index, call) in message.tool_calls.into_iter().flatten().enumerate() {
        all.extend(call_deltas(call, u32::try_from(index).unwrap_or_default()));
    }
    all
}

fn call_deltas(mut call: ToolCall, index: u32) -> Vec<Delta> {
    let arguments = call.function.as_mut().and_then(|function| function.arguments.as_mut()).map(std::mem::take);
    let delta = |call| Delta { tool_calls: Some(vec![call]), ..Delta::default() };
    let mut all = vec![delta(ToolCall { index: Some(index), ..call })];
    all.extend(cut(&arguments.unwrap_or_default()).map(|piece| {
        let function = penstock_schemas::chat::FunctionCall { arguments: Some(piece.to_owned()), ..Default::default() };
        delta(ToolCall { index: Some(index), function: Some(function), ..ToolCall::default() })
    }));
    all
}

/// A text in pieces, between characters.
fn cut(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = (0..=PIECE.min(rest.len())).rev().find(|end| rest.is_char_boundary(*end)).filter(|end| *end > 0)?;
        let (piece, later) = rest.split_at(end);
        rest = later;
        Some(piece)
    })
}

#[cfg(test)]
mod tests;
