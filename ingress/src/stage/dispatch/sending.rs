//! Whom a call is sent to: the first link that is served; a place in the queue when all workers are busy; and another
//! worker when the one that held the call is gone before anything came of it. And, where the operator wants it, a second
//! target beside one that is slow. Reads no content.

use super::beginning::{Beginning, Unsent, first_content, internal};
use crate::config::Hedge;
use crate::limits::Hold;
use crate::queue::QueuedCall;
use crate::refusal::Refusal;
use crate::state::Shared;
use bytes::Bytes;
use penstock_runtime::bus::PendingCall;
use penstock_runtime::clock;
use penstock_schemas::envelope::{Envelope, Traffic};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::{ProcessId, ProviderId};
use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;
use tokio::select;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// How long a call waits before it is given to another worker, in milliseconds, each time that this happens; then no more. Another
/// half a second passes each time until it is known that a worker is gone. A worker that died is replaced at once; a
/// nats-server that died with calls in it is, for those that used it, after 4 to 9 s.
const OTHERS: [u64; 8] = [0, 0, 500, 1000, 2000, 3000, 4000, 5000];

/// Between two looks for a free worker.
const LOOK: Duration = Duration::from_millis(20);

/// Of the slots of a provider's workers, this part may be looked for at once, by one call each; [`SEEKERS`] at most. A call
/// that has just come waits behind so many at least, whosever they are.
const SEEKER_PART: u32 = 16;
const SEEKERS: u32 = 16;

/// How long a worker may take to say whether it has a slot: it lets a call wait in line for 300 ms.
const SAYS_SO: Duration = Duration::from_millis(450);

/// What a batch is told to wait when pools are full.
const LATER: Duration = Duration::from_millis(250);

/// What the answer of a call counts in the queue, in bytes, besides its request.
const ANSWER_COST: u64 = 2048;

/// A call on its way to its first content.
pub(super) struct Sending<'a> {
    ingress: &'a Shared,
    call: PendingCall,
    envelope: Envelope,
    body: Bytes,
    /// Workers that held the call and are gone.
    gone: BTreeSet<ProcessId>,
    others: usize,
    /// Whether a worker may have the call: it was published, and the server has not said that nobody takes it.
    may_be_held: bool,
    /// What was set aside besides, for a second call.
    held: Vec<Hold>,
}

impl<'a> Sending<'a> {
    pub(super) fn new(ingress: &'a Shared, call: PendingCall, envelope: Envelope, body: Bytes) -> Self {
        Self { ingress, call, envelope, body, gone: BTreeSet::new(), others: 0, may_be_held: false, held: Vec::new() }
    }

    /// What was set aside for second calls.
    pub(super) fn take_held(&mut self) -> Vec<Hold> {
        std::mem::take(&mut self.held)
    }

    /// The call, for the rest of its answer.
    pub(super) fn into_call(self) -> PendingCall {
        self.call
    }

    /// Sends the call until an answer begins.
    pub(super) async fn answer(&mut self) -> Result<Beginning, Unsent> {
        let answered = self.answer_by_any().await;
        if let Err(unsent) = &answered
            && let Refusal::Failed(failure) = &unsent.refusal
            && matches!(failure.kind, FailureKind::NoPool | FailureKind::Busy)
            && !self.may_be_held
            && self.gone.is_empty()
            && let Some(reservation) = &self.envelope.reservation
        {
            // No worker holds it, so none will tell.
            self.ingress.keeper.release(reservation);
        }
        answered
    }

    async fn answer_by_any(&mut self) -> Result<Beginning, Unsent> {
        let is_queue = self.ingress.queues.length(self.provider()) > 0;
        match self.envelope.traffic() {
            // Behind those who came before.
            Traffic::Sync if is_queue && self.envelope.plan.next().is_none() => {
                Box::pin(self.wait_for_place()).await?;
            }
            // Callers wait for the next free slot: a batch waits elsewhere.
            Traffic::Batch if is_queue => return Err(Refusal::from(full(self.provider())).into()),
            Traffic::Sync | Traffic::Batch => self.publish().await?,
        }
        loop {
            let fallen = match first_content(&mut self.call).await {
                Ok(begun) => return Ok(begun),
                Err(fallen) => fallen,
            };
            match fallen.failure.kind {
                FailureKind::Lost => Box::pin(self.ask_another(fallen.failure)).await?,
                FailureKind::NoPool => {
                    self.may_be_held = false;
                    Box::pin(self.go_on(fallen.failure)).await?;
                }
                _ => return Err(fallen.into_unsent()),
            }
        }
    }

