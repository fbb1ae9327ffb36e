//! A request in its agnostic form. Fields that only Anthropic can use and that do not change the answer, such as `inference_geo`,
//! are left out. A field that changes the answer and has no agnostic name keeps its own: a provider without it refuses it by
//! that name.

use super::blocks::{self, Turn};
use super::choice;
use super::reading::read;
use crate::client::WrongRequest;
use crate::client::fields::wrong;
use crate::json::{Fields, JsonKind, items, kind};
use bytes::Bytes;
use penstock_schemas::chat::{ChatRequest, Content, Message, Part, Reasoning};
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;
use serde_json::value::RawValue;

/// The request in its agnostic form.
///
/// # Errors
/// When a block or a field is not what it should be; the refusal names its place.
pub(crate) fn agnostic(body: &Bytes) -> Result<Bytes, WrongRequest> {
    let text = std::str::from_utf8(body).map_err(|error| WrongRequest::InvalidJson(error.to_string()))?;
    let fields = Fields::of_body(text)?;
    let mut chat = ChatRequest { model: fields.text("model")?.unwrap_or_default(), ..ChatRequest::default() };
    if let Some(system) = fields.get("system") {
        chat.messages.push(system_prompt(system, "system")?);
    }
    for (at, message) in fields.get("messages").map(items).unwrap_or_default().into_iter().enumerate() {
        add_turn(message, &format!("messages[{at}]"), &mut chat.messages)?;
    }
    for (name, value) in fields.iter().filter(|(_, value)| kind(value) != JsonKind::Null) {
        add_field(name, value, &mut chat)?;
    }
    let bytes = serde_json::to_vec(&chat);
    bytes.map(Bytes::from).map_err(|error| Failure::gateway(FailureKind::Internal, error.to_string()).into())
}

fn system_prompt(value: &RawValue, place: &str) -> Result<Message, WrongRequest> {
    let content = match kind(value) {
        JsonKind::Text => Content::Text(read(value, place)?),
        _ => {
            let parts = items(value).into_iter().enumerate();
            let parts = parts.map(|(at, block)| text_part(block, &format!("{place}[{at}]")));
            Content::Parts(parts.collect::<Result<_, _>>()?)
        }
    };
    Ok(Message { role: "system".to_owned(), content: Some(content), ..Message::default() })
}

fn text_part(block: &RawValue, place: &str) -> Result<Part, WrongRequest> {
    let part = blocks::part(&Fields::of(block), place)?;
    if part.kind == "text" { Ok(part) } else { Err(wrong(place, "it must be a block of text".to_owned())) }
}

fn add_turn(message: &RawValue, place: &str, messages: &mut Vec<Message>) -> Result<(), WrongRequest> {
    let message = Fields::of(message);
    let role = message.text("role")?.unwrap_or_default();
    let content = message.get("content").ok_or_else(|| wrong(place, "it has no `content`".to_owned()))?;
    let here = format!("{place}.content");
    match role.as_str() {
        "system" => messages.push(system_prompt(content, &here)?),
        "user" | "assistant" => {
            let mut turn = Turn::default();
            if kind(content) == JsonKind::Text {
                turn.text(read(content, &here)?);
            }
            for (at, block) in items(content).into_iter().enumerate() {
                turn.add(block, &format!("{here}[{at}]"), &role)?;
            }
            turn.finish(role).into_iter().for_each(|message| push(messages, message));
        }
        _ => return Err(wrong(&format!("{place}.role"), "it is `user` or `assistant`".to_owned())),
    }
    Ok(())
}

/// Adds a message. Answers that follow each other are one, as at Anthropic: elsewhere the first one's calls would be left
/// without their results.
fn push(messages: &mut Vec<Message>, message: Message) {
    let last = messages.last_mut().filter(|last| last.role == "assistant" && message.role == "assistant");
    match last {
        Some(last) => blocks::join(last, message),
        None => messages.push(message),
    }
}

