//! The right to work on a group: one worker at a time has it, as long as its pulse beats. Knows the stages of a group, and
//! nothing of what is done at each.

use super::{GONE, Native};
use penstock_runtime::bus::{Bucket, BusError};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::ProcessId;
use penstock_schemas::native_batch::{NativeGroup, NativeJob, NativeStage};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

/// Between two beats of the pulse.
const BEAT: Duration = Duration::from_secs(10);

/// The claim of one worker on one group.
pub(super) struct Claim {
    groups: Bucket<NativeStage>,
    name: String,
    worker: ProcessId,
    begun: Begun,
    revision: u64,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Begun {
    /// To be taken to the provider, who may have it already.
    Submitting { in_doubt: bool },
    /// The answers of this are to be read.
    Collecting(NativeJob),
}

impl Claim {
    /// Claims a group that is to be submitted: one that nothing is known of, or whose last worker is gone. `None`: another
    /// worker was faster.
    pub(super) async fn first(
        native: &Native,
        group: &NativeGroup,
        gone: Option<u64>,
    ) -> Result<Option<Self>, BusError> {
        Self::take(native, group, Begun::Submitting { in_doubt: gone.is_some() }, gone).await
    }

    /// Claims a group whose answers are to be read.
    pub(super) async fn second(
        native: &Native,
        group: &NativeGroup,
        job: NativeJob,
        revision: u64,
    ) -> Result<Option<Self>, BusError> {
        Self::take(native, group, Begun::Collecting(job), Some(revision)).await
    }

    async fn take(
        native: &Native,
        group: &NativeGroup,
        begun: Begun,
        revision: Option<u64>,
    ) -> Result<Option<Self>, BusError> {
        let groups = native.stores().await?.groups.clone();
        let (name, worker) = (group.name(), native.context.worker.clone());
        let stage = begun.stage(&worker, clock::now());
        let taken = match revision {
            None => groups.create(&name, &stage).await?,
            Some(revision) => groups.update(&name, &stage, revision).await?,
        };
        Ok(taken.map(|revision| Self { groups, name, worker, begun, revision }))
    }

    pub(super) fn begun(&self) -> Begun {
        self.begun.clone()
    }

    pub(super) fn job(&self) -> Option<&NativeJob> {
        match &self.begun {
            Begun::Submitting { .. } => None,
            Begun::Collecting(job) => Some(job),
        }
    }

    /// Does the work as long as the claim holds. `None`: it is another worker's now, or may be one's soon, because the pulse
    /// could not be written for a while: what is under way is given up long before that.
    pub(super) async fn hold<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut last = Instant::now();
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = sleep(BEAT) => {
                    let stage = self.begun.stage(&self.worker, clock::now());
                    let beat = timeout(BEAT, self.groups.update(&self.name, &stage, self.revision)).await;
                    let late = |_| Err(BusError::Failed { what: "write a pulse", reason: "no answer in time".to_owned() });
                    match beat.unwrap_or_else(late) {
                        Ok(Some(revision)) => {
                            self.revision = revision;
                            last = Instant::now();
                        }
                        Ok(None) if self.is_ours().await => last = Instant::now(),
                        Ok(None) => return None,
                        Err(error) => {
                            warn!(group = self.name, %error, "the pulse of a native batch could not be written");
                            if last.elapsed() > GONE / 2 {
                                return None;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Whether the group is this worker's still, where it was changed since: perhaps by this one, which was not told that its change
    /// was taken.
    async fn is_ours(&mut self) -> bool {
        let Ok(Some((stage, revision))) = self.groups.get_with_revision(&self.name).await else { return false };
        let (NativeStage::Submitting { worker, .. } | NativeStage::Collecting { worker, .. }) = stage else {
            return false;
        };
        if worker == self.worker {
            self.revision = revision;
        }
        worker == self.worker
    }

    /// Ends the claim with what the group is now. Without that it is to be done again: at once, by whoever is asked next.
    pub(super) async fn end(mut self, next: Option<NativeStage>) {
        let stage = next.unwrap_or_else(|| self.begun.stage(&self.worker, UnixMicros(0)));
        let mut noted = self.groups.update(&self.name, &stage, self.revision).await;
        if matches!(noted, Ok(None)) && self.is_ours().await {
            noted = self.groups.update(&self.name, &stage, self.revision).await;
        }
        match noted {
            Ok(Some(_)) => {}
            // Submitted and not noted: it is found again at the provider.
            Ok(None) => warn!(group = self.name, "another worker has taken a native batch over"),
            Err(error) => warn!(group = self.name, %error, "how a native batch is could not be noted"),
        }
    }
}

impl Begun {
    fn stage(&self, worker: &ProcessId, pulse: UnixMicros) -> NativeStage {
        match self {
            Self::Submitting { .. } => NativeStage::Submitting { worker: worker.clone(), pulse },
            Self::Collecting(job) => NativeStage::Collecting { job: job.clone(), worker: worker.clone(), pulse },
        }
    }
}
