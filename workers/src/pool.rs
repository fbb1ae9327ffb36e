//! Stage 7: a pool of one provider takes a call, makes an attempt, decides, and tries again here or passes the call on to
//! the next link's pool. Knows the plan and the ledger; knows nothing of HTTP or of what providers say.

use crate::attempt::{self, Attempt, Call, Clocks, Report};
use crate::cost::{sum_up, worst_case};
use crate::count;
use crate::gossip::News;
use crate::limits::Pick;
use crate::media::Wanted as Fetched;
use crate::metrics::WorkerMetrics;
use crate::provider::Provider;
use crate::providers::{Adapter, Form, Quirk, Wanted};
use crate::retry::{Decision, History, IsLast, Policy, RetryBudget, WAITS, decide};
use bytes::Bytes;
use penstock_runtime::bus::{Arrived, BusError, Calls, Desk, Incoming, Journal, PassOn, Replies};
use penstock_runtime::health::Health;
use penstock_runtime::schedule::full_jitter;
use penstock_runtime::{Life, clock};
use penstock_schemas::envelope::{Dialect, Envelope, Operation};
use penstock_schemas::event::{AttemptEnded, AttemptStarted, Outcome, UsageEvent};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{self, Failed, Head, Payload, Summary};
use penstock_schemas::model::ModelCard;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::{ModelId, ProcessId, Target};
use penstock_schemas::plan::Link;
use penstock_schemas::usage::{Usage, UsageSource};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, warn};

/// What a caller is told to wait when a pool is full, in milliseconds.
const BUSY_MS: u64 = 1000;

/// Bytes of a request that are taken for one token when only the order of size counts.
const BYTES_PER_TOKEN: u64 = 4;

/// The least time over which calls that waited for the same moment are spread.
const AFTER_PAUSE: Duration = Duration::from_millis(20);

/// Attempts after the first at one link, when the plan does not say.
const RETRIES: u32 = 2;

/// Wait before a pool that could not subscribe tries again.
const RESUBSCRIBE: Duration = Duration::from_millis(500);

/// Default times of a link: first content, first content of a reasoning model, silence, all.
const FIRST_TOKEN: Duration = Duration::from_secs(60);
const FIRST_TOKEN_REASONING: Duration = Duration::from_secs(600);
const IDLE: Duration = Duration::from_secs(60);
const TOTAL: Duration = Duration::from_secs(600);

/// One provider's pool in this process. Cloning shares it.
#[derive(Clone)]
pub struct Pool {
    /// Who is called.
    pub provider: Arc<Provider>,
    /// The way to the ingresses.
    pub desk: Desk,
    /// Its places: one call each.
    pub slots: Arc<Semaphore>,
    /// The ledger.
    pub journal: Journal,
    /// How all pools of the cluster are.
    pub health: Health,
    /// What this one has to tell.
    pub news: Arc<News>,
    /// How much may be tried again.
    pub retries: Arc<Mutex<RetryBudget>>,
    /// This process's tasks.
    pub life: Life,
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
    fetched: Option<Bytes>,
    replies: Replies,
}

impl Held {
    fn new(incoming: Incoming) -> Self {
        let Incoming { envelope, body, replies } = incoming;
        Self { envelope, body, fetched: None, replies }
    }
}

impl Pool {
    /// Takes calls until the role stops: only while a slot is free, so that calls go to workers that have one.
    pub async fn run(self) {
        let slots = self.slots.clone();
        let stopping = self.life.clone();
        while !stopping.is_stopping() {
            let free = tokio::select! {
                free = slots.clone().acquire_owned() => free.expect("the slots are never closed"),
                () = stopping.stopping() => return,
            };
            drop(free);
            match self.desk.calls(&self.provider.id).await {
                Ok(calls) => self.take_while_free(calls, &slots).await,
                Err(error) => {
                    warn!(provider = %self.provider.id, %error, "the pool could not subscribe; trying again");
                    sleep(RESUBSCRIBE).await;
                }
            }
        }
    }

