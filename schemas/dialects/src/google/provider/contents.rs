//! The conversation as `contents`: turns of `user` and `model`, with one system instruction apart. Calls and results are
//! paired here: a result stands directly behind its call's turn, in the order of the calls.
//! Source: <https://ai.google.dev/api/caching#Content>.

use super::media;
use super::part::{FunctionCall, FunctionResponse, Part};
use crate::call_arguments;
use crate::fit::{Fit, extras, wrong};
use crate::opening;
use penstock_schemas::chat::{self, Issuer, Message, ReasoningDetail, ToolCall};
use penstock_schemas::failure::Failure;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// What Google's own guide says to send where a call of Gemini 3 or later comes from elsewhere and has no signature.
/// Source: <https://ai.google.dev/gemini-api/docs/thought-signatures#faqs>.
pub(super) const UNSIGNED: &str = "skip_thought_signature_validator";

/// One turn.
#[derive(Debug, Serialize)]
pub(super) struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Part>,
}

/// The conversation.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) system: Option<Content>,
    pub(super) contents: Vec<Content>,
}

impl Conversation {
    /// Adds a word of the gateway's to the system instruction.
    pub(super) fn tell(&mut self, what: &str) {
        let system = self.system.get_or_insert_with(|| Content { role: None, parts: Vec::new() });
        system.parts.push(Part::text(what.to_owned()));
    }
}

/// Turns messages into contents; `is_signed` when the model insists on signatures, and takes images in results.
pub(super) fn conversation(
    mut messages: Vec<Message>,
    is_signed: bool,
    fit: &mut Fit,
) -> Result<Conversation, Failure> {
    opening::question(&mut messages, fit);
    let mut builder = Builder { is_signed, fit, system: Vec::new(), contents: Vec::new(), silent: None };
    let mut rest: VecDeque<(usize, Message)> = messages.into_iter().enumerate().collect();
    while let Some((at, message)) = rest.pop_front() {
        extras(&message, &format!("messages[{at}]"), builder.fit)?;
        builder.silent = None;
        match message.role.as_str() {
            "system" | "developer" => builder.system(message),
            "user" => builder.user(at, message)?,
            "assistant" => {
                let results = rest.iter().take_while(|(_, next)| next.role == "tool").count();
                let results: Vec<(usize, Message)> = rest.drain(..results).collect();
                builder.assistant(at, message, results)?;
            }
            "tool" => {
                return Err(wrong(format!("messages[{at}]"), "it is the result of no call: none stands before it"));
            }
            other => {
                let why = format!("it is no role that is known: `{}`", other.chars().take(32).collect::<String>());
                return Err(wrong(format!("messages[{at}].role"), &why));
            }
        }
    }
    builder.finish()
}

struct Builder<'a> {
    is_signed: bool,
    fit: &'a mut Fit,
    system: Vec<String>,
    contents: Vec<Content>,
    /// Where the last message stands, if the user says nothing in it.
    silent: Option<usize>,
}

