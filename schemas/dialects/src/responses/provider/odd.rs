//! What strict clients of responses cannot read, mended for them in what copies write: events without a number, a type or
//! their place, a last event without its output, arguments that are an object, members that OpenAI's responses always have.
//! Regular events stay as they came, which a look at their bytes tells. Knows nothing of the agnostic form.
//! Sources: <https://platform.openai.com/docs/api-reference/responses-streaming>, and the types of openai-python in
//! `openai/types/responses`.

use super::answer::{Kind, kind, list, text};
use crate::most;
use crate::openai::provider::glance::values;
use crate::openai::provider::other_way::named_event;
use crate::openai::provider::usage::whole_number;
use bytes::Bytes;
use memchr::memmem::{self, Finder};
use penstock_schemas::sse;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The most of finished items that is kept for a last event without its output, in bytes.
const KEPT: usize = 1024 * 1024;

/// The members of an event, as far as they matter.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
    sequence_number: Option<IgnoredAny>,
    output_index: Option<IgnoredAny>,
    content_index: Option<IgnoredAny>,
    item_id: Option<IgnoredAny>,
    logprobs: Option<IgnoredAny>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Status {
    status: Option<IgnoredAny>,
}

/// What one stream showed that its later events are mended by.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The number of the next event.
    next: u64,
    /// Whether the numbers are ours: an event had none.
    is_counted: bool,
    /// The ids of the items that began, in their order; not of more than a stream may have calls.
    items: Vec<String>,
    /// The finished items as they came, and their bytes.
    done: Vec<Bytes>,
    kept: usize,
}

impl Events {
    /// The event as OpenAI would write it; `None` when it is written so.
    pub(super) fn mended(&mut self, kind: &str, event: &sse::Event) -> Option<sse::Event> {
        if kind == "response.output_item.done" && self.kept + event.data.len() <= KEPT {
            self.kept += event.data.len();
            self.done.push(event.data.clone());
        }
        if self.is_regular(kind, &event.data) {
            self.next = self.next.saturating_add(1);
            return None;
        }
        let theirs: Map<String, Value> = serde_json::from_slice(&event.data).ok()?;
        let mut ours = theirs.clone();
        ours.insert("type".to_owned(), kind.into());
        self.number(&mut ours);
        if is_about_item(kind) {
            self.place(kind, &mut ours);
        }
        if let Some(item) = ours.get_mut("item") {
            mend_item(item, self.items.len(), kind.ends_with(".done"));
        }
        if let Some(part) = ours.get_mut("part") {
            mend_part(part);
        }
        if let Some(response) = ours.get_mut("response") {
            let is_last = matches!(kind, "response.completed" | "response.incomplete" | "response.failed");
            if is_last && list(response, "output").is_empty() && response.is_object() {
                response["output"] = self.output();
            }
            mend_response(response, kind);
        }
        (ours != theirs).then(|| named_event(kind, &Value::Object(ours)))
    }

    /// Whether nothing need be read of it.
    fn is_regular(&self, kind: &str, data: &[u8]) -> bool {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else { return true };
        let is_response = |response: &RawValue| {
            let status = serde_json::from_str::<Status>(response.get()).ok().and_then(|response| response.status);
            status.is_some() && is_regular_response(response.get().as_bytes())
        };
        !self.is_counted
            && event.kind.is_some()
            && event.sequence_number.is_some()
            && (!is_about_item(kind)
                || event.output_index.is_some() && (event.item_id.is_some() || event.item.is_some()))
            && (!is_about_part(kind) || event.content_index.is_some())
            && (!kind.starts_with("response.output_text.d") || event.logprobs.is_some())
            && event
                .item
                .is_none_or(|item| has(item.get().as_bytes(), &["id"]) && is_regular_item(item.get().as_bytes()))
            && event.response.is_none_or(is_response)
            && has_texts(data)
    }

    fn number(&mut self, event: &mut Map<String, Value>) {
        match event.get("sequence_number").and_then(Value::as_u64).filter(|_| !self.is_counted) {
            Some(number) => self.next = number.saturating_add(1),
            None => {
                self.is_counted = true;
                event.insert("sequence_number".to_owned(), self.next.into());
                self.next = self.next.saturating_add(1);
            }
        }
    }

