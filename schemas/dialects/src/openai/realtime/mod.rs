//! OpenAI's sessions (`/v1/realtime`): the events of both sides, as far as money and names need them. Every response begins
//! with a `response.create` that passes here, so that each can be paid for before: what a provider would begin by itself is
//! switched off, and asked for in its place. Sources: <https://platform.openai.com/docs/api-reference/realtime-client-events>
//! and `realtime-server-events` beside it; the types of openai-python, `openai/types/realtime`.

mod client;
mod server;
mod turns;
mod usage;
mod wrong_event;

pub use client::{ClientEvent, read_client};
pub use server::{DoneStatus, ResponseDone, ServerEvent, SessionBegun, read_server, with_turns};
pub use turns::Turns;
pub use usage::read as read_usage;
pub use wrong_event::WrongEvent;

use serde_json::{Value, json};

/// What the ids of our own events begin with. A client cannot use them: see [`read_client`].
pub const OWN_EVENT: &str = "penstock_";

/// The event that begins a response.
pub fn create(event_id: &str) -> String {
    json!({ "event_id": event_id, "type": "response.create" }).to_string()
}

/// The event that ends a response.
pub fn cancel(event_id: &str, response_id: &str) -> String {
    json!({ "event_id": event_id, "type": "response.cancel", "response_id": response_id }).to_string()
}

/// An error as an event: `error` is the object that OpenAI's errors hold, `caused_by` the id of the client's event.
pub fn error_event(event_id: &str, mut error: Value, caused_by: Option<&str>) -> String {
    if let Some(error) = error.as_object_mut() {
        error.insert("event_id".to_owned(), json!(caused_by));
    }
    json!({ "type": "error", "event_id": event_id, "error": error }).to_string()
}

/// The event with the model's name as the client knows it, where it says one and it is another.
pub fn with_model(event: &[u8], name: &str) -> Option<String> {
    let is_session = [&b"session.created"[..], b"session.updated"];
    if !is_session.iter().any(|kind| memchr::memmem::find(event, kind).is_some()) {
        return None;
    }
    let mut event: Value = serde_json::from_slice(event).ok()?;
    if !matches!(event["type"].as_str(), Some("session.created" | "session.updated")) {
        return None;
    }
    let model = event.get_mut("session")?.get_mut("model").filter(|model| model.is_string() && *model != name)?;
    *model = json!(name);
    Some(event.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_names_the_model_as_its_client_does() {
        let event = br#"{"type":"session.created","session":{"model":"m","voice":"x"}}"#;
        let named = r#"{"type":"session.created","session":{"model":"alpha/m","voice":"x"}}"#;
        assert_eq!(with_model(event, "alpha/m").as_deref(), Some(named));
        for same in [
            &br#"{"type":"session.created","session":{"model":"alpha/m"}}"#[..],
            br#"{"type":"session.created","session":{}}"#,
            br#"{"type":"response.done","response":{"model":"m","text":"session.created"}}"#,
            b"session.created",
        ] {
            assert_eq!(with_model(same, "alpha/m"), None);
        }
    }
}