fn add_field(name: &str, value: &RawValue, chat: &mut ChatRequest) -> Result<(), WrongRequest> {
    match name {
        "model" | "messages" | "system" => {}
        "max_tokens" => chat.max_tokens = read(value, name)?,
        "stream" => chat.stream = read(value, name)?,
        "tools" => {
            let tools = items(value).into_iter().enumerate();
            let tools: Result<Vec<_>, _> =
                tools.map(|(at, tool)| choice::tool(tool, &format!("tools[{at}]"))).collect();
            chat.tools = Some(tools?).filter(|tools| !tools.is_empty());
        }
        "tool_choice" => choice::tool_choice(&Fields::of(value), chat)?,
        "thinking" => thinking(&Fields::of(value), chat)?,
        "output_config" => {
            let config = Fields::of(value);
            for (name, value) in config.iter().filter(|(_, value)| kind(value) != JsonKind::Null) {
                match name {
                    "effort" => set_effort(&read::<String>(value, "output_config.effort")?, chat),
                    "format" => choice::format(value, "output_config.format", chat)?,
                    _ => keep(&format!("output_config.{name}"), value, chat)?,
                }
            }
        }
        "output_format" => choice::format(value, name, chat)?,
        "metadata" => chat.user = Fields::of(value).text("user_id")?,
        "stop_sequences" => drop(chat.extra.insert("stop".to_owned(), read(value, name)?)),
        "service_tier" => {
            let tier: String = read(value, name)?;
            let tier = if tier == "standard_only" { "default" } else { "auto" };
            chat.extra.insert(name.to_owned(), tier.into());
        }
        // How Anthropic's machines go about it: no other answer comes of them.
        "diagnostics" | "inference_geo" | "speed" | "betas" | "user_profile_id" | "workspace_id" | "cache_control" => {}
        // Who pays where another of its models answered.
        "fallback_credit_token" | "billing_policy" => {}
        _ => keep(name, value, chat)?,
    }
    Ok(())
}

/// Under its own name: `temperature`, `top_p`, `top_k`, `container`, `mcp_servers`, and what nobody knows yet.
fn keep(name: &str, value: &RawValue, chat: &mut ChatRequest) -> Result<(), WrongRequest> {
    let value: Value = read(value, name)?;
    // Empty lists say nothing: Anthropic's own SDKs and tools send them.
    if value.as_array().is_none_or(|items| !items.is_empty()) {
        chat.extra.insert(name.to_owned(), value);
    }
    Ok(())
}

/// Source: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>.
fn thinking(fields: &Fields<'_>, chat: &mut ChatRequest) -> Result<(), WrongRequest> {
    let wrong_kind = || wrong("thinking.type", "it is `enabled`, `adaptive` or `disabled`".to_owned());
    let reasoning = chat.reasoning.get_or_insert_default();
    match fields.text("type")?.ok_or_else(wrong_kind)?.as_str() {
        "disabled" => *reasoning = Reasoning { enabled: Some(false), ..Reasoning::default() },
        "enabled" => {
            reasoning.enabled = Some(true);
            let budget = fields.get("budget_tokens");
            reasoning.max_tokens = budget.map(|budget| read(budget, "thinking.budget_tokens")).transpose()?;
        }
        "adaptive" | "between_tools" => reasoning.enabled = Some(true),
        _ => return Err(wrong_kind()),
    }
    if chat.reasoning.as_ref().is_some_and(|reasoning| reasoning.enabled == Some(false)) {
        chat.reasoning_effort = None;
    }
    Ok(())
}

fn set_effort(effort: &str, chat: &mut ChatRequest) {
    let is_off = chat.reasoning.as_ref().is_some_and(|reasoning| reasoning.enabled == Some(false));
    if !is_off {
        // The agnostic scale ends one step earlier.
        let effort = if effort == "max" { "xhigh" } else { effort };
        chat.reasoning_effort = Some(effort.to_owned());
    }
}
