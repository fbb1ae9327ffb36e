//! Going on with a stream that broke after its first content, where the operator wants it (`on_break = "resume"`): the next
//! target that can continue a text gets the conversation with what was said so far, and a marker tells the client. What
//! was begun of a tool's call cannot be continued. Both halves have rows in the ledger.

use super::call::send_stream;
use super::frames::Source;
use crate::stage::record::Record;
use crate::state::Shared;
use bytes::Bytes;
use penstock_runtime::clock;
use penstock_schemas::chat::{ChatRequest, CompletionChunk, Content, Message};
use penstock_schemas::envelope::{Dialect, Envelope};
use penstock_schemas::failure::Failure;
use penstock_schemas::name::Target;
use penstock_schemas::sse::{self, EVENT_BYTES};
use serde_json::json;
use tracing::warn;

/// Times that one stream is gone on with.
const TIMES: u32 = 3;

/// The longest text that is continued, in bytes.
const LONGEST: usize = 1024 * 1024;

/// What is needed to go on with one stream, read off what passes of it.
pub(crate) struct Continuation {
    ingress: Shared,
    envelope: Envelope,
    /// The request, in its agnostic form.
    request: Bytes,
    /// Who answers now.
    target: Target,
    events: sse::Parser,
    text: String,
    /// The stream's own id, which its continuation keeps.
    id: String,
    /// Whether nothing but text has come, of one answer.
    is_text: bool,
    times: u32,
}

impl Continuation {
    pub(crate) fn new(ingress: Shared, envelope: Envelope, request: Bytes, target: Target) -> Self {
        let (text, id) = (String::new(), String::new());
        let events = sse::Parser::new(EVENT_BYTES);
        Self { ingress, envelope, request, target, events, text, id, is_text: true, times: 0 }
    }

    /// Reads what passes, and gives what the client is to get of it: a continuation has no role and no id of its own.
    pub(crate) fn pass(&mut self, bytes: Bytes) -> Bytes {
        self.events.push(&bytes);
        let mut out = Vec::new();
        while let Ok(Some(event)) = self.events.next_event() {
            match serde_json::from_slice::<CompletionChunk>(&event.data) {
                Ok(chunk) => self.note(chunk, &event, &mut out),
                Err(_) => out.extend_from_slice(&event.raw), // `[DONE]`, a comment
            }
        }
        if self.times == 0 { bytes } else { out.into() }
    }

    fn note(&mut self, mut chunk: CompletionChunk, event: &sse::Event, out: &mut Vec<u8>) {
        for choice in &mut chunk.choices {
            let delta = &mut choice.delta;
            self.is_text &= choice.index == 0 && delta.tool_calls.is_none() && choice.finish_reason.is_none();
            self.text += delta.content.as_deref().unwrap_or_default();
            delta.role = None;
        }
        if self.times == 0 {
            self.id = chunk.id;
            return;
        }
        chunk.id.clone_from(&self.id);
        match serde_json::to_string(&chunk) {
            Ok(chunk) => out.extend_from_slice(format!("data: {chunk}\n\n").as_bytes()),
            Err(_) => out.extend_from_slice(&event.raw),
        }
    }

    /// The rest of the stream from another target, and what comes first of it; `None` when nobody can go on.
    pub(crate) async fn go_on(&mut self, failure: &Failure, record: &mut Record) -> Option<(Source, Bytes)> {
        let is_worth_it = self.is_text && self.text.len() < LONGEST && self.times < TIMES;
        let plan = self.envelope.plan.after(&self.target).filter(|_| is_worth_it)?.unbounded();
        let request = self.continued()?;
        let call = Some(clock::request_id());
        let native = (self.envelope.dialect != Dialect::Openai).then_some(0);
        let attempts = self.envelope.attempts + 1;
        let envelope = Envelope { plan, call, native, attempts, extent: None, ..self.envelope.clone() };
        let (head, first, source) = send_stream(envelope, request, &self.ingress, record).await?;
        warn!(request_id = %self.envelope.request_id, from = %self.target, to = %head.target, "a stream that broke goes on");
        record.tried(Some(head.target.clone()), head.attempts);
        let marker = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": clock::now().0 / 1_000_000,
            "model": head.target.model.as_str(),
            "choices": [{ "index": 0, "delta": {}, "finish_reason": null }],
            "penstock": { "resumed": { "from": self.target, "to": head.target, "failure": failure.kind } },
        });
        self.times += 1;
        self.target = head.target;
        self.envelope.attempts = head.attempts;
        self.events = sse::Parser::new(EVENT_BYTES);
        let rest = self.pass(first);
        Some((source, [format!("data: {marker}\n\n").as_bytes(), &rest].concat().into()))
    }

    /// The request with what was said so far behind it.
    fn continued(&self) -> Option<Bytes> {
        let mut request: ChatRequest = serde_json::from_slice(&self.request).ok()?;
        let content = Some(Content::Text(self.text.clone()));
        request.messages.push(Message { role: "assistant".to_owned(), content, ..Message::default() });
        serde_json::to_vec(&request).ok().map(Bytes::from)
    }
}
