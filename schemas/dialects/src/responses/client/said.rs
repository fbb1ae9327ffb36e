//! Messages and calls in the making, as items and the events that tell of them. Knows nothing of their order.
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use super::known_tools::KnownTool;
use super::tools::Names;
use penstock_schemas::chat::ToolCall;
use serde_json::{Map, Value, json};

/// Events, with their types apart.
pub(super) type NamedEvents = Vec<(&'static str, Value)>;

/// A message in the making.
#[derive(Debug)]
pub(super) struct Said {
    id: String,
    pub(super) at: usize,
    /// The finished parts.
    parts: Vec<Value>,
    open: Option<Part>,
}

#[derive(Debug, Default)]
struct Part {
    is_refusal: bool,
    text: String,
    annotations: Vec<Value>,
    logprobs: Vec<Value>,
}

impl Part {
    fn value(&self) -> Value {
        if self.is_refusal {
            return json!({ "type": "refusal", "refusal": self.text });
        }
        json!({ "type": "output_text", "text": self.text, "annotations": self.annotations, "logprobs": self.logprobs })
    }
}

impl Said {
    pub(super) fn new(id: String, at: usize) -> Self {
        Self { id, at, parts: Vec::new(), open: None }
    }

    /// That it begins.
    pub(super) fn begun(&self) -> Value {
        json!({ "output_index": self.at, "item": self.item("in_progress") })
    }

    /// The item, as far as its parts are finished.
    pub(super) fn item(&self, status: &str) -> Value {
        json!({ "id": self.id, "type": "message", "status": status, "role": "assistant", "content": self.parts })
    }

    fn event(&self, fields: Value) -> Value {
        let mut event = json!({ "item_id": self.id, "output_index": self.at, "content_index": self.parts.len() });
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        event
    }

    /// A part of this kind is open afterwards.
    fn open(&mut self, is_refusal: bool, events: &mut NamedEvents) {
        if self.open.as_ref().is_some_and(|part| part.is_refusal == is_refusal) {
            return;
        }
        events.extend(self.close());
        let part = Part { is_refusal, ..Part::default() };
        events.push(("response.content_part.added", self.event(json!({ "part": part.value() }))));
        self.open = Some(part);
    }

    /// Text is said.
    pub(super) fn text(&mut self, text: &str, logprobs: &[Value]) -> NamedEvents {
        let mut events = NamedEvents::new();
        self.open(false, &mut events);
        if let Some(part) = &mut self.open {
            part.text.push_str(text);
            part.logprobs.extend_from_slice(logprobs);
        }
        let event = self.event(json!({ "delta": text, "logprobs": logprobs }));
        events.push(("response.output_text.delta", event));
        events
    }

    /// It is said why not.
    pub(super) fn refuse(&mut self, text: &str) -> NamedEvents {
        let mut events = NamedEvents::new();
        self.open(true, &mut events);
        if let Some(part) = &mut self.open {
            part.text.push_str(text);
        }
        events.push(("response.refusal.delta", self.event(json!({ "delta": text }))));
        events
    }

    /// It is said where something is from.
    pub(super) fn cite(&mut self, annotation: Value) -> NamedEvents {
        let mut events = NamedEvents::new();
        self.open(false, &mut events);
        let annotation = flat(annotation);
        let index = self.open.as_ref().map_or(0, |part| part.annotations.len());
        let event = self.event(json!({ "annotation_index": index, "annotation": annotation }));
        events.push(("response.output_text.annotation.added", event));
        if let Some(part) = &mut self.open {
            part.annotations.push(annotation);
        }
        events
    }

    /// Closes the open part.
    pub(super) fn close(&mut self) -> NamedEvents {
        let Some(part) = self.open.take() else { return NamedEvents::new() };
        let (kind, fields) = if part.is_refusal {
            ("response.refusal.done", json!({ "refusal": part.text }))
        } else {
            ("response.output_text.done", json!({ "text": part.text, "logprobs": part.logprobs }))
        };
        let events = vec![
            (kind, self.event(fields)),
            ("response.content_part.done", self.event(json!({ "part": part.value() }))),
        ];
        self.parts.push(part.value());
        events
    }
}

/// A chat's citation, one level flatter, with every field that the SDKs' type has.
fn flat(annotation: Value) -> Value {
    let Some(Value::Object(inner)) = annotation.get("url_citation") else { return annotation };
    let mut flat = Map::from_iter([
        ("type".to_owned(), Value::from("url_citation")),
        ("start_index".to_owned(), 0.into()),
        ("end_index".to_owned(), 0.into()),
        ("title".to_owned(), "".into()),
    ]);
    flat.extend(inner.iter().map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(flat)
}

/// A call in the making.
#[derive(Debug)]
pub(super) struct Call {
    /// Its number in the agnostic stream.
    pub(super) index: u32,
    pub(super) at: usize,
    id: String,
    call_id: String,
    name: String,
    /// The namespace of the function, where it has one.
    namespace: Option<String>,
    /// Arguments, or the text of a custom tool's call.
    input: String,
    is_custom: bool,
    /// The tool of the client that it is for, where that has calls of its own kind.
    known: Option<KnownTool>,
}

impl Call {
    pub(super) fn new(piece: &ToolCall, id: String, at: usize, names: &Names) -> Self {
        let custom = piece.extra.get("custom");
        let name = match custom {
            Some(custom) => custom.get("name").and_then(Value::as_str),
            None => piece.function.as_ref().and_then(|function| function.name.as_deref()),
        };
        let name = name.unwrap_or_default();
        let known = names.known(name).filter(|_| custom.is_none());
        let (namespace, name) = match names.own(name) {
            Some((space, name)) => (Some(space.to_owned()), name),
            None => (None, name),
        };
        Self {
            index: piece.index.unwrap_or(0),
            at,
            call_id: piece.id.clone().unwrap_or_else(|| id.clone()),
            id,
            name: name.to_owned(),
            namespace,
            input: String::new(),
            is_custom: custom.is_some(),
            known,
        }
    }

    /// The item, as far as it is.
    pub(super) fn item(&self, status: &str) -> Value {
        if let Some(known) = self.known {
            let mut item = known.item(&self.input);
            let head = [("id", self.id.as_str()), ("call_id", &self.call_id), ("status", status)];
            item.extend(head.map(|(name, value)| (name.to_owned(), value.into())));
            return Value::Object(item);
        }
        let (kind, input) = if self.is_custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        let mut item = json!({
            "id": self.id, "type": kind, "status": status, "call_id": self.call_id, "name": self.name, input: self.input,
        });
        if let Some(space) = &self.namespace {
            item["namespace"] = space.as_str().into();
        }
        item
    }

    fn event(&self, name: &str, value: &str) -> Value {
        json!({ "item_id": self.id, "output_index": self.at, name: value })
    }

    /// The next piece of it, if it brings any.
    pub(super) fn go_on(&mut self, piece: &ToolCall) -> Option<(&'static str, Value)> {
        let more = match piece.extra.get("custom") {
            Some(custom) => custom.get("input").and_then(Value::as_str),
            None => piece.function.as_ref().and_then(|function| function.arguments.as_deref()),
        };
        let more = more.filter(|more| !more.is_empty())?;
        self.input.push_str(more);
        if self.known.is_some() {
            return None;
        }
        let kind = if self.is_custom {
            "response.custom_tool_call_input.delta"
        } else {
            "response.function_call_arguments.delta"
        };
        Some((kind, self.event("delta", more)))
    }

    /// That no more of it comes.
    pub(super) fn close(&self) -> NamedEvents {
        if self.known.is_some() {
            return NamedEvents::new();
        }
        if self.is_custom {
            return vec![("response.custom_tool_call_input.done", self.event("input", &self.input))];
        }
        let mut event = self.event("arguments", &self.input);
        event["name"] = self.name.clone().into();
        vec![("response.function_call_arguments.done", event)]
    }
}
