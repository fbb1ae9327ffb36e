//! One request as an upstream saw it: what came, how much of the answer went out, and how it ended.

use super::lock;
use crate::wait::until;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The request. Cloning shares what becomes of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// When its last byte came.
    pub at: Instant,
    /// Where it came, below the base URL: `chat/completions`.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Debug, Default)]
struct Progress {
    sent: usize,
    end: Option<End>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The whole answer was handed to the connection.
    Complete,
    /// Its caller closed the connection before that, at this time; or the script cut it.
    Closed(Instant),
}

/// Held as long as the call goes on.
#[derive(Debug)]
pub(super) struct Watch(Arc<Mutex<Progress>>);

impl Call {
    pub(super) fn new(path: String, headers: HeaderMap, body: Bytes) -> Self {
        Self { at: Instant::now(), path, headers, body, progress: Arc::default() }
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(self.progress.clone())
    }

    /// The id that the gateway sends with each attempt; empty when there is none.
    pub fn attempt_id(&self) -> String {
        self.header("x-client-request-id").to_owned()
    }

    /// A header as text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the gateway sends JSON")
    }

    /// How much of the answer's body has been handed to the connection, in bytes.
    pub fn sent(&self) -> usize {
        lock(&self.progress).sent
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        lock(&self.progress).end
    }

    /// Waits until its caller has closed the connection, and says when that was seen.
    ///
    /// # Panics
    /// When the answer went out completely instead.
    pub async fn closed(&self) -> Instant {
        until("the caller of an upstream to close its connection", async || match self.end()? {
            End::Closed(at) => Some(at),
            End::Complete => panic!("the answer went out completely"),
        })
        .await
    }
}

impl Watch {
    pub(super) fn sent(&mut self, bytes: usize) {
        lock(&self.0).sent += bytes;
    }

    pub(super) fn complete(&mut self) {
        lock(&self.0).end = Some(End::Complete);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.0).end.get_or_insert_with(|| End::Closed(Instant::now()));
    }
}
