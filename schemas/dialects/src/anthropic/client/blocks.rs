//! The blocks of a turn in their agnostic form: parts, calls, results, thoughts.
//! Source: <https://platform.claude.com/docs/en/api/messages/create#messages>.

use super::reading::{read, rest};
use super::thoughts;
use crate::client::WrongRequest;
use crate::client::fields::wrong;
use crate::data_url;
use crate::json::{Fields, JsonKind, items, kind};
use crate::thought_order;
use penstock_schemas::chat::{Content, FilePart, FunctionCall, Message, Part, ReasoningDetail, ToolCall};
use serde_json::Value;
use serde_json::value::RawValue;

/// One turn in the making: results stand before what else its side says.
#[derive(Debug, Default)]
pub(super) struct Turn {
    results: Vec<Message>,
    parts: Vec<Part>,
    text: Option<String>,
    reasoning: String,
    details: Vec<ReasoningDetail>,
    calls: Vec<ToolCall>,
}

impl Turn {
    /// Sets the text of a turn that has no blocks.
    pub(super) fn text(&mut self, text: String) {
        self.text = Some(text);
    }

    /// Adds a block.
    pub(super) fn add(&mut self, block: &RawValue, place: &str, role: &str) -> Result<(), WrongRequest> {
        if kind(block) != JsonKind::Object {
            return Err(wrong(place, "it must be an object".to_owned()));
        }
        let fields = Fields::of(block);
        let class = string(&fields, "type", place)?;
        let index = u32::try_from(self.details.len()).unwrap_or(u32::MAX);
        match (class.as_str(), role) {
            ("thinking", "assistant") => {
                let thinking = string(&fields, "thinking", place)?;
                let signature = fields.text("signature")?.unwrap_or_default();
                self.reasoning.push_str(&thinking);
                self.think(thoughts::signed(&thinking, &signature, index));
            }
            ("redacted_thinking", "assistant") => {
                self.think(thoughts::redacted(&string(&fields, "data", place)?, index));
            }
            ("tool_use", "assistant") => self.calls.push(call(&fields, place)?),
            // Marks in an answer that say nothing: where another model went on, and which tools a server was found to have.
            ("fallback" | "mcp_tool_listing", "assistant") => {}
            ("tool_result", "user") => self.results.push(result(&fields, place)?),
            ("tool_use" | "tool_result" | "thinking" | "redacted_thinking", _) => {
                return Err(wrong(&format!("{place}.type"), format!("a turn of `{role}` cannot hold it")));
            }
            _ => self.parts.push(part(&fields, place)?),
        }
        Ok(())
    }

    /// Adds a thought behind what was said.
    fn think(&mut self, detail: Option<ReasoningDetail>) {
        let said: usize =
            self.parts.iter().filter_map(|part| part.text.as_deref()).map(|text| text.chars().count()).sum();
        self.details.extend(detail.map(|mut detail| {
            thought_order::mark(&mut detail, said);
            detail
        }));
    }

    /// The messages that it comes to.
    pub(super) fn finish(self, role: String) -> Vec<Message> {
        let has_more = !self.parts.is_empty() || self.text.is_some() || role == "assistant";
        let mut messages = self.results;
        if !has_more && !messages.is_empty() {
            return messages;
        }
        let is_plain = self.parts.iter().all(|part| part.kind == "text" && part.cache_control.is_none());
        let content = match self.text {
            Some(text) => Some(Content::Text(text)),
            None if self.parts.is_empty() && role == "assistant" => None,
            // What assistants say is a text at most providers.
            None if role == "assistant" && is_plain => Some(Content::Text(Content::Parts(self.parts).text())),
            None => Some(Content::Parts(self.parts)),
        };
        messages.push(Message {
            role,
            content,
            reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
            reasoning_details: (!self.details.is_empty()).then_some(self.details),
            tool_calls: (!self.calls.is_empty()).then_some(self.calls),
            ..Message::default()
        });
        messages
    }
}

/// Adds to an answer what the next one says.
pub(super) fn join(answer: &mut Message, next: Message) {
    let added = thought_order::length(next.content.as_ref());
    answer.content = match (answer.content.take(), next.content) {
        (Some(Content::Text(before)), Some(Content::Text(after))) => {
            let between = if before.is_empty() || after.is_empty() { "" } else { "\n\n" };
            Some(Content::Text(format!("{before}{between}{after}")))
        }
        (Some(before), Some(after)) => {
            let mut parts = before.into_parts();
            parts.extend(after.into_parts());
            Some(Content::Parts(parts))
        }
        (before, after) => before.or(after),
    };
    let start = thought_order::length(answer.content.as_ref()).saturating_sub(added);
    if let Some(thought) = next.reasoning_content {
        answer.reasoning_content.get_or_insert_default().push_str(&thought);
    }
    let details = answer.reasoning_details.get_or_insert_default();
    let first = u32::try_from(details.len()).unwrap_or(u32::MAX);
    details.extend(next.reasoning_details.into_iter().flatten().map(|mut detail| {
        detail.index = detail.index.map(|index| index.saturating_add(first));
        let after = thought_order::after(&detail) + start;
        thought_order::mark(&mut detail, after);
        detail
    }));
    answer.reasoning_details.take_if(|details| details.is_empty());
    answer.tool_calls.get_or_insert_default().extend(next.tool_calls.into_iter().flatten());
    answer.tool_calls.take_if(|calls| calls.is_empty());
}

fn string(fields: &Fields<'_>, name: &str, place: &str) -> Result<String, WrongRequest> {
    let here = format!("{place}.{name}");
    let value = fields.get(name).ok_or_else(|| wrong(&here, "it is missing".to_owned()))?;
    read(value, &here)
}

