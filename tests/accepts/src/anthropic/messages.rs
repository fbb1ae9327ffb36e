//! The system prompt, the turns and their blocks. Sources: the reference, `messages`;
//! <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>,
//! <https://platform.claude.com/docs/en/build-with-claude/vision>,
//! <https://platform.claude.com/docs/en/build-with-claude/pdf-support>.

use super::models::Facts;
use crate::{At, Refused, Verdict, media_type};
use std::collections::BTreeSet;

const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// A text, or blocks of text.
pub(super) fn check_system(system: &At<'_>) -> Verdict {
    if system.value().is_string() {
        return Ok(());
    }
    for block in system.items()? {
        block.need("type")?.word(&["text"])?;
        check_text(&block)?;
    }
    Ok(())
}

/// The turns: what each holds, and that each call has its result in the turn right behind it.
pub(super) fn check(root: &At<'_>, facts: &Facts) -> Verdict {
    let messages = root.need("messages")?;
    let turns = messages.items()?;
    messages.ensure(!turns.is_empty(), "at least one message is required")?;
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for (at, turn) in turns.iter().enumerate() {
        turn.only(&["role", "content"])?;
        let role = turn.need("role")?.word(&["user", "assistant"])?;
        if at == 0 {
            turn.ensure(role == "user", "first message must use the \"user\" role")?;
        }
        let is_last = at + 1 == turns.len();
        let calls = check_turn(turn, role, is_last, &mut open)?;
        for id in calls {
            turn.ensure(known.insert(id.clone()), "`tool_use` ids must be unique")?;
            open.insert(id);
        }
        if role == "assistant" && is_last {
            check_prefill(turn, facts)?;
        }
    }
    match open.first() {
        Some(id) => Err(messages.refused(format!("`tool_use` ids were found without `tool_result` blocks: {id}"))),
        None => Ok(()),
    }
}

/// Checks one turn against the calls that are open, and gives the calls that it makes.
fn check_turn(turn: &At<'_>, role: &str, is_last: bool, open: &mut BTreeSet<String>) -> Result<Vec<String>, Refused> {
    let content = turn.need("content")?;
    let unanswered = "`tool_use` ids were found without `tool_result` blocks immediately after";
    if let Some(text) = content.value().as_str() {
        turn.ensure(open.is_empty(), unanswered)?;
        let is_empty = text.trim().is_empty() && !(is_last && role == "assistant");
        content.ensure(!is_empty, "text content blocks must contain non-whitespace text")?;
        return Ok(Vec::new());
    }
    let blocks = content.items()?;
    content.ensure(!blocks.is_empty() || (is_last && role == "assistant"), "messages must have non-empty content")?;
    let mut calls = Vec::new();
    let mut has_other = false;
    for block in &blocks {
        let kind = block.need("type")?.text()?;
        match (kind, role) {
            ("tool_result", "user") => {
                block.ensure(!has_other, "`tool_result` blocks must come first in the content")?;
                let id = block.need("tool_use_id")?;
                let why = "unexpected `tool_use_id`: each `tool_result` must have a `tool_use` in the previous message";
                id.ensure(open.remove(id.text()?), why)?;
            }
            ("tool_use", "assistant") => {
                calls.push(block.need("id")?.text()?.to_owned());
                has_other = true;
            }
            _ => has_other = true,
        }
        check_block(block, kind, role)?;
    }
    turn.ensure(open.is_empty(), unanswered)?;
    Ok(calls)
}

fn check_block(block: &At<'_>, kind: &str, role: &str) -> Verdict {
    match (kind, role) {
        ("text", _) => check_text(block),
        ("image", "user") => check_image(&block.need("source")?),
        ("document", "user") => check_document(block),
        ("tool_result", "user") => check_result(block),
        ("search_result" | "container_upload", "user") => Ok(()),
        ("tool_use", "assistant") => {
            block.need("id")?.name(1..=usize::MAX, "_-")?;
            block.need("name")?.name(1..=128, "_-")?;
            block.need("input")?.object()?;
            Ok(())
        }
        ("thinking", "assistant") => {
            block.only(&["type", "thinking", "signature"])?;
            block.need("thinking")?.text()?;
            let signature = block.need("signature")?;
            signature.ensure(!signature.text()?.is_empty(), "Invalid `signature` in `thinking` block")
        }
        ("redacted_thinking", "assistant") => {
            block.only(&["type", "data"])?;
            block.need("data")?.text().map(drop)
        }
        ("server_tool_use" | "mcp_tool_use" | "fallback" | "compaction", "assistant") => Ok(()),
        (other, "assistant") if other.ends_with("_tool_result") => Ok(()),
        (other, _) => Err(block.refused(format!("a block of type `{other}` is not allowed in a turn of role {role}"))),
    }
}

