//! An agnostic answer as items, event by event. Items stand in the order in which they began; what a model thinks and says
//! is closed when something else begins, its calls at the end, since they may come in turns.
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use super::echo::{Echo, Status};
use super::put;
use super::reasoning::Thought;
use super::said::{Call, Said};
use crate::client::Now;
use crate::data_url;
use penstock_schemas::chat::{Delta, Issuer, ReasoningDetail, ToolCall};
use penstock_schemas::usage::Usage;
use serde_json::{Value, json};

/// A response in the making.
#[derive(Debug)]
pub(super) struct Stream {
    echo: Echo,
    now: Now,
    /// What the ids of all items have in common.
    hex: String,
    pub(super) finish_reason: Option<String>,
    sequence: u64,
    is_begun: bool,
    /// The finished items by their places; null for those that are not.
    output: Vec<Value>,
    open: Option<Open>,
    calls: Vec<Call>,
    /// What its issuer needs back and came when no thought was open.
    late: Thought,
}

#[derive(Debug)]
enum Open {
    Thought { at: usize, id: String, thought: Thought, has_part: bool },
    Said(Said),
}

impl Stream {
    pub(super) fn new(echo: Echo, hex: String, now: Now) -> Self {
        Self {
            echo,
            now,
            hex,
            finish_reason: None,
            sequence: 0,
            is_begun: false,
            output: Vec::new(),
            open: None,
            calls: Vec::new(),
            late: Thought::default(),
        }
    }

    /// The number of the next event.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    fn emit(&mut self, kind: &str, mut event: Value, out: &mut Vec<u8>) {
        event["type"] = kind.into();
        event["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        put(&event, out);
    }

