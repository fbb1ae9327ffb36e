//! An ingress's side of a call: one wildcard inbox for all replies, sorted by call. Reads no content and decides nothing.
//!
//! async-nats's own request multiplexer takes one reply per request and never forgets one that timed out, hence this one.

mod pending_call;
mod pulse;
mod pusher;

pub use pending_call::PendingCall;
pub use pusher::Pusher;

use super::kept_quota::KeptQuota;
use super::shortcut::{Arrivals, SentTo};
use super::{Bus, BusError, failed};
use crate::clock;
use async_nats::{Message, StatusCode, Subscriber};
use futures_util::StreamExt;
use pending_call::PROBES;
use penstock_schemas::UnixMicros;
use penstock_schemas::frame::{CLIENT_WINDOW, Control, FRAME_COST, Frame, KEPT_CREDIT, Payload, STREAM_CREDIT};
use penstock_schemas::name::{ProcessId, ProjectId, RequestId};
use penstock_schemas::subject::{call_of, mark, marked};
use pulse::{Pulses, WorkerPulse};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore, mpsc};
use tracing::warn;

/// Frames that may wait for one call: the credit allows no more.
const FRAMES: usize = (STREAM_CREDIT / FRAME_COST) as usize + 16;

/// The same for an answer that is kept.
const KEPT_FRAMES: usize = (KEPT_CREDIT / FRAME_COST) as usize + 16;

/// Orders to workers that may wait for the socket.
const ORDERS: usize = 4096;

/// The inbox of one ingress. Cloning shares it.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

struct Shared {
    bus: Bus,
    slots: Mutex<HashMap<RequestId, Slot>>,
    /// Locked before the slots.
    pulses: Mutex<Pulses>,
    /// A call has asked for a pulse.
    pulse_wanted: Notify,
    orders: mpsc::Sender<Order>,
    /// What projects may keep.
    quota: Option<KeptQuota>,
}

/// A control message on its way to a worker.
struct Order {
    worker: ProcessId,
    request: RequestId,
    control: Control,
    /// Where its answer goes, if it is to answer.
    reply: Option<String>,
}

enum Slot {
    /// Somebody reads the call's frames.
    Open(mpsc::Sender<Message>),
    /// The client went away before anyone knew the worker: whoever names itself is told to stop. Forgotten at the deadline.
    Abandoned(UnixMicros, Control),
    /// No call, but what a worker answers when it is asked whether it lives.
    Pulse(Arc<WorkerPulse>),
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
        let replies = bus.shortcut.join(subject, replies, None);
        let kept = bus.client.subscribe(bus.subjects.kept_replies(bus.process())).await;
        let kept = kept.map_err(failed("open the inbox"))?;
        let (orders, to_send) = mpsc::channel(ORDERS);
        let inbox = Self(Arc::new(Shared {
            bus: bus.clone(),
            slots: Mutex::default(),
            pulses: Mutex::default(),
            pulse_wanted: Notify::new(),
            orders,
            quota,
        }));
        bus.life.service("inbox", inbox.clone().sort(replies));
        bus.life.service("inbox of kept answers", inbox.clone().sort_kept(kept));
        bus.life.service("orders to workers", give_orders(bus.clone(), to_send));
        bus.life.service("pulses of workers", inbox.clone().ask_workers());
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
            pulse: None,
            next_seq: 0,
            unpaid: 0,
            done: false,
            way: SentTo::Nats,
            probes: PROBES,
            mark: 0,
            window: Arc::new(Semaphore::new(CLIENT_WINDOW as usize)),
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<RequestId, Slot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sort(self, mut replies: Arrivals) {
        while let Some(message) = replies.next().await {
            if let Some(request) = call_of(&message.subject) {
                self.hand_over(request, message);
            }
        }
    }

    /// The same for answers that are kept: whether somebody reads them or not, they are counted.
    async fn sort_kept(self, mut replies: Subscriber) {
        while let Some(message) = replies.next().await {
            let Some(request) = call_of(&message.subject) else { continue };
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
            Some(Slot::Pulse(pulse)) => {
                pulse.hear(&message);
                false
            }
        };
        if over {
            slots.remove(&request);
        }
    }

    /// Tells the worker behind a message for an abandoned call to stop. True when there is nothing more to wait for.
    fn stop_abandoned(&self, request: RequestId, message: &Message, farewell: Control) -> bool {
        if mark(&message.subject).is_some() {
            return false; // it answers a question, and is nothing that a worker says of itself
        }
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
            Payload::Chunk(None, _) | Payload::Alive | Payload::Read(_) => false,
        }
    }

    fn order(&self, worker: ProcessId, request: RequestId, control: Control) {
        self.send_order(Order { worker, request, control, reply: None });
    }

    /// Asks a worker whether it still holds a call. The answer is marked.
    fn probe(&self, worker: ProcessId, request: RequestId, mark: u32) {
        let reply = marked(&self.0.bus.subjects.reply(self.0.bus.process(), request), mark);
        self.send_order(Order { worker, request, control: Control::Probe, reply: Some(reply) });
    }

    fn send_order(&self, order: Order) {
        let control = order.control;
        if self.0.orders.try_send(order).is_err() {
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

/// Whether nats-server answers, with its status 503, that the subject has no subscriber.
fn is_nobody(message: &Message) -> bool {
    message.status == Some(StatusCode::NO_RESPONDERS)
}

async fn give_orders(bus: Bus, mut orders: mpsc::Receiver<Order>) {
    while let Some(Order { worker, request, control, reply }) = orders.recv().await {
        let payload = serde_json::to_vec(&control).expect("a control message has a JSON form");
        let subject = bus.subjects.control(&worker, request);
        let near = bus.subjects.controls(&worker);
        let sent = bus.send(Some(&near), subject, reply, payload.into()).await;
        if let Err(error) = sent {
            warn!(%error, "an order to a worker could not be sent");
        }
    }
}
