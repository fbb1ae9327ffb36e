//! Jobs that are to begin later: kept in NATS KV, followed by every process, and put into the queue when their time has come.
//! Knows nothing of what a job asks.

use crate::refusal::Refusal;
use penstock_runtime::bus::{Bucket, Bus, BusError, Change};
use penstock_runtime::{Life, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::job::{LaterJob, QueuedJob};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;
use tracing::warn;

/// How often it is looked for those whose time has come.
const LOOK: Duration = Duration::from_secs(1);

/// The most of one project that wait.
const WAITING: usize = 10_000;

/// Those that wait. Cloning shares them.
#[derive(Clone)]
pub(crate) struct LaterJobs {
    bus: Bus,
    bucket: Bucket<LaterJob>,
    /// By their ids.
    known: Arc<Mutex<HashMap<String, LaterJob>>>,
}

impl LaterJobs {
    /// Follows them, and queues those whose time has come, as long as the role lives.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub(crate) async fn open(bus: &Bus, life: &Life) -> Result<Self, BusError> {
        let jobs = Self { bus: bus.clone(), bucket: bus.later_jobs().await?, known: Arc::default() };
        let (noted, queueing) = (jobs.clone(), jobs.clone());
        jobs.bucket.follow(move |change| noted.note(change));
        life.service("jobs that begin later", async move {
            loop {
                sleep(LOOK).await;
                queueing.queue_due(clock::now()).await;
            }
        });
        Ok(jobs)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, LaterJob>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: Change<LaterJob>) {
        match change {
            Change::Put(id, job) => drop(self.known().insert(id, job)),
            Change::Deleted(id) => drop(self.known().remove(&id)),
            Change::Current => {}
        }
    }

    /// Has a job begin later.
    ///
    /// # Errors
    /// When too many of its project wait, or JetStream does not confirm it.
    pub(crate) async fn put(&self, job: LaterJob) -> Result<(), Refusal> {
        if self.known().values().filter(|other| other.project == job.project).count() >= WAITING {
            let why = format!("{WAITING} jobs of this project are to begin later: wait for one, or cancel one");
            return Err(Failure::gateway(FailureKind::RateLimited, why).into());
        }
        let put = self.bucket.put(&job.id, &job).await;
        put.map_err(|error| {
            warn!(%error, job = job.id, "a job that is to begin later is not kept");
            Refusal::NotReady("the store of jobs does not answer")
        })?;
        self.known().insert(job.id.clone(), job);
        Ok(())
    }

    /// Has it not begin.
    pub(crate) async fn forget(&self, id: &str) {
        match self.bucket.delete(id).await {
            Ok(()) => drop(self.known().remove(id)),
            // It is over, and found to be when its time comes.
            Err(error) => warn!(%error, job = id, "a job that is over is looked at once more"),
        }
    }

    /// Several processes may do so at once: the queue takes each job once.
    async fn queue_due(&self, now: UnixMicros) {
        let due: Vec<LaterJob> = self.known().values().filter(|job| job.run_at <= now).cloned().collect();
        for LaterJob { project, id, .. } in due {
            match self.bus.put_async(&QueuedJob { project, id: id.clone() }).await {
                Ok(()) => self.forget(&id).await,
                Err(error) => warn!(%error, job = id, "a job whose time has come is not queued yet"),
            }
        }
    }
}
