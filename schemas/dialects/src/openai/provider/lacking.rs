//! Fields of a request that its server, or this model of it, refuses. What says nothing is left out; what an answer means the
//! same without is left out and named. Anything else stays: the server refuses it in its own words, unless the caller would
//! rather do without. Knows no server by its name.

use super::own_models;
use crate::fit;
use crate::json::{Fields, JsonKind, RawObject, items, kind};
use crate::provider::{FormatRequest, Quirk};
use memchr::memmem;
use penstock_schemas::envelope::Unsupported;
use penstock_schemas::form::MultipartForm;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

/// What an answer means the same without: notes, hints, sampling.
const HARMLESS: [&str; 14] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "reasoning_effort",
    "safety_identifier",
    "seed",
    "service_tier",
    "temperature",
    "top_k",
    "top_p",
    "user",
    "verbosity",
];

/// Everything that is ever listed of what these hold is of that kind too: names, marks, earlier thoughts.
const HOLD_HARMLESS: [&str; 3] = ["messages.", "tools.", "text."];

/// What a server that lists it refuses only where it says nothing, such as an empty list.
const ONLY_EMPTY: [&str; 3] = ["tools", "tool_choice", "messages.tool_calls"];

/// The fields of a message. Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages>.
const OF_MESSAGES: [&str; 10] = [
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "refusal",
    "audio",
    "reasoning",
    "reasoning_content",
];

/// Thoughts as most copies give them, and as some take them back alone.
const THOUGHTS: &str = "messages.reasoning_content";

/// The fields that this model lacks.
fn lacked<'a>(ask: &FormatRequest<'a>) -> Vec<&'a str> {
    let model = ask.model.as_str();
    let mut all: Vec<&str> = ask.settings.lacks.of(model).map(String::as_str).collect();
    own_models::lacks(ask.settings, model).for_each(|own| all.push(own));
    all
}

/// The parts of a form that this model lacks and that are left out.
/// Source: <https://github.com/agentscope-ai/QwenPaw/issues/7575>.
pub(super) fn parts<'a>(form: &MultipartForm<'_>, ask: &FormatRequest<'a>, dropped: &mut Vec<String>) -> Vec<&'a str> {
    let mut all = lacked(ask);
    all.retain(|name| {
        let Some(value) = form.value(name).map(String::from_utf8_lossy) else { return false };
        let says_nothing = says_nothing(name, &value.into());
        if !says_nothing && (HARMLESS.contains(name) || ask.unsupported != Unsupported::Refuse) {
            dropped.push((*name).to_owned());
            return true;
        }
        says_nothing
    });
    all
}

/// The fields that this model lacks and the request has.
pub(super) fn listed<'a>(fields: &Fields<'_>, ask: &FormatRequest<'a>) -> Vec<&'a str> {
    let mut all = lacked(ask);
    all.retain(|path| {
        let (name, inner) = path.split_once('.').unwrap_or((path, ""));
        let inner = inner.rsplit('.').next().unwrap_or_default();
        fields
            .last(name)
            .is_some_and(|value| inner == "*" || memmem::find(value.as_bytes(), inner.as_bytes()).is_some())
    });
    all
}

/// The request without these; whether it was changed.
pub(super) fn strike(
    request: &mut RawObject,
    listed: &[&str],
    ask: &FormatRequest<'_>,
    dropped: &mut Vec<String>,
) -> bool {
    let mut is_changed = false;
    for path in listed {
        let takes_reasoning = ask.settings.has(Quirk::Reasoning) && !listed_at(ask, "messages.reasoning");
        let mut way = Way {
            path,
            renamed: (*path == THOUGHTS && takes_reasoning).then_some("reasoning"),
            policy: ask.unsupported,
            named: Vec::new(),
        };
        let steps: Vec<&str> = path.split('.').collect();
        is_changed |= way.strike(request, &steps);
        if *path == "tools" && request.get("tools").is_none() {
            leave_choice(request);
        }
        dropped.append(&mut way.named);
    }
    is_changed
}

