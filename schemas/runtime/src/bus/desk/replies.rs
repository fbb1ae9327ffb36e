//! The way back of one call: its frames, within the credit that the client gives, and passing it on to another pool. Knows
//! nothing of the other calls of the process.

use super::{ClientPieces, Desk, Orders};
use crate::bus::{BusError, failed};
use bytes::Bytes;
use penstock_schemas::envelope::{Body, Envelope};
use penstock_schemas::frame::{Accepted, DeclineReason, Declined, FRAME_COST, Frame, Head, Payload};
use penstock_schemas::name::RequestId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Longest wait until a pool says that it has taken a call that was passed on. This worker holds it meanwhile.
const TAKEN: Duration = Duration::from_secs(5);

/// The most content in one frame; also the most of the credit that one frame can need.
const FRAME_BYTES: usize = 64 * 1024;

/// A worker that has no answer after this time tells the ingress that it holds the call. A fast provider's answer usually comes
/// sooner, and then this message is not needed.
const MOMENT: Duration = Duration::from_millis(20);

/// What became of a call that was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassOn {
    /// Another worker holds it now.
    Taken,
    /// No worker serves that provider.
    NoPool,
    /// None has said that it took the call, and one may.
    Unknown,
}

/// The way back to the ingress of one call. Dropping it forgets the call here.
pub struct Replies {
    pub(super) desk: Desk,
    pub(super) request: RequestId,
    pub(super) subject: String,
    /// The inbox that may be reached without NATS; what is kept is stored there, and goes over it.
    pub(super) inbox: Option<String>,
    pub(super) next_seq: u32,
    pub(super) credit: Arc<Semaphore>,
    pub(super) cancelled: CancellationToken,
    pub(super) orders: Arc<Orders>,
    pub(super) taken: Instant,
    pub(super) first_seq: u32,
    /// What the client of a session says.
    pub(super) client: Option<ClientPieces>,
}

