//! Which of OpenAI's models fix their sampling and count their thoughts into the limit: told by their names, because a
//! deployment or a newer model has no card. Clients send `temperature` and `max_tokens` to all models alike.
//! Sources: <https://platform.openai.com/docs/guides/reasoning>, <https://platform.openai.com/docs/guides/latest-model>,
//! <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/reasoning>.

use crate::json::{Fields, items};
use serde_json::Value;

/// The sampling that such a model fixes, each at 1: another value is a 400 there.
pub(crate) const FIXED: [&str; 2] = ["temperature", "top_p"];

/// Whether the model thinks before it answers, and knows a limit as `max_completion_tokens` alone.
pub(crate) fn reasons(model: &str) -> bool {
    let name = bare(model);
    let is_older = ["o1", "o3", "o4"].iter().any(|series| is_of(name, series));
    is_older || name.strip_prefix("gpt-5").is_some_and(|rest| !rest.contains("chat"))
}

/// Whether the model answers with its own sampling, at this effort or its default.
pub(crate) fn is_fixed(model: &str, effort: Option<&str>) -> bool {
    let name = bare(model);
    let is_unthinking = ["gpt-5.1", "gpt-5.2"].iter().any(|series| is_of(name, series))
        && !["-codex", "-pro"].iter().any(|more| name.contains(more));
    match effort {
        Some("none") => false,
        // The default effort of these models is `none`.
        None if is_unthinking => false,
        _ => reasons(model),
    }
}

/// Whether OpenAI serves this chat as a response alone: its newest models that think call no functions in a chat.
/// Source: <https://github.com/BerriAI/litellm/issues/33221>, in OpenAI's own words: "Function tools with reasoning_effort are
/// not supported for gpt-5.6-sol in /v1/chat/completions. Please use /v1/responses instead."
pub fn needs_responses(model: &str, chat: &[u8]) -> bool {
    let Some(minor) = minor(model).filter(|minor| *minor >= 4) else { return false };
    if memchr::memmem::find(chat, b"\"tools\"").is_none() {
        return false;
    }
    let Some(fields) = std::str::from_utf8(chat).ok().and_then(|chat| Fields::read(chat).ok()) else { return false };
    let has_tools = fields.get("tools").is_some_and(|tools| !items(tools).is_empty());
    let effort = fields.last("reasoning_effort").filter(|effort| *effort != "null");
    // The default effort of the older ones is `none`.
    has_tools && effort.map_or(minor >= 6, |effort| effort != "\"none\"")
}

/// Whether some chats of this model are served so.
pub fn may_need_responses(model: &str) -> bool {
    minor(model).is_some_and(|minor| minor >= 4)
}

/// The number behind the point of a GPT-5 that thinks.
fn minor(model: &str) -> Option<u32> {
    let version = bare(model).strip_prefix("gpt-5.").filter(|_| reasons(model))?;
    let digits = version.bytes().take_while(u8::is_ascii_digit).count();
    version[..digits].parse().ok()
}

/// Whether this value is what the model would take anyway.
pub(crate) fn is_default(value: &Value) -> bool {
    value.is_null() || value.as_f64() == Some(1.0)
}

/// The name without the maker before it.
fn bare(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

fn is_of(name: &str, series: &str) -> bool {
    name.strip_prefix(series).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_models_that_think_call_functions_in_a_response_alone() {
        let tools = r#""tools":[{"type":"function"}]"#;
        for (model, chat, needs) in [
            ("gpt-5.6-sol", format!("{{{tools}}}"), true),
            ("openai/gpt-5.6", format!("{{{tools},\"reasoning_effort\":\"low\"}}"), true),
            ("gpt-5.6-sol", format!("{{{tools},\"reasoning_effort\":\"none\"}}"), false),
            ("gpt-5.4", format!("{{{tools}}}"), false),
            ("gpt-5.4", format!("{{{tools},\"reasoning_effort\":\"high\"}}"), true),
            ("gpt-5.2", format!("{{{tools},\"reasoning_effort\":\"high\"}}"), false),
            ("gpt-5.6-chat-latest", format!("{{{tools}}}"), false),
            ("gpt-5.6-sol", "{\"tools\":[]}".to_owned(), false),
            ("gpt-5.6-sol", "{}".to_owned(), false),
        ] {
            assert_eq!(needs_responses(model, chat.as_bytes()), needs, "{model} {chat}");
        }
    }

    #[test]
    fn models_that_think_fix_their_sampling_unless_they_are_told_not_to_think() {
        for (model, effort, fixed) in [
            ("gpt-5", None, true),
            ("gpt-5-mini", Some("low"), true),
            ("openai/gpt-5.4-mini", None, true),
            ("gpt-5.4", Some("none"), false),
            ("gpt-5.1", None, false),
            ("gpt-5.2-2025-12-11", Some("high"), true),
            ("gpt-5.1-codex-max", None, true),
            ("o3-mini", None, true),
            ("o1", None, true),
            ("gpt-5-chat-latest", None, false),
            ("gpt-4o", None, false),
            ("o10", None, false),
        ] {
            assert_eq!(is_fixed(model, effort), fixed, "{model} {effort:?}");
        }
        assert!(reasons("gpt-5.1") && !reasons("gpt-4.1"));
    }
}
