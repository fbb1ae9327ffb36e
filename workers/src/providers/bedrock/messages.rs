//! The conversation as Bedrock wants it: system prompts apart, user and assistant in turn, the results of calls in the
//! user's turn directly behind the calls, in their order.

use super::content::Blocks;
use super::wire::{Block, Reasoning, ToolResult, ToolUse, Turn};
use crate::providers::fit::wrong;
use crate::providers::unsupported;
use penstock_schemas::chat::{Content, Issuer, Message, ReasoningDetail, ToolCall};
use penstock_schemas::failure::Failure;
use serde_json::value::RawValue;

const USER: &str = "user";
const ASSISTANT: &str = "assistant";

/// A conversation.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) system: Vec<Block>,
    pub(super) turns: Vec<Turn>,
    /// The names of the tools that were called in it.
    pub(super) called: Vec<String>,
}

/// The calls of the last assistant's turn, and the results that have come.
#[derive(Debug, Default)]
struct Pending {
    /// The message that made them.
    message: usize,
    /// Each with its result and the mark of the cache behind that.
    calls: Vec<(String, Option<Vec<Block>>)>,
}

/// Reads the messages.
///
/// # Errors
/// When one cannot be expressed, or calls and results do not belong together.
pub(super) fn read(messages: Vec<Message>, blocks: &mut Blocks<'_>) -> Result<Conversation, Failure> {
    let mut reader = Reader { blocks, pending: Pending::default(), made: Conversation::default() };
    for (index, message) in messages.into_iter().enumerate() {
        reader.take(index, message)?;
    }
    reader.close(None)?;
    Ok(reader.made)
}

struct Reader<'a, 'b> {
    blocks: &'a mut Blocks<'b>,

    pending: Pending,
    made: Conversation,
}

impl Reader<'_, '_> {
    fn take(&mut self, index: usize, message: Message) -> Result<(), Failure> {
        let place = format!("messages[{index}]");
        if message.role == "tool" {
            return self.result(message, &place);
        }
        match message.role.as_str() {
            "system" | "developer" => {
                let blocks = self.content(message.content, &place)?;
                if blocks.iter().any(|block| !matches!(block, Block::Text(_) | Block::CachePoint(_))) {
                    return Err(unsupported(format!("{place}.content"), "a system prompt is text"));
                }
                self.made.system.extend(blocks);
            }
            USER => {
                self.close(Some(index))?;
                let blocks = self.content(message.content, &place)?;
                if blocks.is_empty() {
                    return Err(wrong(format!("{place}.content"), "it is empty, which Bedrock refuses"));
                }
                self.push(USER, blocks);
            }
            ASSISTANT => {
                self.close(Some(index))?;
                self.assistant(index, message, &place)?;
            }
            _ => return Err(wrong(format!("{place}.role"), "it is system, developer, user, assistant or tool")),
        }
        Ok(())
    }

    fn content(&mut self, content: Option<Content>, place: &str) -> Result<Vec<Block>, Failure> {
        content.map_or(Ok(Vec::new()), |content| self.blocks.of(content, place))
    }

    /// Adds to the conversation; turns of one role become one.
    fn push(&mut self, role: &'static str, blocks: Vec<Block>) {
        match self.made.turns.last_mut() {
            Some(last) if last.role == role => last.content.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => self.made.turns.push(Turn { role, content: blocks }),
        }
    }

    fn assistant(&mut self, index: usize, message: Message, place: &str) -> Result<(), Failure> {
        let mut blocks: Vec<Block> = Vec::new();
        if self.blocks.family.is_claude() {
            blocks.extend(message.reasoning_details.into_iter().flatten().filter_map(thought));
        }
        blocks.extend(self.content(message.content, place)?);
        if let Some(refusal) = message.refusal.filter(|text| !text.trim().is_empty()) {
            blocks.push(Block::Text(refusal));
        }
        self.pending.message = index;
        for (count, call) in message.tool_calls.into_iter().flatten().enumerate() {
            let call = self.call(call, &format!("{place}.tool_calls[{count}]"))?;
            self.pending.calls.push((call.id.clone(), None));
            blocks.push(Block::ToolUse(call));
        }
        if message.extra.get("function_call").is_some_and(|call| !call.is_null()) {
            return Err(unsupported(format!("{place}.function_call"), "write it as `tool_calls`"));
        }
        self.push(ASSISTANT, blocks);
        Ok(())
    }

