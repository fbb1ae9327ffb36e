//! A request in the one form that all its spellings have: what does not shape the answer is left out, and so is what says no
//! more than its absence would. Reads the agnostic form. Knows no dialect and no provider.

use penstock_schemas::envelope::Operation;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value, json};
use std::fmt;

/// A request whose spelling does not matter any more.
#[derive(Debug)]
pub(crate) struct Canonical {
    /// The same for every spelling.
    pub(crate) text: Vec<u8>,
    /// Whether it asks for nothing that a provider does by itself, such as a search: what came of that is not in the agnostic
    /// form of an answer.
    pub(crate) is_plain: bool,
    /// What is asked, where that is one text alone, without tools and earlier turns.
    pub(crate) question: Option<SoleQuestion>,
}

/// The only turn of a request, apart from the rest of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SoleQuestion {
    /// It.
    pub(crate) text: String,
    /// Everything else that shapes the answer.
    pub(crate) frame: Vec<u8>,
}

/// Fields that say who asks, how the answer is delivered or what is kept of it elsewhere. Source:
/// <https://platform.openai.com/docs/api-reference/chat/create>.
const NOT_SHAPING: [&str; 11] = [
    "model",
    "user",
    "metadata",
    "safety_identifier",
    "stream",
    "stream_options",
    "store",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "cache_control",
];

/// What every provider of a plan takes the absence of a field for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// Whether no `temperature` means 1.
    pub(crate) temperature: bool,
    /// Whether no `top_p` means 1.
    pub(crate) top_p: bool,
}

/// The one form of a request; `None` when it is no object, or one of its objects names a field twice: then it is not known
/// which of the two counts.
pub(crate) fn canonical(operation: Operation, agnostic: &[u8], defaults: Defaults) -> Option<Canonical> {
    let Once(Value::Object(mut request)) = serde_json::from_slice(agnostic).ok()? else { return None };
    request.retain(|name, value| !NOT_SHAPING.contains(&name.as_str()) && !value.is_null());
    let is_plain = match operation {
        Operation::Chat => chat(&mut request, defaults),
        Operation::Embeddings => {
            list_of_one(&mut request, "input");
            leave_out(&mut request, "encoding_format", &json!("float"));
            true
        }
        Operation::Moderations => {
            list_of_one(&mut request, "input");
            true
        }
        _ => true,
    };
    let mut value = Value::Object(request);
    value.sort_all_objects();
    settle_numbers(&mut value);
    let text = serde_json::to_vec(&value).ok()?;
    let question = (operation == Operation::Chat && is_plain).then(|| sole_question(value)).flatten();
    Some(Canonical { text, is_plain, question })
}

/// The question of a chat that has instructions and one turn of text, and asks for text.
fn sole_question(mut request: Value) -> Option<SoleQuestion> {
    let is_of_text = |name: &&str| !["tools", "functions", "modalities", "audio"].contains(name);
    if !request.as_object()?.keys().all(|name| is_of_text(&name.as_str())) {
        return None;
    }
    let (last, before) = request.get_mut("messages")?.as_array_mut()?.split_last_mut()?;
    let is_instruction = |message: &Value| matches!(message["role"].as_str(), Some("system" | "developer"));
    if last["role"] != "user" || !before.iter().all(is_instruction) {
        return None;
    }
    let content = last.get_mut("content").filter(|content| content.is_string())?;
    let Value::String(text) = content.take() else { return None };
    Some(SoleQuestion { text, frame: serde_json::to_vec(&request).ok()? })
}

/// Settles a chat; whether it asks for nothing that a provider does by itself.
fn chat(request: &mut Map<String, Value>, defaults: Defaults) -> bool {
    if let Some(limit) = request.remove("max_tokens") {
        request.entry("max_completion_tokens").or_insert(limit);
    }
    leave_out_where(request, "max_completion_tokens", |limit| limit.as_f64().is_some_and(|limit| limit < 0.0));
    let has_tools = request.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    for (name, default) in [
        ("n", json!(1)),
        ("presence_penalty", json!(0)),
        ("frequency_penalty", json!(0)),
        ("logprobs", json!(false)),
        ("parallel_tool_calls", json!(true)),
        ("response_format", json!({ "type": "text" })),
        ("logit_bias", json!({})),
        ("tools", json!([])),
        ("stop", json!([])),
        ("modalities", json!(["text"])),
        ("service_tier", json!("auto")),
        ("tool_choice", json!(if has_tools { "auto" } else { "none" })),
    ] {
        leave_out(request, name, &default);
    }
    for (name, is_one) in [("temperature", defaults.temperature), ("top_p", defaults.top_p)] {
        if is_one {
            leave_out(request, name, &json!(1));
        }
    }
    list_of_one(request, "stop");
    each(request.get_mut("messages"), message);
    each(request.get_mut("tools"), tool);
    let is_own = |tool: &Value| !matches!(tool["type"].as_str(), Some("function" | "custom") | None);
    let tools = request.get("tools").and_then(Value::as_array);
    !tools.is_some_and(|tools| tools.iter().any(is_own)) && !request.contains_key("web_search_options")
}

fn message(message: &mut Map<String, Value>) {
    strip(message);
    leave_out(message, "tool_calls", &json!([]));
    leave_out(message, "is_error", &json!(false));
    each(message.get_mut("content"), |part| {
        strip(part);
        if let Some(Value::Object(image)) = part.get_mut("image_url") {
            strip(image);
            leave_out(image, "detail", &json!("auto"));
        }
    });
    // One part of text is a text.
    if let Some(Value::Array(parts)) = message.get_mut("content")
        && let [Value::Object(part)] = &mut parts[..]
        && part.len() == 2
        && part.get("type").is_some_and(|kind| kind == "text")
        && let Some(text @ Value::String(_)) = part.remove("text")
    {
        message.insert("content".to_owned(), text);
    }
}

fn tool(tool: &mut Map<String, Value>) {
    strip(tool);
    if let Some(Value::Object(function)) = tool.get_mut("function") {
        strip(function);
        leave_out(function, "strict", &json!(false));
    }
}

/// Leaves out what says nothing, and marks for a provider's own cache.
fn strip(object: &mut Map<String, Value>) {
    object.retain(|name, value| name != "cache_control" && !value.is_null());
}

fn each(list: Option<&mut Value>, settle: impl Fn(&mut Map<String, Value>)) {
    let items = list.and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut).for_each(settle);
}

fn list_of_one(object: &mut Map<String, Value>, name: &str) {
    if let Some(value @ Value::String(_)) = object.get_mut(name) {
        *value = Value::Array(vec![value.take()]);
    }
}

fn leave_out(object: &mut Map<String, Value>, name: &str, default: &Value) {
    leave_out_where(object, name, |value| match (value.as_f64(), default.as_f64()) {
        (Some(value), Some(default)) => value.to_bits() == default.to_bits(),
        _ => value == default,
    });
}

fn leave_out_where(object: &mut Map<String, Value>, name: &str, is_default: impl Fn(&Value) -> bool) {
    if object.get(name).is_some_and(is_default) {
        object.shift_remove(name);
    }
}

/// `1.0` is 1.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and to fit")]
fn settle_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            if float.fract() == 0.0 && float.abs() < 9e15 {
                *number = Number::from(float as i64);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(settle_numbers),
        Value::Object(object) => object.values_mut().for_each(settle_numbers),
        _ => {}
    }
}

/// JSON whose objects name each field once.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Once)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Once(value))) = fields.next_entry::<String, Once>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a field is there twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests;