    /// When to ask the second target too, and what. `None` when there is none, when the call is a batch's, and while it is not
    /// known how long the first one usually takes.
    pub(super) fn hedge(&self, hedge: Hedge) -> Option<(Duration, Envelope)> {
        let envelope = &self.envelope;
        let wait = match hedge {
            Hedge::After(wait) => wait,
            Hedge::P95 => self.ingress.health.first_token_p95(&envelope.plan.current().target, clock::now())?,
        };
        // Two answers cannot both be kept under one name.
        let plan = envelope.plan.next().filter(|_| !envelope.kept && envelope.traffic() == Traffic::Sync)?;
        let (call, attempts) = (Some(clock::request_id()), envelope.attempts + 1);
        Some((wait, Envelope { plan, call, attempts, ..envelope.clone() }))
    }

    /// Sends the call, and `second` too if nothing has come after `wait`. The first content wins; the other call is given
    /// up, and its cost is in the ledger as that of a hedge.
    pub(super) async fn race(&mut self, wait: Duration, envelope: Envelope) -> Result<Beginning, Unsent> {
        let (ingress, body) = (self.ingress, self.body.clone());
        let mut second;
        let winner = {
            let mut own = pin!(self.answer());
            if let Ok(begun) = timeout(wait, &mut own).await {
                return begun;
            }
            let mut envelope = envelope;
            let Some(held) = fund_again(ingress, &mut envelope).await else {
                return own.await; // there is no money for a second one
            };
            let call = ingress.inbox.expect(envelope.call_id(), envelope.deadline);
            second = Self { held, ..Self::new(ingress, call, envelope, body) };
            let mut other = pin!(second.answer());
            select! {
                begun = &mut own => match begun {
                    Ok(begun) => Winner::Own(Ok(begun)),
                    Err(unsent) => other.await.map_or(Winner::Own(Err(unsent)), Winner::Other),
                },
                begun = &mut other => match begun {
                    Ok(begun) => Winner::Other(begun),
                    Err(_) => Winner::Own(own.await),
                },
            }
        };
        let (loser, begun) = match winner {
            Winner::Other(begun) => {
                let own = std::mem::replace(self, second);
                self.held.extend(own.held);
                (own.call, Ok(begun))
            }
            Winner::Own(begun) => {
                self.held.extend(second.held);
                (second.call, begun)
            }
        };
        loser.outrun();
        begun
    }

    fn provider(&self) -> &ProviderId {
        &self.envelope.plan.current().target.provider
    }

    /// Publishes the call for any worker of its link; past the queue when NATS might still give it to one that is gone.
    async fn publish(&mut self) -> Result<(), Refusal> {
        let is_doubtful = !self.gone.is_empty() || self.ingress.health.has_silent_worker(self.provider(), clock::now());
        let to = is_doubtful.then(|| self.worker()).flatten();
        self.publish_for(to.as_ref()).await
    }

    async fn publish_for(&mut self, worker: Option<&ProcessId>) -> Result<(), Refusal> {
        self.may_be_held = true;
        let sent = self.call.publish(&self.envelope, &self.body, worker).await;
        sent.map_err(|error| internal(&error))
    }

    /// The worker of the link that has most room.
    fn worker(&self) -> Option<ProcessId> {
        self.ingress.health.worker_of(self.provider(), &self.gone, clock::now())
    }

