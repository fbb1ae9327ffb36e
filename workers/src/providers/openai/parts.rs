//! The messages of an agnostic request as OpenAI and its copies take them. Knows nothing of the request around them.

use crate::providers::fit::Fit;
use crate::providers::{Quirk, Settings};
use penstock_schemas::chat::{Content, Message, Part};
use penstock_schemas::failure::Failure;

/// What stands in a tool's message whose images follow behind it.
const BEHIND: &str = "(the result is in the next message of the user)";

/// The messages without what this server does not take. Images in tools' results stand in a message of the user's behind
/// them, because a tool's message can only hold text.
/// Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages>.
pub(crate) fn fit_messages(
    messages: Vec<Message>,
    settings: &Settings,
    fit: &mut Fit,
) -> Result<Vec<Message>, Failure> {
    let mut fitted = Vec::with_capacity(messages.len());
    let mut behind: Vec<Part> = Vec::new();
    for (at, mut message) in messages.into_iter().enumerate() {
        if message.role != "tool" {
            show(&mut fitted, &mut behind);
        }
        fit_message(&mut message, settings);
        message.content = match message.content.take() {
            Some(Content::Parts(parts)) => {
                let parts = fit_parts(parts, at, settings, fit)?;
                let parts = if message.role == "tool" { take_images(parts, &mut behind) } else { parts };
                Some(join(parts, &message.role, settings))
            }
            content => content,
        };
        if message.role == "assistant" && message.content.is_none() && message.tool_calls.is_none() {
            // It held nothing but thoughts of somebody else's; a message must hold something.
            message.content = Some(Content::Text(String::new()));
        }
        fitted.push(message);
    }
    show(&mut fitted, &mut behind);
    Ok(fitted)
}

fn fit_message(message: &mut Message, settings: &Settings) {
    message.is_error = None;
    if !settings.has(Quirk::CacheControl) {
        message.cache_control = None;
    }
    if !settings.has(Quirk::ReasoningDetails) {
        message.reasoning_details = None;
    }
    let thought = message.reasoning_content.take().filter(|thought| !thought.is_empty());
    if settings.has(Quirk::ReasoningContent) {
        message.reasoning_content = thought;
    } else if let Some(thought) = thought.filter(|_| settings.has(Quirk::Reasoning)) {
        message.extra.insert("reasoning".to_owned(), thought.into());
    }
    if message.role == "developer" && settings.has(Quirk::NoDeveloperRole) {
        "system".clone_into(&mut message.role);
    }
    if message.tool_calls.as_ref().is_some_and(Vec::is_empty) {
        message.tool_calls = None;
    }
    for call in message.tool_calls.iter_mut().flatten() {
        call.index = None;
        call.kind.get_or_insert_with(|| "function".to_owned());
        let arguments = call.function.as_mut().map(|function| function.arguments.get_or_insert_default());
        if let Some(arguments) = arguments.filter(|arguments| arguments.is_empty()) {
            arguments.push_str("{}");
        }
    }
}

fn fit_parts(parts: Vec<Part>, at: usize, settings: &Settings, fit: &mut Fit) -> Result<Vec<Part>, Failure> {
    let mut fitted = Vec::with_capacity(parts.len());
    for (place, mut part) in parts.into_iter().enumerate() {
        if !settings.has(Quirk::CacheControl) {
            part.cache_control = None;
        }
        if let Some(file) = part.file.as_mut().filter(|file| file.file_url.is_some()) {
            // The worker has fetched what it could.
            if file.file_data.is_none() && file.file_id.is_none() {
                let field = format!("messages[{at}].content[{place}].file.file_url");
                fit.cannot(field, "the server takes no addresses of documents")?;
                continue;
            }
            file.file_url = None;
        }
        fitted.push(part);
    }
    Ok(fitted)
}

/// Leaves a tool's text, and moves everything else behind.
fn take_images(parts: Vec<Part>, behind: &mut Vec<Part>) -> Vec<Part> {
    let (text, others): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| part.kind == "text");
    if text.is_empty() && !others.is_empty() {
        behind.extend(others);
        return vec![Part::text(BEHIND)];
    }
    behind.extend(others);
    text
}

fn show(messages: &mut Vec<Message>, behind: &mut Vec<Part>) {
    if !behind.is_empty() {
        let content = Some(Content::Parts(std::mem::take(behind)));
        messages.push(Message { role: "user".to_owned(), content, ..Message::default() });
    }
}

/// One text where that says the same: copies take it more often than a list of texts.
fn join(parts: Vec<Part>, role: &str, settings: &Settings) -> Content {
    let is_text = |part: &Part| part.kind == "text" && part.cache_control.is_none() && part.extra.is_empty();
    let may_join = parts.len() <= 1 || role == "tool" || settings.has(Quirk::TextContent);
    if !may_join || !parts.iter().all(is_text) {
        return Content::Parts(parts);
    }
    let texts: Vec<&str> = parts.iter().filter_map(|part| part.text.as_deref()).collect();
    Content::Text(texts.join("\n"))
}
