//! What strict clients of Anthropic's dialect cannot read, spelt as Anthropic spells it, in messages of copies that go on as
//! they came otherwise: members that are missing or of another type, arguments that are no object, reasons to stop that
//! Anthropic does not have or that hide a call. Knows nothing of the order of events.
//! Source: <https://platform.claude.com/docs/en/api/messages/create>.

use super::answer::{Added, Block, Message, text};
use crate::call_arguments;
use crate::json::{JsonKind, RawObject, kind};
use penstock_schemas::chat::FunctionCall;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

/// The types of blocks that are calls end in this: `tool_use`, `server_tool_use`, `mcp_tool_use`.
const CALL: &str = "tool_use";

const COUNTS: [&str; 4] = ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];

/// The characters of an answer's id that an id of a call takes.
const ID_PART: usize = 24;

/// Anthropic's word for why an answer ended.
/// Source: <https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons>.
pub(super) fn reason(said: Option<&str>, has_called: bool) -> &str {
    match said.unwrap_or_default() {
        "" | "stop" | "end_turn" if has_called => "tool_use",
        "" | "stop" => "end_turn",
        "length" => "max_tokens",
        "tool_calls" | "function_call" => "tool_use",
        "content_filter" => "refusal",
        own => own,
    }
}

/// An id for a call that has none.
pub(super) fn call_id(message: &str, place: u64) -> String {
    let short: String = message.chars().filter(char::is_ascii_alphanumeric).take(ID_PART).collect();
    format!("toolu_{short}_{place}")
}

/// The figures as Anthropic spells them; `None` where they are. `needed` are those that must be there; for the answer's
/// tokens there is what was `said` before.
fn usage(told: Option<&Value>, needed: &[&str], said: u64) -> Option<Value> {
    let fields = told.and_then(Value::as_object);
    let is_right = |fields: &Map<String, Value>| {
        needed.iter().all(|name| fields.get(*name).is_some_and(Value::is_u64))
            && COUNTS.iter().all(|name| fields.get(*name).is_none_or(|count| count.is_null() || count.is_u64()))
    };
    if fields.is_some_and(is_right) {
        return None;
    }
    let mut fields = fields.cloned().unwrap_or_default();
    for name in COUNTS {
        if fields.get(name).is_some_and(Value::is_u64) {
            continue;
        }
        if needed.contains(&name) {
            fields.insert(name.to_owned(), if name == "output_tokens" { said.into() } else { 0.into() });
        } else {
            fields.shift_remove(name);
        }
    }
    Some(Value::Object(fields))
}

fn is_text(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_string)
}

/// What of a message's head is other than Anthropic's, as it should be.
fn head(message: &Message<'_>) -> Vec<(&'static str, Value)> {
    let mut changes = Vec::new();
    for (name, value, usual) in [("type", &message.kind, "message"), ("role", &message.role, "assistant")] {
        if value.as_ref().is_none_or(|value| value != usual) {
            changes.push((name, usual.into()));
        }
    }
    for (name, value) in [("id", &message.id), ("model", &message.model)] {
        if !is_text(value.as_ref()) {
            changes.push((name, "".into()));
        }
    }
    if message.content.is_none() {
        changes.push(("content", json!([])));
    }
    if message.stop_sequence.is_none() {
        changes.push(("stop_sequence", Value::Null));
    }
    if let Some(usage) = usage(message.usage.as_ref(), &COUNTS[..2], 0) {
        changes.push(("usage", usage));
    }
    changes
}

/// `message_start` as Anthropic spells it; `None` where it is spelt so.
pub(super) fn message_start(json: &[u8], message: Option<&Message<'_>>) -> Option<String> {
    let empty = Message::default();
    let message = message.unwrap_or(&empty);
    let mut changes = head(message);
    if message.stop_reason.is_none() {
        changes.push(("stop_reason", Value::Null));
    }
    let is_usual = |change: &(&str, Value)| change.0 == "stop_reason";
    if changes.iter().all(is_usual) {
        return None;
    }
    let mut event = RawObject::read(json).unwrap_or_default();
    event.set("type", &"message_start");
    let mut spelt = event.get("message").and_then(|old| RawObject::read(old.get().as_bytes()).ok()).unwrap_or_default();
    changes.iter().for_each(|(name, value)| spelt.set(name, value));
    event.set("message", &spelt);
    Some(event.to_text())
}

/// `message_delta` as Anthropic spells it, with this reason and the tokens that were said before; `None` where it is spelt so.
pub(super) fn message_delta(
    json: &[u8],
    (added, told): (&Added, Option<&Value>),
    reason: Option<&str>,
    said: u64,
) -> Option<String> {
    let usage = usage(told, &COUNTS[1..2], said);
    let is_same = added.stop_reason.as_ref().and_then(Value::as_str) == reason;
    if is_same && added.stop_sequence.is_some() && usage.is_none() {
        return None;
    }
    let mut event = RawObject::read(json).unwrap_or_default();
    event.set("type", &"message_delta");
    let mut delta = event.get("delta").and_then(|old| RawObject::read(old.get().as_bytes()).ok()).unwrap_or_default();
    delta.set("stop_reason", &reason);
    if !delta.has("stop_sequence") {
        delta.set("stop_sequence", &Value::Null);
    }
    event.set("delta", &delta);
    if let Some(usage) = usage {
        event.set("usage", &usage);
    }
    Some(event.to_text())
}

/// A block that begins with more, or less, than Anthropic's do.
pub(super) struct Opening {
    /// As Anthropic's begin.
    pub(super) block: RawObject,
    /// What it began with, as what is added to it.
    pub(super) deltas: Vec<Value>,
    /// The arguments that it began with. Some servers add them piece by piece all the same.
    pub(super) input: Option<String>,
}