    /// Gives the call to a worker, wherever one has a slot, or will have one soon. False when none has.
    async fn find_slot(&mut self) -> Result<bool, Refusal> {
        if self.call.is_pool_full(self.provider()) {
            return Ok(false);
        }
        self.publish().await?;
        if self.call.found_pool().await {
            return Ok(true);
        }
        self.may_be_held = false;
        // None listens. A pool of this process says when it does again; in another one the call waits in line. One that was
        // tried elsewhere does not: a worker gives it up instead of giving it back.
        let worker = self.worker().filter(|worker| !self.call.is_nearby(worker) && self.envelope.attempts == 0);
        let Some(worker) = worker else { return Ok(false) };
        self.publish_for(Some(&worker)).await?;
        self.may_be_held = self.call.found_slot(SAYS_SO).await;
        Ok(self.may_be_held)
    }

    /// The worker that held the call is gone, and the client has nothing yet: another one gets it. What the first one did
    /// is in the ledger, or becomes an attempt of unknown outcome there.
    async fn ask_another(&mut self, lost: Failure) -> Result<(), Refusal> {
        let request_id = self.envelope.request_id;
        let worker = self.call.give_up_worker();
        let Some(pause) = OTHERS.get(self.others).copied().map(Duration::from_millis) else { return Err(lost.into()) };
        self.others += 1;
        warn!(%request_id, worker = worker.as_ref().map(tracing::field::display), "a worker is gone: another gets its call");
        self.gone.extend(worker);
        if self.envelope.deadline.since(clock::now()) <= pause {
            return Err(lost.into());
        }
        sleep(pause).await;
        // What the one that is gone has spent is the ledger's to tell: the other one needs as much again.
        let Some(held) = fund_again(self.ingress, &mut self.envelope).await else { return Err(lost.into()) };
        self.held.extend(held);
        self.envelope.attempts += 1;
        self.envelope.next_seq = self.call.next_seq();
        // What the server says of the first one's messages would be taken for news of the other's.
        while !self.ingress.bus.is_connected() || !self.call.catch_up().await {
            if clock::now() >= self.envelope.deadline {
                return Err(lost.into());
            }
            sleep(LOOK).await;
        }
        self.publish().await
    }

    /// Nobody takes the call at this link: another link, or a place in the queue.
    async fn go_on(&mut self, failure: Failure) -> Result<(), Refusal> {
        self.envelope.next_seq = self.call.next_seq();
        if self.envelope.traffic() == Traffic::Batch && self.is_served(self.provider()) {
            // Its pools are full, which is no reason for another target: the batch comes again.
            return Err(full(self.provider()).into());
        }
        if let Some(next) = self.envelope.plan.next() {
            self.envelope.plan = next;
            return self.publish().await;
        }
        let is_served = |provider: &ProviderId| self.is_served(provider);
        let busy = self.envelope.plan.links().iter().position(|link| is_served(&link.target.provider));
        match busy.and_then(|at| self.envelope.plan.turn_to(at)) {
            Some(plan) => self.envelope.plan = plan,
            None if self.wake_wait().is_zero() => return Err(self.explain(failure).into()),
            // What waits is seen by the scaler, which starts a worker for it: for the link that is wanted most.
            None => {
                self.envelope.plan = self.envelope.plan.turn_to(0).unwrap_or_else(|| self.envelope.plan.clone());
                return Box::pin(self.wait_for_place()).await;
            }
        }
        match self.envelope.traffic() {
            Traffic::Sync => Box::pin(self.wait_for_place()).await,
            Traffic::Batch => Err(full(self.provider()).into()),
        }
    }

    fn is_served(&self, provider: &ProviderId) -> bool {
        self.ingress.health.capacity(provider, &self.gone, clock::now()).workers > 0
    }

    /// How long a call waits for a worker of a provider of which none is known: one may be started for it, and one with all
    /// its slots taken may not have told of itself since this process connected.
    fn wake_wait(&self) -> Duration {
        self.ingress.config.wake_timeout.max(self.ingress.health.complete_in(clock::now()))
    }

