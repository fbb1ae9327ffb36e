//! The events of a provider, as far as they say what a response costs, when one begins and ends, and what the session is.

use super::turns::{self, Turns};
use super::usage;
use penstock_schemas::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// The session has begun.
    Session(Box<SessionBegun>),
    /// The session is changed.
    Changed(Map<String, Value>),
    /// A response has begun: its id.
    Created(String),
    /// A response is over.
    Done(Box<ResponseDone>),
    /// An error, and the id of the client's event that it is about.
    Error {
        /// That id.
        event_id: Option<String>,
        /// The error's code.
        code: Option<String>,
        /// For people.
        message: String,
    },
    /// A turn of speech is over; what was said becomes this item.
    TurnOver(String),
    /// What was heard became this item.
    Committed(String),
    /// Content of a response.
    Content,
    /// Anything else.
    Other,
}

/// A session as its provider has begun it.
#[derive(Debug, PartialEq, Eq)]
pub struct SessionBegun {
    event: Map<String, Value>,
}

/// A response that is over.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseDone {
    /// Its id.
    pub id: String,
    /// How it ended.
    pub status: DoneStatus,
    /// The same in the provider's word.
    pub word: Option<String>,
    /// Why it failed, in the provider's word.
    pub code: Option<String>,
    /// What it consumed; `None`: the provider does not say.
    pub usage: Option<Usage>,
    /// Whether the provider's figures contradict each other.
    pub usage_mismatch: bool,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoneStatus {
    /// Complete, or cut at its limit.
    Complete,
    /// It was ended by its client, or by its client's speaking.
    Cancelled,
    /// It failed.
    Failed,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    session: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item_id: Option<Cow<'a, str>>,
}

/// Reads an event of a provider. What cannot be read is `Other`: it passes, and a response that never ends in words that can
/// be read counts at its worst case.
pub fn read_server(text: &[u8]) -> ServerEvent {
    let Ok(raw) = serde_json::from_slice::<RawEvent<'_>>(text) else { return ServerEvent::Other };
    let item = |to: fn(String) -> ServerEvent| raw.item_id.as_deref().map(|id| to(id.to_owned()));
    let value = |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let read = match &*raw.r#type {
        "session.created" => {
            serde_json::from_slice(text).ok().map(|event| ServerEvent::Session(Box::new(SessionBegun { event })))
        }
        "session.updated" => raw.session.and_then(|_| serde_json::from_slice(text).ok()).map(ServerEvent::Changed),
        "response.created" => value(raw.response).and_then(|response| word(&response, "id")).map(ServerEvent::Created),
        "response.done" => {
            value(raw.response).and_then(|response| done(&response)).map(|done| ServerEvent::Done(Box::new(done)))
        }
        "error" => value(raw.error).map(|error| ServerEvent::Error {
            event_id: word(&error, "event_id"),
            code: word(&error, "code"),
            message: word(&error, "message").unwrap_or_default(),
        }),
        "input_audio_buffer.speech_stopped" => item(ServerEvent::TurnOver),
        "input_audio_buffer.committed" => item(ServerEvent::Committed),
        kind if kind.starts_with("response.") && kind.ends_with(".delta") => Some(ServerEvent::Content),
        _ => None,
    };
    read.unwrap_or(ServerEvent::Other)
}

fn word(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(ToOwned::to_owned)
}

fn done(response: &Value) -> Option<ResponseDone> {
    let word_of_status = word(response, "status");
    let status = match word_of_status.as_deref() {
        Some("cancelled") => DoneStatus::Cancelled,
        Some("failed") => DoneStatus::Failed,
        _ => DoneStatus::Complete,
    };
    let read = response.get("usage").and_then(usage::read);
    Some(ResponseDone {
        id: word(response, "id")?,
        status,
        word: word_of_status,
        code: response.pointer("/status_details/error/code").and_then(Value::as_str).map(ToOwned::to_owned),
        usage: read.map(|(usage, _)| usage),
        usage_mismatch: read.is_some_and(|(_, mismatch)| mismatch),
    })
}

impl SessionBegun {
    /// The model in the provider's words.
    pub fn model(&self) -> Option<&str> {
        self.event.get("session")?.get("model")?.as_str()
    }

    /// What its turns come to, and the event that switches off that the provider answers them.
    pub fn switch_off(&self, event_id: &str) -> Option<String> {
        turns::switch_off(self.event.get("session")?.as_object()?, event_id)
    }
}

/// The event with what the client wants of turns in it, where the provider says what it was told; `None`: as it came.
pub fn with_turns(event: &mut Map<String, Value>, wanted: Turns) -> Option<String> {
    let session = event.get_mut("session")?.as_object_mut()?;
    turns::restore(session, wanted).then(|| Value::Object(event.clone()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(event: &Value) -> ServerEvent {
        read_server(event.to_string().as_bytes())
    }

    #[test]
    fn a_response_is_known_from_its_beginning_to_its_end() {
        let begun = json!({ "type": "response.created", "response": { "id": "resp_1", "status": "in_progress" } });
        assert_eq!(read(&begun), ServerEvent::Created("resp_1".to_owned()));
        let failed = json!({ "type": "response.done", "response": { "id": "resp_1", "status": "failed", "usage": null,
            "status_details": { "type": "failed", "error": { "code": "rate_limit_exceeded" } } } });
        let ServerEvent::Done(done) = read(&failed) else { panic!("it is over") };
        assert_eq!(
            (done.status, done.usage, done.code.as_deref()),
            (DoneStatus::Failed, None, Some("rate_limit_exceeded"))
        );
        let error = json!({ "type": "error", "error": { "code": "c", "message": "m", "event_id": "e" } });
        let (event_id, code) = (Some("e".to_owned()), Some("c".to_owned()));
        assert_eq!(read(&error), ServerEvent::Error { event_id, code, message: "m".to_owned() });
        assert_eq!(read(&json!({ "type": "response.output_text.delta", "delta": "x" })), ServerEvent::Content);
        for other in [json!({ "type": "response.done" }), json!([]), json!({ "type": "rate_limits.updated" })] {
            assert_eq!(read(&other), ServerEvent::Other, "{other}");
        }
    }
}
