//! An ingress's side of a call: one wildcard inbox for all replies, sorted by call. Reads no content and decides nothing.
//!
//! async-nats's own request multiplexer takes one reply per request and never forgets one that timed out, hence this one.

use super::kept_quota::KeptQuota;
use super::shortcut::Arrivals;
use super::{Bus, BusError, failed};
use crate::clock;
use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Envelope, Traffic};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{
    Control, DeclineReason, Declined, FRAME_COST, Frame, KEPT_CREDIT, Payload, STREAM_CREDIT, TURN,
};
use penstock_schemas::name::{ProcessId, ProjectId, RequestId};
use penstock_schemas::subject::last_token;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;
use uuid::Uuid;

/// Frames that may wait for one call: the credit allows no more.
const FRAMES: usize = (STREAM_CREDIT / FRAME_COST) as usize + 16;

/// The same for an answer that is kept.
const KEPT_FRAMES: usize = (KEPT_CREDIT / FRAME_COST) as usize + 16;

/// Silence after which the worker is asked whether it still holds the call.
const PROBE: Duration = Duration::from_millis(150);

/// Probes without an answer after which the worker is given up: 450 ms of silence in all. Each is a wait of its own, so
/// that a machine that stands still for a while gives up nobody.
const PROBES: u32 = 2;

/// The same for calls of batches: 3 s of silence in all. No caller waits, a batch may take all the time that a machine has, and
/// a call that is given to another worker too early is paid for twice.
const BATCH_PROBES: u32 = 19;

/// A wait that ends so much too late says that this machine is short of time, and a worker on it may be too: such waits
/// do not count, up to so many of them.
const LATE: Duration = Duration::from_millis(25);
const LATE_WAITS: u32 = 10;

/// How long a message that has come may take to its call.
const SORTED: Duration = Duration::from_millis(1);

/// Orders to workers that may wait for the socket.
const ORDERS: usize = 4096;

/// The inbox of one ingress. Cloning shares it.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

struct Shared {
    bus: Bus,
    slots: Mutex<HashMap<RequestId, Slot>>,
    orders: mpsc::Sender<(ProcessId, RequestId, Control)>,
    /// What projects may keep.
    quota: Option<KeptQuota>,
}

enum Slot {
    /// Somebody reads the call's frames.
    Open(mpsc::Sender<Message>),
    /// The client went away before anyone knew the worker: whoever names itself is told to stop. Forgotten at the deadline.
    Abandoned(UnixMicros, Control),
}

/// A call that is under way. Dropping it before its terminal frame cancels it, at the provider too, unless its answer is
/// kept.
pub struct PendingCall {
    inbox: Inbox,
    request: RequestId,
    deadline: UnixMicros,
    arrivals: mpsc::Receiver<Message>,
    /// What has come and was looked at, but not read.
    peeked: Option<Message>,
    worker: Option<ProcessId>,
    next_seq: u32,
    unpaid: u32,
    done: bool,
    is_kept: bool,
    /// What the worker is told when nobody waits any more.
    farewell: Control,
    /// Probes without an answer that the worker may leave.
    probes: u32,
}