    fn call(&mut self, call: ToolCall, place: &str) -> Result<ToolUse, Failure> {
        let id = call.id.ok_or_else(|| wrong(format!("{place}.id"), "it is missing"))?;
        let function = call.function.ok_or_else(|| unsupported(place, "Bedrock knows calls of functions only"))?;
        let name = function.name.ok_or_else(|| wrong(format!("{place}.function.name"), "it is missing"))?;
        let text = function.arguments.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".to_owned());
        let input = RawValue::from_string(text.trim().to_owned()).ok().filter(|raw| raw.get().starts_with('{'));
        let input = input.ok_or_else(|| wrong(format!("{place}.function.arguments"), "they are no JSON object"))?;
        if self.pending.calls.iter().any(|(known, _)| *known == id) {
            return Err(wrong(format!("{place}.id"), "another call of the message has it"));
        }
        if !self.made.called.contains(&name) {
            self.made.called.push(name.clone());
        }
        Ok(ToolUse { id, name, input })
    }

    fn result(&mut self, message: Message, place: &str) -> Result<(), Failure> {
        let id = message.tool_call_id.ok_or_else(|| wrong(format!("{place}.tool_call_id"), "it is missing"))?;
        let content = self.content(message.content, place)?;
        // Within a result there is no cache point: it goes behind.
        let (marks, content): (Vec<Block>, Vec<Block>) =
            content.into_iter().partition(|block| matches!(block, Block::CachePoint(_)));
        let mark = self.blocks.family.cache_point(message.cache_control.as_ref()).map(Block::CachePoint);
        let status = message.is_error.unwrap_or(false).then_some("error");
        let result = Block::ToolResult(ToolResult { id: id.clone(), content, status });
        let Some((_, slot)) = self.pending.calls.iter_mut().find(|(call, _)| *call == id) else {
            return Err(wrong(format!("{place}.tool_call_id"), "no call before it has this id"));
        };
        if slot.is_some() {
            return Err(wrong(format!("{place}.tool_call_id"), "the call has a result already"));
        }
        *slot = Some(std::iter::once(result).chain(mark.or(marks.into_iter().next_back())).collect());
        Ok(())
    }

    /// Writes the results down. Calls may be without results only where the conversation ends.
    fn close(&mut self, next: Option<usize>) -> Result<(), Failure> {
        let Pending { message, calls } = std::mem::take(&mut self.pending);
        let has_results = calls.iter().any(|(_, result)| result.is_some());
        let missing = calls.iter().position(|(_, result)| result.is_none());
        if let Some(missing) = missing.filter(|_| next.is_some() || has_results) {
            return Err(wrong(format!("messages[{message}].tool_calls[{missing}]"), "it has no result"));
        }
        let results: Vec<Block> = calls.into_iter().filter_map(|(_, result)| result).flatten().collect();
        if !results.is_empty() {
            self.push(USER, results);
        }
        Ok(())
    }
}

/// What Claude thought, for Claude alone: only what it has signed or sealed itself.
fn thought(detail: ReasoningDetail) -> Option<Block> {
    if detail.format != Some(Issuer::Anthropic) {
        return None;
    }
    let thought = match (detail.data, detail.signature) {
        (Some(data), _) => Reasoning::RedactedContent(data),
        (None, Some(signature)) => Reasoning::ReasoningText { text: detail.text.unwrap_or_default(), signature },
        (None, None) => return None,
    };
    Some(Block::ReasoningContent(thought))
}