fn check_text(block: &At<'_>) -> Verdict {
    block.only(&["type", "text", "cache_control", "citations"])?;
    let text = block.need("text")?;
    let why = "text content blocks must contain non-whitespace text";
    text.ensure(!text.text()?.trim().is_empty(), why)
}

fn check_image(source: &At<'_>) -> Verdict {
    match source.need("type")?.word(&["base64", "url", "file"])? {
        "base64" => {
            source.only(&["type", "media_type", "data"])?;
            let named = source.need("media_type")?.word(&IMAGES)?;
            let data = source.need("data")?;
            let found = media_type(data.text()?).map_err(|_| data.refused("it is not valid base64"))?;
            let why = format!("the image was specified as {named}, but does not appear to be one");
            source.ensure(found.is_none_or(|found| found == named), &why)
        }
        "url" => {
            source.only(&["type", "url"])?;
            source.need("url")?.text().map(drop)
        }
        _ => source.need("file_id")?.text().map(drop),
    }
}

fn check_document(block: &At<'_>) -> Verdict {
    block.only(&["type", "source", "title", "context", "citations", "cache_control"])?;
    let source = block.need("source")?;
    match source.need("type")?.word(&["base64", "text", "content", "url", "file"])? {
        "base64" => {
            source.only(&["type", "media_type", "data"])?;
            source.need("media_type")?.word(&["application/pdf"])?;
            let data = source.need("data")?;
            let found = media_type(data.text()?).map_err(|_| data.refused("it is not valid base64"))?;
            data.ensure(found.is_none_or(|found| found == "application/pdf"), "The PDF specified was not valid")
        }
        "text" => {
            source.only(&["type", "media_type", "data"])?;
            source.need("media_type")?.word(&["text/plain"])?;
            let data = source.need("data")?;
            data.ensure(!data.text()?.trim().is_empty(), "document text must not be empty")
        }
        "content" => Ok(()),
        "url" => source.need("url")?.text().map(drop),
        _ => source.need("file_id")?.text().map(drop),
    }
}

fn check_result(block: &At<'_>) -> Verdict {
    block.only(&["type", "tool_use_id", "content", "is_error", "cache_control"])?;
    block.need("tool_use_id")?.name(1..=usize::MAX, "_-")?;
    let is_error = block.get("is_error").map_or(Ok(false), |flag| flag.flag())?;
    let Some(content) = block.get("content").filter(|content| !content.value().is_string()) else { return Ok(()) };
    for inner in content.items()? {
        let kind = inner.need("type")?;
        match kind.word(&["text", "image", "document", "search_result", "tool_reference"])? {
            "text" => check_text(&inner)?,
            other => {
                kind.ensure(!is_error, "all content must be type \"text\" if `is_error` is true")?;
                match other {
                    "image" => check_image(&inner.need("source")?)?,
                    "document" => check_document(&inner)?,
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Source: <https://platform.claude.com/docs/en/build-with-claude/prompt-engineering/claude-prompting-best-practices>.
fn check_prefill(turn: &At<'_>, facts: &Facts) -> Verdict {
    turn.ensure(facts.prefill, "This model does not support assistant message prefill")?;
    let content = turn.need("content")?;
    let text = match content.value().as_str() {
        Some(text) => Some(text),
        None => content.value().as_array().and_then(|blocks| blocks.last()?["text"].as_str()),
    };
    let is_trimmed = text.is_none_or(|text| text.trim_end() == text);
    turn.ensure(is_trimmed, "final assistant content cannot end with trailing whitespace")
}

/// With a budget to think, the turn that goes on must begin with a thought, and no answer may be begun.
/// Source: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking#extended-thinking-with-tool-use>.
pub(super) fn check_thoughts(root: &At<'_>) -> Verdict {
    let turns = root.need("messages")?.items()?;
    let has = |turn: &At<'_>, kind: &str| {
        turn.value()["content"].as_array().is_some_and(|blocks| blocks.iter().any(|block| block["type"] == kind))
    };
    if let Some(last) = turns.last().filter(|last| last.value()["role"] == "assistant") {
        return Err(last.refused("an answer cannot be prefilled when thinking is enabled"));
    }
    // The turn that goes on begins behind the last message that the user wrote.
    let asked = turns.iter().rposition(|turn| turn.value()["role"] == "user" && !has(turn, "tool_result"));
    let begun = &turns[asked.map_or(0, |at| at + 1)..];
    let Some(first) = begun.iter().find(|turn| turn.value()["role"] == "assistant") else { return Ok(()) };
    let kind = &first.value()["content"][0]["type"];
    let why = "Expected `thinking` or `redacted_thinking`. When `thinking` is enabled, a final `assistant` message must \
               start with a thinking block";
    first.ensure(kind == "thinking" || kind == "redacted_thinking", why)
}
