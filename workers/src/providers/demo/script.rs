//! What the simulator answers: a text that says what it is, calls of tools where they are asked for, and the usage. Pure:
//! the same request gives the same answer. A token is four characters, rounded up: a simple rule that everyone can check.

use super::calls::{self, subject};
use super::model::Model;
use super::sample::sample;
use penstock_schemas::chat::{ChatRequest, CompletionUsage, Content, Message, OutputDetails, PromptDetails, ToolCall};
use serde_json::{Map, Value, json};

/// Prompts of at least this many tokens find their first message in the cache, down to a multiple of 128 tokens.
const CACHED_FROM: u64 = 1024;
/// The most answers to one request, as OpenAI has it.
const MOST_CHOICES: u32 = 128;

/// Everything that will be said.
#[derive(Debug)]
pub(super) struct DemoAnswer {
    pub(super) choices: Vec<Choice>,
    pub(super) usage: CompletionUsage,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) reasoning: String,
    pub(super) text: String,
    pub(super) calls: Vec<ToolCall>,
    pub(super) finish_reason: &'static str,
}

/// A piece of an answer, as a stream brings it.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    Reasoning(&'a str),
    Text(&'a str),
    /// The call with this number begins.
    Call(usize, &'a ToolCall),
    /// More of the arguments of the call with this number.
    Arguments(usize, &'a str),
}

impl DemoAnswer {
    /// The answer to a request.
    pub(super) fn write(request: &ChatRequest, model: &Model) -> Self {
        let asked = request.messages.iter().rev().find(|message| message.role == "user").map(said).unwrap_or_default();
        let calls = calls::asked_for(request, &asked);
        let count = request.n.unwrap_or(1).clamp(1, MOST_CHOICES);
        let choices: Vec<Choice> = (0..count)
            .map(|number| {
                let reasoning = reasoning(model.tempo.reasoning_words);
                if !calls.is_empty() {
                    let calls = calls.clone();
                    return Choice { reasoning, text: String::new(), calls, finish_reason: "tool_calls" };
                }
                let (text, is_cut) = answer(request, model, &asked, number);
                Choice { reasoning, text, calls: Vec::new(), finish_reason: if is_cut { "length" } else { "stop" } }
            })
            .collect();
        let usage = usage(request, &choices);
        Self { choices, usage }
    }
}

impl Choice {
    /// The pieces, in their order: a word each.
    pub(super) fn pieces(&self) -> Vec<Piece<'_>> {
        let reasoning = self.reasoning.split_inclusive(' ').map(Piece::Reasoning);
        let text = self.text.split_inclusive(' ').map(Piece::Text);
        let calls = self.calls.iter().enumerate().flat_map(|(number, call)| {
            let pieces = calls::arguments(call)
                .split_inclusive([' ', ',', ':'])
                .map(move |piece| Piece::Arguments(number, piece));
            std::iter::once(Piece::Call(number, call)).chain(pieces)
        });
        reasoning.chain(text).chain(calls).collect()
    }
}

impl Piece<'_> {
    /// What it adds, for its length.
    pub(super) fn text(&self) -> &str {
        match self {
            Piece::Reasoning(text) | Piece::Text(text) | Piece::Arguments(_, text) => text,
            Piece::Call(_, call) => calls::name(call),
        }
    }
}

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}

/// The text of a message, without its images.
fn said(message: &Message) -> String {
    match &message.content {
        None => String::new(),
        Some(Content::Text(text)) => text.clone(),
        Some(Content::Parts(parts)) => {
            parts.iter().filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join(" ")
        }
    }
}

/// The text of answer `number`, and whether it had to be cut.
fn answer(request: &ChatRequest, model: &Model, asked: &str, number: u32) -> (String, bool) {
    let mut text = match structured(request, asked) {
        Some(value) => value.to_string(),
        None => prose(request, model.name, asked),
    };
    if number > 0 {
        text = format!("Answer {}: {text}", number + 1);
    }
    if let Some(chunks) = model.faults.chunks {
        text = text.split_whitespace().cycle().take(chunks).map(|word| format!("{word} ")).collect();
    }
    let limit = request.max_completion_tokens.or(request.max_tokens).and_then(|limit| usize::try_from(limit).ok());
    match limit.and_then(|limit| text.char_indices().nth(limit.saturating_mul(4))) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text, false),
    }
}

fn prose(request: &ChatRequest, model: &str, asked: &str) -> String {
    if model == "echo" {
        return format!("This is demo/echo, a simulation. You said: {asked}");
    }
    let words = asked.split_whitespace().count();
    let about = match request.messages.last() {
        Some(last) if last.role == "tool" => format!("The tool answered {} characters.", said(last).chars().count()),
        _ if words == 0 => "There was nothing to read.".to_owned(),
        _ => format!("Your {words} words were counted and not understood."),
    };
    format!(
        "This is demo/{model}, a simulation inside Penstock: no model was asked, and nothing left this machine. {about} \
         Keys, routing, budgets and spend work as they will with a real provider; to have one, start Penstock with its \
         key, for example OPENAI_API_KEY."
    )
}

/// A JSON answer, where the request wants one.
fn structured(request: &ChatRequest, asked: &str) -> Option<Value> {
    let format = request.response_format.as_ref()?;
    match format["type"].as_str()? {
        "json_schema" => Some(sample(&format["json_schema"]["schema"], subject(asked))),
        "json_object" => Some(json!({"simulation": true, "answer": subject(asked)})),
        _ => None,
    }
}

fn reasoning(words: usize) -> String {
    let thought = "The simulator thinks in circles: it has no model to ask, so it counts the words and waits. ";
    thought.split_inclusive(' ').cycle().take(words).collect()
}

fn usage(request: &ChatRequest, choices: &[Choice]) -> CompletionUsage {
    let prompt_tokens: u64 = request.messages.iter().map(|message| tokens(&said(message))).sum::<u64>().max(1);
    let first = request.messages.first().map_or(0, |message| tokens(&said(message)));
    let cached = if prompt_tokens >= CACHED_FROM { first / 128 * 128 } else { 0 };
    let reasoning: u64 = choices.iter().map(|choice| tokens(&choice.reasoning)).sum();
    let said: u64 = choices
        .iter()
        .map(|choice| {
            let calls: u64 =
                choice.calls.iter().map(|call| tokens(calls::name(call)) + tokens(calls::arguments(call))).sum();
            tokens(&choice.text) + calls
        })
        .sum();
    CompletionUsage {
        prompt_tokens,
        completion_tokens: said + reasoning,
        total_tokens: prompt_tokens + said + reasoning,
        prompt_tokens_details: Some(PromptDetails { cached_tokens: Some(cached), ..PromptDetails::default() }),
        completion_tokens_details: Some(OutputDetails {
            reasoning_tokens: Some(reasoning),
            ..OutputDetails::default()
        }),
        extra: Map::new(),
    }
}
