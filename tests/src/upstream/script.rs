//! What an upstream is to answer, and when: by gates that the test opens, never by time.

use super::words;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;

/// Something that an upstream waits for and the test opens. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed one.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        // The sender lives as long as this gate.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// A piece of an answer's body.
#[derive(Clone, Debug)]
pub enum Part {
    /// These bytes.
    Send(Bytes),
    /// Nothing until the gate is open.
    Wait(Gate),
    /// The connection is closed in the middle.
    Cut,
    /// Nothing, for ever.
    Silence,
    /// Nothing for this long: what is tested is a clock.
    Pause(Duration),
    /// These bytes, again and again.
    Endless(Bytes),
    /// The same as fast as they are taken.
    Flood(Bytes),
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self::Send(text.into())
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) hold: Option<Gate>,
    pub(super) pause: Duration,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    /// This text, whole or streamed as the request wants it.
    InKind(String),
    Whole(Bytes),
    Parts(VecDeque<Part>),
    /// No answer: the connection is reset.
    Reset,
}

impl Reply {
    fn new(status: u16, body: Body) -> Self {
        let status = StatusCode::from_u16(status).expect("a test names a status that HTTP has");
        Self { status, headers: Vec::new(), hold: None, pause: Duration::ZERO, body }
    }

    /// This text, whole or streamed as the request wants it.
    pub fn answer(text: &str) -> Self {
        Self::new(200, Body::InKind(text.to_owned()))
    }

    /// These bytes with this status.
    pub fn whole(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, Body::Whole(body.into()))
    }

    /// An error in OpenAI's shape.
    pub fn error(status: u16) -> Self {
        let body = words::error(&format!("scripted {status}"), "scripted_error", None, None);
        Self::whole(status, body.to_string())
    }

    /// A stream of exactly these pieces.
    pub fn stream<P: Into<Part>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self::new(200, Body::Parts(parts.into_iter().map(Into::into).collect()))
    }

    /// None: the connection is reset before a head is sent.
    pub fn reset() -> Self {
        Self::new(200, Body::Reset)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a test names a value that HTTP can carry");
        self.headers.push((HeaderName::from_static(name), value));
        self
    }

    /// Nothing, not even a status, before the gate is open.
    #[must_use]
    pub fn held(mut self, gate: &Gate) -> Self {
        self.hold = Some(gate.clone());
        self
    }

    /// Nothing, not even a status, for this long: a slow provider.
    #[must_use]
    pub fn slow(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    pub(super) fn is_reset(&self) -> bool {
        matches!(self.body, Body::Reset)
    }

    /// The pieces of the answer to a request that wants a stream, or does not.
    pub(super) fn parts(self, streamed: bool) -> (VecDeque<Part>, &'static str, Option<usize>) {
        const EVENTS: &str = "text/event-stream";
        const JSON: &str = "application/json";
        let whole = |bytes: Bytes| {
            let length = bytes.len();
            (VecDeque::from([Part::Send(bytes)]), JSON, Some(length))
        };
        match self.body {
            Body::InKind(text) if streamed => {
                (words::stream(&text).into_iter().map(Part::from).collect(), EVENTS, None)
            }
            Body::InKind(text) => whole(words::whole(&text).into()),
            Body::Whole(bytes) => whole(bytes),
            Body::Parts(parts) => (parts, EVENTS, None),
            Body::Reset => (VecDeque::new(), EVENTS, None),
        }
    }
}

/// The answers to come, in order.
#[derive(Debug)]
pub(super) struct AnswerScript {
    entries: VecDeque<Entry>,
    /// Of so many requests, the last gets this instead.
    regular: Option<(usize, Reply)>,
    answered: usize,
}

#[derive(Debug)]
struct Entry {
    reply: Reply,
    /// How often still; `None`: for ever.
    left: Option<u32>,
}

impl AnswerScript {
    pub(super) fn new(reply: Reply) -> Self {
        Self { entries: VecDeque::from([Entry { reply, left: None }]), regular: None, answered: 0 }
    }

    /// Adds an answer for ever, in the place of the one that was for ever before.
    pub(super) fn push(&mut self, reply: Reply) {
        if self.entries.back().is_some_and(|last| last.left.is_none()) {
            self.entries.pop_back();
        }
        self.entries.push_back(Entry { reply, left: None });
    }

    /// Says how often the answer that was added last is given.
    pub(super) fn limit(&mut self, times: u32) {
        if let Some(last) = self.entries.back_mut() {
            last.left = Some(times);
        }
    }

    /// Gives every request of this number another answer.
    pub(super) fn give_each(&mut self, number: usize, reply: Reply) {
        self.regular = Some((number.max(1), reply));
    }

    pub(super) fn next(&mut self) -> Reply {
        self.answered += 1;
        if let Some((number, reply)) = &self.regular
            && self.answered.is_multiple_of(*number)
        {
            return reply.clone();
        }
        self.entries.retain(|entry| entry.left != Some(0));
        let Some(entry) = self.entries.front_mut() else { return Reply::error(500) };
        if let Some(left) = &mut entry.left {
            *left -= 1;
        }
        entry.reply.clone()
    }
}
