//! What every process knows of batches: begun, shown, listed and cancelled here, and followed from NATS KV. Knows nothing of
//! how a batch is run.

use crate::refusal::Refusal;
use penstock_runtime::bus::{Bus, BusError, Change, Jobs};
use penstock_runtime::clock;
use penstock_schemas::batch::{Batch, BatchStatus};
use penstock_schemas::envelope::Dialect;
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

/// What is known of all batches of one project, in bytes: every ingress has it in its memory, and to make one that is over soon
/// costs nothing.
const KEPT: usize = 32 << 20;

/// What a batch takes besides its texts.
const BATCH: usize = 1024;

/// How long a batch is shown after it was last changed.
pub const SHOWN: Duration = Duration::from_secs(90 * 24 * 3600);

/// A page of a list of batches.
#[derive(Debug, Default)]
pub(crate) struct BatchQuery {
    /// Those older than this one.
    pub(crate) after: Option<String>,
    /// Those newer than this one, instead.
    pub(crate) before: Option<String>,
    /// How many.
    pub(crate) limit: usize,
}

/// A new name for a batch.
pub(crate) fn new_id() -> BatchId {
    BatchId::parse(format!("batch_{}", clock::request_id().0.simple())).expect("hexadecimal digits are a name")
}

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

    /// Begins a batch. Where the project has many, its oldest that are over are forgotten.
    ///
    /// # Errors
    /// When too many of the project are open, or the store does not answer.
    pub(crate) async fn create(&self, batch: Batch) -> Result<Batch, Refusal> {
        let (open, old) = room(&self.known(), &batch.caller.project);
        if open >= OPEN {
            let why = format!("{OPEN} batches of this project are not over: wait for one, or cancel one");
            return Err(Failure::gateway(FailureKind::RateLimited, why).into());
        }
        for id in old {
            self.jobs.batches().delete(id.as_str()).await.map_err(|error| unavailable(&error))?;
            self.see(Change::Deleted(id.to_string()));
        }
        self.jobs.batches().put(batch.id.as_str(), &batch).await.map_err(|error| unavailable(&error))?;
        self.note(&batch);
        Ok(batch)
    }

    /// Takes over what this process has written, unless it has heard of a later state meanwhile.
    fn note(&self, batch: &Batch) {
        note(&mut self.known(), batch);
        self.changed.send_replace(());
    }

    /// A batch of a project that was made through this API.
    ///
    /// # Errors
    /// When there is none, or the store does not answer.
    pub(crate) async fn get(&self, project: &ProjectId, api: Dialect, id: &str) -> Result<Batch, Refusal> {
        self.find(made_through(project, api), id).await.map(|(batch, _)| batch)
    }

    /// The batch whose results a file holds.
    ///
    /// # Errors
    /// When there is none, or the store does not answer.
    pub(crate) async fn of_file(&self, project: &ProjectId, file: FileId) -> Result<Batch, Refusal> {
        for at in [1, 2] {
            let own = Uuid::from_u128(file.0.as_u128().wrapping_sub(at));
            match self.find(|batch| batch.caller.project == *project, &format!("batch_{}", own.simple())).await {
                Err(Refusal::Failed(failure)) if failure.kind == FailureKind::NotFound => {}
                found => return found.map(|(batch, _)| batch),
            }
        }
        Err(unknown(&file.to_string()))
    }

    /// A batch that may be seen, and its revision.
    ///
    /// # Errors
    /// When there is none, or the store does not answer.
    pub(crate) async fn find(&self, is_seen: impl Fn(&Batch) -> bool, id: &str) -> Result<(Batch, u64), Refusal> {
        let Ok(id) = BatchId::parse(id) else { return Err(unknown(id)) };
        let found = self.jobs.batches().get_with_revision(id.as_str()).await.map_err(|error| unavailable(&error))?;
        found.filter(|(batch, _)| is_seen(batch)).ok_or_else(|| unknown(id.as_str()))
    }

    /// The batches of a project that were made through this API, the newest first, and whether there are more.
    pub(crate) fn list(&self, project: &ProjectId, api: Dialect, page: &BatchQuery) -> (Vec<Arc<Batch>>, bool) {
        self.list_of(made_through(project, api), page)
    }

    /// The batches that may be seen, the newest first, and whether there are more.
    pub(crate) fn list_of(&self, is_seen: impl Fn(&Batch) -> bool, page: &BatchQuery) -> (Vec<Arc<Batch>>, bool) {
        let known = self.known();
        let now = clock::now();
        let own = known.values().filter(|batch| now.since(batch.created_at) < SHOWN && is_seen(batch));
        let mut found: Vec<Arc<Batch>> = match &page.before {
            Some(before) => {
                own.filter(|batch| batch.id.as_str() > before.as_str()).take(page.limit + 1).cloned().collect()
            }
            None => {
                let is_behind =
                    |batch: &&Arc<Batch>| page.after.as_ref().is_none_or(|after| batch.id.as_str() < after.as_str());
                own.rev().filter(is_behind).take(page.limit + 1).cloned().collect()
            }
        };
        let has_more = found.len() > page.limit;
        found.truncate(page.limit);
        if page.before.is_some() {
            found.reverse();
        }
        (found, has_more)
    }

    /// Removes a batch that is over, and gives it back for what is left of it to be removed.
    ///
    /// # Errors
    /// When there is none, when it is not over, or the store does not answer.
    pub(crate) async fn forget(&self, project: &ProjectId, api: Dialect, id: &str) -> Result<Batch, Refusal> {
        let batch = self.get(project, api, id).await?;
        if !batch.status.is_final() {
            let why = format!("the batch is {}: only one that is over can be removed", batch.status.as_str());
            return Err(Failure::gateway(FailureKind::BadRequest, why).into());
        }
        self.jobs.batches().delete(id).await.map_err(|error| unavailable(&error))?;
        self.see(Change::Deleted(id.to_owned()));
        Ok(batch)
    }

    /// Ends a batch: what has not begun does not, and what is under way is given up.
    ///
    /// # Errors
    /// When there is none, when it is over, or the store does not answer.
    pub(crate) async fn cancel(&self, is_seen: impl Fn(&Batch) -> bool, id: &str) -> Result<Batch, Refusal> {
        loop {
            let (mut batch, revision) = self.find(&is_seen, id).await?;
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
                self.note(&batch);
                return Ok(batch);
            }
        }
    }
}

