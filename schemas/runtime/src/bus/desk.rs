//! A worker's side of a call: the pool's subscription, and the control messages that come in.
//! Knows nothing of providers, and decides nothing about a call.

mod pieces;
mod replies;

pub use pieces::{ClientPieces, Heard};
pub use replies::{PassOn, Replies};

use self::pieces::PieceSender;
use super::shortcut::{Arrivals, FreeRoom};
use super::{Bus, BusError, failed};
use crate::life::heavy;
use crate::memory::{Memory, Reserved, values};
use async_nats::{Message, StatusCode, Subject};
use bytes::Bytes;
use penstock_schemas::envelope::{Body, Envelope, Operation, Traffic};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{
    ClientPiece, Control, DeclineReason, Declined, Failed, Frame, KEPT_CREDIT, Payload, STREAM_CREDIT, TURN, is_pulse,
};
use penstock_schemas::name::{ProcessId, ProviderId, RequestId};
use penstock_schemas::reservation::{MoreGiven, MoreWanted, Settled};
use penstock_schemas::subject::{QUEUE_GROUP, inbox_of, last_token};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

/// How long a subscription that is being closed may still give what was under way.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// "After so many messages" that nats-server takes for none at all: it unsubscribes at once, while the client goes on to
/// take what was on its way. async-nats's own `drain` forgets the subscription before the server has, and such calls with
/// it. Source: `parseSize` and `processUnsub` in nats-server's `server/client.go`: more than nine digits are no number.
const AT_ONCE: u64 = u64::MAX;

/// The desk of one worker process: all calls that it holds. Cloning shares it.
#[derive(Clone)]
pub struct Desk {
    bus: Bus,
    held: Arc<Mutex<HashMap<RequestId, HeldCall>>>,
    /// Apart from those who hold: a call may be passed on to another pool of this very process.
    passers: Arc<Mutex<HashMap<RequestId, mpsc::Sender<PassOn>>>>,
}

struct HeldCall {
    cancelled: CancellationToken,
    orders: Arc<Orders>,
    credit: Arc<Semaphore>,
    first_seq: u32,
    /// What the client of a session says.
    pieces: Option<PieceSender>,
}

/// What was said of a call that is to end.
#[derive(Default)]
struct Orders {
    /// Another call was faster.
    is_outrun: AtomicBool,
    /// It was given to another worker, or to this one again: nothing is said of it any more.
    is_given_up: AtomicBool,
}

/// A pool's subscription to calls.
pub struct Calls {
    desk: Desk,
    arrivals: Arrivals,
}

/// A call that has come, unread: from now on it is this worker's.
pub struct Arrived {
    desk: Desk,
    message: Message,
}

/// A call that can be worked off.
pub struct Incoming {
    /// Everything about it.
    pub envelope: Envelope,
    /// The request's bytes.
    pub body: Bytes,
    /// The way back.
    pub replies: Replies,
    /// Its place in this process's memory; `None`: there is none, so the call is for another worker.
    pub memory: Option<Reserved>,
}

