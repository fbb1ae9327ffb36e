//! The writer of answers from providers that speak this dialect themselves: every byte stays but the response's id, which is
//! ours whoever answers, the model's name, which is the caller's, and what the provider was not told. The last event waits until the response is kept.

use super::error_event;
use crate::client::{Writer, unreadable};
use crate::json::RawObject;
use bytes::Bytes;
use penstock_schemas::conversation::response_id;
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use penstock_schemas::sse;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What is put into a response, and what is known of its stream.
pub(super) struct Native {
    id: RequestId,
    /// The model, as the caller names it.
    model: Option<Box<RawValue>>,
    previous: Option<Box<RawValue>>,
    conversation: Option<String>,
    background: bool,
    sequence: u64,
    last: Vec<u8>,
    kept: Option<Bytes>,
}

#[derive(Deserialize)]
struct Numbered {
    #[serde(rename = "type")]
    kind: Option<String>,
    sequence_number: Option<u64>,
}

impl Native {
    /// For the answer to a request as it came.
    pub(super) fn of(body: &[u8], id: RequestId) -> Self {
        let fields = RawObject::read(body).unwrap_or_default();
        let previous = fields.get("previous_response_id").map(ToOwned::to_owned);
        let model = fields.get("model").map(ToOwned::to_owned);
        let conversation = super::conversation(&fields).unwrap_or_default();
        let background = fields.get("background").is_some_and(|value| value.get() == "true");
        Self { id, model, previous, conversation, background, sequence: 0, last: Vec::new(), kept: None }
    }

    /// The response with our id in it, and the model's name that was asked for.
    fn rename(&self, response: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut fields = RawObject::read(response).map_err(|error| unreadable(&error))?;
        fields.set("id", &response_id(self.id));
        if let Some(model) = &self.model {
            fields.set("model", model);
        }
        if let Some(previous) = &self.previous {
            fields.set("previous_response_id", previous);
        }
        if let Some(id) = &self.conversation {
            fields.set("conversation", &BTreeMap::from([("id", id)]));
        }
        if self.background {
            fields.set("background", &true);
        }
        Ok(fields.to_vec())
    }
}

impl Writer for Native {
    fn whole(&mut self, answer: &Bytes, _summary: &Summary) -> Result<Bytes, Failure> {
        let response = Bytes::from(self.rename(answer)?);
        self.kept = Some(response.clone());
        Ok(response)
    }

    fn chunk(&mut self, _chunk: &[u8], _out: &mut Vec<u8>) -> Result<(), Failure> {
        Ok(()) // `event` takes them all.
    }

    fn event(&mut self, event: &sse::Event, out: &mut Vec<u8>) -> Result<(), Failure> {
        let Ok(numbered) = serde_json::from_slice::<Numbered>(&event.data) else {
            out.extend_from_slice(&event.raw);
            return Ok(());
        };
        self.sequence = numbered.sequence_number.map_or(self.sequence, |number| number + 1);
        let kind = numbered.kind.unwrap_or_default();
        let is_last = matches!(kind.as_str(), "response.completed" | "response.incomplete" | "response.failed");
        if !is_last && !matches!(kind.as_str(), "response.created" | "response.in_progress" | "response.queued") {
            out.extend_from_slice(&event.raw);
            return Ok(());
        }
        let mut fields = RawObject::read(&event.data).map_err(|error| unreadable(&error))?;
        if let Some(response) = fields.get("response") {
            let response = self.rename(response.get().as_bytes())?;
            let response: Box<RawValue> = serde_json::from_slice(&response).map_err(|error| unreadable(&error))?;
            fields.set("response", &response);
            if is_last {
                self.kept = Some(Bytes::from(response.get().to_owned()));
            }
        }
        let to = if is_last { &mut self.last } else { out };
        to.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
        to.extend_from_slice(&fields.to_vec());
        to.extend_from_slice(b"\n\n");
        Ok(())
    }

    fn end(&mut self, _summary: &Summary, out: &mut Vec<u8>) {
        out.append(&mut self.last);
    }

    fn broken(&mut self, failure: &Failure) -> Option<Bytes> {
        Some(error_event(failure, self.id, self.sequence))
    }

    fn kept(&mut self) -> Option<(Bytes, bool)> {
        self.kept.take().map(|response| (response, true))
    }
}
