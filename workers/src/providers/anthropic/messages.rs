//! The conversation as Anthropic wants it: one system prompt, turns that alternate, and the results of calls at the head of
//! the turn behind them. Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>.
//!
//! Repairs: results in another order than their calls are put in order, turns of one side are joined. A result without a
//! call, and a call that is left without a result, are refused: no model could tell what was meant.

use super::content::{blocks, marked, text_block};
use super::wire::{Block, Call, System, Turn};
use crate::providers::fit::{Fit, wrong};
use penstock_schemas::chat::{Content, Issuer, Message, ReasoningDetail, ToolCall};
use penstock_schemas::failure::Failure;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The system prompt, and the turns.
pub(super) fn spell(messages: Vec<Message>, fit: &mut Fit) -> Result<(Option<System>, Vec<Turn>), Failure> {
    let mut conversation = Conversation::default();
    for (at, message) in messages.into_iter().enumerate() {
        conversation.add(message, &format!("messages[{at}]"), fit)?;
    }
    conversation.finish()
}

#[derive(Default)]
struct Conversation {
    system: Vec<Value>,
    turns: Vec<Turn>,
    /// The calls of the last answer, and the result of each.
    calls: Vec<(String, Option<Value>)>,
    /// Where they were made.
    called_at: String,
    has_results: bool,
}

impl Conversation {
    fn add(&mut self, mut message: Message, place: &str, fit: &mut Fit) -> Result<(), Failure> {
        check_extra(&message, place, fit)?;
        match message.role.as_str() {
            "system" | "developer" => {
                let blocks = blocks(message.content, place, fit)?;
                if let Some(at) = blocks.iter().position(|block| block["type"] != "text") {
                    return Err(wrong(format!("{place}.content[{at}]"), "a system prompt is text"));
                }
                self.system.extend(blocks);
            }
            "user" => {
                self.settle()?;
                let blocks = blocks(message.content, place, fit)?;
                self.push("user", blocks.into_iter().map(Block::Plain).collect());
            }
            "assistant" => {
                self.settle()?;
                let calls = message.tool_calls.take().unwrap_or_default();
                let mut all: Vec<Block> =
                    thoughts(message.reasoning_details.take()).into_iter().map(Block::Plain).collect();
                all.extend(blocks(message.content, place, fit)?.into_iter().map(Block::Plain));
                all.extend(message.refusal.and_then(|text| text_block(&text, None)).map(Block::Plain));
                for (at, call) in calls.into_iter().enumerate() {
                    all.push(Block::Call(self.call(call, &format!("{place}.tool_calls[{at}]"))?));
                }
                place.clone_into(&mut self.called_at);
                self.push("assistant", all);
            }
            "tool" => self.result(message, place, fit)?,
            _ => return Err(wrong(format!("{place}.role"), "it is one of system, developer, user, assistant, tool")),
        }
        Ok(())
    }

    fn call(&mut self, call: ToolCall, place: &str) -> Result<Call, Failure> {
        let missing = |field: &str| wrong(format!("{place}.{field}"), "it is missing");
        let id = call.id.filter(|id| !id.is_empty()).ok_or_else(|| missing("id"))?;
        let function = call.function.ok_or_else(|| missing("function"))?;
        let name = function.name.ok_or_else(|| missing("function.name"))?;
        let input = arguments(function.arguments.as_deref().unwrap_or_default())
            .ok_or_else(|| wrong(format!("{place}.function.arguments"), "it is not a JSON object"))?;
        if self.calls.iter().any(|(known, _)| *known == id) {
            return Err(wrong(format!("{place}.id"), "two calls have this id"));
        }
        self.calls.push((id.clone(), None));
        let cache_control = call.extra.get("cache_control").cloned();
        Ok(Call { kind: "tool_use", id, name, input, cache_control })
    }

