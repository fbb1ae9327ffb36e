//! What every process knows of batches: begun, shown, listed and cancelled here, and followed from NATS KV. Knows nothing of
//! how a batch is run.

use crate::refusal::Refusal;
use penstock_runtime::bus::{Bus, BusError, Change, Jobs};
use penstock_runtime::clock;
use penstock_schemas::batch::{Batch, BatchStatus};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::file::FileId;
use penstock_schemas::name::{BatchId, ProjectId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tracing::warn;
use uuid::Uuid;

/// Batches of one project that are not over.
const OPEN: usize = 500;

/// How long a batch is shown after it was last changed.
const SHOWN: Duration = Duration::from_secs(90 * 24 * 3600);

/// All batches. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Batches {
    pub(crate) jobs: Jobs,
    known: Arc<Mutex<BTreeMap<BatchId, Arc<Batch>>>>,
    /// Touched when something of a batch has changed.
    pub(crate) changed: watch::Sender<()>,
}

impl Batches {
    /// Follows what is known of batches, as long as the role lives.
    ///
    /// # Errors
    /// When JetStream does not answer, or a stream has other settings.
    pub(crate) async fn open(bus: &Bus) -> Result<Self, BusError> {
        let batches = Self { jobs: bus.jobs(SHOWN).await?, known: Arc::default(), changed: watch::Sender::new(()) };
        let seen = batches.clone();
        batches.jobs.batches().follow(move |change| seen.see(change));
        Ok(batches)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<BatchId, Arc<Batch>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, change: Change<Batch>) {
        match change {
            Change::Put(_, batch) => drop(self.known().insert(batch.id.clone(), Arc::new(batch))),
            Change::Deleted(id) => self.known().retain(|known, _| known.as_str() != id),
            Change::Current => {}
        }
        self.changed.send_replace(());
    }

    /// A batch, as far as this process has heard.
    pub(crate) fn heard_of(&self, id: &BatchId) -> Option<Arc<Batch>> {
        self.known().get(id).cloned()
    }

    /// Those that are not over.
    pub(crate) fn open_ones(&self) -> Vec<Arc<Batch>> {
        self.known().values().filter(|batch| !batch.status.is_final()).cloned().collect()
    }

    /// Begins a batch.
    ///
    /// # Errors
    /// When too many of the project are open, or the store does not answer.
    pub(crate) async fn create(&self, batch: Batch) -> Result<Batch, Refusal> {
        let is_open = |other: &&Arc<Batch>| other.caller.project == batch.caller.project && !other.status.is_final();
        if self.known().values().filter(is_open).count() >= OPEN {
            let why = format!("{OPEN} batches of this project are not over: wait for one, or cancel one");
            return Err(Failure::gateway(FailureKind::RateLimited, why).into());
        }
        self.jobs.batches().put(batch.id.as_str(), &batch).await.map_err(|error| unavailable(&error))?;
        self.see(Change::Put(batch.id.to_string(), batch.clone()));
        Ok(batch)
    }

    /// A batch of a project.
    ///
    /// # Errors
    /// When there is none, or the store does not answer.
    pub(crate) async fn get(&self, project: &ProjectId, id: &str) -> Result<Batch, Refusal> {
        self.find(project, id).await.map(|(batch, _)| batch)
    }

    /// The batch whose results a file holds.
    ///
    /// # Errors
    /// When there is none, or the store does not answer.
    pub(crate) async fn of_file(&self, project: &ProjectId, file: FileId) -> Result<Batch, Refusal> {
        for at in [1, 2] {
            let own = Uuid::from_u128(file.0.as_u128().wrapping_sub(at));
            match self.get(project, &format!("batch_{}", own.simple())).await {
                Err(Refusal::Failed(failure)) if failure.kind == FailureKind::NotFound => {}
                found => return found,
            }
        }
        Err(unknown(&file.to_string()))
    }

    async fn find(&self, project: &ProjectId, id: &str) -> Result<(Batch, u64), Refusal> {
        let Ok(id) = BatchId::parse(id) else { return Err(unknown(id)) };
        let found = self.jobs.batches().get_with_revision(id.as_str()).await.map_err(|error| unavailable(&error))?;
        found.filter(|(batch, _)| batch.caller.project == *project).ok_or_else(|| unknown(id.as_str()))
    }

    /// The batches of a project, the newest first, behind `after`, and whether there are more.
    pub(crate) fn list(&self, project: &ProjectId, after: Option<&str>, limit: usize) -> (Vec<Arc<Batch>>, bool) {
        let known = self.known();
        let now = clock::now();
        let is_own = |batch: &&Arc<Batch>| batch.caller.project == *project && now.since(batch.created_at) < SHOWN;
        let own = known.values().rev().filter(is_own);
        let behind = own.filter(|batch| after.is_none_or(|after| batch.id.as_str() < after));
        let mut page: Vec<Arc<Batch>> = behind.take(limit + 1).cloned().collect();
        let has_more = page.len() > limit;
        page.truncate(limit);
        (page, has_more)
    }

    /// Ends a batch: what has not begun does not, and what is under way is given up.
    ///
    /// # Errors
    /// When there is none, when it is over, or the store does not answer.
    pub(crate) async fn cancel(&self, project: &ProjectId, id: &str) -> Result<Batch, Refusal> {
        loop {
            let (mut batch, revision) = self.find(project, id).await?;
            match batch.status {
                BatchStatus::Validating | BatchStatus::InProgress => {}
                BatchStatus::Cancelling | BatchStatus::Cancelled => return Ok(batch),
                status => {
                    let why = format!("the batch is {}: it can no longer be cancelled", status.as_str());
                    return Err(Failure::gateway(FailureKind::BadRequest, why).into());
                }
            }
            (batch.status, batch.outcome) = (BatchStatus::Cancelling, Some(BatchStatus::Cancelled));
            batch.times.cancelling = Some(clock::now());
            let updated =
                self.jobs.batches().update(id, &batch, revision).await.map_err(|error| unavailable(&error))?;
            if updated.is_some() {
                self.see(Change::Put(id.to_owned(), batch.clone()));
                return Ok(batch);
            }
        }
    }
}

/// The id of a batch's output file (1) or error file (2): the same whichever process writes it, so that it is there once.
pub(crate) fn output_id(batch: &BatchId, at: u128) -> FileId {
    let hex = batch.as_str().rsplit('_').next().unwrap_or_default();
    let own = Uuid::parse_str(hex).unwrap_or_default();
    FileId(Uuid::from_u128(own.as_u128().wrapping_add(at)))
}

/// That a project has no such batch; another project's is none.
fn unknown(id: &str) -> Refusal {
    let id: String = id.chars().take(64).collect();
    let mut failure = Failure::gateway(FailureKind::NotFound, format!("the batch `{id}` does not exist"));
    failure.param = Some("batch_id".to_owned());
    failure.into()
}

fn unavailable(error: &BusError) -> Refusal {
    warn!(%error, "the store of batches failed");
    Refusal::NotReady("the store of batches does not answer")
}
