//! A batch that this process leads: it says so in the batch itself, again and again; when it falls silent, another process goes
//! on from what stands there. Knows nothing of what a leader does.

use crate::batches::Batches;
use crate::limits::Hold;
use crate::state::Shared;
use penstock_runtime::bus::BusError;
use penstock_runtime::clock;
use penstock_schemas::batch::{Batch, BatchError, BatchStatus, Leader};
use penstock_schemas::name::{BatchId, ProcessId};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// How long a leader is believed after its last word.
const LEASE: Duration = Duration::from_secs(30);

/// How often it says a word, and tells how far the batch is.
pub(super) const WORD: Duration = Duration::from_secs(2);

/// Why a phase ends before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    /// Another process leads, or the batch is gone.
    #[error("another process leads")]
    Lost,
    /// This process stops.
    #[error("this process stops")]
    Stopping,
    /// The bus failed: the phase is to be begun again.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A file could not be read or written: the phase is to be begun again.
    #[error("{0}")]
    File(String),
}

/// A batch that this process leads.
pub(super) struct Lead {
    pub(super) ingress: Shared,
    pub(super) batch: Batch,
    revision: u64,
    saved: Instant,
    /// What is set aside for the lines of each group that is under way in a provider's own batch API.
    pub(super) held: HashMap<u32, Vec<Hold>>,
    /// Whether this process has led it from its beginning: then all that was fed is known.
    pub(super) is_first: bool,
}

/// Whether another process leads it. What this one has written without hearing that it was taken is no other's word.
pub(super) fn is_led_by_another(batch: &Batch, own: &ProcessId) -> bool {
    batch.leader.as_ref().is_some_and(|leader| leader.process != *own && leader.until > clock::now())
}

impl Lead {
    /// Begins to lead, unless another process does. Once at a time in a process.
    pub(super) async fn claim(ingress: &Shared, id: &BatchId) -> Result<Option<Self>, BusError> {
        let found = ingress.batches.jobs.batches().get_with_revision(id.as_str()).await?;
        let is_free = |batch: &Batch| !batch.status.is_final() && !is_led_by_another(batch, ingress.bus.process());
        let Some((batch, revision)) = found.filter(|(batch, _)| is_free(batch)) else { return Ok(None) };
        let is_first = batch.leader.is_none() && batch.status == BatchStatus::Validating;
        let mut lead =
            Self { ingress: ingress.clone(), batch, revision, saved: Instant::now(), held: HashMap::new(), is_first };
        Ok(match lead.try_save().await? {
            true => Some(lead),
            false => None,
        })
    }

    fn batches(&self) -> &Batches {
        &self.ingress.batches
    }

    /// Writes the batch, as long as no other process has. False when one has.
    async fn try_save(&mut self) -> Result<bool, BusError> {
        let process = self.ingress.bus.process().clone();
        self.batch.leader = Some(Leader { process, until: clock::now().after(LEASE) });
        let (id, at) = (self.batch.id.clone(), Instant::now());
        let saved = self.batches().jobs.batches().update(id.as_str(), &self.batch, self.revision).await?;
        let Some(revision) = saved else { return Ok(false) };
        (self.revision, self.saved) = (revision, at);
        Ok(true)
    }

    /// Writes how far the batch is. A cancel that came meanwhile is taken over.
    pub(super) async fn save(&mut self) -> Result<(), Halt> {
        while !self.try_save().await? {
            let id = self.batch.id.as_str();
            let found = self.ingress.batches.jobs.batches().get_with_revision(id).await?;
            let Some((batch, revision)) = found else { return Err(Halt::Lost) };
            let is_ours = batch.leader.as_ref().is_some_and(|leader| leader.process == *self.ingress.bus.process());
            if !is_ours || batch.status.is_final() {
                return Err(Halt::Lost);
            }
            self.revision = revision;
            if batch.status == BatchStatus::Cancelling && self.batch.outcome.is_none() {
                self.batch.status = BatchStatus::Cancelling;
                (self.batch.outcome, self.batch.times.cancelling) = (batch.outcome, batch.times.cancelling);
            }
        }
        Ok(())
    }

    /// Says a word, when it is time for one; stops when this process does.
    pub(super) async fn beat(&mut self) -> Result<(), Halt> {
        if self.ingress.life.is_stopping() {
            return Err(Halt::Stopping);
        }
        if self.saved.elapsed() >= WORD { self.save().await } else { Ok(()) }
    }

    /// Goes to another status.
    pub(super) async fn turn(&mut self, status: BatchStatus) -> Result<(), Halt> {
        let (now, times) = (Some(clock::now()), &mut self.batch.times);
        match status {
            BatchStatus::InProgress => times.in_progress = now,
            BatchStatus::Finalizing => times.finalizing = now,
            BatchStatus::Completed => times.completed = now,
            BatchStatus::Failed => times.failed = now,
            BatchStatus::Expired => times.expired = now,
            BatchStatus::Cancelled => times.cancelled = now,
            BatchStatus::Validating | BatchStatus::Cancelling => {}
        }
        self.batch.status = status;
        self.batch.paused = None;
        self.save().await
    }

    /// Ends a batch of which nothing can be run.
    pub(super) async fn fail(&mut self, code: &str, message: impl Into<String>) -> Result<(), Halt> {
        let error = BatchError { code: code.to_owned(), message: message.into(), line: None, param: None };
        self.batch.errors.insert(0, error);
        self.batch.outcome = Some(BatchStatus::Failed);
        self.turn(BatchStatus::Finalizing).await
    }

    /// Lets another process lead at once.
    pub(super) async fn give_up(mut self) {
        self.batch.leader = None;
        let (id, jobs) = (self.batch.id.clone(), &self.ingress.batches.jobs);
        if let Err(error) = jobs.batches().update(id.as_str(), &self.batch, self.revision).await {
            warn!(batch = %id, %error, "a batch waits until another process takes it over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::tests::batch;

    #[test]
    fn a_batch_is_free_for_who_has_claimed_it_without_hearing_that_it_was_taken() {
        let [own, other] = ["a", "b"].map(|name| ProcessId::parse(name).unwrap());
        let is_led = |leader: Option<(&ProcessId, _)>| {
            let (_, batch) = batch(1, "search", BatchStatus::InProgress, 0);
            let leader = leader.map(|(process, until)| Leader { process: process.clone(), until });
            is_led_by_another(&Batch { leader, ..(*batch).clone() }, &own)
        };
        let (now, soon) = (clock::now(), clock::now().after(LEASE));
        let leaders = [Some((&own, soon)), Some((&other, soon)), Some((&other, now)), None];
        assert_eq!(leaders.map(is_led), [false, true, false, false]);
    }
}