    fn result(&mut self, message: Message, place: &str, fit: &mut Fit) -> Result<(), Failure> {
        let field = format!("{place}.tool_call_id");
        let id = message.tool_call_id.ok_or_else(|| wrong(field.clone(), "it is missing"))?;
        let is_text = matches!(message.content, Some(Content::Text(_)));
        let content = match (is_text, message.content) {
            (true, Some(content)) => content.text().into(),
            (_, content) => Value::Array(blocks(content, place, fit)?),
        };
        let Some((_, slot)) = self.calls.iter_mut().find(|(known, _)| *known == id) else {
            return Err(wrong(field, "no call right before it has this id"));
        };
        if slot.is_some() {
            return Err(wrong(field, "the call has a result already"));
        }
        let mut result = json!({ "type": "tool_result", "tool_use_id": id, "content": content });
        if message.is_error == Some(true) {
            result["is_error"] = true.into();
        }
        *slot = Some(marked(result, message.cache_control));
        self.has_results = true;
        Ok(())
    }

    /// Before anything else is said, every call has its result.
    fn settle(&mut self) -> Result<(), Failure> {
        let calls = std::mem::take(&mut self.calls);
        if calls.is_empty() {
            return Ok(());
        }
        self.has_results = false;
        let mut results = Vec::with_capacity(calls.len());
        for (at, (_, result)) in calls.into_iter().enumerate() {
            let field = || format!("{}.tool_calls[{at}]", self.called_at);
            results.push(Block::Plain(result.ok_or_else(|| wrong(field(), "the call has no result"))?));
        }
        self.push("user", results);
        Ok(())
    }

    fn push(&mut self, role: &'static str, blocks: Vec<Block>) {
        match self.turns.last_mut().filter(|turn| turn.role == role) {
            Some(turn) => turn.content.extend(blocks),
            None if blocks.is_empty() => {}
            None => self.turns.push(Turn { role, content: blocks }),
        }
    }

    fn finish(mut self) -> Result<(Option<System>, Vec<Turn>), Failure> {
        if self.has_results {
            self.settle()?;
        }
        if self.turns.is_empty() {
            return Err(wrong("messages", "nobody says anything in them"));
        }
        if self.system.is_empty() {
            return Ok((None, self.turns));
        }
        if self.system.iter().any(|block| block.get("cache_control").is_some()) {
            return Ok((Some(System::Blocks(self.system)), self.turns));
        }
        let texts: Vec<&str> = self.system.iter().filter_map(|block| block["text"].as_str()).collect();
        Ok((Some(System::Text(texts.join("\n\n"))), self.turns))
    }
}

/// What a message says that a turn has no room for.
fn check_extra(message: &Message, place: &str, fit: &mut Fit) -> Result<(), Failure> {
    for (name, value) in &message.extra {
        match name.as_str() {
            _ if value.is_null() => {}
            // Of answers that are sent back.
            "annotations" | "reasoning" => {}
            // Mistral's SDK always sends it.
            "prefix" if value == false => {}
            "name" => fit.omit(format!("{place}.name")),
            _ => fit.cannot(format!("{place}.{name}"), "the provider has nothing like it")?,
        }
    }
    Ok(())
}

/// The thoughts that Claude has signed; nobody else's are taken back.
fn thoughts(details: Option<Vec<ReasoningDetail>>) -> Vec<Value> {
    let ours = details.into_iter().flatten().filter(|detail| detail.format == Some(Issuer::Anthropic));
    ours.filter_map(|detail| match (detail.signature, detail.data) {
        (Some(signature), _) => {
            Some(json!({ "type": "thinking", "thinking": detail.text.unwrap_or_default(), "signature": signature }))
        }
        (None, Some(data)) => Some(json!({ "type": "redacted_thinking", "data": data })),
        (None, None) => None,
    })
    .collect()
}

/// Arguments as the object that they are; nothing at all is an empty one.
fn arguments(text: &str) -> Option<Box<RawValue>> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let raw: Box<RawValue> = serde_json::from_str(text).ok()?;
    raw.get().starts_with('{').then_some(raw)
}
