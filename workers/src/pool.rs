//! Stage 7: a pool of one provider takes a call, makes an attempt, decides, and tries again here or passes the call on to
//! the next link's pool. Knows the plan; knows nothing of HTTP or of what providers say. How it comes by its calls stands in
//! `taking`, how an attempt is made in `making`, what is written of it in `ledger`.

use crate::attempt::Attempt;
use crate::gossip::News;
use crate::keys::KeyFault;
use crate::media::Fetched;
use crate::metrics::WorkerMetrics;
use crate::provider::Provider;
use crate::retry::{Decision, History, IsLast, Policy, RetryBudget, RetryBudgets, WAITS, decide};
use crate::slots::{Slot, Slots};
use bytes::Bytes;
use penstock_runtime::bus::{Alarm, Arrived, BusError, Desk, Incoming, Journal, PassOn, Replies};
use penstock_runtime::health::Health;
use penstock_runtime::memory::{Memory, Reserved};
use penstock_runtime::schedule::full_jitter;
use penstock_runtime::{Life, clock};
use penstock_schemas::envelope::{Envelope, Traffic};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Failed, Payload};
use penstock_schemas::name::{ProcessId, Target};
use penstock_schemas::plan::Link;
use std::sync::{Arc, MutexGuard, PoisonError};
use tokio::time::sleep;
use tracing::{debug, error};

mod ledger;
mod making;
mod money;
mod taking;

pub use ledger::Ended;

/// What a caller is told to wait when a pool is full, in milliseconds.
const BUSY_MS: u64 = 1000;

/// Attempts after the first at one link, when the plan does not say.
const RETRIES: u32 = 2;

/// One provider's pool in this process. Cloning shares it.
#[derive(Clone)]
pub struct Pool {
    /// Who is called.
    pub provider: Arc<Provider>,
    /// The way to the ingresses.
    pub desk: Desk,
    /// Its slots: one call each.
    pub slots: Slots,
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
}

/// A call that this pool holds.
struct Held {
    envelope: Envelope,
    body: Bytes,
    /// The request for this link with its images and documents in it, once they were fetched.
    fetched: Option<Fetched>,
    replies: Replies,
    /// Its place in this process's memory; `None`: it cannot be worked on here.
    memory: Option<Reserved>,
}

impl Held {
    fn new(incoming: Incoming) -> Self {
        let Incoming { envelope, body, replies, memory } = incoming;
        Self { envelope, body, fetched: None, replies, memory }
    }
}

impl Pool {
    async fn serve(self, arrived: Arrived, _slot: Slot, traffic: Traffic) {
        let Some(incoming) = arrived.read(&self.memory).await else { return };
        let mut held = Held::new(incoming);
        if held.memory.is_none() {
            return self.pass_by(held).await;
        }
        let _running = self.metrics.running(&self.provider.id, traffic);
        if let Err(error) = self.work_off(&mut held).await {
            error!(request_id = %held.envelope.request_id, %error, "the bus failed in the middle of a call");
        }
        self.settle_held(&mut held).await;
    }

    /// A call that there is no slot or no memory for here: another link may have both. A batch's goes back: it has time to
    /// wait for the target that it is meant for.
    async fn pass_by(self, mut held: Held) {
        let mut busy = Failure::gateway(FailureKind::Busy, format!("all workers of {} are busy", self.provider.id));
        busy.retry_after_ms = Some(BUSY_MS);
        let busy = held.envelope.last_failure.take().unwrap_or(busy);
        let gone = match held.envelope.traffic() {
            Traffic::Sync => self.pass_on(&mut held, busy).await,
            Traffic::Batch => self.fail(&mut held, busy).await,
        };
        if let Err(error) = gone {
            error!(request_id = %held.envelope.request_id, %error, "a call could not be turned away");
        }
        self.settle_held(&mut held).await;
    }

    /// Attempts at this link until one is served, or the decision is to go on or to stop.
    async fn work_off(&self, held: &mut Held) -> Result<(), BusError> {
        let link = held.envelope.plan.current().clone();
        if let Some(counted) = self.count(held, &link).await {
            return held.replies.send(counted).await;
        }
        let is_last = if held.envelope.plan.next().is_none() { IsLast::Yes } else { IsLast::No };
        let traffic = held.envelope.traffic();
        let policy = Policy::of(&link, RETRIES, is_last, traffic);
        self.retries(traffic).earn();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let attempt = match self.open_key(held, &link, &policy).await {
                Ok(key) => self.attempt(held, &link, key).await,
                Err(attempt) => attempt,
            };
            let refused = match attempt {
                Attempt::Served => return Ok(()),
                Attempt::Broken(failure) => return self.fail(held, failure).await,
                Attempt::Cancelled => return self.fail(held, cancelled()).await,
                Attempt::Refused(failure) => failure,
            };
            // Each key that is refused is set aside, so this ends.
            if KeyFault::of(&refused).is_some() && self.provider.limits.has_open(clock::now()) {
                attempts -= 1;
                continue;
            }
            let drawn = full_jitter(attempts, WAITS.0, WAITS.1);
            let history = History { attempts, drawn, deadline: held.envelope.deadline };
            match self.decide(&policy, &link, history, &refused) {
                Decision::Again(wait) => {
                    debug!(model = %link.target, attempts, ?wait, failure = refused.kind.as_str(), "trying again");
                    if held.replies.wait(sleep(wait)).await.is_none() {
                        return self.fail(held, cancelled()).await;
                    }
                }
                Decision::Next => return self.pass_on(held, refused).await,
                Decision::Stop => return self.fail(held, refused).await,
            }
        }
    }

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

    /// Gives the call to the next link that has a pool; when none has, the caller learns of the last real failure.
    async fn pass_on(&self, held: &mut Held, refused: Failure) -> Result<(), BusError> {
        let now = clock::now();
        let rest = held.envelope.plan.position() + 1;
        let plan = held.envelope.plan.clone().postpone(rest, |link| !self.health.is_closed(link, now));
        let mut plan = plan.next();
        held.envelope.last_failure = Some(refused.clone());
        while let Some(next) = plan {
            debug!(request_id = %held.envelope.request_id, model = %next.current().target, "passing the call on");
            held.envelope.plan = next;
            if held.replies.pass_on(&mut held.envelope, &held.body).await? == PassOn::Taken {
                held.envelope.reservation = None; // it has gone on with the call
                return Ok(());
            }
            plan = held.envelope.plan.next();
        }
        self.fail(held, refused).await
    }

    async fn fail(&self, held: &mut Held, failure: Failure) -> Result<(), BusError> {
        let target: Target = held.envelope.plan.current().target.clone();
        let failed = Failed { failure, target: Some(target), attempts: held.envelope.attempts };
        held.replies.send(Payload::Failed(failed)).await
    }
}

fn cancelled() -> Failure {
    Failure::gateway(FailureKind::Cancelled, "the caller went away")
}
