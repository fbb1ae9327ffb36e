//! A conversation that is compacted where it goes on: the item `compaction_trigger` at the end of a request for an answer. In front
//! of a provider of another dialect a model is asked for a summary, and the response holds one item that stands for all
//! before it. Source: <https://platform.openai.com/docs/guides/compaction>.

use super::compaction::{self, TRIGGER};
use super::{error_event, put};
use crate::client::{Writer, WrongRequest, unreadable};
use crate::openai::provider::other_way::events;
use bytes::Bytes;
use memchr::memmem;
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use serde_json::{Value, json};

/// Whether a request asks for it.
pub(super) fn is_last(body: &[u8]) -> bool {
    memmem::find(body, TRIGGER.as_bytes()).is_some()
        && serde_json::from_slice::<Value>(body).is_ok_and(|request| ends(&request["input"]))
}

fn ends(input: &Value) -> bool {
    input.as_array().and_then(|items| items.last()).is_some_and(|last| last["type"] == TRIGGER)
}

/// The request for the summary; `None` where none is asked for.
pub(super) fn request(body: &[u8]) -> Result<Option<Bytes>, WrongRequest> {
    if !is_last(body) {
        return Ok(None);
    }
    let mut fields = super::fields(body)?;
    let mut items: Vec<Value> = super::value(&fields, "input")?.unwrap_or_default();
    items.pop();
    fields.set("input", &items);
    compaction::request(&fields.to_vec()).map(Some)
}

/// Writes the response out of one that holds the summary.
pub(super) struct Triggered {
    pub(super) id: RequestId,
    /// Writes the response with the summary, of which the caller gets the beginning alone.
    pub(super) response: Box<dyn Writer>,
    sequence: u64,
    kept: Option<Bytes>,
}

impl Triggered {
    pub(super) fn new(id: RequestId, response: Box<dyn Writer>) -> Self {
        Self { id, response, sequence: 0, kept: None }
    }

    /// The events before the first item go out, once.
    fn begin(&mut self, unheard: &[u8], out: &mut Vec<u8>) {
        if self.sequence > 0 {
            return;
        }
        let begins = |event: &Value| event["type"] == "response.created" || event["type"] == "response.in_progress";
        for event in read(unheard).into_iter().filter(begins) {
            self.emit(event, out);
        }
    }

    fn emit(&mut self, mut event: Value, out: &mut Vec<u8>) {
        event["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        put(&event, out);
    }

    /// The response with one item, which stands for the conversation.
    fn compacted(&mut self, mut response: Value) -> Result<Value, Failure> {
        response["output"] = json!([compaction::item(self.id, &response)?]);
        self.kept = Some(response.to_string().into());
        Ok(response)
    }
}

fn read(unheard: &[u8]) -> Vec<Value> {
    events(unheard).iter().filter_map(|event| serde_json::from_slice(&event.data).ok()).collect()
}

impl Writer for Triggered {
    fn whole(&mut self, answer: &Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        let response = self.response.whole(answer, summary)?;
        let response = serde_json::from_slice(&response).map_err(|error| unreadable(&error))?;
        Ok(self.compacted(response)?.to_string().into())
    }

    fn chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut unheard = Vec::new();
        self.response.chunk(chunk, &mut unheard)?;
        self.begin(&unheard, out);
        Ok(())
    }

    fn end(&mut self, summary: &Summary, out: &mut Vec<u8>) {
        let mut unheard = Vec::new();
        self.response.end(summary, &mut unheard);
        self.begin(&unheard, out);
        let last = read(&unheard).pop().map(|mut event| event["response"].take()).unwrap_or_default();
        match self.compacted(last) {
            Ok(response) => {
                let item = &response["output"][0];
                for kind in ["response.output_item.added", "response.output_item.done"] {
                    self.emit(json!({ "type": kind, "output_index": 0, "item": item }), out);
                }
                self.emit(json!({ "type": "response.completed", "response": response }), out);
            }
            Err(failure) => out.extend_from_slice(&error_event(&failure, self.id, self.sequence)),
        }
    }

    fn native(self: Box<Self>) -> Option<Box<dyn Writer>> {
        self.response.native()
    }

    fn broken(&mut self, failure: &Failure) -> Option<Bytes> {
        Some(error_event(failure, self.id, self.sequence))
    }

    fn kept(&mut self) -> Option<(Bytes, bool)> {
        self.kept.take().map(|response| (response, false))
    }

    fn collects(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trigger_at_the_end_asks_for_a_summary() {
        let asked =
            |input: Value| request(json!({"model": "m", "stream": true, "input": input}).to_string().as_bytes());
        let (said, trigger) = (json!({"role": "user", "content": "Hi"}), json!({"type": TRIGGER}));
        let made: Value = serde_json::from_slice(&asked(json!([said, trigger])).unwrap().unwrap()).unwrap();
        let items = made["input"].as_array().unwrap();
        assert_eq!((items.len(), &items[0]), (2, &said));
        for other in [json!([trigger, said]), json!([said]), json!(TRIGGER), json!([])] {
            assert!(asked(other.clone()).unwrap().is_none(), "{other}");
        }
    }
}
