//! One call that is under way: published, followed frame by frame, and given up when its worker is silent for too long. Knows
//! nothing of other calls.

use super::pulse::{BEAT, LATE, LATE_WAITS, WorkerPulse, WorkerTrouble};
use super::{Inbox, Pusher, is_nobody};
use crate::bus::shortcut::SentTo;
use crate::bus::{BusError, failed};
use crate::clock;
use async_nats::Message;
use bytes::Bytes;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Envelope, Operation, Traffic};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Control, DeclineReason, Declined, FRAME_COST, Frame, Payload, STREAM_CREDIT, TURN};
use penstock_schemas::name::{ProcessId, ProviderId, RequestId};
use penstock_schemas::subject;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

/// Questions without an answer after which the worker is given up: 450 to 600 ms of silence in all. Each is a wait of its own,
/// so that no worker is given up because this machine was suspended.
pub(super) const PROBES: u32 = 2;

/// The same for calls of batches: 3 s of silence in all. No caller waits, a batch may take all the time that a machine has, and
/// a call that is given to another worker too early is paid for twice.
const BATCH_PROBES: u32 = 19;

/// The same for sessions: 2 s of silence in all. One lasts for an hour and says nothing most of the time, and what was said in
/// it cannot be given to another worker; that a worker has died, the server says at the first probe.
const SESSION_PROBES: u32 = 12;

/// The longest wait between two questions to a worker that lives, whether it still holds a call. The first comes after a beat
/// without a word, and each wait is twice the one before.
const OWN_PROBE: Duration = Duration::from_millis(2400);

/// How long the server may take to answer in the middle of a restart. Calls wait for it no longer than for their workers.
const CAUGHT_UP: Duration = Duration::from_secs(2);

/// A call that is under way. Dropping it before its terminal frame cancels it, at the provider too, unless its answer is
/// kept.
pub struct PendingCall {
    pub(super) inbox: Inbox,
    pub(super) request: RequestId,
    pub(super) deadline: UnixMicros,
    pub(super) arrivals: mpsc::Receiver<Message>,
    /// What has come and was looked at, but not read.
    pub(super) peeked: Option<Message>,
    pub(super) worker: Option<ProcessId>,
    /// That of the worker, once it was silent.
    pub(super) pulse: Option<Arc<WorkerPulse>>,
    pub(super) next_seq: u32,
    pub(super) unpaid: u32,
    pub(super) done: bool,
    /// Where it was published.
    pub(super) way: SentTo,
    pub(super) is_kept: bool,
    /// What the worker is told when nobody waits any more.
    pub(super) farewell: Control,
    /// Questions that the worker may leave without an answer.
    pub(super) probes: u32,
    /// The last question to the server, or to the worker, that is not a part of the call. Answers to earlier ones are stale.
    pub(super) mark: u32,
    /// How much more the client of a session may say before the worker has read it.
    pub(super) window: Arc<Semaphore>,
}

