//! The way from the client of a session to the worker that holds it: its messages in pieces, no more of them than the worker
//! has room for. Reads none.

use crate::bus::{Bus, BusError, failed};
use bytes::Bytes;
use penstock_schemas::frame::{CLIENT_PIECE, ClientPiece};
use penstock_schemas::message::framed;
use penstock_schemas::name::{ProcessId, RequestId};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// One session's way. Only one of each call is used.
pub struct Pusher {
    bus: Bus,
    subject: String,
    /// The subscription that may be reached without NATS.
    near: String,
    window: Arc<Semaphore>,
    next_seq: u32,
}

impl Pusher {
    pub(super) fn new(bus: &Bus, worker: &ProcessId, request: RequestId, window: Arc<Semaphore>) -> Self {
        let (subject, near) = (bus.subjects.control(worker, request), bus.subjects.controls(worker));
        Self { bus: bus.clone(), subject, near, window, next_seq: 0 }
    }

    /// Sends a message; waits while the worker reads more slowly than the client writes.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn push(&mut self, message: &[u8]) -> Result<(), BusError> {
        let bytes = framed(message);
        for at in (0..bytes.len()).step_by(CLIENT_PIECE) {
            let piece = bytes.slice(at..bytes.len().min(at + CLIENT_PIECE));
            let place = self.window.acquire_many(ClientPiece::cost(piece.len())).await;
            place.expect("the window is never closed").forget();
            self.send(piece).await?;
        }
        Ok(())
    }

    /// Says that the client has left. Nothing follows.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn leave(mut self) -> Result<(), BusError> {
        self.send(Bytes::new()).await
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), BusError> {
        let piece = ClientPiece { seq: self.next_seq, bytes }.encode();
        self.next_seq += 1;
        let sent = self.bus.send(Some(&self.near), self.subject.clone(), None, piece).await;
        sent.map(drop).map_err(failed("send what a client says"))
    }
}
