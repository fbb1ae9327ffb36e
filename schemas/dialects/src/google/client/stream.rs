//! Turns agnostic answers into Google's, chunk by chunk or whole. The last event says why each answer stopped, and what
//! all of it consumed.

use super::turn::{Response, Turn, usage};
use super::whole;
use crate::client::{Writer, read_chunk};
use bytes::Bytes;
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;

/// One answer.
pub(super) struct Google {
    request: RequestId,
    id: String,
    /// The model, as the caller names it.
    model: String,
    turns: Vec<Turn>,
}

impl Google {
    pub(super) fn new(request: RequestId, model: String) -> Self {
        Self { request, id: String::new(), model, turns: Vec::new() }
    }

    fn response(&self) -> Response {
        let id = if self.id.is_empty() { self.request.to_string() } else { self.id.clone() };
        Response { model_version: self.model.clone(), response_id: id, ..Response::default() }
    }
}

impl Writer for Google {
    fn whole(&mut self, answer: &Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        whole::write(answer, summary, self.response())
    }

    fn chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let chunk = read_chunk(chunk)?;
        if self.id.is_empty() {
            self.id = chunk.id;
        }
        let mut candidates = Vec::new();
        for choice in chunk.choices {
            let at = self.turns.iter().position(|turn| turn.index == choice.index).unwrap_or_else(|| {
                self.turns.push(Turn::new(choice.index));
                self.turns.len() - 1
            });
            let turn = &mut self.turns[at];
            turn.finishes(choice.finish_reason);
            let logprobs = choice.extra.get("logprobs").filter(|logprobs| !logprobs.is_null());
            let parts = turn.add(choice.delta);
            if !parts.is_empty() || logprobs.is_some() {
                candidates.push(turn.candidate(parts, logprobs));
            }
        }
        if !candidates.is_empty() {
            event(&Response { candidates, ..self.response() }, out);
        }
        Ok(())
    }

    fn end(&mut self, summary: &Summary, out: &mut Vec<u8>) {
        let candidates = std::mem::take(&mut self.turns).into_iter().map(|turn| turn.last(Vec::new(), None)).collect();
        event(&Response { candidates, usage_metadata: usage(&summary.usage), ..self.response() }, out);
    }
}

fn event(response: &Response, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *out, response).expect("an answer has a JSON form");
    out.extend_from_slice(b"\r\n\r\n");
}
