//! The messages of an agnostic request as OpenAI and its copies take them. Knows nothing of the request around them.

use crate::fit::Fit;
use crate::provider::{FormatSettings, Quirk};
use crate::tool_results::tell_failure;
use penstock_schemas::chat::{Content, Issuer, Message, Part};
use penstock_schemas::failure::Failure;
use serde_json::Value;

/// What stands in a tool's message whose images follow behind it.
const BEHIND: &str = "(the result is in the next message of the user)";

/// The kinds of content that OpenAI and its copies know, Mistral's documents among them.
const KINDS: [&str; 7] = ["text", "image_url", "input_audio", "file", "refusal", "document_url", "video_url"];

/// The messages without what this server does not take. Images in tools' results stand in a message of the user's behind
/// them, because a tool's message can only hold text.
/// Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages>.
pub(crate) fn fit_messages(
    messages: Vec<Message>,
    settings: &FormatSettings,
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
                let parts = match message.role.as_str() {
                    "tool" => take_images(parts, &mut behind),
                    "user" => parts,
                    _ => take_others(parts, &mut behind),
                };
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

/// Whether it is an assistant's message without text and calls, or a system message without text. Some providers refuse
/// such messages, and the conversation means the same without them.
pub(crate) fn is_silent(message: &Message) -> bool {
    let is_blank = message.content.as_ref().is_none_or(|content| match content {
        Content::Text(text) => text.trim().is_empty(),
        Content::Parts(parts) => {
            parts.iter().all(|part| part.text.as_deref().is_some_and(|text| text.trim().is_empty()))
        }
    });
    is_blank && message.tool_calls.is_none() && matches!(message.role.as_str(), "assistant" | "system")
}

/// Without what another maker's models sealed, where the name of the model tells whose it is: it would be refused.
/// Source: <https://github.com/tailcallhq/forgecode/issues/2305>.
pub(super) fn forget_others(messages: &mut [Message], model: &str) {
    let Some(reader) = Issuer::of_model(model) else { return };
    for message in messages {
        let Some(details) = &mut message.reasoning_details else { continue };
        details.retain(|detail| detail.format.is_none_or(|issuer| issuer == reader));
        if details.is_empty() {
            message.reasoning_details = None;
        }
    }
}

fn fit_message(message: &mut Message, settings: &FormatSettings) {
    tell_failure(message);
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
        call.extra.shift_remove("cache_control");
        call.kind.get_or_insert_with(|| "function".to_owned());
        let arguments = call.function.as_mut().map(|function| function.arguments.get_or_insert_default());
        if let Some(arguments) = arguments.filter(|arguments| arguments.is_empty()) {
            arguments.push_str("{}");
        }
    }
}