impl Inbox {
    /// Opens the inbox.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        Self::begin(bus, None).await
    }

    /// Opens the inbox of an ingress at which each project may keep so many bytes of answers.
    ///
    /// # Errors
    /// When the subscription cannot be made, or JetStream does not answer.
    pub async fn open_with_quota(bus: &Bus, quota: u64) -> Result<Self, BusError> {
        Self::begin(bus, Some(KeptQuota::open(bus, quota).await?)).await
    }

    async fn begin(bus: &Bus, quota: Option<KeptQuota>) -> Result<Self, BusError> {
        let subject = bus.subjects.replies(bus.process());
        let replies = bus.client.subscribe(subject.clone()).await.map_err(failed("open the inbox"))?;
        let replies = bus.shortcut.join(subject, replies);
        let kept = bus.client.subscribe(bus.subjects.kept_replies(bus.process())).await;
        let kept = kept.map_err(failed("open the inbox"))?;
        let (orders, to_send) = mpsc::channel(ORDERS);
        let inbox = Self(Arc::new(Shared { bus: bus.clone(), slots: Mutex::default(), orders, quota }));
        bus.life.service("inbox", inbox.clone().sort(replies));
        bus.life.service("inbox of kept answers", inbox.clone().sort_kept(kept));
        bus.life.service("orders to workers", give_orders(bus.clone(), to_send));
        bus.round_trip().await;
        Ok(inbox)
    }

    /// Makes a place for the replies to a call that ends at `deadline` at the latest.
    pub fn expect(&self, request: RequestId, deadline: UnixMicros) -> PendingCall {
        let (arrive, arrivals) = mpsc::channel(FRAMES);
        self.slots().insert(request, Slot::Open(arrive));
        self.call(request, deadline, arrivals)
    }

    /// The same for a call whose answer is kept for a project: it goes on when nobody reads it.
    pub fn expect_kept(&self, project: &ProjectId, request: RequestId, deadline: UnixMicros) -> PendingCall {
        if let Some(quota) = &self.0.quota {
            quota.begin(project, request, deadline, clock::now());
        }
        let (arrive, arrivals) = mpsc::channel(KEPT_FRAMES);
        self.slots().insert(request, Slot::Open(arrive));
        let mut call = self.call(request, deadline, arrivals);
        call.is_kept = true;
        call
    }

    fn call(&self, request: RequestId, deadline: UnixMicros, arrivals: mpsc::Receiver<Message>) -> PendingCall {
        let inbox = self.clone();
        PendingCall {
            is_kept: false,
            farewell: Control::Cancel,
            inbox,
            request,
            deadline,
            arrivals,
            peeked: None,
            worker: None,
            next_seq: 0,
            unpaid: 0,
            done: false,
            probes: PROBES,
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<RequestId, Slot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sort(self, mut replies: Arrivals) {
        while let Some(message) = replies.next().await {
            if let Some(request) = request_of(&message) {
                self.hand_over(request, message);
            }
        }
    }

    /// The same for answers that are kept: whether somebody reads them or not, they are counted.
    async fn sort_kept(self, mut replies: Subscriber) {
        while let Some(message) = replies.next().await {
            let Some(request) = request_of(&message) else { continue };
            if let Some(quota) = &self.0.quota {
                let is_last = Frame::is_terminal(&message.payload);
                quota.count(request, message.payload.len(), is_last);
            }
            self.hand_over(request, message);
        }
    }

    /// Never waits for a reader: a full call is cut off instead, since its worker has overdrawn its credit.
    fn hand_over(&self, request: RequestId, message: Message) {
        let mut slots = self.slots();
        let over = match slots.get(&request) {
            None => false,
            Some(Slot::Open(arrive)) => arrive.try_send(message).is_err(),
            Some(Slot::Abandoned(until, farewell)) => {
                *until < clock::now() || self.stop_abandoned(request, &message, *farewell)
            }
        };
        if over {
            slots.remove(&request);
        }
    }

    /// Tells the worker behind a message for an abandoned call to stop. True when there is nothing more to wait for.
    fn stop_abandoned(&self, request: RequestId, message: &Message, farewell: Control) -> bool {
        let Ok(frame) = Frame::decode(&message.payload) else { return true };
        match frame.payload {
            Payload::End(..) | Payload::Failed(_) | Payload::Gone | Payload::Declined(_) => true,
            Payload::Accepted(accepted) => {
                self.order(accepted.worker, request, farewell);
                false
            }
            Payload::Chunk(Some(head), _) => {
                self.order(head.worker, request, farewell);
                false
            }
            Payload::Chunk(None, _) | Payload::Alive => false,
        }
    }

    fn order(&self, worker: ProcessId, request: RequestId, control: Control) {
        if self.0.orders.try_send((worker, request, control)).is_err() {
            warn!(?control, "an order to a worker was dropped: too many wait for the socket");
        }
    }

    fn abandon(&self, call: &mut PendingCall) {
        let mut slots = self.slots();
        if slots.remove(&call.request).is_none() {
            return;
        }
        // What has come and was never read may be all that the worker ever says of itself.
        while let Ok(message) = call.arrivals.try_recv() {
            if self.stop_abandoned(call.request, &message, call.farewell) {
                return;
            }
        }
        if let Some(worker) = &call.worker {
            self.order(worker.clone(), call.request, call.farewell);
        }
        // A worker that passes the call on just now may never read the order: its successor will name itself here.
        let now = clock::now();
        slots.retain(|_, slot| !matches!(slot, Slot::Abandoned(until, _) if *until < now));
        slots.insert(call.request, Slot::Abandoned(call.deadline, call.farewell));
    }
}

fn request_of(message: &Message) -> Option<RequestId> {
    Uuid::parse_str(last_token(&message.subject)).ok().map(RequestId)
}

async fn give_orders(bus: Bus, mut orders: mpsc::Receiver<(ProcessId, RequestId, Control)>) {
    while let Some((worker, request, control)) = orders.recv().await {
        let payload = serde_json::to_vec(&control).expect("a control message has a JSON form");
        let subject = bus.subjects.control(&worker, request);
        let reply = matches!(control, Control::Probe).then(|| bus.subjects.reply(bus.process(), request));
        let near = bus.subjects.controls(&worker);
        let sent = bus.send(Some(&near), subject, reply, payload.into()).await;
        if let Err(error) = sent {
            warn!(%error, "an order to a worker could not be sent");
        }
    }
}

impl PendingCall {
    /// Publishes the call for the pool of its plan's current link: for any worker of it, or for this one.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn publish(&mut self, envelope: &Envelope, body: &Bytes, to: Option<&ProcessId>) -> Result<(), BusError> {
        let bus = &self.inbox.0.bus;
        self.worker = None;
        self.probes = if envelope.traffic() == Traffic::Batch { BATCH_PROBES } else { PROBES };
        let provider = &envelope.plan.current().target.provider;
        let subject = match to {
            None => bus.subjects.call(provider, envelope.operation, envelope.traffic()),
            Some(worker) => bus.subjects.direct(worker, provider, envelope.traffic()),
        };
        let reply = if self.is_kept {
            bus.subjects.kept_reply(bus.process(), self.request)
        } else {
            bus.subjects.reply(bus.process(), self.request)
        };
        let inline =
            if matches!(envelope.body, penstock_schemas::envelope::Body::Inline) { body } else { &Bytes::new() };
        let call = envelope.encode(inline).map_err(failed("write a call"))?;
        let pool = bus.subjects.calls(provider, envelope.traffic());
        let near = to.is_none().then_some(pool.as_str());
        bus.send(near, subject, Some(reply), call).await.map_err(failed("publish a call"))
    }

    /// Waits for what the worker says next, at most until the call's deadline.
    ///
    /// # Errors
    /// `NoPool` when nobody serves the provider that the call was published for; `Deadline`; `Lost` when the worker that
    /// holds the call is gone or a frame is missing.
    pub async fn next(&mut self) -> Result<Payload, Failure> {
        let (mut unanswered, mut late_waits) = (0, 0);
        loop {
            let began = clock::now();
            let left = self.deadline.since(began);
            let next = async {
                match self.peeked.take() {
                    Some(message) => Some(message),
                    None => self.arrivals.recv().await,
                }
            };
            match timeout(left.min(PROBE), next).await {
                Ok(Some(message)) => {
                    unanswered = 0;
                    if let Some(payload) = self.read(&message)? {
                        return Ok(payload);
                    }
                }
                Ok(None) => return Err(lost("the answer came faster than it was read")),
                Err(_) if left <= PROBE => return Err(late()),
                Err(_) => {
                    let is_late = clock::now().since(began) > PROBE + LATE && late_waits < LATE_WAITS;
                    *(if is_late { &mut late_waits } else { &mut unanswered }) += 1;
                    if unanswered > self.probes {
                        return Err(lost("the worker that held the call does not answer"));
                    }
                    if let Some(worker) = self.worker.clone() {
                        self.inbox.order(worker, self.request, Control::Probe);
                    }
                }
            }
        }
    }

    /// Whether a call that was just published has found a pool. Asks the server, since no message says so.
    pub async fn found_pool(&mut self) -> bool {
        self.inbox.0.bus.round_trip().await;
        // What the server said before its answer to us is here, or with the task that sorts it.
        match timeout(SORTED, self.arrivals.recv()).await {
            Ok(Some(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => false,
            Ok(message) => {
                self.peeked = message;
                true
            }
            Err(_) => true,
        }
    }

    /// What a message says, unless it only says that the worker lives.
    fn read(&mut self, message: &Message) -> Result<Option<Payload>, Failure> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(match self.worker {
                None => Failure::gateway(FailureKind::NoPool, "no worker serves this provider now"),
                Some(_) => lost("the worker that held the call is gone"),
            });
        }
        let frame = Frame::decode(&message.payload).map_err(|error| {
            Failure::gateway(FailureKind::Internal, format!("a reply frame cannot be read: {error}"))
        })?;
        match &frame.payload {
            Payload::Alive => return Ok(None),
            // Of a worker that was given up: stale.
            Payload::Declined(by) if self.worker.as_ref().is_some_and(|worker| *worker != by.worker) => {
                return Ok(None);
            }
            Payload::Declined(by) => return Err(self.declined(by)),
            Payload::Gone if self.worker.is_none() => return Ok(None),
            Payload::Gone => return Err(lost("the worker no longer knows the call")),
            _ if frame.seq / TURN < self.next_seq / TURN => return Ok(None),
            _ if frame.seq != self.next_seq => return Err(lost("a part of the answer was lost on the bus")),
            Payload::Accepted(accepted) => self.worker = Some(accepted.worker.clone()),
            Payload::Chunk(Some(head), _) => self.worker = Some(head.worker.clone()),
            Payload::Chunk(None, _) => {}
            Payload::End(..) | Payload::Failed(_) => self.finish(),
        }
        self.next_seq += 1;
        Ok(Some(frame.payload))
    }

    /// Another worker may get the call: of one that is full, any; of one that cannot read it, any other.
    fn declined(&mut self, by: &Declined) -> Failure {
        match by.reason {
            DeclineReason::Full => {
                self.worker = None;
                Failure::gateway(FailureKind::NoPool, "the worker that got the call has no slot for it")
            }
            DeclineReason::Unreadable => {
                self.worker = Some(by.worker.clone());
                lost("a worker cannot read this call: is it older than this ingress?")
            }
        }
    }

    /// Tells the worker that `bytes` of content were read, so that it may send more.
    pub fn consumed(&mut self, bytes: usize) {
        self.unpaid = self.unpaid.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX).max(FRAME_COST));
        if self.unpaid >= STREAM_CREDIT / 2
            && let Some(worker) = &self.worker
        {
            self.inbox.order(worker.clone(), self.request, Control::Credit(self.unpaid));
            self.unpaid = 0;
        }
    }

    /// Gives up the worker that holds the call; what it still says is ignored. Gives its name, if it ever told it.
    pub fn give_up_worker(&mut self) -> Option<ProcessId> {
        self.next_seq = (self.next_seq / TURN).saturating_add(1).saturating_mul(TURN);
        let worker = self.worker.take()?;
        self.inbox.order(worker.clone(), self.request, Control::GiveUp(self.next_seq));
        Some(worker)
    }

    /// Gives the call up because another one was faster.
    pub fn outrun(mut self) {
        self.farewell = Control::Outrun;
    }

    /// The worker that holds the call, once it has told its name.
    pub fn worker(&self) -> Option<&ProcessId> {
        self.worker.as_ref()
    }

    /// The sequence number of the frame that is due next.
    pub fn next_seq(&self) -> u32 {
        self.next_seq
    }

    fn finish(&mut self) {
        self.done = true;
        self.inbox.slots().remove(&self.request);
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if self.is_kept {
            self.inbox.slots().remove(&self.request);
        } else if !self.done {
            self.inbox.clone().abandon(self);
        }
    }
}

fn lost(message: &str) -> Failure {
    Failure::gateway(FailureKind::Lost, message)
}

fn late() -> Failure {
    Failure::gateway(FailureKind::Deadline, "the request's time is over")
}