impl Builder<'_> {
    fn finish(mut self) -> Result<Conversation, Failure> {
        let is_models = |content: Option<&Content>| content.is_some_and(|content| content.role == Some("model"));
        if let Some(at) = self.silent.filter(|_| is_models(self.contents.last())) {
            return Err(wrong(format!("messages[{at}].content"), "it is empty, which the provider refuses"));
        }
        if self.contents.is_empty() {
            return Err(wrong("messages", "they hold nothing to answer"));
        }
        if is_models(self.contents.first()) {
            let greeting = vec![Part::text(opening::GREETING.to_owned())];
            self.contents.insert(0, Content { role: Some("user"), parts: greeting });
        }
        let system = (!self.system.is_empty())
            .then(|| Content { role: None, parts: vec![Part::text(self.system.join("\n\n"))] });
        Ok(Conversation { system, contents: self.contents })
    }

    /// The provider has one system instruction: all of them are joined, wherever they stand.
    fn system(&mut self, message: Message) {
        let text = message.content.map(|content| content.text()).unwrap_or_default();
        if !text.trim().is_empty() {
            self.system.push(text);
        }
    }

    /// Turns of the model's that follow each other are one: a call must stand directly behind the user.
    fn push(&mut self, role: &'static str, parts: Vec<Part>) {
        match self.contents.last_mut() {
            Some(last) if role == "model" && last.role == Some(role) => last.parts.extend(parts),
            _ if parts.is_empty() => {}
            _ => self.contents.push(Content { role: Some(role), parts }),
        }
    }

    fn user(&mut self, at: usize, message: Message) -> Result<(), Failure> {
        let content = message.content.ok_or_else(|| wrong(format!("messages[{at}].content"), "it is missing"))?;
        let parts = parts(content, at, self.fit)?;
        self.silent = parts.is_empty().then_some(at);
        self.push("user", parts);
        Ok(())
    }

    fn assistant(&mut self, at: usize, message: Message, results: Vec<(usize, Message)>) -> Result<(), Failure> {
        let mut signatures = Signatures::of(message.reasoning_details.unwrap_or_default());
        let mut turn = std::mem::take(&mut signatures.thoughts);
        let mut said = message.content.map_or(Ok(Vec::new()), |content| parts(content, at, self.fit))?;
        said.extend(message.refusal.filter(|text| !text.trim().is_empty()).map(Part::text));
        if let Some(signature) = signatures.text.take() {
            match said.last_mut() {
                Some(last) => last.thought_signature = Some(signature),
                // It came with an empty text, and goes back with one.
                None => said.push(Part { thought_signature: Some(signature), ..Part::text(String::new()) }),
            }
        }
        turn.append(&mut said);
        let calls = message.tool_calls.unwrap_or_default();
        for (number, call) in calls.iter().enumerate() {
            let mut signature = signatures.take(call.id.as_deref());
            if number == 0 && self.is_signed {
                signature = signature.or_else(|| Some(UNSIGNED.to_owned()));
            }
            let function_call = Some(function_call(call, &format!("messages[{at}].tool_calls[{number}]"))?);
            turn.push(Part { function_call, thought_signature: signature, ..Part::default() });
        }
        self.push("model", turn);
        self.results(at, &calls, results)
    }

    /// The results of one turn's calls, as one turn of the user's.
    fn results(&mut self, at: usize, calls: &[ToolCall], mut results: Vec<(usize, Message)>) -> Result<(), Failure> {
        let (mut turn, mut behind) = (Vec::new(), Vec::new());
        for (number, call) in calls.iter().enumerate() {
            let Some(found) = results.iter().position(|(_, result)| result.tool_call_id == call.id) else {
                let why = "it has no result: each call needs one before the conversation goes on";
                return Err(wrong(format!("messages[{at}].tool_calls[{number}]"), why));
            };
            let (at, result) = results.remove(found);
            turn.push(self.result(at, call, result, &mut behind)?);
        }
        if let Some((at, _)) = results.first() {
            let why = "it names no call of the assistant's message before it";
            return Err(wrong(format!("messages[{at}].tool_call_id"), why));
        }
        self.push("user", turn);
        self.push("user", behind);
        Ok(())
    }

    /// One result. Images go into it where the model takes them there, else behind it in a turn of the user's.
    fn result(&mut self, at: usize, call: &ToolCall, result: Message, behind: &mut Vec<Part>) -> Result<Part, Failure> {
        let is_error = result.is_error == Some(true);
        let all = result.content.map_or(Ok(Vec::new()), |content| parts(content, at, self.fit))?;
        let (texts, media): (Vec<Part>, Vec<Part>) = all.into_iter().partition(|part| part.text.is_some());
        let text: String = texts.into_iter().filter_map(|part| part.text).collect();
        let mut parts = media;
        if !self.is_signed {
            behind.append(&mut parts);
        }
        let name = call.function.as_ref().and_then(|function| function.name.clone()).unwrap_or_default();
        let function_response =
            Some(FunctionResponse { id: call.id.clone(), name, response: response(&text, is_error), parts });
        Ok(Part { function_response, ..Part::default() })
    }
}

/// The signatures that Google gave for a turn; those of others are never sent to it.
struct Signatures {
    /// The thoughts that are signed themselves.
    thoughts: Vec<Part>,
    text: Option<String>,
    calls: Vec<(String, String)>,
}

impl Signatures {
    fn of(details: Vec<ReasoningDetail>) -> Self {
        let mut found = Self { thoughts: Vec::new(), text: None, calls: Vec::new() };
        for detail in details.into_iter().filter(|detail| detail.format == Some(Issuer::Google)) {
            match (detail.id, detail.data, detail.signature) {
                (Some(id), Some(data), _) => found.calls.push((id, data)),
                (None, Some(data), _) => found.text = Some(data),
                (_, None, Some(signature)) => found.thoughts.push(Part {
                    thought: Some(true),
                    thought_signature: Some(signature),
                    ..Part::text(detail.text.unwrap_or_default())
                }),
                (_, None, None) => {}
            }
        }
        found
    }

    fn take(&mut self, id: Option<&str>) -> Option<String> {
        let found = self.calls.iter().position(|(call, _)| Some(call.as_str()) == id)?;
        Some(self.calls.swap_remove(found).1)
    }
}

/// All parts that say something: the provider refuses an empty text.
fn parts(content: chat::Content, at: usize, fit: &mut Fit) -> Result<Vec<Part>, Failure> {
    let mut all = Vec::new();
    for (number, part) in content.into_parts().into_iter().enumerate() {
        all.extend(media::part(part, &format!("messages[{at}].content[{number}]"), fit)?);
    }
    Ok(all)
}

fn function_call(call: &ToolCall, place: &str) -> Result<FunctionCall, Failure> {
    let kind = call.kind.as_deref().unwrap_or("function");
    let function = call.function.as_ref().filter(|_| kind == "function");
    let function = function.ok_or_else(|| wrong(format!("{place}.function"), "it is missing"))?;
    let name = function.name.clone().ok_or_else(|| wrong(format!("{place}.function.name"), "it is missing"))?;
    Ok(FunctionCall { id: call.id.clone(), name, args: call_arguments::object(function) })
}

/// A result, under the names that Google's guide has for it. It is text and stays text: JSON in it would be read as what
/// it is not, such as a `$ref` to one of the result's parts.
/// Source: <https://ai.google.dev/api/caching#FunctionResponse>.
fn response(text: &str, is_error: bool) -> Value {
    if is_error { json!({ "error": text }) } else { json!({ "output": text }) }
}
