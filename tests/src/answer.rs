//! What came back: whole, or piece by piece as it comes. Dropping an answer that is not read to its end hangs up.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::JoinSet;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer that has begun. Dropping it hangs up.
#[derive(Debug)]
pub struct Open {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Open {
    pub(crate) fn new(head: response::Parts, body: Incoming, connection: JoinSet<()>) -> Self {
        Self { status: head.status, headers: head.headers, body, _connection: connection }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frame = self.body.frame().await?.expect("the gateway never breaks an answer off without a word");
            if let Ok(bytes) = frame.into_data() {
                return Some(bytes);
            }
        }
    }

    /// Reads until the connection ends, and gives what came; whether it ended as HTTP has it.
    pub async fn until_the_end(mut self) -> (Bytes, bool) {
        let mut bytes = BytesMut::new();
        while let Some(frame) = self.body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(_) => return (bytes.freeze(), false),
            }
        }
        (bytes.freeze(), true)
    }

    /// Reads until `words` have come, and gives all that was read.
    ///
    /// # Panics
    /// When the answer ends before.
    pub async fn until(&mut self, words: &str) -> String {
        let mut text = String::new();
        while !text.contains(words) {
            let bytes = self.next().await.unwrap_or_else(|| panic!("`{words}` never came, only: {text}"));
            text += &String::from_utf8_lossy(&bytes);
        }
        text
    }

    /// Reads to the end.
    pub async fn rest(mut self) -> Answer {
        let mut body = BytesMut::new();
        while let Some(bytes) = self.next().await {
            body.extend_from_slice(&bytes);
        }
        Answer { status: self.status, headers: self.headers, body: body.freeze() }
    }
}

impl Answer {
    /// The body as text.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.raw()))
    }

    /// What the model said, whole or streamed.
    ///
    /// # Panics
    /// When the answer is an error.
    pub fn text(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.raw());
        if !self.header("content-type").starts_with("text/event-stream") {
            return self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        }
        let pieces = self.events().into_iter().map(|event| {
            assert!(event["error"].is_null(), "{event}");
            event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
        });
        pieces.collect()
    }

    /// The events of a stream, without `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let raw = self.raw();
        let data = raw.split("\n\n").filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect("an event is JSON"))
            .collect()
    }

    /// A header as text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A refusal in short: status, type, code, and the field in brackets, such as
    /// `400 invalid_request_error missing_required_parameter (model)`.
    ///
    /// # Panics
    /// When it is not in OpenAI's shape, or does not name its request in the body and in both headers.
    pub fn error(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert_eq!(self.header("content-type"), "application/json");
        let id = error["request_id"].as_str().unwrap_or_default();
        assert_eq!(id.len(), 36, "no request id: {body}");
        assert_eq!([self.header("x-request-id"), self.header("x-penstock-request-id")], [id, id]);
        assert!(!self.message().is_empty(), "no message: {body}");
        format!("{} {}", self.status.as_u16(), in_short(error))
    }

    /// What a refusal says.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// An error object in OpenAI's shape as `type code (param)`.
///
/// # Panics
/// When it has not all four of OpenAI's fields, or others than ours besides.
pub fn in_short(error: &Value) -> String {
    let fields = error.as_object().expect("an error is an object").keys().map(String::as_str);
    // The admin API tells every mistake besides.
    let fields: Vec<&str> = fields.filter(|field| *field != "errors").collect();
    assert_eq!(fields, ["message", "type", "param", "code", "request_id"], "{error}");
    let class = error["type"].as_str().expect("an error has a type");
    let mut text = format!("{class} {}", error["code"].as_str().unwrap_or("-"));
    if let Some(param) = error["param"].as_str() {
        text += &format!(" ({param})");
    }
    text
}
