//! Reads a chat stream into the agnostic form. Source: <https://docs.cohere.com/docs/streaming>.

use super::answer::{annotations, broken, call, finish_reason};
use super::usage;
use crate::errors::within_stream;
use crate::most;
use crate::provider::{Observed, Step, StreamReader};
use bytes::Bytes;
use penstock_schemas::chat::{ChunkChoice, CompletionChunk, CompletionUsage, Delta};
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde_json::Value;

/// What is known of one stream.
#[derive(Debug)]
pub(super) struct Reader {
    delivery: Delivery,
    is_done: bool,
    has_content: bool,
    /// Their index of each call so far; its place is ours, since theirs may count other things too.
    calls: Vec<u64>,
    observed: Observed,
}

impl Reader {
    pub(super) fn new(delivery: Delivery) -> Self {
        Self { delivery, is_done: false, has_content: false, calls: Vec::new(), observed: Observed::default() }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>) -> CompletionChunk {
        CompletionChunk {
            id: self.observed.provider_request_id.clone().unwrap_or_default(),
            object: "chat.completion.chunk".to_owned(),
            choices,
            ..CompletionChunk::default()
        }
    }

    fn say(&self, delta: Delta, finish_reason: Option<&str>) -> Result<Bytes, Failure> {
        let finish_reason = finish_reason.map(str::to_owned);
        event(&self.chunk(vec![ChunkChoice { delta, finish_reason, ..ChunkChoice::default() }]))
    }

    fn content(&mut self, delta: Delta) -> Result<Step, Failure> {
        if delta == Delta::default() {
            return Ok(Step::Hide);
        }
        self.has_content = true;
        Ok(Step::Content(self.say(delta, None)?))
    }

    fn piece(&mut self, piece: &Value) -> Result<Step, Failure> {
        let text = |name: &str| piece[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        self.content(Delta { content: text("text"), reasoning_content: text("thinking"), ..Delta::default() })
    }

    fn call(&mut self, event: &Value) -> Result<Step, Failure> {
        let theirs = event["index"].as_u64().unwrap_or(0);
        let is_start = event["type"] == "tool-call-start";
        if is_start {
            if self.calls.len() >= most::CALLS {
                return Err(most::too_many_calls());
            }
            self.calls.push(theirs);
        }
        let place = self.calls.iter().rposition(|index| *index == theirs).unwrap_or(self.calls.len());
        let mut call = call(&event["delta"]["message"]["tool_calls"]);
        if let Some(name) = call.function.as_ref().and_then(|function| function.name.as_deref()) {
            self.observed.tools.add(name);
        }
        call.index = u32::try_from(place).ok();
        if !is_start {
            call.kind = None;
        }
        self.content(Delta { tool_calls: Some(vec![call]), ..Delta::default() })
    }

    fn end(&mut self, event: &Value) -> Result<Step, Failure> {
        let delta = &event["delta"];
        self.observed.usage = delta.get("usage").and_then(usage::read);
        let reason = delta["finish_reason"].as_str().unwrap_or_default();
        self.observed.finish_reason = Some(reason.to_owned());
        let finish = finish_reason(reason)?;
        self.is_done = true;
        self.has_content = true;
        let mut out = self.say(Delta::default(), Some(finish))?.to_vec();
        let counts = self.observed.usage.as_ref().and_then(CompletionUsage::of);
        if self.delivery == Delivery::StreamWithUsage && counts.is_some() {
            out.extend_from_slice(&self::event(&CompletionChunk { usage: counts, ..self.chunk(Vec::new()) })?);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        Ok(Step::Content(out.into()))
    }
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        if self.is_done || event.data.trim_ascii().is_empty() || event.data.trim_ascii() == b"[DONE]" {
            return Ok(Step::Hide);
        }
        let data: Value = serde_json::from_slice(&event.data)
            .map_err(|_| broken("the provider's stream holds what is not JSON".to_owned()))?;
        let said = &data["delta"]["message"];
        match data["type"].as_str() {
            Some("message-start") => {
                self.observed.provider_request_id = data["id"].as_str().map(str::to_owned);
                let delta = Delta { role: Some("assistant".to_owned()), ..Delta::default() };
                Ok(Step::Hold(self.say(delta, None)?))
            }
            Some("content-start" | "content-delta") => self.piece(&said["content"]),
            Some("tool-plan-delta") => {
                let plan = said["tool_plan"].as_str().filter(|plan| !plan.is_empty()).map(str::to_owned);
                self.content(Delta { content: plan, ..Delta::default() })
            }
            Some("tool-call-start" | "tool-call-delta") => self.call(&data),
            Some("citation-start") => {
                let extra = annotations(std::slice::from_ref(&said["citations"]));
                self.content(Delta { extra, ..Delta::default() })
            }
            Some("message-end") => self.end(&data),
            // An error has no type, or no other.
            None | Some("error") => Err(within_stream(&event.data)),
            Some(_) => Ok(Step::Hide),
        }
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        match (self.is_done, self.has_content) {
            (true, _) => Ok(Bytes::new()),
            (false, true) => Err(broken("the provider's stream ended before it was complete".to_owned())),
            (false, false) => Err(broken("the provider's stream ended without an answer".to_owned())),
        }
    }

    fn observed(&self) -> &Observed {
        &self.observed
    }
}

fn event(chunk: &CompletionChunk) -> Result<Bytes, Failure> {
    let json = serde_json::to_string(chunk).map_err(|error| broken(error.to_string()))?;
    Ok(format!("data: {json}\n\n").into())
}
