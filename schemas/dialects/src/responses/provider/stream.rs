//! Reads a stream as chunks of a chat. Each call has an index of its own from the order in which the calls began; what
//! never came in pieces is taken from the finished item. Knows nothing of where the chunks go.
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use super::answer::{self, Kind, kind, list, text};
use super::own::{cut, error_of, json, not_a_stream, type_of};
use super::whole::check_event;
use super::{odd, other_way, usage};
use crate::provider::{Observed, Step, StreamReader};
use crate::thought_order;
use bytes::Bytes;
use penstock_schemas::chat::{ChunkChoice, CompletionChunk, CompletionUsage, Delta, FunctionCall, ToolCall};
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// What is known of one stream.
#[derive(Debug)]
pub(super) struct Reader {
    delivery: Delivery,
    /// What every chunk begins with: id, age, model.
    frame: CompletionChunk,
    has_role: bool,
    is_done: bool,
    /// By place among the items.
    items: HashMap<u64, Item>,
    calls: u32,
    /// The calls that began, by the ids that their results name.
    called: HashSet<String>,
    /// Pieces of reasoning, by place of the item, kind and place in it.
    pieces: HashMap<(u64, &'static str, u64), u32>,
    searches: u64,
    /// How many characters of text went out.
    said: usize,
    observed: Observed,
}

/// An item in the making.
#[derive(Debug, Default)]
struct Item {
    /// Of a call: which.
    call: Option<u32>,
    is_custom: bool,
    /// How many bytes of its arguments went out.
    sent: usize,
    /// Whether anything of it went out.
    is_begun: bool,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        if event.data.is_empty() {
            let is_json = event.raw.trim_ascii_start().starts_with(b"{");
            return if is_json { self.take_whole(&event.raw) } else { Ok(Step::Hide) };
        }
        if self.is_done || event.data.trim_ascii() == b"[DONE]" {
            return Ok(Step::Hide);
        }
        let kind = type_of(event)?;
        if kind == "error" {
            return Err(error_of(event));
        }
        let data = odd::with_texts(json(event)?);
        match kind.as_str() {
            "" if data.get("error").is_some_and(|error| !error.is_null()) => Err(error_of(event)),
            "response.created" | "response.in_progress" | "response.queued" => Ok(self.begin(&data)),
            "response.completed" | "response.incomplete" | "response.failed" => self.end(&data),
            _ => Ok(self.content(&kind, &data)),
        }
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        if self.is_done { Ok(Bytes::from_static(b"data: [DONE]\n\n")) } else { Err(cut()) }
    }

    fn observed(&self) -> &Observed {
        &self.observed
    }
}

impl Reader {
    pub(super) fn new(delivery: Delivery) -> Self {
        Self {
            delivery,
            frame: CompletionChunk { object: "chat.completion.chunk".to_owned(), ..CompletionChunk::default() },
            has_role: false,
            is_done: false,
            items: HashMap::new(),
            calls: 0,
            called: HashSet::new(),
            pieces: HashMap::new(),
            searches: 0,
            said: 0,
            observed: Observed::default(),
        }
    }

    /// A response in one piece: an error, or what was asked for as a stream.
    fn take_whole(&mut self, whole: &[u8]) -> Result<Step, Failure> {
        let events = other_way::events_of(whole).ok_or_else(|| not_a_stream(whole))?;
        let mut out = Vec::new();
        for event in &events {
            if let Step::Hold(bytes) | Step::Content(bytes) = self.read(event)? {
                out.extend_from_slice(&bytes);
            }
        }
        Ok(Step::Content(out.into()))
    }

    /// The role, once, with what the response says of itself.
    fn begin(&mut self, data: &Value) -> Step {
        if self.has_role {
            return Step::Hide;
        }
        let response = data.get("response").unwrap_or(&Value::Null);
        self.frame.id = text(response, "id").unwrap_or_default().to_owned();
        self.frame.model = text(response, "model").unwrap_or_default().to_owned();
        self.frame.created = answer::created(response);
        usage::observe(response, 0, &mut self.observed);
        self.observed.finish_reason = None;
        let mut out = Vec::new();
        self.role(&mut out);
        Step::Hold(out.into())
    }