fn fit_parts(parts: Vec<Part>, at: usize, settings: &FormatSettings, fit: &mut Fit) -> Result<Vec<Part>, Failure> {
    let mut fitted = Vec::with_capacity(parts.len());
    for (place, mut part) in parts.into_iter().enumerate() {
        if !KINDS.contains(&part.kind.as_str()) {
            match as_text(&part) {
                Some(text) => fitted.push(Part::text(text)),
                None => {
                    let kind: String = part.kind.chars().take(64).collect();
                    let field = format!("messages[{at}].content[{place}].type");
                    fit.cannot(field, &format!("the server knows no content of the kind `{kind}`"))?;
                }
            }
            continue;
        }
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

/// What a provider of another dialect did by itself, as something to be read: the answer behind it rests on that. Source:
/// <https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool#response>.
fn as_text(part: &Part) -> Option<String> {
    let own = |name: &str| part.extra.get(name).and_then(Value::as_str).unwrap_or_default();
    match part.kind.as_str() {
        "server_tool_use" | "mcp_tool_use" => {
            Some(format!("(used {} with {})", own("name"), part.extra.get("input").unwrap_or(&Value::Null)))
        }
        "search_result" => {
            let texts = part.extra.get("content").and_then(Value::as_array).into_iter().flatten();
            let texts = texts.filter_map(|one| one.get("text")?.as_str());
            let lines: Vec<&str> = [own("title"), own("source")].into_iter().chain(texts).collect();
            Some(lines.join("\n"))
        }
        // A document in pieces.
        "document" => {
            let pieces = part.extra.get("source")?.get("content")?;
            let texts = pieces.as_array().into_iter().flatten().map(|piece| piece.get("text")?.as_str());
            let texts: Option<Vec<&str>> =
                pieces.as_str().map(|text| Some(vec![text])).unwrap_or_else(|| texts.collect());
            let title = Some(own("title")).filter(|title| !title.is_empty());
            Some(title.into_iter().chain(texts?).collect::<Vec<_>>().join("\n\n"))
        }
        "tool_reference" => Some(format!("(found the tool {})", own("tool_name"))),
        kind if kind.ends_with("_tool_result") => {
            let found = part.extra.get("content").and_then(Value::as_array).into_iter().flatten();
            let line = |one: &Value| {
                let told = ["title", "url", "text"].iter().filter_map(|name| one.get(name)?.as_str());
                Some(told.collect::<Vec<_>>().join(" ")).filter(|line| !line.is_empty())
            };
            let lines: Vec<String> = found.filter_map(line).collect();
            Some(if lines.is_empty() { "(it gave a result)".to_owned() } else { lines.join("\n") })
        }
        _ => None,
    }
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

/// Leaves what an assistant or a system may say, and moves what only a user may show behind it.
fn take_others(parts: Vec<Part>, behind: &mut Vec<Part>) -> Vec<Part> {
    let (said, others): (Vec<Part>, Vec<Part>) =
        parts.into_iter().partition(|part| matches!(part.kind.as_str(), "text" | "refusal"));
    behind.extend(others);
    said
}

/// The messages with what another dialect's provider did by itself as texts, for a provider that cannot take it back.
pub(crate) fn tell_of_others(mut messages: Vec<Message>) -> Vec<Message> {
    for message in &mut messages {
        let Some(Content::Parts(parts)) = &mut message.content else { continue };
        for part in parts {
            if let Some(text) = as_text(part) {
                *part = Part::text(text);
            }
        }
    }
    messages
}

/// The messages with what an assistant shows in a message of the user's behind it, for providers whose assistants only speak.
pub(crate) fn lift_shown(messages: Vec<Message>) -> Vec<Message> {
    let mut lifted = Vec::with_capacity(messages.len());
    let mut behind: Vec<Part> = Vec::new();
    for mut message in messages {
        if message.role != "tool" {
            show(&mut lifted, &mut behind);
        }
        if message.role == "assistant"
            && let Some(Content::Parts(parts)) = message.content.take_if(|content| shows(content))
        {
            let (shown, said) = parts.into_iter().partition(|part| part.kind == "image_url");
            behind.extend::<Vec<Part>>(shown);
            message.content = Some(Content::Parts(said));
        }
        lifted.push(message);
    }
    show(&mut lifted, &mut behind);
    lifted
}

fn shows(content: &Content) -> bool {
    matches!(content, Content::Parts(parts) if parts.iter().any(|part| part.kind == "image_url"))
}

fn show(messages: &mut Vec<Message>, behind: &mut Vec<Part>) {
    if !behind.is_empty() {
        let content = Some(Content::Parts(std::mem::take(behind)));
        messages.push(Message { role: "user".to_owned(), content, ..Message::default() });
    }
}

/// One text where that says the same: copies take it more often than a list of texts.
fn join(parts: Vec<Part>, role: &str, settings: &FormatSettings) -> Content {
    let is_text = |part: &Part| part.kind == "text" && part.cache_control.is_none() && part.extra.is_empty();
    let may_join = parts.len() <= 1 || role == "tool" || settings.has(Quirk::TextContent);
    if !may_join || !parts.iter().all(is_text) {
        return Content::Parts(parts);
    }
    let texts: Vec<&str> = parts.iter().filter_map(|part| part.text.as_deref()).collect();
    Content::Text(texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(messages: &Value) -> Vec<Message> {
        serde_json::from_value(messages.clone()).unwrap()
    }

    #[test]
    fn what_another_provider_did_by_itself_is_told_in_words() {
        let theirs = json!([{"role": "assistant", "content": [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"title": "A", "url": "https://a.example"}]},
            {"type": "text", "text": "found"}]}]);
        let told = tell_of_others(messages(&theirs)).remove(0).content.unwrap();
        let Content::Parts(parts) = told else { panic!("{told:?}") };
        let texts: Vec<&str> = parts.iter().filter_map(|part| part.text.as_deref()).collect();
        assert_eq!(texts, ["(used web_search with {\"query\":\"q\"})", "A https://a.example", "found"]);
        assert!(parts.iter().all(|part| part.kind == "text"));
    }

    #[test]
    fn a_model_is_never_told_what_another_makers_sealed() {
        let sealed = |format: Value| json!({"type": "reasoning.encrypted", "data": "x", "format": format});
        let [claude, gemini] = ["anthropic-claude-v1", "google-gemini-v1"].map(|format| sealed(format.into()));
        let unsaid = json!({"type": "reasoning.text", "text": "hm"});
        for (model, given, told) in [
            ("google/gemini-3-flash", json!([claude, gemini, unsaid]), json!([gemini, unsaid])),
            ("anthropic/claude-sonnet-4.5", json!([claude, gemini]), json!([claude])),
            ("google/gemini-3-flash", json!([claude, sealed("xai-responses-v1".into())]), Value::Null),
            ("somebody/model", json!([claude, gemini]), json!([claude, gemini])),
        ] {
            let mut said = messages(&json!([{"role": "assistant", "reasoning_details": given}]));
            forget_others(&mut said, model);
            assert_eq!(json!(said)[0]["reasoning_details"], told, "{model}");
        }
    }

    #[test]
    fn images_of_an_assistant_are_shown_by_the_user_behind_its_tools_results() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
        let theirs = json!([
            {"role": "assistant", "content": [{"type": "text", "text": "Here"}, image], "tool_calls": [{"id": "c"}]},
            {"role": "tool", "tool_call_id": "c", "content": "r"}, {"role": "user", "content": "more"}]);
        let lifted = lift_shown(messages(&theirs));
        let roles: Vec<&str> = lifted.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["assistant", "tool", "user", "user"]);
        assert!(lifted[2].content.as_ref().is_some_and(shows) && !lifted[0].content.as_ref().is_some_and(shows));
    }
}
