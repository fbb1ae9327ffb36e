//! One call: attempts at the links of its plan until one is served or the decision is to stop, or another pool that takes it;
//! and its money settled in the end. Its frames go into a sink. Knows the plan; knows nothing of slots, of HTTP or of what
//! providers say. How an attempt is made stands in `call/attempt`, what is written of it in `call/ledger`.

use crate::exchange::Attempt;
use crate::keys::KeyFault;
use crate::media::Fetched;
use crate::metrics::WorkerMetrics;
use crate::news::News;
use crate::provider::Provider;
use crate::retry::{Decision, History, IsLast, Policy, RetryBudget, RetryBudgets, WAITS, decide};
use crate::sink::FrameSink;
use bytes::Bytes;
use penstock_dialects::mends::Mends;
use penstock_runtime::bus::{Alarm, BusError, Desk, Incoming, Journal, PassOn, Recorded, Replies};
use penstock_runtime::health::Health;
use penstock_runtime::memory::{Memory, Reserved};
use penstock_runtime::schedule::full_jitter;
use penstock_runtime::{HEAVY, Life, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::body::SentBody;
use penstock_schemas::envelope::{Envelope, Traffic};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Failed, Payload};
use penstock_schemas::name::{ProcessId, Target};
use penstock_schemas::plan::Link;
use std::sync::{Arc, MutexGuard, PoisonError};
use tokio::time::sleep;
use tracing::{debug, error};

mod attempt;
mod learn;
mod ledger;
mod session;
mod settle;

pub(crate) use ledger::End;
pub(crate) use settle::all_recorded;

/// What a caller is told to wait when a pool is full, in milliseconds.
const BUSY_MS: u64 = 1000;

/// Attempts after the first at one link, when the plan does not say.
const RETRIES: u32 = 2;

/// What calls of one provider need of this process. Cloning shares it.
#[derive(Clone)]
pub(crate) struct CallContext {
    /// Who is called.
    pub provider: Arc<Provider>,
    /// The way to the ingresses.
    pub desk: Desk,
    /// The ledger.
    pub journal: Journal,
    /// What calls may take of this process's memory; all pools share it.
    pub memory: Memory,
    /// How all pools of the cluster are.
    pub health: Health,
    /// What this one has to tell.
    pub news: Arc<News>,
    /// How much may be tried again, of either traffic by itself.
    pub retries: Arc<RetryBudgets>,
    /// This process's tasks.
    pub life: Life,
    /// What tells a human.
    pub alarm: Alarm,
    /// What is counted.
    pub metrics: WorkerMetrics,
    /// This process.
    pub worker: ProcessId,
    /// When it began.
    pub started_at: UnixMicros,
}

/// A call that a pool has.
pub(crate) struct Call<S> {
    context: CallContext,
    envelope: Envelope,
    body: Bytes,
    /// The request for this link with its images and documents in it, once they were fetched.
    fetched: Option<Fetched>,
    /// What the provider of this link has refused of the request, and gets otherwise.
    mends: Mends,
    sink: S,
    /// What was sent in the last attempt, where that is wanted.
    sent: Option<Box<SentBody>>,
    /// Ends of attempts that the ledger may not have yet.
    ends: Vec<Recorded>,
    /// Its place in this process's memory; `None`: it cannot be worked on here.
    memory: Option<Reserved>,
}

/// What there is too little of for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// Memory.
    Memory,
    /// A slot.
    Slot,
}

impl Call<Replies> {
    /// One that has come over the bus.
    pub(crate) fn of(incoming: Incoming, context: CallContext) -> Self {
        let Incoming { envelope, body, replies, memory } = incoming;
        Self {
            context,
            envelope,
            body,
            fetched: None,
            mends: Mends::default(),
            sink: replies,
            sent: None,
            ends: Vec::new(),
            memory,
        }
    }
}

impl CallContext {
    /// What the policy says, within the retry budget, and not against a target that is known to be in trouble.
    fn decide(&self, policy: &Policy, link: &Link, history: History, refused: &Failure) -> Decision {
        let now = clock::now();
        match decide(policy, history, refused, now) {
            Decision::Again(wait) => {
                let is_open = policy.is_last == IsLast::No && !self.health.is_closed(link, now);
                let may = !is_open && self.retries(policy.traffic).spend(now);
                if may { Decision::Again(wait) } else { policy.move_on(refused.kind) }
            }
            other => other,
        }
    }