impl Desk {
    /// Opens the desk.
    ///
    /// # Errors
    /// When the subscription to control messages cannot be made.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let subject = bus.subjects.controls(bus.process());
        let controls = bus.client.subscribe(subject.clone()).await.map_err(failed("listen for control messages"))?;
        let desk = Self { bus: bus.clone(), held: Arc::default(), passers: Arc::default() };
        bus.life.service("control messages", desk.clone().obey(bus.shortcut.join(subject, controls, None)));
        Ok(desk)
    }

    /// Begins to take calls for a provider: only while there is a free slot for one. From this process come no more than there is
    /// `room` for.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn calls(&self, provider: &ProviderId, traffic: Traffic, room: FreeRoom) -> Result<Calls, BusError> {
        let subject = self.bus.subjects.calls(provider, traffic);
        let subscriber = self.bus.client.queue_subscribe(subject.clone(), QUEUE_GROUP.to_owned()).await;
        let subscriber = subscriber.map_err(failed("subscribe to calls"))?;
        let arrivals = self.bus.shortcut.join(subject, subscriber, Some(room));
        self.bus.round_trip().await;
        Ok(Calls { desk: self.clone(), arrivals })
    }

    /// Begins to take the calls that are given to this very worker, past the queue.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn direct_calls(&self, provider: &ProviderId, traffic: Traffic) -> Result<Calls, BusError> {
        let subject = self.bus.subjects.direct(self.bus.process(), provider, traffic);
        let subscriber = self.bus.client.subscribe(subject).await.map_err(failed("subscribe to calls"))?;
        self.bus.round_trip().await;
        Ok(Calls { desk: self.clone(), arrivals: Arrivals::of(subscriber) })
    }

    /// Asks the ingress of a call to set aside more for it.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn ask_more(&self, ingress: &ProcessId, wanted: &MoreWanted) -> Result<MoreGiven, BusError> {
        self.bus.ask_more(ingress, wanted).await
    }

    /// Tells the ingress of a call what became of what it had set aside for it.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn tell_settled(&self, ingress: &ProcessId, settled: &Settled) -> Result<(), BusError> {
        self.bus.tell_settled(ingress, settled).await
    }

    fn held(&self) -> MutexGuard<'_, HashMap<RequestId, HeldCall>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passers(&self) -> MutexGuard<'_, HashMap<RequestId, mpsc::Sender<PassOn>>> {
        self.passers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call. One that this process holds already was given up, unless it is passed on within the process.
    fn hold(&self, request: RequestId, held: HeldCall) {
        let turn = held.first_seq / TURN;
        let earlier = self.held().insert(request, held);
        if let Some(earlier) = earlier.filter(|earlier| earlier.first_seq / TURN < turn) {
            earlier.give_up();
        }
    }

    async fn obey(self, mut controls: Arrivals) {
        while let Some(message) = controls.next().await {
            let Ok(id) = Uuid::parse_str(last_token(&message.subject)) else { continue };
            let request = RequestId(id);
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                self.tell_passer(request, PassOn::NoPool);
                continue;
            }
            if let Some(held) = self.held().get(&request) {
                held.is_heard_of(ClientPiece::decode(&message.payload));
            }
            if ClientPiece::decode(&message.payload).is_some() {
                continue;
            }
            match serde_json::from_slice(&message.payload) {
                Ok(Control::Probe) => self.answer_probe(request, message).await,
                Ok(Control::Taken) => self.tell_passer(request, PassOn::Taken),
                Ok(control @ (Control::Cancel | Control::Outrun)) => {
                    if let Some(held) = self.held().get(&request) {
                        held.orders.is_outrun.store(control == Control::Outrun, Ordering::Release);
                        held.cancelled.cancel();
                    }
                }
                Ok(Control::GiveUp(before)) => {
                    if let Some(held) = self.held().get(&request).filter(|held| held.first_seq < before) {
                        held.give_up();
                    }
                }
                Ok(Control::Credit(bytes)) => {
                    if let Some(held) = self.held().get(&request) {
                        held.credit.add_permits(bytes as usize);
                    }
                }
                Err(error) => error!(%error, "a control message cannot be read"),
            }
        }
    }

    fn tell_passer(&self, request: RequestId, what: PassOn) {
        if let Some(passer) = self.passers().get(&request) {
            // Full means that it has its answer already.
            let _ = passer.try_send(what);
        }
    }

    async fn answer_probe(&self, request: RequestId, probe: Message) {
        let Some(reply) = probe.reply else { return };
        let lives = is_pulse(request) || self.held().contains_key(&request);
        // That it lives goes the shortest way, so that calls within a process outlive a nats-server that is gone. That it knows
        // no such call goes over NATS always: the call's last frame may have gone there, and must come first.
        let inbox = lives.then(|| inbox_of(&reply));
        let payload = if lives { Payload::Alive } else { Payload::Gone };
        let frame = Frame { seq: 0, payload }.encode().expect("frames have a wire form");
        if let Err(error) = self.bus.send(inbox.as_deref(), reply.to_string(), None, frame).await {
            warn!(%error, "a probe could not be answered");
        }
    }
}

impl HeldCall {
    fn give_up(&self) {
        self.orders.is_given_up.store(true, Ordering::Release);
        self.cancelled.cancel();
    }

    /// The ingress lives, and perhaps its client says something. What is more than may be under way ends the call.
    fn is_heard_of(&self, piece: Option<ClientPiece>) {
        if let Some(pieces) = &self.pieces
            && !pieces.pass(piece)
        {
            self.cancelled.cancel();
        }
    }
}

