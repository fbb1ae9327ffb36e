//! Reads an answer that came in one piece: as it is for a caller of the same dialect, else in the agnostic form.

use super::answer::{ANSWER_TOOL, Block, Message, Stop, annotation, hidden_thought, read, text, thought};
use super::usage::Counts;
use super::{errors, odd};
use crate::provider::{Form, Observed, Wanted, Whole};
use crate::thought_order;
use bytes::Bytes;
use memchr::memmem;
use penstock_schemas::chat::{
    Choice, Completion, CompletionUsage, Content, FunctionCall, Message as Said, ReasoningDetail, ToolCall,
};
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::usage::Usage;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The answer, and what it says of itself.
///
/// # Errors
/// When it is an error in spite of its status, holds no content, or is not JSON.
pub(super) fn read_whole(wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
    if wanted.operation == Operation::CountTokens {
        return read_count(body);
    }
    let message: Message<'_> = read(body)?;
    if message.kind.as_ref().is_some_and(|kind| kind == "error") {
        return Err(errors::within(&read(body)?));
    }
    // Without content but with an end, it is an answer that says nothing.
    if message.content.is_none() && text(message.stop_reason.as_ref()).is_none() {
        return Err(match read::<Value>(body)? {
            error if error.get("error").is_some() => errors::within(&error),
            _ => Failure::provider(FailureKind::Broken, "the provider's answer holds no content"),
        });
    }
    let content = message.content.as_deref().unwrap_or_default();
    let mut observed = Observed::default();
    message.observe(&mut Counts::default(), &mut observed);
    let mut has_called = false;
    for block in content.iter().filter(|block| memmem::find(block.get().as_bytes(), b"\"tool_use\"").is_some()) {
        // A block that cannot be read is no failure to a caller of the same dialect.
        if let Ok(block) = read::<Block<'_>>(block.get().as_bytes()) {
            block.note_tool(&mut observed);
            has_called |= block.kind == "tool_use";
        }
    }
    let bytes = match (odd::whole(&message, body, has_called), wanted.form) {
        (None, Form::Own) => body.clone(),
        (None, Form::Agnostic) => agnostic(&message, &observed)?,
        (Some(spelt), Form::Own) => spelt.into(),
        (Some(spelt), Form::Agnostic) => agnostic(&read(&spelt)?, &observed)?,
    };
    Ok(Whole { bytes, observed })
}

/// The message in the agnostic form.
fn agnostic(message: &Message<'_>, observed: &Observed) -> Result<Bytes, Failure> {
    let mut said = Saying::default();
    for block in message.content.iter().flatten() {
        said.add(read(block.get().as_bytes())?);
    }
    said.finish(message, observed)
}

/// What an answer that is none says of itself.
pub(super) fn observe(body: &Bytes) -> Observed {
    let mut observed = Observed::default();
    if let Ok(message) = read::<Message<'_>>(body) {
        message.observe(&mut Counts::default(), &mut observed);
    }
    observed
}

/// Counting consumes nothing. Source: <https://platform.claude.com/docs/en/build-with-claude/token-counting>.
fn read_count(body: &Bytes) -> Result<Whole, Failure> {
    #[derive(Deserialize)]
    struct Count {
        input_tokens: Option<u64>,
    }
    let count: Count = read(body)?;
    if count.input_tokens.is_none() {
        return Err(errors::within(&read(body)?));
    }
    let observed = Observed { usage: Some(Usage::default()), ..Observed::default() };
    Ok(Whole { bytes: body.clone(), observed })
}

/// An agnostic answer in the making.
#[derive(Default)]
struct Saying {
    text: String,
    has_text: bool,
    /// The text's length in characters, which annotations count in.
    length: usize,
    annotations: Vec<Value>,
    reasoning: String,
    details: Vec<ReasoningDetail>,
    calls: Vec<ToolCall>,
}

impl Saying {
    /// Adds a block. What only a caller of the dialect could understand, such as the steps of a server tool, is left out.
    fn add(&mut self, block: Block<'_>) {
        match block.kind.as_str() {
            "text" => self.add_text(&block.text.unwrap_or_default(), block.citations.unwrap_or_default()),
            "thinking" => {
                self.reasoning.push_str(block.thinking.as_deref().unwrap_or_default());
                let signature = block.signature.filter(|signature| !signature.is_empty());
                self.think(thought(self.next_detail(), block.thinking, signature));
            }
            "redacted_thinking" => self.think(hidden_thought(self.next_detail(), block.data)),
            "tool_use" => {
                let arguments = block.input.map_or("{}", |input| input.get());
                if block.name.as_deref().is_some_and(|name| name.starts_with(ANSWER_TOOL)) {
                    self.add_text(arguments, Vec::new());
                } else {
                    self.add_call(block.id, block.name, arguments);
                }
            }
            _ => {}
        }
    }

    fn think(&mut self, mut detail: ReasoningDetail) {
        thought_order::mark(&mut detail, self.length);
        self.details.push(detail);
    }

    fn add_text(&mut self, text: &str, citations: Vec<Value>) {
        let start = self.length;
        self.length += text.chars().count();
        self.text.push_str(text);
        self.has_text = true;
        self.annotations.extend(citations.into_iter().map(|citation| annotation(&citation, (start, self.length))));
    }

    fn add_call(&mut self, id: Option<String>, name: Option<String>, arguments: &str) {
        let function = FunctionCall { name, arguments: Some(arguments.to_owned()), ..FunctionCall::default() };
        let call = ToolCall { id, kind: Some("function".to_owned()), function: Some(function), ..ToolCall::default() };
        self.calls.push(call);
    }

    fn next_detail(&self) -> u32 {
        u32::try_from(self.details.len()).unwrap_or(u32::MAX)
    }

    fn finish(self, message: &Message<'_>, observed: &Observed) -> Result<Bytes, Failure> {
        let reason = text(message.stop_reason.as_ref()).unwrap_or_default();
        let calls = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        let stop = Stop::of(&reason, message.stop_sequence.as_ref(), message.stop_details.as_ref());
        let stop = stop.unless_called(calls);
        let mut extra = Map::new();
        if !self.annotations.is_empty() {
            extra.insert("annotations".to_owned(), self.annotations.into());
        }
        let said = Said {
            role: "assistant".to_owned(),
            content: self.has_text.then_some(Content::Text(self.text)),
            refusal: stop.refusal,
            reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
            reasoning_details: (!self.details.is_empty()).then_some(self.details),
            tool_calls: (!self.calls.is_empty()).then_some(self.calls),
            extra,
            ..Said::default()
        };
        let choice = Choice { index: 0, message: said, finish_reason: Some(stop.reason.to_owned()), extra: stop.extra };
        let completion = Completion {
            id: observed.provider_request_id.clone().unwrap_or_default(),
            object: "chat.completion".to_owned(),
            model: observed.model_version.clone().unwrap_or_default(),
            choices: vec![choice],
            usage: observed.usage.as_ref().and_then(CompletionUsage::of),
            ..Completion::default()
        };
        let bytes = serde_json::to_vec(&completion);
        bytes.map(Bytes::from).map_err(|error| Failure::gateway(FailureKind::Internal, error.to_string()))
    }
}
