//! Why an event of a client does not go on, and the error that says so. Knows no event.

use serde_json::{Value, json};

/// Why an event does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongEvent {
    /// The id of the event, where it has one that can be read.
    pub event_id: Option<String>,
    /// OpenAI's word for what is wrong.
    pub code: &'static str,
    /// The field.
    pub param: Option<String>,
    /// For people: what is wrong, and what to do.
    pub message: String,
}

impl WrongEvent {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { event_id: None, code, param: None, message: message.into() }
    }

    /// That this is not to be had here.
    pub(super) fn unsupported(param: &str, why: &str) -> Self {
        let message = format!("`{param}` is not supported: {why}");
        Self { event_id: None, code: "unsupported", param: Some(param.to_owned()), message }
    }

    /// The error that the client is told, as OpenAI spells it.
    pub fn error(&self) -> Value {
        json!({ "type": "invalid_request_error", "code": self.code, "message": self.message, "param": self.param })
    }
}
