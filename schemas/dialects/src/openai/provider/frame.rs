//! What stands around the choices of an answer: its head, its tier and its usage, of the types that OpenAI's have. What is
//! missing of the head is added where there is a clock. Knows nothing of choices.
//! Source: <https://platform.openai.com/docs/api-reference/chat/object>.

use super::usage;
use serde_json::{Map, Value};

/// The tiers that OpenAI tells of.
/// Source: <https://platform.openai.com/docs/api-reference/chat/object#chat/object-service_tier>.
const TIERS: [&str; 5] = ["auto", "default", "flex", "scale", "priority"];

/// What an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// A whole answer.
    #[default]
    Whole,
    /// A chunk of a stream.
    Chunk,
}

/// The members of an answer that are looked at, as they were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerHead<'a> {
    pub(super) id: Option<&'a Value>,
    pub(super) object: Option<&'a Value>,
    pub(super) created: Option<&'a Value>,
    pub(super) model: Option<&'a Value>,
    pub(super) service_tier: Option<&'a Value>,
    pub(super) system_fingerprint: Option<&'a Value>,
    pub(super) usage: Option<&'a Value>,
}

/// Whether one of them is of another type than OpenAI's. What is missing is not odd here.
pub(super) fn is_odd(head: AnswerHead<'_>, piece: AnswerKind) -> bool {
    let is = |value: Option<&Value>, is_right: fn(&Value) -> bool| value.is_none_or(is_right);
    !(is(head.id, Value::is_string)
        && is(head.model, Value::is_string)
        && is(head.created, Value::is_u64)
        && is(head.system_fingerprint, |value| value.is_string() || value.is_null())
        && is(head.service_tier, is_tier)
        && head.object.is_none_or(|object| object == name(piece))
        && head.usage.is_none_or(usage::is_spelt))
}

/// Gives them OpenAI's types; whether one of them had another.
pub(super) fn mend(answer: &mut Map<String, Value>, piece: AnswerKind) -> bool {
    let before = answer.clone();
    for name in ["id", "model"] {
        if let Some(Value::Number(number)) = answer.get(name) {
            let text = number.to_string();
            answer.insert(name.to_owned(), text.into());
        }
    }
    if let Some(created) = answer.get("created").filter(|created| !created.is_u64()).and_then(seconds) {
        answer.insert("created".to_owned(), created.into());
    }
    if answer.get("object").is_some_and(|object| object != name(piece)) {
        answer.insert("object".to_owned(), name(piece).into());
    }
    mend_members(answer);
    *answer != before
}

/// Gives the members beside the head OpenAI's types, and leaves out what has none.
fn mend_members(answer: &mut Map<String, Value>) {
    if let Some(theirs) = answer.get("usage").filter(|theirs| !usage::is_spelt(theirs)) {
        match usage::spelt(theirs) {
            Some(spelt) => drop(answer.insert("usage".to_owned(), spelt)),
            None => drop(answer.shift_remove("usage")),
        }
    }
    answer.retain(|name, value| match name.as_str() {
        "id" | "model" => value.is_string(),
        "created" => value.is_u64(),
        "system_fingerprint" => value.is_string() || value.is_null(),
        "service_tier" => is_tier(value),
        _ => true,
    });
}

fn name(piece: AnswerKind) -> &'static str {
    match piece {
        AnswerKind::Whole => "chat.completion",
        AnswerKind::Chunk => "chat.completion.chunk",
    }
}

fn is_tier(tier: &Value) -> bool {
    tier.is_null() || TIERS.iter().any(|known| tier == known)
}

/// A time as a whole number, from a fraction or a text.
pub(super) fn seconds(created: &Value) -> Option<u64> {
    match created {
        Value::String(text) => usage::whole_number(&text.trim().parse::<f64>().ok()?.floor().into()),
        number => usage::whole_number(&number.as_f64()?.floor().into()),
    }
}
