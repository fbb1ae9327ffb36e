//! The turns and their blocks. Sources: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html>,
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html> and the types that it names.

use crate::{At, Refused, Verdict, media_type};
use std::collections::BTreeSet;

const BLOCKS: [&str; 12] = [
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "guardContent",
    "cachePoint",
    "reasoningContent",
    "citationsContent",
    "searchResult",
];

/// The longest id of a call.
const LONGEST_ID: usize = 64;

pub(super) fn check(root: &At<'_>) -> Verdict {
    let messages = root.need("messages")?;
    let turns = messages.items()?;
    messages.ensure(!turns.is_empty(), "a conversation must have a message")?;
    let (mut before, mut open) = ("assistant", BTreeSet::new());
    let mut known = BTreeSet::new();
    for turn in &turns {
        turn.only(&["role", "content"])?;
        let role = turn.need("role")?.word(&["user", "assistant"])?;
        let why = "A conversation must start with a user message, and alternate between user and assistant roles";
        turn.ensure(role != before, why)?;
        before = role;
        for id in check_turn(turn, role, &mut open)? {
            turn.ensure(known.insert(id.clone()), "`tool_use` ids must be unique")?;
            open.insert(id);
        }
    }
    messages.ensure(open.is_empty(), "Expected toolResult blocks for the toolUse blocks of the last turn")
}

fn check_turn(turn: &At<'_>, role: &str, open: &mut BTreeSet<String>) -> Result<Vec<String>, Refused> {
    let content = turn.need("content")?;
    let blocks = content.items()?;
    content.ensure(!blocks.is_empty(), "The content field in the Message object is empty")?;
    let has = |kind: &str| blocks.iter().any(|block| block.get(kind).is_some());
    content.ensure(!has("document") || has("text"), "A text block must be included with a document")?;
    let mut calls = Vec::new();
    for block in &blocks {
        block.only(&BLOCKS)?;
        block.ensure(block.object()?.len() == 1, "a block is a union: it holds one member")?;
        check_block(block, role)?;
        if let Some(call) = block.get("toolUse") {
            calls.push(call.need("toolUseId")?.text()?.to_owned());
        }
        if let Some(result) = block.get("toolResult") {
            let id = result.need("toolUseId")?;
            id.ensure(open.remove(id.text()?), "The toolResult block exceeds the toolUse blocks of the previous turn")?;
        }
    }
    turn.ensure(open.is_empty(), "Expected toolResult blocks for the toolUse blocks of the previous turn")?;
    Ok(calls)
}

fn check_block(block: &At<'_>, role: &str) -> Verdict {
    if let Some(text) = block.get("text") {
        return text.ensure(!text.text()?.trim().is_empty(), "The text field in the ContentBlock object is blank");
    }
    if let Some(call) = block.get("toolUse") {
        block.ensure(role == "assistant", "a toolUse block is the assistant's")?;
        call.only(&["toolUseId", "name", "input"])?;
        call.need("toolUseId")?.name(1..=LONGEST_ID, "_-")?;
        call.need("name")?.name(1..=LONGEST_ID, "_-")?;
        return call.need("input")?.object().map(drop);
    }
    if let Some(thought) = block.get("reasoningContent") {
        block.ensure(role == "assistant", "a reasoningContent block is the assistant's")?;
        thought.only(&["reasoningText", "redactedContent"])?;
        let text = thought.get("reasoningText");
        return text.map_or(Ok(()), |text| text.need("text")?.text().map(drop));
    }
    if let Some(mark) = block.get("cachePoint") {
        return mark.need("type")?.word(&["default"]).map(drop);
    }
    let is_users = role == "user";
    block
        .ensure(is_users || block.get("citationsContent").is_some(), "it is not allowed in a turn of the assistant")?;
    match block.get("toolResult") {
        Some(result) => check_result(&result),
        None => check_media(block),
    }
}

fn check_result(result: &At<'_>) -> Verdict {
    result.only(&["toolUseId", "content", "status"])?;
    result.need("toolUseId")?.name(1..=LONGEST_ID, "_-")?;
    if let Some(status) = result.get("status") {
        status.word(&["success", "error"])?;
    }
    let content = result.need("content")?;
    content.ensure(!content.items()?.is_empty(), "the content of a tool's result is empty")?;
    for inner in content.items()? {
        inner.only(&["text", "json", "image", "document", "video", "searchResult"])?;
        match inner.get("text") {
            Some(text) => {
                text.ensure(!text.text()?.trim().is_empty(), "The text field in the ContentBlock object is blank")?;
            }
            None => check_media(&inner)?,
        }
    }
    Ok(())
}

/// Sources: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ImageBlock.html>,
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html>.
fn check_media(block: &At<'_>) -> Verdict {
    if let Some(image) = block.get("image") {
        let format = image.need("format")?.word(&["png", "jpeg", "gif", "webp"])?;
        let bytes = image.need("source")?.need("bytes")?;
        let found = media_type(bytes.text()?).map_err(|_| bytes.refused("it is not valid base64"))?;
        return bytes.ensure(found.is_none_or(|found| found == format!("image/{format}")), "Could not process image");
    }
    if let Some(document) = block.get("document") {
        document.only(&["format", "name", "source", "context", "citations"])?;
        let format = document.need("format")?;
        let word = format.word(&["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"])?;
        let name = document.need("name")?;
        name.name(1..=200, " -()[]")?;
        name.ensure(!name.text()?.contains("  "), "the name holds more than one white space in a row")?;
        let bytes = document.need("source")?.need("bytes")?;
        bytes.ensure(!bytes.text()?.is_empty(), "the document is empty")?;
        let found = media_type(bytes.text()?).map_err(|_| bytes.refused("it is not valid base64"))?;
        let is_right = found.is_none_or(|found| (word == "pdf") == (found == "application/pdf"));
        return format.ensure(is_right, "the document is of another format");
    }
    if let Some(audio) = block.get("audio") {
        audio.need("format")?.text()?;
        return audio.need("source")?.object().map(drop);
    }
    Ok(())
}

/// As Claude has it: see [`crate::anthropic`].
pub(super) fn check_thoughts(root: &At<'_>) -> Verdict {
    let turns = root.need("messages")?.items()?;
    let has = |turn: &At<'_>, kind: &str| {
        turn.value()["content"].as_array().is_some_and(|blocks| blocks.iter().any(|block| block.get(kind).is_some()))
    };
    if let Some(last) = turns.last().filter(|last| last.value()["role"] == "assistant") {
        return Err(last.refused("an answer cannot be prefilled when thinking is enabled"));
    }
    let asked = turns.iter().rposition(|turn| turn.value()["role"] == "user" && !has(turn, "toolResult"));
    let begun = &turns[asked.map_or(0, |at| at + 1)..];
    let Some(first) = begun.iter().find(|turn| turn.value()["role"] == "assistant") else { return Ok(()) };
    let is_thought = first.value()["content"][0].get("reasoningContent").is_some();
    first.ensure(
        is_thought,
        "Expected `thinking` or `redacted_thinking`: a final `assistant` message must start with it",
    )
}