impl Calls {
    /// Waits for the next call. `None` when the subscription has ended. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Option<Arrived> {
        let message = self.arrivals.next_fairly().await?;
        Some(Arrived { desk: self.desk.clone(), message })
    }

    /// From this process come no more calls.
    pub fn shut(&mut self) {
        self.arrivals.close_shortcut();
    }

    /// Takes no more calls, and gives those that were already on their way.
    pub async fn close(mut self) -> Vec<Arrived> {
        self.shut();
        if let Err(error) = self.arrivals.subscriber().unsubscribe_after(AT_ONCE).await {
            warn!(%error, "a subscription could not be closed");
        }
        // The answer comes after everything that the server had sent us before it knew.
        if timeout(LEFTOVERS, self.desk.bus.round_trip()).await.is_err() {
            warn!("NATS does not say whether there are more calls on their way");
        }
        let rest = self.arrivals.rest().into_iter();
        rest.map(|message| Arrived { desk: self.desk.clone(), message }).collect()
    }
}

impl Arrived {
    /// Reads the call. `None` when that cannot be done; the ingress knows then, or finds out by its probe.
    pub async fn read(self, memory: &Memory) -> Option<Incoming> {
        let Self { desk, message } = self;
        let read = match Envelope::decode(&message.payload).map_err(failed("read a call")) {
            Ok((envelope, inline)) => desk.accept(envelope, inline, message.reply, memory).await,
            Err(error) => {
                desk.refuse(message.reply).await;
                Err(error)
            }
        };
        read.map_err(|error| error!(%error, "a call cannot be read: is this worker older than the ingress?")).ok()
    }
}

impl Desk {
    /// Tells the ingress of a call that it cannot be read here, so that another worker gets it at once.
    async fn refuse(&self, reply: Option<Subject>) {
        let Some(reply) = reply else { return };
        let declined = Declined { worker: self.bus.process().clone(), reason: DeclineReason::Unreadable };
        let payload = Payload::Declined(declined);
        let frame = Frame { seq: 0, payload }.encode().expect("frames have a wire form");
        if let Err(error) = self.bus.client.publish(reply, frame).await {
            warn!(%error, "the ingress of a call that cannot be read could not be told");
        }
    }

    async fn accept(
        &self,
        envelope: Envelope,
        inline: Bytes,
        reply: Option<Subject>,
        memory: &Memory,
    ) -> Result<Incoming, BusError> {
        let subjects = &self.bus.subjects;
        let (subject, inbox, credit) = if envelope.kept {
            (subjects.kept_reply(&envelope.ingress, envelope.call_id()), None, KEPT_CREDIT)
        } else {
            let inbox = Some(subjects.replies(&envelope.ingress));
            (subjects.reply(&envelope.ingress, envelope.call_id()), inbox, STREAM_CREDIT)
        };
        let credit = Arc::new(Semaphore::new(credit as usize));
        let (desk, request, next_seq) = (self.clone(), envelope.call_id(), envelope.next_seq);
        let first_seq = next_seq;
        let (cancelled, orders) = (CancellationToken::new(), Arc::<Orders>::default());
        let is_session = envelope.operation == Operation::Realtime;
        let (pieces, client) = is_session.then(pieces::channel).unzip();
        self.hold(
            request,
            HeldCall {
                cancelled: cancelled.clone(),
                orders: orders.clone(),
                credit: credit.clone(),
                first_seq,
                pieces,
            },
        );
        let taken = Instant::now();
        let mut replies =
            Replies { desk, request, subject, inbox, next_seq, credit, cancelled, orders, taken, first_seq, client };
        if let Some(passer) = reply.filter(|reply| **reply != *replies.subject) {
            // First to the ingress and then to the worker that passed it on: there is no moment when nobody holds it.
            replies.accepted().await?;
            let taken = serde_json::to_vec(&Control::Taken).map_err(failed("write a control message"))?;
            self.bus.client.publish(passer, taken.into()).await.map_err(failed("take a call"))?;
        }
        if matches!(envelope.body, Body::Stored(_)) && replies.next_seq == next_seq {
            // Fetching takes its time, and a worker that nobody knows is soon given up.
            replies.accepted().await?;
        }
        let (body, memory) = match self.bus.fetch_body(&envelope.body, inline, memory).await {
            Ok(body) => body,
            Err(error) => {
                let failure = Failure::gateway(FailureKind::Internal, "the request's body could not be fetched");
                let failed = Failed { failure, target: None, attempts: envelope.attempts, sent: None };
                replies.send(Payload::Failed(failed)).await?;
                return Err(error);
            }
        };
        let memory = match memory {
            Some(mut memory) if envelope.operation != Operation::Embeddings => {
                let values = heavy(body.len(), || values(&body)).await;
                memory.grow(values).is_ok().then_some(memory)
            }
            memory => memory,
        };
        Ok(Incoming { envelope, body, replies, memory })
    }
}