fn listed_at(ask: &FormatRequest<'_>, path: &str) -> bool {
    ask.settings.lacks.of(ask.model.as_str()).any(|listed| listed == path)
}

/// Without tools there is nothing to choose.
fn leave_choice(request: &mut RawObject) {
    if request.get("tool_choice").is_none_or(|choice| matches!(choice.get(), "\"auto\"" | "\"none\"")) {
        request.remove("tool_choice");
        request.remove("parallel_tool_calls");
    }
}

/// On the way to a field.
struct Way<'a> {
    path: &'a str,
    /// The name that it has there, if it has one.
    renamed: Option<&'static str>,
    policy: Unsupported,
    named: Vec<String>,
}

impl Way<'_> {
    fn strike(&mut self, object: &mut RawObject, steps: &[&str]) -> bool {
        match steps {
            [] => false,
            ["*"] => {
                let others: Vec<String> =
                    object.names().filter(|name| !OF_MESSAGES.contains(name)).map(str::to_owned).collect();
                others.iter().map(|name| self.leave(object, name)).filter(|is_changed| *is_changed).count() > 0
            }
            [field] => self.leave(object, field),
            [field, rest @ ..] => {
                let inner = object.get(field).and_then(|inner| self.within(inner, rest));
                inner.map(|inner| object.set(field, &inner)).is_some()
            }
        }
    }

    /// The value without the field; `None` when it has none.
    fn within(&mut self, value: &RawValue, steps: &[&str]) -> Option<Box<RawValue>> {
        match kind(value) {
            JsonKind::Object => {
                let mut object = RawObject::read(value.get().as_bytes()).ok()?;
                self.strike(&mut object, steps).then(|| to_raw_value(&object).expect("it was JSON"))
            }
            JsonKind::List => {
                let mut is_changed = false;
                let items = items(value).into_iter().map(|item| {
                    let changed = self.within(item, steps);
                    is_changed |= changed.is_some();
                    changed.unwrap_or_else(|| item.to_owned())
                });
                let items: Vec<Box<RawValue>> = items.collect();
                is_changed.then(|| to_raw_value(&items).expect("it was JSON"))
            }
            _ => None,
        }
    }

    fn leave(&mut self, object: &mut RawObject, field: &str) -> bool {
        if !object.has(field) {
            return false;
        }
        let value: Value =
            object.get(field).and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default();
        let says_nothing = says_nothing(field, &value);
        let is_harmless =
            HARMLESS.contains(&self.path) || HOLD_HARMLESS.iter().any(|start| self.path.starts_with(start));
        let stays = ONLY_EMPTY.contains(&self.path) || !is_harmless && self.policy == Unsupported::Refuse;
        if !says_nothing && stays {
            return false;
        }
        object.remove(field);
        match self.renamed {
            _ if says_nothing => {}
            Some(name) if object.get(name).is_none() => object.set(name, &value),
            Some(_) => {}
            None => {
                let name = self.path.strip_suffix('*').map_or(self.path.to_owned(), |start| format!("{start}{field}"));
                if !self.named.contains(&name) {
                    self.named.push(name);
                }
            }
        }
        true
    }
}

/// Whether a field says what would be so without it.
fn says_nothing(name: &str, value: &Value) -> bool {
    let is_empty = match value {
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    is_empty
        || fit::is_nothing(name, value)
        || match name {
            "store" | "strict" => value == false,
            "parallel_tool_calls" => value == true,
            "n" | "temperature" | "top_p" => value.as_f64() == Some(1.0),
            "reasoning_effort" => value == "none",
            "verbosity" => value == "medium",
            "service_tier" => value == "auto" || value == "default",
            // Of the models that lack it: as long as their vectors are, and the only form of their images.
            "dimensions" => *value == json!(1536),
            "response_format" => value == "b64_json",
            _ => false,
        }
}