    /// Takes the calls that are given to this very worker because another one is gone.
    pub async fn run_direct(self) {
        let mut calls = match self.desk.direct_calls(&self.provider.id).await {
            Ok(calls) => calls,
            Err(error) => return error!(provider = %self.provider.id, %error, "no calls can be given to this worker"),
        };
        loop {
            let arrived = tokio::select! {
                arrived = calls.next() => arrived,
                () = self.life.stopping() => None,
            };
            let Some(arrived) = arrived else { break };
            self.take(arrived);
        }
        calls.close().await.into_iter().for_each(|arrived| self.take(arrived));
    }

    fn take(&self, arrived: Arrived) {
        match self.slots.clone().try_acquire_owned() {
            Ok(slot) => self.life.work(self.clone().serve(arrived, slot)),
            Err(_) => self.life.work(self.clone().turn_away(arrived)),
        }
    }

    async fn take_while_free(&self, mut calls: Calls, slots: &Arc<Semaphore>) {
        while let Ok(slot) = slots.clone().try_acquire_owned() {
            let arrived = tokio::select! {
                arrived = calls.next() => arrived,
                () = self.life.stopping() => break,
            };
            let Some(arrived) = arrived else { return };
            self.life.work(self.clone().serve(arrived, slot));
        }
        calls.close().await.into_iter().for_each(|arrived| self.take(arrived));
    }

    async fn serve(self, arrived: Arrived, _slot: OwnedSemaphorePermit) {
        let Some(incoming) = arrived.read().await else { return };
        let mut held = Held::new(incoming);
        let _running = self.metrics.running(&self.provider.id);
        if let Err(error) = self.work_off(&mut held).await {
            error!(request_id = %held.envelope.request_id, %error, "the bus failed in the middle of a call");
        }
    }

    /// A call that came after the last slot was taken: another link may have one.
    async fn turn_away(self, arrived: Arrived) {
        let Some(incoming) = arrived.read().await else { return };
        let mut held = Held::new(incoming);
        let mut busy = Failure::gateway(FailureKind::Busy, format!("all workers of {} are busy", self.provider.id));
        busy.retry_after_ms = Some(BUSY_MS);
        let busy = held.envelope.last_failure.take().unwrap_or(busy);
        if let Err(error) = self.pass_on(&mut held, busy).await {
            error!(request_id = %held.envelope.request_id, %error, "a call could not be turned away");
        }
    }