    fn emit_all(&mut self, events: Vec<(&'static str, Value)>, out: &mut Vec<u8>) {
        for (kind, event) in events {
            self.emit(kind, event, out);
        }
    }

    /// The first two events, once.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.is_begun {
            self.is_begun = true;
            let response = self.echo.response(Status::InProgress, &[], None);
            self.emit("response.created", json!({ "response": response }), out);
            self.emit("response.in_progress", json!({ "response": response }), out);
        }
    }

    /// What a chunk adds.
    pub(super) fn add(&mut self, mut delta: Delta, logprobs: &[Value], out: &mut Vec<u8>) {
        self.begin(out);
        self.think(delta.reasoning_content.take(), delta.reasoning_details.take().unwrap_or_default(), out);
        let text = delta.content.take().filter(|text| !text.is_empty());
        if let Some(text) = text {
            let said = self.said(out);
            let events = said.text(&text, logprobs);
            self.emit_all(events, out);
        }
        for annotation in list(&delta.extra, "annotations") {
            let said = self.said(out);
            let events = said.cite(annotation);
            self.emit_all(events, out);
        }
        if let Some(refusal) = delta.refusal.take().filter(|refusal| !refusal.is_empty()) {
            let said = self.said(out);
            let events = said.refuse(&refusal);
            self.emit_all(events, out);
        }
        for call in delta.tool_calls.take().unwrap_or_default() {
            self.call(&call, out);
        }
        for image in list(&delta.extra, "images") {
            self.image(&image, out);
        }
    }

    /// A place for a new item.
    fn place(&mut self) -> usize {
        self.output.push(Value::Null);
        self.output.len() - 1
    }

    fn id(&self, kind: &str, at: usize) -> String {
        format!("{kind}_{}_{at}", self.hex)
    }

    fn think(&mut self, said: Option<String>, details: Vec<ReasoningDetail>, out: &mut Vec<u8>) {
        let read = |detail: &ReasoningDetail| detail.text.clone().or(detail.summary.clone());
        let text = said.unwrap_or_else(|| details.iter().filter_map(read).collect());
        if text.is_empty() && details.is_empty() {
            return;
        }
        // Another name of OpenAI's is another item.
        let new_id = details.iter().find(|one| one.format == Some(Issuer::Openai)).and_then(|one| one.id.clone());
        let goes_on = match &self.open {
            Some(Open::Thought { id, thought, .. }) => {
                new_id.is_none() || thought.own_id().is_none() || new_id.as_deref() == Some(id)
            }
            _ => false,
        };
        let is_opaque = text.is_empty() && details.iter().all(|detail| read(detail).is_none());
        if !goes_on && is_opaque && new_id.is_none() {
            details.into_iter().for_each(|detail| self.late.add(detail));
            return;
        }
        if !goes_on {
            self.close(out);
            let at = self.place();
            let id = new_id.unwrap_or_else(|| self.id("rs", at));
            let item = json!({ "id": id, "type": "reasoning", "status": "in_progress", "summary": [] });
            self.emit("response.output_item.added", json!({ "output_index": at, "item": item }), out);
            self.open = Some(Open::Thought { at, id, thought: Thought::default(), has_part: false });
        }
        let Some(Open::Thought { at, id, thought, has_part }) = &mut self.open else { return };
        details.into_iter().for_each(|detail| thought.add(detail));
        if text.is_empty() {
            return;
        }
        thought.text.push_str(&text);
        let place = json!({ "item_id": id, "output_index": at, "summary_index": 0 });
        if !std::mem::replace(has_part, true) {
            let part = json!({ "type": "summary_text", "text": "" });
            self.emit("response.reasoning_summary_part.added", with(&place, "part", part), out);
        }
        self.emit("response.reasoning_summary_text.delta", with(&place, "delta", text.into()), out);
    }

    /// The message that is being said, or a new one.
    fn said(&mut self, out: &mut Vec<u8>) -> &mut Said {
        if !matches!(self.open, Some(Open::Said(_))) {
            self.close(out);
            let at = self.place();
            let said = Said::new(self.id("msg", at), at);
            self.emit("response.output_item.added", said.begun(), out);
            self.open = Some(Open::Said(said));
        }
        match &mut self.open {
            Some(Open::Said(said)) => said,
            _ => unreachable!("a message was just opened"),
        }
    }

    fn call(&mut self, piece: &ToolCall, out: &mut Vec<u8>) {
        let index = piece.index.unwrap_or(0);
        let known = self.calls.iter().position(|call| call.index == index);
        let at = known.unwrap_or_else(|| {
            self.close(out);
            let place = self.place();
            let kind = if piece.extra.contains_key("custom") { "ctc" } else { "fc" };
            let call = Call::new(piece, self.id(kind, place), place, self.echo.names());
            self.emit(
                "response.output_item.added",
                json!({ "output_index": place, "item": call.item("in_progress") }),
                out,
            );
            self.calls.push(call);
            self.calls.len() - 1
        });
        let event = self.calls.get_mut(at).and_then(|call| call.go_on(piece));
        if let Some((kind, event)) = event {
            self.emit(kind, event, out);
        }
    }

    /// A picture that a model made, which comes in one piece.
    fn image(&mut self, image: &Value, out: &mut Vec<u8>) {
        let url = image.pointer("/image_url/url").and_then(Value::as_str).unwrap_or_default();
        let Some((kind, data)) = data_url::parts(url) else { return };
        let Some(format) = kind.strip_prefix("image/") else { return };
        self.close(out);
        let at = self.place();
        let id = self.id("ig", at);
        let item = |status: &str, result: Value| json!({ "id": id, "type": "image_generation_call", "status": status, "output_format": format, "result": result });
        let (begun, done) = (item("in_progress", Value::Null), item("completed", data.into()));
        self.emit("response.output_item.added", json!({ "output_index": at, "item": begun }), out);
        self.finish(at, &done, out);
    }

    fn finish(&mut self, at: usize, item: &Value, out: &mut Vec<u8>) {
        if let Some(place) = self.output.get_mut(at) {
            *place = item.clone();
        }
        self.emit("response.output_item.done", json!({ "output_index": at, "item": item }), out);
    }

    /// Closes what is being thought or said.
    fn close(&mut self, out: &mut Vec<u8>) {
        match self.open.take() {
            None => {}
            Some(Open::Said(mut said)) => {
                let is_cut = self.status() != Status::Completed;
                let events = said.close();
                self.emit_all(events, out);
                self.finish(said.at, &said.item(if is_cut { "incomplete" } else { "completed" }), out);
            }
            Some(Open::Thought { at, id, thought, has_part }) => {
                if has_part {
                    let place = json!({ "item_id": id, "output_index": at, "summary_index": 0 });
                    let text = Value::from(thought.text.clone());
                    self.emit("response.reasoning_summary_text.done", with(&place, "text", text.clone()), out);
                    let part = json!({ "type": "summary_text", "text": text });
                    self.emit("response.reasoning_summary_part.done", with(&place, "part", part), out);
                }
                self.finish(at, &thought.item(&id), out);
            }
        }
    }

    fn status(&self) -> Status {
        match self.finish_reason.as_deref() {
            Some("length") => Status::Incomplete("max_output_tokens"),
            Some("content_filter") => Status::Incomplete("content_filter"),
            _ => Status::Completed,
        }
    }

    /// Closes everything; the response as it will be kept.
    pub(super) fn end(&mut self, usage: &Usage, out: &mut Vec<u8>) -> Value {
        self.begin(out);
        if self.output.is_empty() && self.late.is_empty() {
            self.said(out); // An answer without a word is one all the same.
        }
        self.close(out);
        for call in std::mem::take(&mut self.calls) {
            let events = call.close();
            self.emit_all(events, out);
            self.finish(call.at, &call.item("completed"), out);
        }
        let late = std::mem::take(&mut self.late);
        if !late.is_empty() {
            let at = self.place();
            let id = self.id("rs", at);
            let item = json!({ "id": id, "type": "reasoning", "status": "in_progress", "summary": [] });
            self.emit("response.output_item.added", json!({ "output_index": at, "item": item }), out);
            self.finish(at, &late.item(&id), out);
        }
        let status = self.status();
        let mut response = self.echo.response(status, &std::mem::take(&mut self.output), Some(usage));
        let is_complete = status == Status::Completed;
        if is_complete {
            response["completed_at"] = ((self.now)().0 / 1_000_000).into();
        }
        let kind = if is_complete { "response.completed" } else { "response.incomplete" };
        self.emit(kind, json!({ "response": response }), out);
        response
    }
}

fn list(extra: &serde_json::Map<String, Value>, name: &str) -> Vec<Value> {
    extra.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn with(place: &Value, name: &str, value: Value) -> Value {
    let mut event = place.clone();
    event[name] = value;
    event
}
