//! Answers the lines that wait in the queue: each is a request of its own, in the name of who asked for the batch. What
//! cannot be answered now is put off; what has an answer or a final refusal gets its result, and only then leaves the queue.

use super::line::{BadLine, Line, endpoint};
use super::result;
use super::slots::{LineSlot, LineSlots};
use crate::pipeline;
use crate::refusal::Refusal;
use crate::stage::line as request;
use crate::state::Shared;
use bytes::Bytes;
use penstock_runtime::bus::{Job, JobReader, WORD};
use penstock_runtime::clock;
use penstock_runtime::schedule::full_jitter;
use penstock_schemas::batch::{Batch, BatchStatus, BatchUsage, Tally};
use penstock_schemas::failure::FailureKind;
use penstock_schemas::frame::Summary;
use penstock_schemas::name::{BatchId, ProviderId, RequestId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::select;
use tokio::time::sleep;
use tracing::warn;

/// Lines that are fetched together.
const FETCH: usize = 16;

/// Wait before an empty queue is looked into again.
const IDLE: Duration = Duration::from_millis(100);

/// Wait before a queue that could not be read is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// The waits before a line comes again, the first and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Wait before a line comes again for which there was no money.
const NO_MONEY: Duration = Duration::from_secs(5);

/// How often a line may fail at its providers in one process.
const FAILURES: u32 = 5;

/// How often a line is given at all: one that ends the process that works on it must end some day.
const GIVEN: u32 = 1_000;

/// Tries to keep a result, before the line is left to another process.
const KEEP: u32 = 5;

/// Answers lines as long as the role lives.
pub(super) async fn all(ingress: Shared) {
    let readers = Arc::new(Mutex::new(HashSet::<(BatchId, ProviderId)>::new()));
    let mut slots = HashMap::<ProviderId, LineSlots>::new();
    let mut changed = ingress.batches.changed.subscribe();
    loop {
        for batch in ingress.batches.open_ones() {
            let providers = batch.providers.iter().filter(|_| batch.status == BatchStatus::InProgress);
            for provider in providers.filter(|_| !ingress.life.is_stopping()) {
                let place = (batch.id.clone(), provider.clone());
                if !readers.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone()) {
                    continue;
                }
                let slots = slots.entry(provider.clone());
                let slots = slots.or_insert_with(|| LineSlots::new(ingress.config.batch.at_once)).clone();
                let (ingress, readers, batch) = (ingress.clone(), readers.clone(), batch.clone());
                ingress.life.clone().work(async move {
                    Box::pin(read(&ingress, (&*batch, &place.1), &slots)).await;
                    readers.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
                });
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Reads the lines of one batch for one provider. All batches of a provider share its slots.
async fn read(ingress: &Shared, (batch, provider): (&Batch, &ProviderId), slots: &LineSlots) {
    let id = &batch.id;
    let mut changed = ingress.batches.changed.subscribe();
    let mut reader: Option<JobReader> = None;
    let failures = FailedLines::default();
    while !ingress.life.is_stopping() && is_running(ingress, id) {
        let Some(open) = &reader else {
            match ingress.batches.jobs.reader(id, provider).await {
                Ok(opened) => reader = Some(opened),
                Err(error) => {
                    warn!(batch = %id, %provider, %error, "the queue of a batch cannot be read; trying again");
                    sleep(REOPEN).await;
                }
            }
            continue;
        };
        let slot = select! {
            slot = slots.take(&batch.caller.project, batch.priority) => slot,
            () = ingress.life.stopping() => return,
        };
        let further = std::iter::from_fn(|| slots.try_take());
        let mut free: Vec<LineSlot> = std::iter::once(slot).chain(further.take(FETCH - 1)).collect();
        let jobs = match open.fetch(free.len()).await {
            Ok(jobs) => jobs,
            Err(error) => {
                warn!(batch = %id, %provider, %error, "the queue of a batch cannot be read; opening it again");
                reader = None;
                sleep(REOPEN).await;
                continue;
            }
        };
        if jobs.is_empty() {
            drop(free);
            select! {
                _ = changed.changed() => {}
                () = sleep(IDLE) => {}
                () = ingress.life.stopping() => return,
            }
            // What changed is not always this batch.
            sleep(IDLE).await;
            continue;
        }
        for job in jobs {
            let (ingress, failures, slot) = (ingress.clone(), failures.clone(), free.pop());
            ingress.life.clone().work(async move {
                work(&ingress, &job, &failures, slot.as_ref()).await;
                drop(slot);
            });
        }
    }
}

fn is_running(ingress: &Shared, id: &BatchId) -> bool {
    ingress.batches.heard_of(id).is_some_and(|batch| batch.status == BatchStatus::InProgress)
}

/// Waits until a batch is no longer running.
async fn over(ingress: &Shared, id: &BatchId) {
    let mut changed = ingress.batches.changed.subscribe();
    while is_running(ingress, id) && changed.changed().await.is_ok() {}
}

/// Says of a line that it is worked on, again and again.
async fn say(job: &Job) -> Outcome {
    loop {
        sleep(WORD).await;
        if let Err(error) = job.goes_on().await {
            warn!(batch = %job.batch, line = job.line, %error, "a line that is worked on may be given to another process");
        }
    }
}

/// What becomes of a line.
enum Outcome {
    /// This is its result.
    Result(Tally, Bytes),
    /// It is to come again.
    Again(Duration),
    /// The same: there is no place for it at its provider.
    Full(Duration),
}

async fn work(ingress: &Shared, job: &Job, failures: &FailedLines, slot: Option<&LineSlot>) {
    // A process that has not read all keys and models yet would take them for unknown.
    let Some(batch) = ingress.batches.heard_of(&job.batch).filter(|_| ingress.is_ready()) else {
        return put_off(job, REOPEN).await;
    };
    let jobs = &ingress.batches.jobs;
    let place = (&job.batch, job.line);
    if job.tries > 1 && matches!(jobs.result(&job.batch, job.line).await, Ok(Some(_))) {
        return finish(job).await;
    }
    let outcome = select! {
        outcome = answer(ingress, &batch, job, failures) => outcome,
        outcome = say(job) => outcome,
        // What is dropped here is cancelled, at the provider too.
        () = over(ingress, &job.batch) => return,
    };
    match outcome {
        Outcome::Again(wait) => put_off(job, wait).await,
        Outcome::Full(wait) => {
            slot.iter().for_each(|slot| slot.was_refused());
            put_off(job, wait).await;
            // The next line would find it as full.
            sleep(IDLE).await;
        }
        Outcome::Result(tally, result) => {
            slot.iter().for_each(|slot| slot.was_answered());
            failures.forget(job.line);
            for again in 1..=KEEP {
                match jobs.put_result(place, &tally, &result).await {
                    Ok(_) => return finish(job).await,
                    Err(error) => warn!(batch = %job.batch, line = job.line, %error, "a result could not be kept yet"),
                }
                sleep(full_jitter(again, AGAIN.0, AGAIN.1)).await;
            }
        }
    }
}

async fn finish(job: &Job) {
    if let Err(error) = job.done().await {
        warn!(batch = %job.batch, line = job.line, %error, "a line that has its result stays in the queue");
    }
}

async fn put_off(job: &Job, wait: Duration) {
    if let Err(error) = job.again(wait).await {
        warn!(batch = %job.batch, line = job.line, %error, "a line could not be put off; it comes again by itself");
    }
}

/// Sends the request of a line.
async fn answer(ingress: &Shared, batch: &Batch, job: &Job, failures: &FailedLines) -> Outcome {
    let id = clock::request_id();
    let line = match Line::read(&job.body, &batch.endpoint) {
        Ok(line) => line,
        Err(bad) => return unsent(id, job, bad),
    };
    if job.tries > GIVEN {
        let why = format!("the line was given up after {GIVEN} tries, none of which came to an end");
        return unsent(id, job, BadLine::new(Some(line.custom_id), "gave_up", why, None));
    }
    let Some(endpoint) = endpoint(&batch.endpoint) else {
        return Outcome::Again(AGAIN.1); // a newer version knows it
    };
    let dialect = endpoint.dialect;
    let sent = async {
        let (at, ends) = (clock::now(), request::deadline(batch, ingress));
        let request = request::read(request::Line { id, at, ends, endpoint, body: line.body, batch }, ingress).await?;
        pipeline::answer_line(ingress, request).await
    };
    match Box::pin(sent).await {
        Ok((body, summary)) => Outcome::Result(answered(&summary), result::served(id, &line.custom_id, &body)),
        Err(refusal) => match wait(&refusal, job.tries, failures.count(job.line, &refusal)) {
            Some(wait) if is_full(&refusal) => Outcome::Full(wait),
            Some(wait) => Outcome::Again(wait),
            None => Outcome::Result(Tally::default(), result::refused((id, &line.custom_id), dialect, &refusal)),
        },
    }
}

fn unsent(id: RequestId, job: &Job, bad: BadLine) -> Outcome {
    let BadLine { custom_id, mut error } = bad;
    error.line = Some(job.line);
    Outcome::Result(Tally::default(), result::unsent(id, custom_id.as_deref(), &error))
}

/// How often the lines of one reader have failed: a line that was only put off has not.
#[derive(Clone, Default)]
struct FailedLines(Arc<Mutex<HashMap<u64, u32>>>);

impl FailedLines {
    /// Counts a failure, if it is one that may pass; how many there are of the line.
    fn count(&self, line: u64, refusal: &Refusal) -> u32 {
        let is_failure = matches!(refusal, Refusal::Failed(failure) if is_passing(failure.kind));
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_failure {
            *lines.entry(line).or_default() += 1;
        }
        lines.get(&line).copied().unwrap_or_default()
    }

    fn forget(&self, line: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&line);
    }
}

/// When a line that was refused so is to come again; `None`: never. It was given so often, and has failed so often.
pub(super) fn wait(refusal: &Refusal, tries: u32, failures: u32) -> Option<Duration> {
    let drawn = || full_jitter(tries.min(16), AGAIN.0, AGAIN.1);
    let asked = refusal.retry_after().unwrap_or_default();
    match refusal {
        Refusal::OverBudget(_) => Some(NO_MONEY),
        Refusal::NotReady(_) | Refusal::Draining | Refusal::OverRate(_) => Some(drawn().max(asked.min(AGAIN.1))),
        Refusal::Failed(failure) => match failure.kind {
            FailureKind::Busy | FailureKind::NoPool => Some(asked.max(IDLE) + full_jitter(1, IDLE, IDLE)),
            FailureKind::RateLimited | FailureKind::Budget => Some(drawn().max(asked)),
            kind if is_passing(kind) && failures < FAILURES => Some(drawn().max(asked)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether every slot of the provider is taken that a batch may have.
fn is_full(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Failed(failure) if failure.kind == FailureKind::Busy)
}

/// Whether the same request may be answered later.
fn is_passing(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Overloaded
            | FailureKind::ServerError
            | FailureKind::Connect
            | FailureKind::Timeout
            | FailureKind::Broken
            | FailureKind::Deadline
            | FailureKind::Ledger
            | FailureKind::Lost
            | FailureKind::Internal
    )
}

/// What an answer counts as.
pub(super) fn answered(summary: &Summary) -> Tally {
    let usage = &summary.usage;
    let usage = BatchUsage {
        input_tokens: usage.input_total(),
        cached_tokens: usage.cache_read.unwrap_or(0),
        output_tokens: usage.output_total(),
        reasoning_tokens: usage.reasoning.unwrap_or(0),
    };
    Tally { is_answered: true, usage, cost: summary.cost, is_native: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::failure::Failure;

    #[test]
    fn a_line_that_is_put_off_comes_again_for_ever_and_one_that_fails_five_times_does_not() {
        let failed = |kind| Refusal::from(Failure::gateway(kind, "no"));
        let (busy, server) = (failed(FailureKind::Busy), failed(FailureKind::ServerError));
        let failures = FailedLines::default();
        let comes_again = |refusal: &Refusal, line| wait(refusal, 900, failures.count(line, refusal)).is_some();
        assert!((0..100).all(|_| comes_again(&busy, 1)));
        assert_eq!([(); 5].map(|()| comes_again(&server, 1)), [true, true, true, true, false]);
        assert!(comes_again(&server, 2) && comes_again(&busy, 1));
        failures.forget(1);
        assert!(comes_again(&server, 1));
        assert!(!comes_again(&failed(FailureKind::BadRequest), 3));
    }
}