    fn role(&mut self, out: &mut Vec<u8>) {
        if !self.has_role {
            self.has_role = true;
            let role = Delta { role: Some("assistant".to_owned()), content: Some(String::new()), ..Delta::default() };
            self.chunk(role, out);
        }
    }

    fn chunk(&self, delta: Delta, out: &mut Vec<u8>) {
        self.write(&[ChunkChoice { index: 0, delta, finish_reason: None, extra: Map::new() }], out);
    }

    fn write(&self, choices: &[ChunkChoice], out: &mut Vec<u8>) {
        let chunk = CompletionChunk { choices: choices.to_vec(), ..self.frame.clone() };
        put(&chunk, out);
    }

    /// What an event between the first and the last brings.
    fn content(&mut self, event: &str, data: &Value) -> Step {
        let mut deltas = Vec::new();
        let mut logprobs = &[][..];
        let piece = text(data, "delta").unwrap_or_default().to_owned();
        let at = |name: &str| data.get(name).and_then(Value::as_u64).unwrap_or(0);
        let place = at("output_index");
        match event {
            "response.output_item.added" => deltas.extend(self.added(place, data)),
            "response.output_item.done" => deltas.extend(self.finished(place, data)),
            "response.output_text.delta" => {
                self.item(place).is_begun = true;
                logprobs = list(data, "logprobs");
                deltas.push(Delta { content: Some(piece), ..Delta::default() });
            }
            "response.refusal.delta" => {
                self.item(place).is_begun = true;
                deltas.push(Delta { refusal: Some(piece), ..Delta::default() });
            }
            "response.output_text.annotation.added" => {
                deltas.extend(data.get("annotation").filter(|one| one.is_object()).map(cites));
            }
            "response.reasoning_summary_text.delta" => {
                deltas.push(self.thinks((place, "reasoning.summary", at("summary_index")), piece, data));
            }
            "response.reasoning_text.delta" => {
                deltas.push(self.thinks((place, "reasoning.text", at("content_index")), piece, data));
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                deltas.extend(self.argues(place, &piece));
            }
            _ => {}
        }
        self.step(deltas, logprobs)
    }

    fn step(&mut self, deltas: Vec<Delta>, logprobs: &[Value]) -> Step {
        if deltas.is_empty() {
            return Step::Hide;
        }
        let mut out = Vec::new();
        self.role(&mut out);
        for mut delta in deltas {
            let said = self.said;
            delta.reasoning_details.iter_mut().flatten().for_each(|detail| thought_order::mark(detail, said));
            self.said += delta.content.as_deref().map_or(0, |text| text.chars().count());
            let mut extra = Map::new();
            if !logprobs.is_empty() {
                extra.insert("logprobs".to_owned(), serde_json::json!({ "content": logprobs, "refusal": null }));
            }
            self.write(&[ChunkChoice { index: 0, delta, finish_reason: None, extra }], &mut out);
        }
        Step::Content(out.into())
    }

    fn item(&mut self, place: u64) -> &mut Item {
        self.items.entry(place).or_default()
    }

    /// A call begins; other items say nothing yet.
    fn added(&mut self, place: u64, data: &Value) -> Option<Delta> {
        let item = data.get("item")?;
        if !matches!(kind(item), Kind::Call | Kind::CustomCall) || self.item(place).call.is_some() {
            return None;
        }
        answer::note_tool(item, &mut self.observed);
        self.called.extend(text(item, "call_id").map(str::to_owned));
        let index = self.calls;
        self.calls += 1;
        let arguments = answer::arguments(item);
        let (is_custom, sent) = (kind(item) == Kind::CustomCall, arguments.len());
        *self.item(place) = Item { call: Some(index), is_custom, sent, is_begun: true };
        Some(calls(answer::call(item, index, arguments)))
    }

