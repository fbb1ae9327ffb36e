//! The client of a session at the other end of its WebSocket: what goes to it, one thing at a time and within the time that a
//! client has to read. Knows nothing of what is said.

use crate::http::upgrade::Duplex;
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// The connection.
pub(super) type Socket = WebSocketStream<Box<dyn Duplex>>;

/// How often a client is asked whether it is there, and after how long without a word it is not.
const PING: Duration = Duration::from_secs(20);
const GONE: Duration = Duration::from_secs(65);

/// The longest reason of an end, in bytes. Source: <https://www.rfc-editor.org/rfc/rfc6455#section-5.5>.
const REASON: usize = 123;

/// The client.
pub(super) struct Client {
    sink: tokio::sync::Mutex<SplitSink<Socket, Message>>,
    /// How long it may take to read.
    patience: Duration,
    heard: Mutex<Instant>,
    /// Nothing more goes to it.
    is_over: AtomicBool,
}

/// That it is gone, or does not read.
pub(super) struct Gone;

impl Client {
    pub(super) fn new(sink: SplitSink<Socket, Message>, patience: Duration) -> Self {
        Self {
            sink: tokio::sync::Mutex::new(sink),
            patience,
            heard: Mutex::new(Instant::now()),
            is_over: AtomicBool::new(false),
        }
    }

    /// Something has come from it.
    pub(super) fn is_heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Sends it an event.
    pub(super) async fn say(&self, event: Utf8Bytes) -> Result<(), Gone> {
        self.send(Message::Text(event)).await
    }

    async fn send(&self, message: Message) -> Result<(), Gone> {
        if self.is_over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let sending = async { self.sink.lock().await.send(message).await };
        let is_sent = matches!(timeout(self.patience, sending).await, Ok(Ok(())));
        if !is_sent {
            self.is_over.store(true, Ordering::Relaxed);
        }
        if is_sent { Ok(()) } else { Err(Gone) }
    }

    /// Ends the connection, and says why.
    pub(super) async fn close(&self, code: u16, reason: &str) {
        let fits = (0..=REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
        let reason = &reason[..fits.unwrap_or(0)];
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let _ = self.send(Message::Close(Some(frame))).await;
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Asks it again and again whether it is there; comes back when it is not.
    pub(super) async fn watch(&self) {
        loop {
            sleep(PING).await;
            let silence = self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            if silence > GONE || self.send(Message::Ping(Bytes::new())).await.is_err() {
                return;
            }
        }
    }
}