/// The beginning of a block as Anthropic spells it; `None` where it is spelt so. `id` is for a call that has none.
pub(super) fn opening(block: &Block<'_>, raw: &RawValue, id: impl FnOnce() -> String) -> Option<Opening> {
    let is_empty = |text: &Option<String>| text.as_deref() == Some("");
    let is_usual = match block.kind.as_str() {
        "text" => is_empty(&block.text),
        "thinking" => is_empty(&block.thinking) && is_empty(&block.signature),
        kind if kind.ends_with(CALL) => has_id(block) && block.input.is_some_and(|input| input.get() == "{}"),
        _ => true,
    };
    if is_usual {
        return None;
    }
    let mut spelt = RawObject::read(raw.get().as_bytes()).ok()?;
    let (mut deltas, mut input) = (Vec::new(), None);
    if block.kind.ends_with(CALL) {
        name_call(&mut spelt, block, id);
        input = Some(arguments(block.input).get().to_owned()).filter(|input| input != "{}");
        spelt.set("input", &json!({}));
    } else {
        let parts = match block.kind.as_str() {
            "text" => vec![("text", &block.text)],
            _ => vec![("thinking", &block.thinking), ("signature", &block.signature)],
        };
        for (name, said) in parts {
            spelt.set(name, &"");
            if let Some(said) = said.as_ref().filter(|said| !said.is_empty()) {
                deltas.push(json!({ "type": format!("{name}_delta"), name: said }));
            }
        }
    }
    Some(Opening { block: spelt, deltas, input })
}

fn has_id(block: &Block<'_>) -> bool {
    block.id.as_ref().is_some_and(|id| !id.is_empty()) && block.name.is_some()
}

fn name_call(spelt: &mut RawObject, block: &Block<'_>, id: impl FnOnce() -> String) {
    if block.id.as_ref().is_none_or(String::is_empty) {
        spelt.set("id", &id());
    }
    if block.name.is_none() {
        spelt.set("name", &"");
    }
}

/// A call's arguments: some write them as a text, or nothing where there are none.
fn arguments(input: Option<&RawValue>) -> Box<RawValue> {
    let text = input.and_then(|input| match kind(input) {
        JsonKind::Null => None,
        JsonKind::Text => serde_json::from_str(input.get()).ok(),
        _ => Some(input.get().to_owned()),
    });
    call_arguments::object(&FunctionCall { arguments: text, ..FunctionCall::default() })
}

/// A whole message as Anthropic spells it; `None` where it is spelt so.
pub(super) fn whole(message: &Message<'_>, json: &[u8], has_called: bool) -> Option<Vec<u8>> {
    let mut changes = head(message);
    let said = text(message.stop_reason.as_ref());
    let word = reason(said.as_deref(), has_called);
    if said.as_deref() != Some(word) {
        changes.push(("stop_reason", word.into()));
    }
    let content = message.content.as_deref().unwrap_or_default();
    let id = text(message.id.as_ref()).unwrap_or_default();
    let blocks: Vec<Option<Box<RawValue>>> =
        content.iter().enumerate().map(|(at, raw)| whole_block(raw, || call_id(&id, at as u64))).collect();
    let has_odd_blocks = blocks.iter().any(Option::is_some);
    if changes.is_empty() && !has_odd_blocks {
        return None;
    }
    let mut spelt = RawObject::read(json).ok()?;
    changes.iter().for_each(|(name, value)| spelt.set(name, value));
    if has_odd_blocks {
        let blocks = blocks.into_iter().zip(content).map(|(spelt, raw)| spelt.unwrap_or_else(|| (*raw).to_owned()));
        spelt.set("content", &blocks.collect::<Vec<_>>());
    }
    Some(spelt.to_vec())
}

/// A block as Anthropic spells it; `None` where it is spelt so. Most are texts, which their first bytes tell.
fn whole_block(raw: &RawValue, id: impl FnOnce() -> String) -> Option<Box<RawValue>> {
    if raw.get().starts_with(r#"{"type":"text","text":""#) {
        return None;
    }
    let block: Block<'_> = serde_json::from_str(raw.get()).ok()?;
    let is_object = |input: &RawValue| kind(input) == JsonKind::Object;
    let is_usual = match block.kind.as_str() {
        "text" => block.text.is_some(),
        "thinking" => block.thinking.is_some() && block.signature.is_some(),
        "" => block.text.is_none(),
        kind if kind.ends_with(CALL) => has_id(&block) && block.input.is_some_and(is_object),
        _ => true,
    };
    if is_usual {
        return None;
    }
    let mut spelt = RawObject::read(raw.get().as_bytes()).ok()?;
    match block.kind.as_str() {
        "text" => spelt.set("text", &""),
        "" => spelt.set("type", &"text"),
        "thinking" => {
            spelt.set("thinking", &block.thinking.unwrap_or_default());
            spelt.set("signature", &block.signature.unwrap_or_default());
        }
        _ => {
            name_call(&mut spelt, &block, id);
            spelt.set("input", &arguments(block.input));
        }
    }
    to_raw_value(&spelt).ok()
}

/// The kind of what is added to a block: some call a signature a thought.
pub(super) fn kind_of_delta(added: &Added) -> &str {
    let is_empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    match added.kind.as_deref() {
        Some("thinking_delta") if is_empty(&added.thinking) && !is_empty(&added.signature) => "signature_delta",
        Some(kind) => kind,
        None if added.text.is_some() => "text_delta",
        None if added.partial_json.is_some() => "input_json_delta",
        None if added.thinking.is_some() => "thinking_delta",
        None => "signature_delta",
    }
}
