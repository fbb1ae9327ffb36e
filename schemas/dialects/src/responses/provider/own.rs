//! Reads a stream for a caller of this very dialect: every byte stays that OpenAI could have written, and usage and the end
//! are noted.

use super::answer;
use super::whole::check_event;
use super::{broken, failed, odd, other_way, usage};
use crate::errors;
use crate::openai::provider::other_way::{comment, read_all};
use crate::provider::{Observed, Step, StreamReader};
use bytes::Bytes;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde::Deserialize;
use serde_json::Value;

/// What is known of one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    has_content: bool,
    is_done: bool,
    searches: u64,
    observed: Observed,
    events: odd::Events,
}

/// What of an event is looked at.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
}

/// The type of an event, which stands in its data and mostly in its name too.
///
/// # Errors
/// When its data is no JSON object.
pub(super) fn type_of(event: &sse::Event) -> Result<String, Failure> {
    let typed: Typed<'_> = serde_json::from_slice(&event.data)
        .map_err(|_| broken("an event of the provider's stream is no JSON object"))?;
    let name = event.event.as_deref().map(|name| String::from_utf8_lossy(name).into_owned());
    Ok(typed.kind.map(std::borrow::Cow::into_owned).or(name).unwrap_or_default())
}

/// An event's data.
///
/// # Errors
/// When it is no JSON.
pub(super) fn json(event: &sse::Event) -> Result<Value, Failure> {
    serde_json::from_slice(&event.data).map_err(|_| broken("an event of the provider's stream is no JSON"))
}

/// Why a stream says that there is no answer.
pub(super) fn error_of(event: &sse::Event) -> Failure {
    match serde_json::from_slice::<Value>(&event.data) {
        Ok(value) => failed(Some(value.get("error").filter(|error| !error.is_null()).unwrap_or(&value))),
        Err(_) => errors::within_stream(&event.data),
    }
}

/// A plain answer where a stream was asked for, mostly to say what is wrong.
pub(super) fn not_a_stream(raw: &[u8]) -> Failure {
    match serde_json::from_slice::<Value>(raw) {
        Ok(value) if value.get("error").is_some_and(|error| !error.is_null()) => failed(value.get("error")),
        _ => broken("the provider answered in one piece where a stream was asked for"),
    }
}

/// That a stream ended before its last event.
pub(super) fn cut() -> Failure {
    broken("the provider's stream ended before it was complete")
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        if event.data.is_empty() {
            let raw = event.raw.clone();
            if raw.trim_ascii_start().starts_with(b"{") {
                let events = other_way::events_of(&raw).ok_or_else(|| not_a_stream(&raw))?;
                return read_all(self, &events);
            }
            return Ok(comment(&raw).filter(|_| self.has_content).map_or(Step::Hide, Step::Hold));
        }
        if self.is_done || event.data.trim_ascii() == b"[DONE]" {
            return Ok(Step::Hide);
        }
        let kind = type_of(event)?;
        let mended = kind.starts_with("response.").then(|| self.events.mended(&kind, event)).flatten();
        let event = mended.as_ref().unwrap_or(event);
        let raw = event.raw.clone();
        match kind.as_str() {
            "error" => return Err(error_of(event)),
            "response.created" | "response.in_progress" | "response.queued" | "response.content_part.added" => {
                return Ok(Step::Hold(raw));
            }
            "response.output_item.added" => {
                let item = json(event)?;
                let item = item.get("item").unwrap_or(&Value::Null);
                answer::note_tool(item, &mut self.observed);
                if matches!(answer::kind(item), answer::Kind::Message | answer::Kind::Reasoning) {
                    return Ok(Step::Hold(raw));
                }
            }
            "response.output_item.done" => {
                let item = json(event)?;
                self.searches += u64::from(item.get("item").is_some_and(answer::is_search));
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let data = json(event)?;
                let response = data.get("response").unwrap_or(&Value::Null);
                usage::observe(response, self.searches, &mut self.observed);
                check_event(&data)?;
                self.is_done = true;
            }
            // Without a type it is an error that some proxy says in the chat's way.
            "" if json(event)?.get("error").is_some_and(|error| !error.is_null()) => return Err(error_of(event)),
            _ => {}
        }
        self.has_content = true;
        Ok(Step::Content(raw))
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        if self.is_done { Ok(Bytes::new()) } else { Err(cut()) }
    }

    fn observed(&self) -> &Observed {
        &self.observed
    }
}