    fn retries(&self, traffic: Traffic) -> MutexGuard<'_, RetryBudget> {
        self.retries.of(traffic).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: FrameSink> Call<S> {
    /// Works it off, if there is memory for it here.
    pub(crate) async fn run(mut self) {
        if self.memory.is_none() {
            return self.pass_by(Lacking::Memory).await;
        }
        let _running = self.context.metrics.running(&self.context.provider.id, self.envelope.traffic());
        if self.body.len() >= HEAVY {
            // To spell it takes a while, and on a busy machine longer than the silence after which a worker is given up.
            self.sink.accept().await;
        }
        if let Err(error) = self.work_off().await {
            error!(request_id = %self.envelope.request_id, %error, "the bus failed in the middle of a call");
        }
        self.settle().await;
    }

    /// A call that there is no slot or no memory for here: another link may have both. A batch's goes back: it has time to
    /// wait for the target that it is meant for. So does one that only lacks a slot, with its money: its ingress lets it wait.
    pub(crate) async fn pass_by(mut self, lacking: Lacking) {
        if let Err(error) = self.turn_away(lacking).await {
            error!(request_id = %self.envelope.request_id, %error, "a call could not be turned away");
        }
        self.settle().await;
    }

    async fn turn_away(&mut self, lacking: Lacking) -> Result<(), BusError> {
        let mut busy =
            Failure::gateway(FailureKind::Busy, format!("all workers of {} are busy", self.context.provider.id));
        busy.retry_after_ms = Some(BUSY_MS);
        if self.envelope.traffic() == Traffic::Batch {
            return self.fail(busy).await;
        }
        let is_untried = self.envelope.last_failure.is_none() && self.envelope.attempts == 0;
        let refused = self.envelope.last_failure.take().unwrap_or(busy);
        if self.offer(&refused).await? {
            return Ok(());
        }
        if lacking == Lacking::Slot && is_untried {
            self.envelope.reservation = None; // it goes back with the call
            return self.sink.decline().await;
        }
        self.fail(refused).await
    }

    /// Attempts at this link until one is served, or the decision is to go on or to stop.
    async fn work_off(&mut self) -> Result<(), BusError> {
        let link = self.envelope.plan.current().clone();
        if let Some(counted) = self.count(&link, None).await {
            return self.sink.send(counted).await;
        }
        let is_last = if self.envelope.plan.next().is_none() { IsLast::Yes } else { IsLast::No };
        let traffic = self.envelope.traffic();
        let policy = Policy::of(&link, RETRIES, is_last, traffic);
        self.context.retries(traffic).earn();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let attempt = match self.open_key(&link, &policy).await {
                Ok(key) => self.attempt(&link, key).await,
                Err(attempt) => attempt,
            };
            let refused = match attempt {
                Attempt::Served => return Ok(()),
                Attempt::Broken(failure) => return self.fail(failure).await,
                Attempt::Cancelled => return self.fail(cancelled()).await,
                Attempt::Refused(failure) => failure,
            };
            if let Some(counted) = self.count(&link, Some(&refused)).await {
                return self.sink.send(counted).await;
            }
            // Each key that is refused is set aside, so this ends.
            if KeyFault::of(&refused).is_some() && self.context.provider.limits.has_open(clock::now()) {
                attempts -= 1;
                continue;
            }
            if self.mends.learn(&refused) {
                self.fetched = None;
                continue;
            }
            let drawn = full_jitter(attempts, WAITS.0, WAITS.1);
            let history = History { attempts, drawn, deadline: self.envelope.deadline };
            match self.context.decide(&policy, &link, history, &refused) {
                Decision::Again(wait) => {
                    debug!(model = %link.target, attempts, ?wait, failure = refused.kind.as_str(), "trying again");
                    if self.sink.wait(sleep(wait)).await.is_none() {
                        return self.fail(cancelled()).await;
                    }
                }
                Decision::Next => return self.pass_on(refused).await,
                Decision::Stop => return self.fail(refused).await,
            }
        }
    }

    /// Gives the call to the next link that has a pool; when none has, the caller learns of the last real failure.
    async fn pass_on(&mut self, refused: Failure) -> Result<(), BusError> {
        if self.offer(&refused).await? { Ok(()) } else { self.fail(refused).await }
    }

    /// Whether the pool of a later link takes the call.
    async fn offer(&mut self, refused: &Failure) -> Result<bool, BusError> {
        if self.record_ends().await.is_err() {
            return Ok(false);
        }
        let now = clock::now();
        let rest = self.envelope.plan.position() + 1;
        let plan = self.envelope.plan.clone().postpone(rest, |link| !self.context.health.is_closed(link, now));
        let mut plan = plan.next();
        self.envelope.last_failure = Some(refused.clone());
        while let Some(next) = plan {
            debug!(request_id = %self.envelope.request_id, model = %next.current().target, "passing the call on");
            self.envelope.plan = next;
            match self.sink.pass_on(&mut self.envelope, &self.body).await? {
                PassOn::NoPool => {}
                // Where it is not known who has it, its ingress will hear from nobody, and asks another.
                PassOn::Taken | PassOn::Unknown => {
                    self.envelope.reservation = None; // it has gone on with the call
                    return Ok(true);
                }
            }
            plan = self.envelope.plan.next();
        }
        Ok(false)
    }

    async fn fail(&mut self, failure: Failure) -> Result<(), BusError> {
        let target: Target = self.envelope.plan.current().target.clone();
        let (attempts, sent) = (self.envelope.attempts, self.sent.take());
        let failed = Failed { failure, target: Some(target), attempts, sent };
        self.sink.send(Payload::Failed(failed)).await
    }
}

fn cancelled() -> Failure {
    Failure::gateway(FailureKind::Cancelled, "the caller went away")
}