    /// Waits until a worker takes the call, in a fair order, and no longer than that can be expected to help; where there is
    /// none at all, for one to start.
    async fn wait_for_place(&mut self) -> Result<(), Refusal> {
        let (provider, now) = (self.provider().clone(), clock::now());
        let queues = &self.ingress.queues;
        // As long as no call ends, nobody can tell how long it takes: the calls may be long, or a scaler brings more workers.
        let capacity = self.ingress.health.capacity(&provider, &self.gone, now);
        let per_second = capacity.ended_per_second;
        let all = Duration::from_secs(1).saturating_mul(as_u32(queues.length(&provider)));
        let expected = all.checked_div(per_second).unwrap_or_default();
        let (wake_wait, queue_timeout) = (self.wake_wait(), self.ingress.config.queue_timeout);
        let wake_until = now.after(wake_wait);
        let longest = if self.is_served(&provider) { queue_timeout } else { queue_timeout.max(wake_wait) };
        let left = self.envelope.deadline.since(now).min(longest);
        if expected > left {
            return Err(busy(&provider, expected).into());
        }
        let project = self.envelope.caller.project.clone();
        let seekers = self.seekers(capacity.slots);
        let cost = self.body.len() as u64 + ANSWER_COST;
        let place = QueuedCall { provider: &provider, project: &project, cost, at_once: seekers as usize };
        let until = now.after(left);
        if let Ok(turn) = timeout(left, queues.turn(place)).await {
            let _turn = turn.map_err(|_| busy(&provider, expected.max(Duration::from_secs(1))))?;
            while clock::now() < until {
                // Where one may start, what is known of workers is asked, and not the bus again and again with the whole call.
                if !self.is_served(&provider) && clock::now() < wake_until {
                    sleep(LOOK).await;
                    continue;
                }
                if self.find_slot().await? {
                    return Ok(());
                }
                if !self.is_served(&provider) && clock::now() >= wake_until {
                    return Err(self.explain(unserved()).into());
                }
                // Another process's pool can only be tried again; one of this process says when it has room.
                let pause = until.since(clock::now()).min(LOOK * seekers);
                let _ = timeout(pause, self.call.pool_nearby(&provider)).await;
            }
        }
        Err(if self.is_served(&provider) { busy(&provider, left) } else { self.explain(unserved()) }.into())
    }

    /// How many calls may look for one of so many slots at once. A pool of this process says when it has room, so one is enough.
    fn seekers(&self, slots: u32) -> u32 {
        let has_nearby =
            self.ingress.health.has_worker(self.provider(), clock::now(), |worker| self.call.is_nearby(worker));
        if has_nearby { 1 } else { (slots / SEEKER_PART).clamp(1, SEEKERS) }
    }

    /// Says which targets nobody serves.
    fn explain(&self, failure: Failure) -> Failure {
        let targets: Vec<String> = self.envelope.plan.links().iter().map(|link| link.target.to_string()).collect();
        let message = format!("no worker serves {} now: is one running for this provider?", targets.join(" or "));
        Failure { message, retry_after_ms: Some(1000), ..failure }
    }
}

/// Sets aside as much as for the first call, where anything is; `None` when there is not enough.
pub(super) async fn fund_again(ingress: &Shared, envelope: &mut Envelope) -> Option<Vec<Hold>> {
    let Some(reservation) = &envelope.reservation else { return Some(Vec::new()) };
    let held = ingress.keeper.set_aside_again(reservation, envelope.deadline).await.ok()?;
    envelope.reservation = Some(held.reservation.clone());
    Some(vec![held.sent()])
}

/// Whose answer begins first.
enum Winner {
    Own(Result<Beginning, Unsent>),
    Other(Beginning),
}

fn busy(provider: &ProviderId, wait: Duration) -> Failure {
    let message = format!("all workers of {provider} are busy, and the queue in front of them is too long");
    let mut failure = Failure::gateway(FailureKind::Busy, message);
    failure.retry_after_ms = u64::try_from(wait.as_millis()).ok();
    failure
}

fn unserved() -> Failure {
    Failure::gateway(FailureKind::NoPool, "")
}

/// What a batch is told, which has no place in the queue.
fn full(provider: &ProviderId) -> Failure {
    let message = format!("all slots of {provider} that a batch may have are taken");
    let mut failure = Failure::gateway(FailureKind::Busy, message);
    failure.retry_after_ms = u64::try_from(LATER.as_millis()).ok();
    failure
}

fn as_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
