//! Messages in the forms and the order that a copy takes, which mean the same: one message of the system, the user and the
//! assistant in turn, texts in one, something in each. Knows no server by its name.

use super::systems;
use crate::json::{Fields, JsonKind, items, kind};
use crate::provider::Quirk;
use penstock_schemas::chat::{Content, Message, Part};
use serde_json::value::RawValue;

/// The quirks that messages are changed for.
pub(super) const OF_MESSAGES: [Quirk; 7] = [
    Quirk::OneSystem,
    Quirk::LeadingSystem,
    Quirk::InTurn,
    Quirk::SomeContent,
    Quirk::NoEmptyTurns,
    Quirk::ThoughtsKept,
    Quirk::TextContent,
];

/// What is looked at before any message is read whole.
struct Glance<'a> {
    role: &'a str,
    content: Option<&'a RawValue>,
    calls: bool,
    thinks: bool,
}

impl Glance<'_> {
    fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }

    fn says_nothing(&self) -> bool {
        let is_empty = |content: &RawValue| matches!(content.get(), "\"\"" | "null" | "[]");
        self.is_assistant() && !self.calls && !self.thinks && self.content.is_none_or(is_empty)
    }
}

/// The messages as a server with these quirks takes them; `None` when it takes them as they are.
pub(super) fn fit(messages: &RawValue, has: impl Fn(Quirk) -> bool) -> Option<Vec<Message>> {
    let fields: Vec<Fields<'_>> = items(messages).into_iter().map(Fields::of).collect();
    let glances: Vec<Glance<'_>> = fields.iter().map(glance).collect();
    if !OF_MESSAGES.into_iter().any(|quirk| has(quirk) && needs(quirk, &glances)) {
        return None;
    }
    let mut messages: Vec<Message> = serde_json::from_str(messages.get()).ok()?;
    if has(Quirk::NoEmptyTurns) {
        let mut glances = glances.iter();
        messages.retain(|_| glances.next().is_none_or(|glance| !glance.says_nothing()));
    }
    if has(Quirk::LeadingSystem) {
        messages = systems::lead(messages);
    }
    if has(Quirk::LeadingSystem) || has(Quirk::OneSystem) {
        messages = systems::as_one(messages);
    }
    if has(Quirk::InTurn) {
        messages = in_turn(messages);
    }
    for message in &mut messages {
        if has(Quirk::SomeContent) && message.role == "assistant" && message.content.is_none() {
            message.content = Some(Content::Text(String::new()));
        }
        if has(Quirk::ThoughtsKept) && message.role == "assistant" {
            let thoughts = message.reasoning_content.take().filter(|thoughts| !thoughts.is_empty());
            message.reasoning_content = Some(thoughts.unwrap_or_else(|| " ".to_owned()));
        }
        if has(Quirk::TextContent) {
            message.content = message.content.take().map(as_text);
        }
    }
    Some(messages)
}

fn glance<'a>(message: &'a Fields<'_>) -> Glance<'a> {
    let role = message.last("role").unwrap_or_default().trim_matches('"');
    let has = |name: &str| message.get(name).is_some_and(|value| !matches!(value.get(), "\"\"" | "null" | "[]"));
    Glance { role, content: message.get("content"), calls: has("tool_calls"), thinks: has("reasoning_content") }
}

fn needs(quirk: Quirk, messages: &[Glance<'_>]) -> bool {
    let is_system = |message: &Glance<'_>| matches!(message.role, "system" | "developer");
    let leading = messages.iter().take_while(|message| is_system(message)).count();
    match quirk {
        Quirk::OneSystem => leading > 1,
        Quirk::LeadingSystem => leading > 1 || messages[leading..].iter().any(is_system),
        Quirk::InTurn => messages.windows(2).any(|pair| may_join(&pair[0], &pair[1])),
        Quirk::SomeContent => messages.iter().any(|one| one.is_assistant() && one.content.is_none()),
        Quirk::NoEmptyTurns => messages.iter().any(Glance::says_nothing),
        Quirk::ThoughtsKept => messages.iter().any(|one| one.is_assistant() && !one.thinks),
        Quirk::TextContent => messages.iter().filter_map(|one| one.content).any(is_all_text),
        _ => false,
    }
}

fn may_join(first: &Glance<'_>, next: &Glance<'_>) -> bool {
    first.role == next.role && matches!(first.role, "user" | "assistant") && !first.calls && !next.calls
}

fn is_all_text(content: &RawValue) -> bool {
    let is_text = |part: &RawValue| Fields::of(part).last("type") == Some("\"text\"");
    kind(content) == JsonKind::List && items(content).into_iter().all(is_text)
}

/// What one says twice in a row, in one message.
fn in_turn(messages: Vec<Message>) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        let may_join = |last: &&mut Message| {
            last.role == message.role
                && matches!(last.role.as_str(), "user" | "assistant")
                && last.tool_calls.is_none()
                && message.tool_calls.is_none()
        };
        match out.last_mut().filter(may_join) {
            Some(last) => last.content = both(last.content.take(), message.content),
            None => out.push(message),
        }
    }
    out
}

fn both(first: Option<Content>, next: Option<Content>) -> Option<Content> {
    Some(match (first, next) {
        (Some(Content::Text(first)), Some(Content::Text(next))) => Content::Text(format!("{first}\n\n{next}")),
        (Some(first), Some(next)) => Content::Parts([first.into_parts(), next.into_parts()].concat()),
        (first, next) => return first.or(next),
    })
}

fn as_text(content: Content) -> Content {
    match content {
        Content::Parts(parts) if parts.iter().all(|part| part.kind == "text") => {
            let texts: Vec<String> = parts.into_iter().filter_map(|part: Part| part.text).collect();
            Content::Text(texts.join("\n"))
        }
        content => content,
    }
}
