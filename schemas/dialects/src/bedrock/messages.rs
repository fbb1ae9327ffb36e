//! The conversation as Bedrock wants it: system prompts apart, user and assistant in turn, the results of calls in the
//! user's turn directly behind the calls, in their order.

use super::content::Blocks;
use super::wire::{Block, Reasoning, ToolResult, ToolUse, Turn};
use crate::call_arguments;
use crate::fit::{extras, wrong};
use crate::opening;
use crate::provider::unsupported;
use crate::thought_order::{ThoughtOrText, after, weave};
use penstock_schemas::chat::{Content, Issuer, Message, ReasoningDetail, ToolCall};
use penstock_schemas::failure::Failure;

/// The result of a call that gave nothing: Bedrock refuses an empty one.
const NOTHING: &str = "(no output)";

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

/// Reads the messages. `goes_on`: the model goes on with an answer that was begun for it.
///
/// # Errors
/// When one cannot be expressed, or calls and results do not belong together.
pub(super) fn read(
    mut messages: Vec<Message>,
    blocks: &mut Blocks<'_>,
    goes_on: bool,
) -> Result<Conversation, Failure> {
    opening::question(&mut messages, blocks.fit);
    let last = format!("messages[{}]", messages.len().saturating_sub(1));
    let mut reader = Reader { blocks, pending: Pending::default(), made: Conversation::default(), is_silent: false };
    for (index, message) in messages.into_iter().enumerate() {
        reader.take(index, message)?;
    }
    reader.close()?;
    let is_silent = reader.is_silent;
    let mut made = reader.made;
    made.end(&last, is_silent, goes_on)?;
    Ok(made)
}

impl Conversation {
    /// A conversation begins with the user, and ends with the user or with an answer that the model is to go on with.
    fn end(&mut self, last: &str, is_silent: bool, goes_on: bool) -> Result<(), Failure> {
        match self.turns.first() {
            None => return Err(wrong("messages", "they hold nothing to answer")),
            Some(first) if first.role == ASSISTANT => {
                let greeting = vec![Block::Text(opening::GREETING.to_owned())];
                self.turns.insert(0, Turn { role: USER, content: greeting });
            }
            Some(_) => {}
        }
        for turn in &mut self.turns {
            let has = |is: fn(&Block) -> bool| turn.content.iter().any(is);
            // Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html>.
            if has(|block| matches!(block, Block::Document(_))) && !has(|block| matches!(block, Block::Text(_))) {
                turn.content.push(Block::Text("See the document.".to_owned()));
            }
        }
        let Some(turn) = self.turns.last_mut().filter(|turn| turn.role == ASSISTANT) else { return Ok(()) };
        if is_silent {
            return Err(wrong(format!("{last}.content"), "it is empty, which Bedrock refuses"));
        }
        if !goes_on {
            let why = "this model does not go on with an answer that was begun: the last message must be the user's";
            return Err(unsupported(last, why));
        }
        if let Some(Block::Text(text)) = turn.content.last_mut() {
            text.truncate(text.trim_end().len());
        }
        Ok(())
    }

    /// Whether the turn that goes on was begun without a thought, or is an answer that was begun for the model: then Claude
    /// cannot think in it by a budget.
    pub(super) fn is_unthought(&self) -> bool {
        let is_result = |turn: &Turn| turn.content.iter().any(|block| matches!(block, Block::ToolResult(_)));
        let begun = self.turns.iter().rev().take_while(|turn| turn.role == ASSISTANT || is_result(turn));
        let first = begun.filter(|turn| turn.role == ASSISTANT).last().and_then(|turn| turn.content.first());
        let is_begun = self.turns.last().is_some_and(|turn| turn.role == ASSISTANT);
        is_begun || first.is_some_and(|first| !matches!(first, Block::ReasoningContent(_)))
    }
}

struct Reader<'a, 'b> {
    blocks: &'a mut Blocks<'b>,

    pending: Pending,
    made: Conversation,
    /// Whether the last message is the user's and says nothing.
    is_silent: bool,
}

impl Reader<'_, '_> {
    fn take(&mut self, index: usize, message: Message) -> Result<(), Failure> {
        let place = format!("messages[{index}]");
        self.is_silent = false;
        if message.extra.get("function_call").is_some_and(|call| !call.is_null()) {
            return Err(unsupported(format!("{place}.function_call"), "write it as `tool_calls`"));
        }
        extras(&message, &place, self.blocks.fit)?;
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
                self.close()?;
                let blocks = self.content(message.content, &place)?;
                self.is_silent = blocks.is_empty();
                self.push(USER, blocks);
            }
            ASSISTANT => {
                self.close()?;
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
        let details = message.reasoning_details.into_iter().flatten().filter(|_| self.blocks.family.is_claude());
        let thoughts = details.filter_map(|detail| Some((after(&detail), thought(detail)?))).collect();
        for run in weave(message.content, thoughts) {
            match run {
                ThoughtOrText::Thought(thought) => blocks.push(thought),
                ThoughtOrText::Said(said) => blocks.extend(self.content(Some(said), place)?),
            }
        }
        let is_said =
            |block: &Block| matches!(block, Block::Text(_) | Block::CachePoint(_) | Block::ReasoningContent(_));
        if !blocks.iter().all(is_said) {
            self.blocks.fit.cannot(format!("{place}.content"), "an answer holds text alone")?;
            blocks.retain(is_said);
        }
        if let Some(refusal) = message.refusal.filter(|text| !text.trim().is_empty()) {
            blocks.push(Block::Text(refusal));
        }
        self.pending.message = index;
        for (count, call) in message.tool_calls.into_iter().flatten().enumerate() {
            let mark = self.blocks.family.cache_point(call.extra.get("cache_control"));
            let call = self.call(call, &format!("{place}.tool_calls[{count}]"))?;
            self.pending.calls.push((call.id.clone(), None));
            blocks.push(Block::ToolUse(call));
            blocks.extend(mark.map(Block::CachePoint));
        }
        self.push(ASSISTANT, blocks);
        Ok(())
    }

    fn call(&mut self, call: ToolCall, place: &str) -> Result<ToolUse, Failure> {
        let id = call.id.ok_or_else(|| wrong(format!("{place}.id"), "it is missing"))?;
        let function = call.function.ok_or_else(|| unsupported(place, "Bedrock knows calls of functions only"))?;
        let input = call_arguments::object(&function);
        let name = function.name.ok_or_else(|| wrong(format!("{place}.function.name"), "it is missing"))?;
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
        let content = if content.is_empty() { vec![Block::Text(NOTHING.to_owned())] } else { content };
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

    /// Writes the results down: before anything else is said, every call has its result.
    fn close(&mut self) -> Result<(), Failure> {
        let Pending { message, calls } = std::mem::take(&mut self.pending);
        if let Some(missing) = calls.iter().position(|(_, result)| result.is_none()) {
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