    /// Says which item, and which part of it, an event is about: the last that began, unless its id is another's.
    fn place(&mut self, kind: &str, event: &mut Map<String, Value>) {
        let of_item = event.get("item").and_then(|item| text(item, "id")).map(str::to_owned);
        let id = event.get("item_id").and_then(Value::as_str).map(str::to_owned).or(of_item).unwrap_or_default();
        if kind == "response.output_item.added" && self.items.len() < most::CALLS {
            self.items.push(id.clone());
        }
        let known = self.items.iter().rposition(|known| *known == id && !id.is_empty());
        let at = known.unwrap_or(self.items.len().saturating_sub(1));
        event.entry("output_index").or_insert_with(|| at.into());
        if event.contains_key("item") {
            return;
        }
        let id = self.items.get(at).filter(|id| !id.is_empty()).cloned();
        event.entry("item_id").or_insert_with(|| id.unwrap_or_else(|| format!("item_{at}")).into());
        if is_about_part(kind) {
            event.entry("content_index").or_insert_with(|| 0.into());
        }
        if kind.starts_with("response.output_text.d") {
            event.entry("logprobs").or_insert_with(|| json!([]));
        }
    }

    /// The items that were finished on the way.
    fn output(&self) -> Value {
        let item = |data: &Bytes| serde_json::from_slice::<Value>(data).ok()?.get_mut("item").map(Value::take);
        self.done.iter().filter_map(item).collect()
    }
}

/// Whether all these members stand in it, anywhere.
fn has(data: &[u8], names: &[&str]) -> bool {
    names.iter().all(|name| memmem::find(data, format!("\"{name}\"").as_bytes()).is_some())
}

/// Whether all arguments in it are texts, and all that is said has its annotations.
fn has_texts(data: &[u8]) -> bool {
    static ARGUMENTS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""arguments""#));
    values(&ARGUMENTS, data).all(|value| value.starts_with(b"\""))
        && (!has(data, &["output_text"])
            || has(data, &["annotations"])
            || has(data, &["delta"])
            || !has(data, &["item"]))
}

fn is_regular_item(item: &[u8]) -> bool {
    let is_message = memmem::find(item, b"\"message\"").is_some();
    let is_call = memmem::find(item, b"\"function_call\"").is_some();
    (!is_message || has(item, &["role", "status", "content"])) && (!is_call || has(item, &["call_id", "arguments"]))
}