    /// Attempts at this link until one is served, or the decision is to go on or to stop.
    async fn work_off(&self, held: &mut Held) -> Result<(), BusError> {
        let link = held.envelope.plan.current().clone();
        if let Some(counted) = self.count(held, &link).await {
            return held.replies.send(counted).await;
        }
        let is_last = if held.envelope.plan.next().is_none() { IsLast::Yes } else { IsLast::No };
        let policy = Policy::of(&link, RETRIES, is_last);
        self.retries().earn();
        for attempts in 1.. {
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
            match self.decide(&policy, &link, held, attempts, &refused) {
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
        Ok(())
    }

    /// What the policy says, within the retry budget, and not against a target that is known to be in trouble.
    fn decide(&self, policy: &Policy, link: &Link, held: &Held, attempts: u32, refused: &Failure) -> Decision {
        let now = clock::now();
        let drawn = full_jitter(attempts, WAITS.0, WAITS.1);
        let history = History { attempts, drawn, deadline: held.envelope.deadline };
        match decide(policy, history, refused, now) {
            Decision::Again(wait) => {
                let is_open = held.envelope.plan.next().is_some() && !self.health.is_closed(link, now);
                let may = !is_open && self.retries().spend(now);
                if may { Decision::Again(wait) } else { policy.move_on(refused.kind) }
            }
            other => other,
        }
    }

    fn retries(&self) -> MutexGuard<'_, RetryBudget> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key that the provider has not closed, after a short wait if need be.
    async fn open_key(&self, held: &mut Held, link: &Link, policy: &Policy) -> Result<Pick, Attempt> {
        let model = &link.target.model;
        let tokens = held.body.len() as u64 / BYTES_PER_TOKEN;
        let began = clock::now();
        loop {
            let now = clock::now();
            let until = match self.provider.limits.pick(model, tokens, now) {
                Pick::Wait(until) => until,
                pick => return Ok(pick),
            };
            let wait = until.since(now);
            if until.since(began) > policy.patience || until >= held.envelope.deadline {
                let mut failure = Failure::provider(
                    FailureKind::RateLimited,
                    format!("{} takes no calls of {model} for {wait:.1?}: it has said so", self.provider.id),
                );
                failure.retry_after_ms = u64::try_from(wait.as_millis()).ok();
                return Err(Attempt::Refused(failure));
            }
            // Not all at once when the wait is over.
            let wait = wait + full_jitter(1, wait / 10 + AFTER_PAUSE, wait / 10 + AFTER_PAUSE);
            held.replies.wait(sleep(wait)).await.ok_or(Attempt::Cancelled)?;
        }
    }

    /// One attempt, between its start and its end in the ledger.
    async fn attempt(&self, held: &mut Held, link: &Link, key: Pick) -> Attempt {
        let card = self.provider.model(&link.target.model);
        let Some((adapter, form, body)) = self.words(held, card) else { return cannot_speak(&link.target) };
        let Envelope { operation, delivery, .. } = held.envelope;
        let wanted = Wanted { operation, form, delivery };
        let body = match self.fetch(held, adapter, wanted, body).await {
            Ok(body) => body,
            Err(attempt) => return attempt,
        };
        held.envelope.attempts += 1;
        let clocks = clocks(link, &held.envelope, card.is_some_and(|card| has(card, "reasoning")));
        let start = self.start(held, link, &clocks);
        let appending = self.journal.append(UsageEvent::AttemptStarted(Box::new(start.clone())));
        let pending = match held.replies.wait(timeout(attempt::LEDGER, appending)).await {
            Some(Ok(pending)) => pending,
            Some(Err(_)) => return attempt::ledger_failed(),
            None => return Attempt::Cancelled,
        };
        let call = Call {
            provider: &self.provider,
            card,
            adapter,
            wanted,
            key,
            envelope: &held.envelope,
            body: &body,
            clocks,
            id: start.attempt_id,
            number: held.envelope.attempts,
            worker: &self.worker,
            life: &self.life,
            began: Instant::now(),
        };
        let (attempt, report) = call.make(pending, &mut held.replies).await;
        let total = call.began.elapsed();
        self.learn(&link.target.model, key, &attempt, &report);
        if let Attempt::Refused(failure) | Attempt::Broken(failure) = &attempt {
            let (request_id, failure) = (&held.envelope.request_id, failure.kind.as_str());
            warn!(%request_id, model = %link.target, attempt = call.number, failure, "an attempt failed");
        }
        if report.observed.usage_mismatch {
            warn!(model = %link.target, "the provider's usage figures contradict each other");
        }
        let (is_cut, ended) = (report.is_cut(&attempt, operation), End::of(&attempt, total));
        if is_cut {
            // The caller does not wait for the count.
            self.life.work(self.clone().note_cut(start, ended, report, body));
        } else {
            self.note(start, ended, report).await;
        }
        attempt
    }

    /// The request with the images and documents in it that the provider would not fetch itself; fetched once for all
    /// attempts at this link.
    async fn fetch(
        &self,
        held: &mut Held,
        adapter: &'static dyn Adapter,
        wanted: Wanted,
        body: Bytes,
    ) -> Result<Bytes, Attempt> {
        let Some(addresses) = self.not_taken(adapter, wanted, held.envelope.dialect) else { return Ok(body) };
        if let Some(fetched) = &held.fetched {
            return Ok(fetched.clone());
        }
        let left = held.envelope.deadline.since(clock::now());
        let fetched = held.replies.wait(timeout(left, self.provider.media.inline(&body, addresses))).await;
        let fetched = fetched.ok_or(Attempt::Cancelled)?.map_err(|_| {
            let why = "the images and documents of the request could not be fetched in time";
            Attempt::Refused(Failure::gateway(FailureKind::Deadline, why))
        })?;
        let fetched = fetched.map_err(Attempt::Refused)?.unwrap_or(body);
        held.fetched = Some(fetched.clone());
        Ok(fetched)
    }

    /// What the provider does not fetch itself. The caller's own bytes are left alone, unless they are in OpenAI's form and
    /// go to a server that takes less than OpenAI.
    fn not_taken(&self, adapter: &dyn Adapter, wanted: Wanted, caller: Dialect) -> Option<Fetched> {
        let takes_images = adapter.takes_urls() && !self.provider.settings.has(Quirk::NoUrls);
        let is_agnostic = wanted.form == Form::Agnostic;
        match wanted.operation {
            Operation::Chat if !takes_images && (is_agnostic || caller.form() == Dialect::Openai) => Some(Fetched::All),
            Operation::Chat if is_agnostic && !adapter.takes_document_urls() => Some(Fetched::Documents),
            _ => None,
        }
    }

    async fn note_cut(self, start: AttemptStarted, end: End, mut report: Report, body: Bytes) {
        report.count(&self.life, body).await;
        self.note(start, end, report).await;
    }

    /// Writes the end of an attempt into the ledger.
    async fn note(&self, start: AttemptStarted, end: End, report: Report) {
        let ended = self.end(start, end, report);
        self.metrics.count(&ended);
        self.journal.note(UsageEvent::AttemptEnded(Box::new(ended.event))).await;
    }

    /// The answer to the question how many tokens a request is, where the provider has none: counted here, and said so. No
    /// provider is called, so there is no attempt either.
    async fn count(&self, held: &mut Held, link: &Link) -> Option<Payload> {
        if held.envelope.operation != Operation::CountTokens {
            return None;
        }
        let (adapter, form, body) = self.words(held, self.provider.model(&link.target.model))?;
        if adapter.counts_tokens() {
            return None;
        }
        // Within `wait`, the ingress learns that the call is still held: the vocabulary takes a while to load.
        let tokens = held.replies.wait(count::input(&self.life, body)).await??;
        let head = Head {
            worker: self.worker.clone(),
            target: link.target.clone(),
            dialect: if form == Form::Own { held.envelope.dialect } else { Dialect::Openai },
            attempts: held.envelope.attempts,
            dropped: Vec::new(),
            content_type: None,
        };
        let cost = Some(Picodollars::default());
        let summary = Summary { usage: Usage::default(), usage_source: UsageSource::Counted, cost };
        let ended = frame::Ended { head: Some(head), summary };
        Some(Payload::End(ended, serde_json::json!({ "input_tokens": tokens }).to_string().into()))
    }

    /// Notes what the attempt says of the provider, for all pools.
    fn learn(&self, model: &ModelId, key: Pick, attempt: &Attempt, report: &Report) {
        let now = clock::now();
        let failure = match attempt {
            Attempt::Served => None,
            Attempt::Refused(failure) | Attempt::Broken(failure) => Some(failure),
            Attempt::Cancelled => return,
        };
        let is_closed = self.provider.limits.learn(key, model, report.left, now);
        let first_token = report.first_token.map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        let mut vitals = self.news.vitals.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fault = vitals.note(model, failure.map(|failure| failure.kind), first_token, now);
        drop(vitals);
        if is_closed || is_fault {
            self.news.is_urgent();
        }
    }

    /// How to speak to the provider, and the request in the form for it.
    fn words(&self, held: &Held, card: Option<&ModelCard>) -> Option<(&'static dyn Adapter, Form, Bytes)> {
        let native = held.envelope.native(&held.body);
        let (adapter, form) = self.provider.speak(held.envelope.dialect, native.is_some(), card)?;
        let body = match form {
            Form::Own => native?,
            Form::Agnostic => held.envelope.agnostic(&held.body)?,
        };
        Some((adapter, form, body))
    }

    fn start(&self, held: &Held, link: &Link, clocks: &Clocks) -> AttemptStarted {
        let envelope = &held.envelope;
        let card = self.provider.model(&link.target.model);
        // Limits stand in the agnostic form, which every dialect's own can be told from only by its adapter.
        let request = envelope.agnostic(&held.body).unwrap_or_else(|| held.body.clone());
        let now = clock::now();
        AttemptStarted {
            attempt_id: clock::attempt_id(),
            request_id: envelope.request_id,
            started_at: now,
            deadline: attempt::deadline(envelope, clocks, now),
            caller: envelope.caller.clone(),
            target: link.target.clone(),
            virtual_model: envelope.virtual_model.clone(),
            operation: envelope.operation,
            number: envelope.attempts,
            link: u32::try_from(envelope.plan.position()).unwrap_or(u32::MAX),
            stream: envelope.delivery.is_stream(),
            worst_case: worst_case(card, envelope.operation, &request),
            price_id: card.and_then(|card| card.price.as_ref()).map(|price| price.price_id.clone()),
        }
    }

    fn end(&self, start: AttemptStarted, end: End, report: Report) -> Ended {
        let End { outcome, failure, total } = end;
        let summary = sum_up(self.provider.model(&start.target.model), report.observed.usage, report.counted);
        let event = AttemptEnded {
            ended_at: start.started_at.after(total),
            outcome,
            failure,
            provider_status: report.status,
            usage: summary.usage,
            usage_source: summary.usage_source,
            cost: summary.cost,
            first_token_us: report.first_token.map(micros),
            total_us: micros(total),
            model_version: report.observed.model_version,
            provider_request_id: report.observed.provider_request_id,
            finish_reason: report.observed.finish_reason,
            start,
        };
        Ended { event, usage_mismatch: report.observed.usage_mismatch }
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

/// How and when an attempt ended.
struct End {
    outcome: Outcome,
    failure: Option<FailureKind>,
    total: Duration,
}

impl End {
    fn of(attempt: &Attempt, total: Duration) -> Self {
        let (outcome, failure) = match attempt {
            Attempt::Served => (Outcome::Served, None),
            Attempt::Refused(failure) => (Outcome::Refused, Some(failure.kind)),
            Attempt::Broken(failure) => (Outcome::Broken, Some(failure.kind)),
            Attempt::Cancelled => (Outcome::Cancelled, Some(FailureKind::Cancelled)),
        };
        Self { outcome, failure, total }
    }
}

/// An attempt's end, and what is said about it besides.
pub struct Ended {
    /// For the ledger.
    pub event: AttemptEnded,
    /// Whether the provider's figures contradict each other.
    pub usage_mismatch: bool,
}

fn cannot_speak(target: &Target) -> Attempt {
    let why = format!("no worker can turn this request into the dialect of {target}");
    Attempt::Refused(Failure::gateway(FailureKind::Unsupported, why))
}

fn cancelled() -> Failure {
    Failure::gateway(FailureKind::Cancelled, "the caller went away")
}

fn has(card: &ModelCard, capability: &str) -> bool {
    card.capabilities.iter().any(|have| have == capability)
}

fn clocks(link: &Link, envelope: &Envelope, reasons: bool) -> Clocks {
    let or = |millis: Option<u64>, default| millis.map_or(default, Duration::from_millis);
    let left = envelope.deadline.since(clock::now());
    Clocks {
        connect: link.connect_ms.map(Duration::from_millis),
        first_token: or(link.first_token_ms, if reasons { FIRST_TOKEN_REASONING } else { FIRST_TOKEN }),
        idle: or(link.idle_ms, IDLE),
        total: or(link.total_ms, TOTAL).min(left),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