/// A batch that was just written: what was heard of one that begins is as new or newer, and nothing comes after the end.
fn note(known: &mut BTreeMap<BatchId, Arc<Batch>>, written: &Batch) {
    let heard = known.get(&written.id);
    if heard.is_none_or(|heard| !heard.status.is_final() && written.status != BatchStatus::Validating) {
        known.insert(written.id.clone(), Arc::new(written.clone()));
    }
}

/// How many batches of a project are not over, and which of the others must go so that there is room for one more.
fn room(known: &BTreeMap<BatchId, Arc<Batch>>, project: &ProjectId) -> (usize, Vec<BatchId>) {
    let of_project = || known.values().filter(|batch| batch.caller.project == *project);
    let open = of_project().filter(|batch| !batch.status.is_final()).count();
    let mut kept = BATCH + of_project().map(|batch| size(batch)).sum::<usize>();
    let mut old = Vec::new();
    // The oldest first: an id begins with its time.
    for batch in of_project().filter(|batch| batch.status.is_final()) {
        if kept <= KEPT {
            break;
        }
        kept -= size(batch);
        old.push(batch.id.clone());
    }
    (open, old)
}

/// About what a process holds of a batch, in bytes.
fn size(batch: &Batch) -> usize {
    let models = batch.models.iter().chain(batch.native.iter().map(|lane| &lane.model)).map(String::len);
    let notes = batch.metadata.iter().map(|(name, value)| name.len() + value.len());
    let errors = batch.errors.iter().map(|error| error.message.len() + error.code.len());
    BATCH + models.chain(notes).chain(errors).sum::<usize>()
}

/// Whether a batch is of this project, and made through this API: only then it is shown there.
pub(crate) fn made_through(project: &ProjectId, api: Dialect) -> impl Fn(&Batch) -> bool {
    move |batch| batch.caller.project == *project && batch.api == api
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use penstock_schemas::UnixMicros;
    use penstock_schemas::envelope::Caller;
    use penstock_schemas::name::KeyId;

    pub(crate) fn batch(number: usize, project: &str, status: BatchStatus, note: usize) -> (BatchId, Arc<Batch>) {
        let id = BatchId::parse(format!("batch_{number:032x}")).unwrap();
        let (project, key_id) = (ProjectId::parse(project).unwrap(), KeyId::parse("k").unwrap());
        let caller = Caller { project, key_id, user: None, end_user: None, tags: BTreeMap::new() };
        let window = ("24h".to_owned(), UnixMicros(0), UnixMicros(1));
        let batch = Batch::asked_for(id.clone(), (caller, None), String::new(), String::new(), window);
        let metadata = BTreeMap::from([("note".to_owned(), "x".repeat(note))]);
        (id, Arc::new(Batch { status, metadata, ..batch }))
    }

    #[test]
    fn what_was_heard_of_a_batch_is_not_set_back_by_what_was_written_before() {
        use BatchStatus::{Cancelled, Cancelling, InProgress, Validating};
        for (heard, written, stays) in [
            (None, Validating, Validating),
            (Some(InProgress), Validating, InProgress),
            (Some(InProgress), Cancelling, Cancelling),
            (Some(Cancelled), Cancelling, Cancelled),
        ] {
            let mut known: BTreeMap<_, _> = heard.map(|heard| batch(1, "own", heard, 0)).into_iter().collect();
            let (id, written) = batch(1, "own", written, 0);
            note(&mut known, &written);
            assert_eq!(known[&id].status, stays, "{heard:?} {:?}", written.status);
        }
    }

    #[test]
    fn the_oldest_batches_of_a_project_that_are_over_make_room_for_others_of_it() {
        const MANY: usize = KEPT / 4 / (BATCH * 2);
        let status = |number: usize| if number == 0 { BatchStatus::InProgress } else { BatchStatus::Completed };
        let own = (0..2 * MANY).map(|number| batch(number, "own", status(number), BATCH));
        let others = (0..3 * MANY).map(|number| batch(10 * MANY + number, "other", BatchStatus::Failed, BATCH));
        let mut known: BTreeMap<BatchId, Arc<Batch>> = own.chain(others).collect();
        let project = ProjectId::parse("own").unwrap();
        assert_eq!(room(&known, &project), (1, vec![]));
        known.extend((2 * MANY..4 * MANY + 2).map(|number| batch(number, "own", BatchStatus::Completed, BATCH)));
        let (open, old) = room(&known, &project);
        let oldest: Vec<BatchId> = known.keys().skip(1).take(old.len()).cloned().collect();
        assert!(open == 1 && (3..100).contains(&old.len()) && old == oldest, "{} go", old.len());
    }
}