    fn argues(&mut self, place: u64, piece: &str) -> Option<Delta> {
        let item = self.item(place);
        let index = item.call?;
        item.sent += piece.len();
        let mut call = ToolCall { index: Some(index), ..ToolCall::default() };
        if item.is_custom {
            call.extra.insert("custom".to_owned(), serde_json::json!({ "input": piece }));
        } else {
            call.function = Some(FunctionCall { arguments: Some(piece.to_owned()), ..FunctionCall::default() });
        }
        Some(calls(call))
    }

    fn thinks(&mut self, piece: (u64, &'static str, u64), said: String, data: &Value) -> Delta {
        let next = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
        let is_new = !self.pieces.contains_key(&piece);
        let index = *self.pieces.entry(piece).or_insert(next);
        self.item(piece.0).is_begun = true;
        let mut detail = answer::detail(piece.1, text(data, "item_id"), index);
        if piece.1 == "reasoning.text" {
            detail.text = Some(said.clone());
        } else {
            detail.summary = Some(said.clone());
        }
        // To read, the pieces are paragraphs.
        let said = if is_new && index > 0 { format!("\n\n{said}") } else { said };
        Delta { reasoning_content: Some(said), reasoning_details: Some(vec![detail]), ..Delta::default() }
    }

    /// What of an item has not gone out piece by piece.
    fn finished(&mut self, place: u64, data: &Value) -> Vec<Delta> {
        let Some(item) = data.get("item") else { return Vec::new() };
        let is_begun = self.item(place).is_begun;
        match kind(item) {
            Kind::Call | Kind::CustomCall => {
                let began = self.added(place, data);
                let sent = self.item(place).sent;
                let rest = answer::arguments(item).get(sent..).filter(|rest| !rest.is_empty()).map(ToOwned::to_owned);
                let rest = rest.and_then(|rest| self.argues(place, &rest));
                began.into_iter().chain(rest).collect()
            }
            Kind::Reasoning => {
                let next = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
                let mut details = answer::details(item, next);
                details.retain(|detail| !is_begun || detail.data.is_some());
                for detail in &mut details {
                    let index = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
                    detail.index = Some(index);
                    self.pieces.insert((place, "whole", u64::from(index)), index);
                }
                let said: Vec<&str> =
                    details.iter().filter_map(|detail| detail.summary.as_deref().or(detail.text.as_deref())).collect();
                let reasoning_content = (!said.is_empty()).then(|| said.join("\n\n"));
                let whole = Delta { reasoning_content, reasoning_details: Some(details), ..Delta::default() };
                whole
                    .reasoning_details
                    .as_ref()
                    .is_some_and(|all| !all.is_empty())
                    .then_some(whole)
                    .into_iter()
                    .collect()
            }
            Kind::Message if !is_begun => list(item, "content").iter().flat_map(said).collect(),
            Kind::Image => answer::image(item).map(|image| extra("images", image)).into_iter().collect(),
            Kind::Search => {
                self.searches += u64::from(answer::is_search(item));
                Vec::new()
            }
            Kind::Message | Kind::Other => Vec::new(),
        }
    }

    /// What only the finished response holds: all of it where no item came before, else calls that nothing was told of.
    fn untold(&mut self, response: &Value) -> Step {
        let is_all = self.items.is_empty();
        let mut deltas = Vec::new();
        for (at, item) in list(response, "output").iter().enumerate() {
            let is_call = matches!(kind(item), Kind::Call | Kind::CustomCall);
            let is_known = text(item, "call_id").is_none_or(|id| self.called.contains(id));
            if is_all || is_call && !is_known {
                // A place that no item of the stream has.
                let place = u64::MAX - at as u64;
                deltas.extend(self.finished(place, &serde_json::json!({ "item": item })));
            }
        }
        self.step(deltas, &[])
    }

    fn end(&mut self, data: &Value) -> Result<Step, Failure> {
        let response = data.get("response").unwrap_or(&Value::Null);
        usage::observe(response, self.searches, &mut self.observed);
        check_event(data)?;
        let mut out = Vec::new();
        self.role(&mut out);
        if let Step::Hold(bytes) | Step::Content(bytes) = self.untold(response) {
            out.extend_from_slice(&bytes);
        }
        let reason = answer::finish_reason(response, self.calls > 0).to_owned();
        let last = ChunkChoice { finish_reason: Some(reason), ..ChunkChoice::default() };
        self.write(&[last], &mut out);
        if self.delivery == Delivery::StreamWithUsage {
            let usage = self.observed.usage.as_ref().and_then(CompletionUsage::of);
            put(&CompletionChunk { usage, ..self.frame.clone() }, &mut out);
        }
        self.is_done = true;
        Ok(Step::Content(out.into()))
    }
}

fn put(chunk: &CompletionChunk, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *out, chunk).expect("a chunk has a JSON form, and a Vec takes it");
    out.extend_from_slice(b"\n\n");
}

