//! The conversation as Anthropic wants it: one system prompt, turns that alternate, and the results of calls at the head of
//! the turn behind them. Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>.
//!
//! Repairs: results in another order than their calls are put in order, turns of one side are joined, a conversation begins
//! with the user, and an answer that was begun ends without white space. Calls at the end that are left without a result are
//! refused: it is the caller who has them.

use super::content::{Side, blocks, marked, text_block};
use super::wire::{Block, Call, System, Turn};
use crate::call_arguments;
use crate::claude::Claude;
use crate::fit::{Fit, extras, wrong};
use crate::opening;
use crate::provider::unsupported;
use crate::thought_order::{ThoughtOrText, after, weave};
use penstock_schemas::chat::{Content, Issuer, Message, ReasoningDetail, ToolCall};
use penstock_schemas::failure::Failure;
use serde_json::{Value, json};

/// The system prompt, and the turns.
pub(super) fn spell(
    mut messages: Vec<Message>,
    claude: Claude,
    fit: &mut Fit,
) -> Result<(Option<System>, Vec<Turn>), Failure> {
    opening::question(&mut messages, fit);
    let mut conversation = Conversation::default();
    for (at, message) in messages.into_iter().enumerate() {
        conversation.add(message, &format!("messages[{at}]"), fit)?;
    }
    conversation.settle()?;
    conversation.end(claude)?;
    conversation.finish()
}

/// Whether the turn that goes on was begun without a thought, so that a model that thinks by a budget may not think in it.
/// Source: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking#extended-thinking-with-tool-use>.
pub(super) fn is_unthought(turns: &[Turn]) -> bool {
    let is_question = |turn: &&Turn| turn.role == "user" && !turn.content.iter().any(|block| block.is("tool_result"));
    let begun = turns.iter().rev().take_while(|turn| !is_question(turn));
    let first = begun.filter(|turn| turn.role == "assistant").last().and_then(|turn| turn.content.first());
    first.is_some_and(|first| !first.is("thinking") && !first.is("redacted_thinking"))
}

/// Whether the last turn is an answer that was begun for the model.
pub(super) fn is_begun(turns: &[Turn]) -> bool {
    turns.last().is_some_and(|turn| turn.role == "assistant")
}

#[derive(Default)]
struct Conversation {
    system: Vec<Value>,
    turns: Vec<Turn>,
    /// The calls of the last answer, and the result of each.
    calls: Vec<(String, Option<Value>)>,
    /// Where they were made.
    called_at: String,
    /// Where the last message stands, and whether it said nothing.
    last: String,
    is_silent: bool,
}

impl Conversation {
    fn add(&mut self, mut message: Message, place: &str, fit: &mut Fit) -> Result<(), Failure> {
        extras(&message, place, fit)?;
        place.clone_into(&mut self.last);
        self.is_silent = false;
        match message.role.as_str() {
            "system" | "developer" => {
                self.system.extend(blocks(message.content, Side::System, place, fit)?);
            }
            "user" => {
                self.settle()?;
                let blocks = blocks(message.content, Side::User, place, fit)?;
                self.is_silent = blocks.is_empty();
                self.push("user", blocks.into_iter().map(Block::Plain).collect());
            }
            "assistant" => {
                self.settle()?;
                let calls = message.tool_calls.take().unwrap_or_default();
                let mut all = Vec::new();
                for run in weave(message.content, thoughts(message.reasoning_details.take())) {
                    match run {
                        ThoughtOrText::Thought(thought) => all.push(Block::Plain(thought)),
                        ThoughtOrText::Said(said) => {
                            let said = blocks(Some(said), Side::Assistant, place, fit)?;
                            all.extend(said.into_iter().map(Block::Plain));
                        }
                    }
                }
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
        let input = call_arguments::object(&function);
        let name = function.name.ok_or_else(|| missing("function.name"))?;
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
            (_, content) => Value::Array(blocks(content, Side::Result, place, fit)?),
        };
        let Some((_, slot)) = self.calls.iter_mut().find(|(known, _)| *known == id) else {
            return Err(wrong(field, "no call right before it has this id"));
        };
        if slot.is_some() {
            return Err(wrong(field, "the call has a result already"));
        }
        let is_text = content.as_array().is_none_or(|blocks| blocks.iter().all(|block| block["type"] == "text"));
        let mut result = json!({ "type": "tool_result", "tool_use_id": id, "content": content });
        if message.is_error == Some(true) {
            // What failed may be told in text alone.
            if is_text {
                result["is_error"] = true.into();
            } else {
                fit.omit(format!("{place}.is_error"));
            }
        }
        *slot = Some(marked(result, message.cache_control));
        Ok(())
    }

    /// Before anything else is said, every call has its result.
    fn settle(&mut self) -> Result<(), Failure> {
        let calls = std::mem::take(&mut self.calls);
        if calls.is_empty() {
            return Ok(());
        }
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

    /// A conversation ends with the user, or with an answer that the model is to go on with.
    fn end(&mut self, claude: Claude) -> Result<(), Failure> {
        let Some(turn) = self.turns.last_mut().filter(|turn| turn.role == "assistant") else { return Ok(()) };
        if self.is_silent {
            return Err(wrong(format!("{}.content", self.last), "it is empty, which the provider refuses"));
        }
        if !claude.goes_on {
            let why = "this model does not go on with an answer that was begun: the last message must be the user's";
            return Err(unsupported(self.last.as_str(), why));
        }
        if let Some(Block::Plain(block)) = turn.content.last_mut()
            && let Some(text) = block["text"].as_str().map(str::trim_end).map(str::to_owned)
        {
            block["text"] = text.into();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Option<System>, Vec<Turn>), Failure> {
        match self.turns.first() {
            None => return Err(wrong("messages", "they hold nothing to answer")),
            Some(first) if first.role == "assistant" => {
                let greeting = text_block(opening::GREETING, None).into_iter().map(Block::Plain).collect();
                self.turns.insert(0, Turn { role: "user", content: greeting });
            }
            Some(_) => {}
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

/// The thoughts that Claude has signed, each with the number of characters of text before it. Claude refuses thoughts of
/// other models, so they are left out.
fn thoughts(details: Option<Vec<ReasoningDetail>>) -> Vec<(usize, Value)> {
    let ours = details.into_iter().flatten().filter(|detail| detail.format == Some(Issuer::Anthropic));
    ours.filter_map(|detail| {
        let after = after(&detail);
        let block = match (detail.signature, detail.data) {
            (Some(signature), _) if !signature.is_empty() => {
                json!({ "type": "thinking", "thinking": detail.text.unwrap_or_default(), "signature": signature })
            }
            (None, Some(data)) => json!({ "type": "redacted_thinking", "data": data }),
            _ => return None,
        };
        Some((after, block))
    })
    .collect()
}