/// Whether a response, alone or in an event, has what OpenAI's have, as far as a look at its bytes tells.
fn is_regular_response(data: &[u8]) -> bool {
    static LOOKED_AT: LazyLock<[Finder<'static>; 3]> =
        LazyLock::new(|| [r#""output""#, r#""created_at""#, r#""usage""#].map(Finder::new));
    let [output, created, usage] = &*LOOKED_AT;
    let is_running = has(data, &["in_progress"]) || has(data, &["queued"]);
    let is_list = |value: &[u8]| value.starts_with(b"[") && (is_running || !value.starts_with(b"[]"));
    let is_time =
        |value: &[u8]| !value.iter().take_while(|byte| !matches!(byte, b',' | b'}')).any(|byte| *byte == b'.');
    has(data, &["id", "object", "status", "model", "parallel_tool_calls", "tool_choice", "tools", "error"])
        && has(data, &["incomplete_details", "metadata", "instructions"])
        && values(output, data).any(is_list)
        && values(created, data).next().is_some_and(is_time)
        && (!values(usage, data).any(|value| value.starts_with(b"{"))
            || has(data, &["input_tokens_details", "output_tokens_details", "cached_tokens", "reasoning_tokens"]))
        && (!has(data, &["output_text"]) || has(data, &["annotations"]))
}

fn is_about_item(kind: &str) -> bool {
    [
        "response.output_item.",
        "response.content_part.",
        "response.output_text.",
        "response.refusal.",
        "response.reasoning",
    ]
    .iter()
    .chain(&["response.function_call_arguments.", "response.custom_tool_call_input."])
    .any(|start| kind.starts_with(start))
}

fn is_about_part(kind: &str) -> bool {
    ["response.content_part.", "response.output_text.", "response.refusal.", "response.reasoning_text."]
        .iter()
        .any(|start| kind.starts_with(start))
}

/// A whole response as OpenAI would write it; `None` when it is written so, as `body`, which it was read from.
pub(super) fn mended(response: &Value, body: &[u8]) -> Option<Value> {
    if response.get("status").is_some_and(Value::is_string) && is_regular_response(body) && has_texts(body) {
        return None;
    }
    let mut ours = response.clone();
    mend_response(&mut ours, "response.completed");
    (ours != *response).then_some(ours)
}

/// Gives a response what each of OpenAI's has. What it was asked with is not known here, and stands as it is without a word.
fn mend_response(response: &mut Value, event: &str) {
    let Value::Object(fields) = response else { return };
    let status = match event {
        "response.completed" => "completed",
        "response.incomplete" => "incomplete",
        "response.failed" => "failed",
        "response.queued" => "queued",
        _ => "in_progress",
    };
    fields.insert("object".to_owned(), "response".into());
    let created = fields.get("created_at").and_then(Value::as_f64).unwrap_or(0.0).floor();
    if !fields.get("created_at").is_some_and(Value::is_u64) {
        fields.insert("created_at".to_owned(), whole_number(&created.into()).into());
    }
    if !fields.get("status").is_some_and(Value::is_string) {
        fields.insert("status".to_owned(), status.into());
    }
    if !fields.get("output").is_some_and(Value::is_array) {
        fields.insert("output".to_owned(), json!([]));
    }
    for (name, value) in [
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
        ("instructions", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", true.into()),
        ("tool_choice", "auto".into()),
        ("tools", json!([])),
    ] {
        fields.entry(name).or_insert(value);
    }
    let items = fields.get_mut("output").and_then(Value::as_array_mut).into_iter().flatten();
    items.enumerate().for_each(|(at, item)| mend_item(item, at, true));
    if let Some(usage @ Value::Object(_)) = fields.get_mut("usage") {
        mend_usage(usage);
    }
}

fn mend_usage(usage: &mut Value) {
    let count = |usage: &Value, name: &str| usage.get(name).and_then(whole_number);
    let (input, output) = (count(usage, "input_tokens"), count(usage, "output_tokens"));
    let (Some(input), Some(output)) = (input, output) else { return };
    let total = count(usage, "total_tokens").unwrap_or(input + output);
    for (name, tokens) in [("input_tokens", input), ("output_tokens", output), ("total_tokens", total)] {
        usage[name] = tokens.into();
    }
    for (group, part) in [("input_tokens_details", "cached_tokens"), ("output_tokens_details", "reasoning_tokens")] {
        if !usage.get(group).is_some_and(Value::is_object) {
            usage[group] = json!({});
        }
        if !usage[group].get(part).is_some_and(Value::is_u64) {
            usage[group][part] = 0.into();
        }
    }
}

/// Gives an item what each of its kind has.
fn mend_item(item: &mut Value, at: usize, is_done: bool) {
    let is_message = item.get("type").is_none() && item.get("role").is_some();
    let Value::Object(fields) = item else { return };
    if is_message {
        fields.insert("type".to_owned(), "message".into());
    }
    let of = fields.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = match of.as_str() {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        _ => return,
    };
    fields.entry("id").or_insert_with(|| format!("{name}_{at}").into());
    let status = if is_done { "completed" } else { "in_progress" };
    match name {
        "msg" => {
            fields.entry("role").or_insert_with(|| "assistant".into());
            fields.entry("status").or_insert_with(|| status.into());
            if !fields.get("content").is_some_and(Value::is_array) {
                let content = match fields.get("content") {
                    Some(Value::String(text)) => json!([{ "type": "output_text", "text": text }]),
                    _ => json!([]),
                };
                fields.insert("content".to_owned(), content);
            }
        }
        "rs" => drop(fields.entry("summary").or_insert_with(|| json!([]))),
        _ => mend_call(fields),
    }
    for part in fields.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
        mend_part(part);
    }
}

fn mend_call(call: &mut Map<String, Value>) {
    let arguments = match call.get("arguments") {
        Some(Value::String(_)) => None,
        None | Some(Value::Null) => Some(String::new()),
        Some(other) => Some(other.to_string()),
    };
    if let Some(arguments) = arguments {
        call.insert("arguments".to_owned(), arguments.into());
    }
    if let Some(id) = call.get("id").cloned() {
        call.entry("call_id").or_insert(id);
    }
}

fn mend_part(part: &mut Value) {
    if text(part, "type") == Some("output_text") && !part.get("annotations").is_some_and(Value::is_array) {
        part["annotations"] = json!([]);
    }
}

/// An event, or a response, in which the arguments of calls are texts.
pub(super) fn with_texts(mut value: Value) -> Value {
    let mend = |item: &mut Value| {
        if kind(item) == Kind::Call
            && let Value::Object(call) = item
        {
            mend_call(call);
        }
    };
    if let Some(item) = value.get_mut("item") {
        mend(item);
    }
    for place in ["/output", "/response/output"] {
        value.pointer_mut(place).and_then(Value::as_array_mut).into_iter().flatten().for_each(mend);
    }
    value
}