fn calls(call: ToolCall) -> Delta {
    Delta { tool_calls: Some(vec![call]), ..Delta::default() }
}

fn extra(name: &str, value: Value) -> Delta {
    Delta { extra: Map::from_iter([(name.to_owned(), Value::Array(vec![value]))]), ..Delta::default() }
}

fn cites(annotation: &Value) -> Delta {
    extra("annotations", answer::annotation(annotation))
}

/// A part of a message that came only when it was finished.
fn said(part: &Value) -> Vec<Delta> {
    let own = |name: &str| text(part, name).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let (content, refusal) = (own("text"), own("refusal"));
    let is_empty = content.is_none() && refusal.is_none();
    let says = (!is_empty).then(|| Delta { content, refusal, ..Delta::default() });
    says.into_iter().chain(list(part, "annotations").iter().map(cites)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, ProviderFormat, Wanted};
    use crate::responses::provider::Responses;
    use penstock_schemas::envelope::Operation;
    use serde_json::json;

    /// What a chat client reads of these events.
    fn read(events: &[Value]) -> (String, Vec<Value>, Value) {
        let wanted = Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Stream };
        let mut reader = Responses.stream(wanted);
        let mut out = Vec::new();
        for event in events {
            let event = crate::openai::provider::other_way::event(event);
            if let Step::Hold(bytes) | Step::Content(bytes) = reader.read(&event).unwrap() {
                out.extend_from_slice(&bytes);
            }
        }
        let events = crate::openai::provider::other_way::events(&out);
        let chunks: Vec<Value> = events.iter().filter_map(|event| serde_json::from_slice(&event.data).ok()).collect();
        let delta = |chunk: &Value, name: &str| chunk.pointer(&format!("/choices/0/delta/{name}")).cloned();
        let said = chunks.iter().filter_map(|chunk| delta(chunk, "content")?.as_str().map(str::to_owned)).collect();
        let calls =
            chunks.iter().filter_map(|chunk| delta(chunk, "tool_calls")).map(|calls| calls[0].clone()).collect();
        (said, calls, chunks.last().unwrap()["choices"][0]["finish_reason"].clone())
    }

    #[test]
    fn what_only_the_last_event_holds_goes_out_before_it_and_nothing_twice() {
        let text = json!({"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "ab"}]});
        let call = json!({"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "{}"});
        let last = json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [text, call]}});
        let (said, calls, reason) = read(&[json!({"type": "response.created", "response": {"id": "r"}}), last.clone()]);
        assert_eq!((said.as_str(), reason), ("ab", json!("tool_calls")));
        assert_eq!((calls.len(), &calls[0]["id"], &calls[0]["function"]["arguments"]), (1, &json!("c"), &json!("{}")));

        let done =
            |at: u64, item: &Value| json!({"type": "response.output_item.done", "output_index": at, "item": item});
        let (said, calls, _) = read(&[done(0, &text), last.clone()]);
        assert_eq!((said.as_str(), calls.len()), ("ab", 1), "the call stands in the last event alone");
        let (said, calls, _) = read(&[done(0, &text), done(1, &call), last]);
        assert_eq!((said.as_str(), calls.len()), ("ab", 1));
    }
}