impl PendingCall {
    /// Publishes the call for the pool of its plan's current link: for any worker of it, or for this one.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn publish(&mut self, envelope: &Envelope, body: &Bytes, to: Option<&ProcessId>) -> Result<(), BusError> {
        self.forget_worker();
        let bus = &self.inbox.0.bus;
        self.probes = match (envelope.traffic(), envelope.operation) {
            (Traffic::Batch, _) => BATCH_PROBES,
            (Traffic::Sync, Operation::Realtime) => SESSION_PROBES,
            (Traffic::Sync, _) => PROBES,
        };
        let provider = &envelope.plan.current().target.provider;
        let subject = match to {
            None => bus.subjects.call(provider, envelope.operation, envelope.traffic()),
            Some(worker) => bus.subjects.direct(worker, provider, envelope.traffic()),
        };
        let reply = self.reply();
        let inline =
            if matches!(envelope.body, penstock_schemas::envelope::Body::Inline) { body } else { &Bytes::new() };
        let call = envelope.encode(inline).map_err(failed("write a call"))?;
        let pool = bus.subjects.calls(provider, envelope.traffic());
        let near = to.is_none().then_some(pool.as_str());
        self.way = bus.send(near, subject, Some(reply), call).await.map_err(failed("publish a call"))?;
        Ok(())
    }

    /// Whether this process has a pool for sync calls, without room for one.
    pub fn is_pool_full(&self, provider: &ProviderId) -> bool {
        let bus = &self.inbox.0.bus;
        bus.shortcut.room(&bus.subjects.calls(provider, Traffic::Sync)) == Some(false)
    }

    /// Waits until a pool of this process has room for a sync call.
    pub async fn pool_nearby(&self, provider: &ProviderId) {
        let bus = &self.inbox.0.bus;
        bus.shortcut.has_room(&bus.subjects.calls(provider, Traffic::Sync)).await;
    }

    /// Waits for what the worker says next, at most until the call's deadline.
    ///
    /// # Errors
    /// `NoPool` when nobody serves the provider that the call was published for; `Deadline`; `Lost` when the worker that
    /// holds the call is gone or a frame is missing.
    pub async fn next(&mut self) -> Result<Payload, Failure> {
        let (mut silent_waits, mut late_waits) = (0, 0);
        let (mut heard_at, mut wait) = (Instant::now(), BEAT);
        loop {
            let (began, left) = (Instant::now(), self.deadline.since(clock::now()));
            match timeout(left.min(wait), self.arrival(heard_at)).await {
                Ok(message) => {
                    let message = message?;
                    (silent_waits, heard_at) = (0, Instant::now());
                    if let Some(payload) = self.read(&message)? {
                        return Ok(payload);
                    }
                }
                Err(_) if left <= wait => return Err(late()),
                Err(_) => {
                    if let Some(worker) = &self.worker {
                        self.inbox.probe(worker.clone(), self.request, self.mark);
                        self.pulse.get_or_insert_with(|| self.inbox.pulse(worker));
                        wait = OWN_PROBE.min(wait * 2);
                        continue;
                    }
                    let is_late = began.elapsed() > BEAT + LATE && late_waits < LATE_WAITS;
                    *(if is_late { &mut late_waits } else { &mut silent_waits }) += 1;
                    if silent_waits > self.probes {
                        return Err(silent());
                    }
                }
            }
        }
    }

    /// Waits for the next message. Of a worker that was silent before, it fails when that one is in trouble.
    async fn arrival(&mut self, heard_at: Instant) -> Result<Message, Failure> {
        if let Some(message) = self.peeked.take() {
            return Ok(message);
        }
        let trouble = async {
            match &self.pulse {
                Some(pulse) => pulse.trouble(heard_at, self.probes).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            message = self.arrivals.recv() => message.ok_or_else(|| lost("the answer came faster than it was read")),
            trouble = trouble => Err(match trouble {
                WorkerTrouble::Silent => silent(),
                WorkerTrouble::Gone => gone(),
            }),
        }
    }

    /// Whether a call that was just published has found a pool. Asks the server where it went there, since no message says so.
    pub async fn found_pool(&mut self) -> bool {
        if self.way == SentTo::Near {
            return true;
        }
        let Ok(mark) = self.ask_server().await else { return true };
        let answered = timeout(CAUGHT_UP, async {
            while let Some(message) = self.arrivals.recv().await {
                match subject::mark(&message.subject) {
                    Some(answered) if answered == mark => return true,
                    Some(_) => {}
                    None if is_nobody(&message) => return false,
                    None => {
                        self.peeked = Some(message);
                        return true;
                    }
                }
            }
            true
        });
        answered.await.unwrap_or(true)
    }

    /// Whether the worker that the call was just given to has a slot for it. One that says nothing within `wait` has it, or is
    /// gone: to be seen by what comes next.
    pub async fn found_slot(&mut self, wait: Duration) -> bool {
        let answered = timeout(wait, async {
            while let Some(message) = self.arrivals.recv().await {
                match subject::mark(&message.subject) {
                    Some(_) => {}
                    None if is_nobody(&message) || is_declined(&message) => return false,
                    None => {
                        self.peeked = Some(message);
                        return true;
                    }
                }
            }
            true
        });
        answered.await.unwrap_or(true)
    }

    /// Whether what is sent to this worker is handed over in memory.
    pub fn is_nearby(&self, worker: &ProcessId) -> bool {
        let bus = &self.inbox.0.bus;
        bus.shortcut.room(&bus.subjects.controls(worker)).is_some()
    }

    /// Waits until everything has come that the server has to say of what was published so far, and forgets it: nothing of it
    /// can be taken for an answer to what is published next. False when the server is silent.
    pub async fn catch_up(&mut self) -> bool {
        let Ok(mark) = self.ask_server().await else { return false };
        self.peeked = None;
        let answered = timeout(CAUGHT_UP, async {
            while let Some(message) = self.arrivals.recv().await {
                if subject::mark(&message.subject) == Some(mark) {
                    return true;
                }
            }
            false
        });
        answered.await.unwrap_or(false)
    }

    /// Asks the server for an answer that comes the way that replies come, and so after those that it has sent before.
    async fn ask_server(&mut self) -> Result<u32, BusError> {
        self.mark += 1;
        let bus = &self.inbox.0.bus;
        let reply = subject::marked(&self.reply(), self.mark);
        let asked = bus.client.publish_with_reply(bus.subjects.nobody(), reply, Bytes::new()).await;
        asked.map_err(failed("ask the server"))?;
        Ok(self.mark)
    }

    fn reply(&self) -> String {
        let bus = &self.inbox.0.bus;
        if self.is_kept {
            bus.subjects.kept_reply(bus.process(), self.request)
        } else {
            bus.subjects.reply(bus.process(), self.request)
        }
    }

    /// What a message says, unless it only says that the worker lives.
    fn read(&mut self, message: &Message) -> Result<Option<Payload>, Failure> {
        if let Some(mark) = subject::mark(&message.subject) {
            return self.read_answer(message, mark);
        }
        if is_nobody(message) {
            // With a worker known, it answers an earlier publishing of the call: stale.
            let nobody = Failure::gateway(FailureKind::NoPool, "no worker serves this provider now");
            return if self.worker.is_none() { Err(nobody) } else { Ok(None) };
        }
        let frame = Frame::decode(&message.payload).map_err(|error| {
            Failure::gateway(FailureKind::Internal, format!("a reply frame cannot be read: {error}"))
        })?;
        match &frame.payload {
            Payload::Alive | Payload::Gone => return Ok(None),
            Payload::Read(cost) => {
                self.window.add_permits(*cost as usize);
                return Ok(None);
            }
            Payload::Declined(by) if self.is_stale(by, frame.seq) => return Ok(None),
            Payload::Declined(by) => return Err(self.declined(by)),
            _ if frame.seq / TURN < self.next_seq / TURN => return Ok(None),
            _ if frame.seq != self.next_seq => return Err(lost("a part of the answer was lost on the bus")),
            Payload::Accepted(accepted) => self.is_held_by(&accepted.worker),
            Payload::Chunk(Some(head), _) => self.is_held_by(&head.worker),
            Payload::Chunk(None, _) => {}
            Payload::End(..) | Payload::Failed(_) => self.finish(),
        }
        self.next_seq += 1;
        Ok(Some(frame.payload))
    }

    fn is_held_by(&mut self, worker: &ProcessId) {
        if self.worker.as_ref() != Some(worker) {
            (self.worker, self.pulse) = (Some(worker.clone()), None);
        }
    }

    fn forget_worker(&mut self) -> Option<ProcessId> {
        self.pulse = None;
        self.worker.take()
    }

    /// What the worker, or the server in its place, answers to a probe.
    fn read_answer(&self, message: &Message, mark: u32) -> Result<Option<Payload>, Failure> {
        if self.worker.is_none() || mark != self.mark {
            return Ok(None);
        }
        if is_nobody(message) {
            return Err(gone());
        }
        match Frame::decode(&message.payload).map(|frame| frame.payload) {
            Ok(Payload::Gone) => Err(lost("the worker no longer knows the call")),
            _ => Ok(None),
        }
    }

    /// Whether the worker that declines was given up before.
    fn is_stale(&self, by: &Declined, seq: u32) -> bool {
        let is_another = self.worker.as_ref().is_some_and(|worker| *worker != by.worker);
        // What cannot be read has no number.
        is_another || by.reason == DeclineReason::Full && seq / TURN < self.next_seq / TURN
    }

    /// Another worker may get the call: of one that is full, any; of one that cannot read it, any other.
    fn declined(&mut self, by: &Declined) -> Failure {
        match by.reason {
            DeclineReason::Full => {
                self.forget_worker();
                Failure::gateway(FailureKind::NoPool, "the worker that got the call has no slot for it")
            }
            DeclineReason::Unreadable => {
                self.is_held_by(&by.worker);
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
        let worker = self.forget_worker()?;
        self.inbox.order(worker.clone(), self.request, Control::GiveUp(self.next_seq));
        Some(worker)
    }

    /// Gives the call up because another one was faster.
    pub fn outrun(mut self) {
        self.farewell = Control::Outrun;
    }

    /// The way from the client of a session to the worker that holds it; `None` before that one has told its name.
    pub fn pusher(&self) -> Option<Pusher> {
        let worker = self.worker.as_ref()?;
        Some(Pusher::new(&self.inbox.0.bus, worker, self.request, self.window.clone()))
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

/// Whether a worker has no slot for the call.
fn is_declined(message: &Message) -> bool {
    let frame = Frame::decode(&message.payload).ok();
    frame.is_some_and(|frame| matches!(frame.payload, Payload::Declined(Declined { reason: DeclineReason::Full, .. })))
}

fn silent() -> Failure {
    lost("the worker that held the call does not answer")
}

fn gone() -> Failure {
    lost("the worker that held the call is gone")
}

fn lost(message: &str) -> Failure {
    Failure::gateway(FailureKind::Lost, message)
}

fn late() -> Failure {
    Failure::gateway(FailureKind::Deadline, "the request's time is over")
}