impl Replies {
    /// Waits for `work`. When that takes longer than a moment, the ingress is told who holds the call. `None` when the
    /// ingress gives the call up: `work` is dropped then.
    pub async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let cancelled = self.cancelled.clone();
        if self.next_seq == self.first_seq {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = cancelled.cancelled() => return None,
                () = sleep_until(self.taken + MOMENT) => {}
            }
            self.accept().await;
        }
        tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = cancelled.cancelled() => None,
        }
    }

    /// Tells the ingress who holds the call, unless it knows.
    pub async fn accept(&mut self) {
        if self.next_seq == self.first_seq
            && let Err(error) = self.accepted().await
        {
            warn!(%error, "the ingress could not be told who holds its call");
        }
    }

    /// Tells the ingress who holds the call, so that it can cancel and probe.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub(super) async fn accepted(&mut self) -> Result<(), BusError> {
        let worker = self.desk.bus.process().clone();
        self.publish(Payload::Accepted(Accepted { worker })).await
    }

    /// Gives the call back to its ingress: there is no slot for it here.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn decline(&mut self) -> Result<(), BusError> {
        let declined = Declined { worker: self.desk.bus.process().clone(), reason: DeclineReason::Full };
        let frame = Frame { seq: self.first_seq, payload: Payload::Declined(declined) };
        let frame = frame.encode().map_err(failed("write a frame"))?;
        let sent = self.desk.bus.send(self.inbox.as_deref(), self.subject.clone(), None, frame).await;
        sent.map(drop).map_err(failed("decline a call"))
    }

    /// What the client of a session says; `None` where the call is none, and the second time.
    pub fn take_client(&mut self) -> Option<ClientPieces> {
        self.client.take()
    }

    /// Tells the ingress of a session that so much of what its client says was read.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn read(&mut self, cost: u32) -> Result<(), BusError> {
        let frame = Frame { seq: 0, payload: Payload::Read(cost) }.encode().map_err(failed("write a frame"))?;
        let sent = self.desk.bus.send(self.inbox.as_deref(), self.subject.clone(), None, frame).await;
        sent.map(drop).map_err(failed("send a frame"))
    }

    /// Whether the ingress has given the call up.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Whether the call was given up because another one was faster.
    pub fn is_outrun(&self) -> bool {
        self.orders.is_outrun.load(Ordering::Acquire)
    }

    /// Sends a frame; waits while the client reads more slowly than the provider writes. Large content is cut up.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn send(&mut self, payload: Payload) -> Result<(), BusError> {
        let payload = match payload {
            Payload::Chunk(head, bytes) => Payload::Chunk(self.send_front(&bytes, head).await?, tail(&bytes)),
            Payload::End(mut ended, bytes) => {
                ended.head = self.send_front(&bytes, ended.head).await?;
                Payload::End(ended, tail(&bytes))
            }
            other => other,
        };
        if let Payload::Chunk(_, bytes) | Payload::End(_, bytes) = &payload {
            self.pay(bytes.len()).await;
        }
        self.publish(payload).await
    }

    /// Sends all but the last frame's worth of `bytes`; gives back the head if it was not sent with them.
    async fn send_front(&mut self, bytes: &Bytes, mut head: Option<Head>) -> Result<Option<Head>, BusError> {
        let mut at = 0;
        while bytes.len() - at > FRAME_BYTES {
            self.pay(FRAME_BYTES).await;
            self.publish(Payload::Chunk(head.take(), bytes.slice(at..at + FRAME_BYTES))).await?;
            at += FRAME_BYTES;
        }
        Ok(head)
    }

    async fn pay(&self, bytes: usize) {
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX).max(FRAME_COST);
        tokio::select! {
            paid = self.credit.acquire_many(cost) => paid.expect("the credit is never closed").forget(),
            () = self.cancelled.cancelled() => {}
        }
    }

    async fn publish(&mut self, payload: Payload) -> Result<(), BusError> {
        if self.orders.is_given_up.load(Ordering::Acquire) {
            return Ok(()); // where the answer is kept, it would stand between what its successor says
        }
        let frame = Frame { seq: self.next_seq, payload }.encode().map_err(failed("write a frame"))?;
        self.next_seq += 1;
        let sent = self.desk.bus.send(self.inbox.as_deref(), self.subject.clone(), None, frame).await;
        sent.map(drop).map_err(failed("send a frame"))
    }

    /// Passes the call on to the pool of its plan's current link.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn pass_on(&mut self, envelope: &mut Envelope, body: &Bytes) -> Result<PassOn, BusError> {
        let bus = &self.desk.bus;
        let (tell, mut told) = mpsc::channel(1);
        self.desk.passers().insert(self.request, tell);
        envelope.next_seq = self.next_seq;
        let provider = &envelope.plan.current().target.provider;
        let subject = bus.subjects.call(provider, envelope.operation, envelope.traffic());
        let reply = bus.subjects.control(bus.process(), self.request);
        let inline = if matches!(envelope.body, Body::Inline) { body } else { &Bytes::new() };
        let message = envelope.encode(inline).map_err(failed("write a call"))?;
        bus.client.publish_with_reply(subject, reply, message).await.map_err(failed("pass a call on"))?;
        tokio::select! {
            told = told.recv() => Ok(told.unwrap_or(PassOn::Unknown)),
            () = sleep(TAKEN) => Ok(PassOn::Unknown),
        }
    }
}

fn tail(bytes: &Bytes) -> Bytes {
    let frames = bytes.len().saturating_sub(1) / FRAME_BYTES;
    bytes.slice(frames * FRAME_BYTES..)
}

impl Drop for Replies {
    fn drop(&mut self) {
        // Another pool of this process may hold the call by now, or pass it on itself.
        let mut held = self.desk.held();
        if held.get(&self.request).is_some_and(|held| Arc::ptr_eq(&held.credit, &self.credit)) {
            held.remove(&self.request);
        }
        drop(held);
        let mut passers = self.desk.passers();
        if passers.get(&self.request).is_some_and(mpsc::Sender::is_closed) {
            passers.remove(&self.request);
        }
    }
}
