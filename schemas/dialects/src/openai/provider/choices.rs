//! What a copy takes of the choice of a tool, of a form of the answer and of thoughts, in words that mean the same. Knows no
//! server by its name.

use crate::effort::Effort;
use crate::json::{Fields, RawObject, items};
use crate::provider::Quirk;
use penstock_schemas::envelope::Delivery;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The request as a server with these quirks takes it; whether it was changed.
pub(super) fn fit(
    request: &mut RawObject,
    has: impl Fn(Quirk) -> bool,
    delivery: Delivery,
    dropped: &mut Vec<String>,
) -> bool {
    let mut is_changed = false;
    if has(Quirk::OneThought) && request.get("thinking").is_some() {
        is_changed |= leave_effort(request, dropped);
    }
    if has(Quirk::ThreeEfforts) {
        is_changed |= choose_of_three(request);
    }
    if request.get("tool_choice").is_some_and(is_forced) {
        if has(Quirk::ForcedUnthinking) {
            is_changed |= leave_effort(request, dropped);
            let off = json!({ "type": "disabled" });
            is_changed |= turn_off(request, "thinking", &off, dropped);
        }
        if has(Quirk::ForcedNotEnabled) {
            is_changed |= turn_off(request, "enable_thinking", &json!(false), dropped);
        }
    }
    if has(Quirk::ThinksInStreams) && delivery == Delivery::Whole && request.get("enable_thinking").is_none() {
        request.set("enable_thinking", &false);
        is_changed = true;
    }
    if has(Quirk::ChoiceInWords) {
        is_changed |= choose_in_words(request);
    }
    if has(Quirk::SchemaOnly) && kind_of(request, "response_format").as_deref() == Some("json_object") {
        let schema = json!({ "name": "answer", "schema": { "type": "object" } });
        request.set("response_format", &json!({ "type": "json_schema", "json_schema": schema }));
        is_changed = true;
    }
    if has(Quirk::SomeParameters) {
        is_changed |= give_parameters(request);
    }
    is_changed
}

/// Whether some tool must be called.
fn is_forced(choice: &RawValue) -> bool {
    choice.get() == "\"required\"" || choice.get().starts_with('{')
}

/// The nearest effort that it knows; a word that is none stays for it to refuse.
fn choose_of_three(request: &mut RawObject) -> bool {
    let word: Option<String> = request.get("reasoning_effort").and_then(|word| serde_json::from_str(word.get()).ok());
    let Some(word) = word else { return false };
    if word == "none" {
        request.remove("reasoning_effort");
        request.set("thinking", &json!({ "type": "disabled" }));
        return true;
    }
    let nearest = Effort::parse(&word).map(Effort::of_three).filter(|nearest| *nearest != word);
    if let Some(nearest) = nearest {
        request.set("reasoning_effort", &nearest);
    }
    nearest.is_some()
}

/// There is no room for thoughts.
fn leave_effort(request: &mut RawObject, dropped: &mut Vec<String>) -> bool {
    let effort = request.get("reasoning_effort").map(|effort| effort.get().to_owned());
    request.remove("reasoning_effort");
    if effort.as_deref().is_some_and(|effort| effort != "\"none\"") {
        dropped.push("reasoning_effort".to_owned());
    }
    effort.is_some()
}

/// Thinking is off, and named where the caller had it on.
fn turn_off(request: &mut RawObject, name: &str, off: &Value, dropped: &mut Vec<String>) -> bool {
    let known: Option<Value> = request.get(name).and_then(|known| serde_json::from_str(known.get()).ok());
    if known.as_ref() == Some(off) {
        return false;
    }
    request.set(name, off);
    if known.is_some() {
        dropped.push(name.to_owned());
    }
    true
}

/// A function that is named is the only one, and some call is required.
fn choose_in_words(request: &mut RawObject) -> bool {
    let choice = request.get("tool_choice").and_then(|choice| serde_json::from_str::<Value>(choice.get()).ok());
    let chosen = choice.as_ref().and_then(|choice| choice.pointer("/function/name")?.as_str());
    let Some(chosen) = chosen else { return false };
    let is_chosen = |tool: &&RawValue| {
        let function = Fields::of(tool).get("function").map(Fields::of);
        function.and_then(|function| function.get("name")).is_some_and(|name| is_text(name, chosen))
    };
    let all = request.get("tools").map(items).unwrap_or_default();
    let Some(tool) = all.into_iter().find(is_chosen).map(ToOwned::to_owned) else { return false };
    request.set("tools", &[tool]);
    request.set("tool_choice", &"required");
    true
}

fn is_text(value: &RawValue, text: &str) -> bool {
    serde_json::from_str::<String>(value.get()).is_ok_and(|value| value == text)
}

fn kind_of(request: &RawObject, name: &str) -> Option<String> {
    let kind = Fields::of(request.get(name)?).get("type")?;
    serde_json::from_str(kind.get()).ok()
}

/// A function without parameters takes none.
fn give_parameters(request: &mut RawObject) -> bool {
    let lacks = |tool: &&RawValue| {
        Fields::of(tool).get("function").is_some_and(|function| Fields::of(function).get("parameters").is_none())
    };
    if !request.get("tools").is_some_and(|tools| items(tools).iter().any(lacks)) {
        return false;
    }
    let tools = request.get("tools").and_then(|tools| serde_json::from_str::<Vec<Value>>(tools.get()).ok());
    let mut tools = tools.unwrap_or_default();
    for function in tools.iter_mut().filter_map(|tool| tool.get_mut("function")).filter(|function| function.is_object())
    {
        if function.get("parameters").is_none_or(Value::is_null) {
            function["parameters"] = json!({ "type": "object", "properties": {} });
        }
    }
    request.set("tools", &tools);
    true
}