fn call(fields: &Fields<'_>, place: &str) -> Result<ToolCall, WrongRequest> {
    let here = format!("{place}.input");
    let input = fields.get("input").ok_or_else(|| wrong(&here, "it is missing".to_owned()))?;
    let arguments = match kind(input) {
        // As the caller wrote it, so that no number in it is rounded.
        JsonKind::Object => input.get().to_owned(),
        // The arguments as they were streamed: some agents give them back unread.
        JsonKind::Text => read(input, &here)?,
        _ => return Err(wrong(&here, "it must be an object".to_owned())),
    };
    let name = Some(string(fields, "name", place)?);
    let function = FunctionCall { name, arguments: Some(arguments), ..FunctionCall::default() };
    let (id, kind) = (Some(string(fields, "id", place)?), Some("function".to_owned()));
    let mark = fields.get("cache_control").map(|mark| read(mark, place)).transpose()?;
    let extra = mark.map(|mark: Value| ("cache_control".to_owned(), mark)).into_iter().collect();
    Ok(ToolCall { id, kind, function: Some(function), extra, ..ToolCall::default() })
}

fn result(fields: &Fields<'_>, place: &str) -> Result<Message, WrongRequest> {
    let here = format!("{place}.content");
    let content = match fields.get("content") {
        None => Content::Text(String::new()),
        Some(content) if kind(content) == JsonKind::Text => Content::Text(read(content, &here)?),
        Some(content) => {
            let parts: Result<Vec<Part>, WrongRequest> = (items(content).into_iter().enumerate())
                .map(|(at, block)| part(&Fields::of(block), &format!("{here}[{at}]")))
                .collect();
            let parts = parts?;
            // A text alone is what every provider takes as a result.
            match parts.iter().all(|part| part.kind == "text" && part.cache_control.is_none()) {
                true => Content::Text(Content::Parts(parts).text()),
                false => Content::Parts(parts),
            }
        }
    };
    Ok(Message {
        role: "tool".to_owned(),
        content: Some(content),
        tool_call_id: Some(string(fields, "tool_use_id", place)?),
        is_error: fields.is_true("is_error").then_some(true),
        cache_control: fields.get("cache_control").map(|mark| read(mark, place)).transpose()?,
        ..Message::default()
    })
}

/// A block as a part. One that only Anthropic knows keeps its own form, so that whoever cannot take it says so.
pub(super) fn part(fields: &Fields<'_>, place: &str) -> Result<Part, WrongRequest> {
    let class = string(fields, "type", place)?;
    let cache_control: Option<Value> = fields.get("cache_control").map(|mark| read(mark, place)).transpose()?;
    let part = match class.as_str() {
        "text" => Part::text(string(fields, "text", place)?),
        // What Anthropic summed a conversation up to; it is none where that failed.
        "compaction" => Part::text(fields.text("content")?.unwrap_or_default()),
        "image" => {
            let (here, source) = source(fields, place)?;
            match string(&source, "type", &here)?.as_str() {
                "url" => Part::image(string(&source, "url", &here)?),
                "base64" => Part::image(inline(&source, &here)?),
                "file" => {
                    let mut file =
                        FilePart { file_id: Some(string(&source, "file_id", &here)?), ..FilePart::default() };
                    file.extra.insert("kind".to_owned(), "image".into());
                    file_part(file)
                }
                _ => return Err(wrong(&format!("{here}.type"), "it is one of base64, url, file".to_owned())),
            }
        }
        "document" => document(fields, place)?,
        _ => {
            let extra = rest(fields, &["type", "cache_control"], place)?;
            Part { kind: class, extra, ..Part::default() }
        }
    };
    Ok(Part { cache_control, ..part })
}

fn source<'a>(fields: &Fields<'a>, place: &str) -> Result<(String, Fields<'a>), WrongRequest> {
    let here = format!("{place}.source");
    let source = fields.get("source").ok_or_else(|| wrong(&here, "it is missing".to_owned()))?;
    Ok((here, Fields::of(source)))
}

fn inline(source: &Fields<'_>, place: &str) -> Result<String, WrongRequest> {
    Ok(data_url::write(&string(source, "media_type", place)?, &string(source, "data", place)?))
}

fn file_part(file: FilePart) -> Part {
    Part { kind: "file".to_owned(), file: Some(file), ..Part::default() }
}

/// A document. One that is text stays text: every provider can read that.
fn document(fields: &Fields<'_>, place: &str) -> Result<Part, WrongRequest> {
    let (here, source) = source(fields, place)?;
    let title = fields.text("title")?;
    let mut file = FilePart { filename: title.clone(), ..FilePart::default() };
    match string(&source, "type", &here)?.as_str() {
        "base64" => file.file_data = Some(inline(&source, &here)?),
        "url" => file.file_url = Some(string(&source, "url", &here)?),
        "file" => file.file_id = Some(string(&source, "file_id", &here)?),
        "text" => {
            let text = string(&source, "data", &here)?;
            return Ok(Part::text(title.map_or(text.clone(), |title| format!("{title}\n\n{text}"))));
        }
        _ => {
            let extra = rest(fields, &["type", "cache_control"], place)?;
            return Ok(Part { kind: "document".to_owned(), extra, ..Part::default() });
        }
    }
    file.extra = rest(fields, &["type", "cache_control", "source", "title"], place)?;
    if file.extra.get("citations").is_some_and(|citations| citations["enabled"] != true) {
        file.extra.shift_remove("citations");
    }
    Ok(file_part(file))
}
