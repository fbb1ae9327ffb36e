//! Lines of batches through a provider's own batch API, at its price: from an object of lines to an object of answers.
//!
//! What is due with a group is done by whichever worker is asked about it ([`NativeQuestion::Advance`]), in the background;
//! how far it is stands in a bucket (`NativeStage`), changed by compare-and-set, so that one worker at a time works on it and
//! another goes on when that one's pulse stops:
//!
//! 1. **Submit** (`submit`): each line is spelt by the adapter that spells single calls; its start is written into the ledger,
//!    with an id and a time that are the same however often this is done; then the batch is made at the provider, under our
//!    name for it. A worker that dies between that and the note of the provider's id leaves a group *in doubt*: it is looked
//!    for in the provider's list before it is submitted again. A provider that keeps no names is asked for what the batches of
//!    that time and size hold.
//! 2. **Poll**, each time that the group is asked about.
//! 3. **Collect** (`collect`): the answers are read line by line by the same adapters, priced at the batch's price, noted in the
//!    ledger and written into the object that the ingress reads. Done again after a crash, it makes the same rows.
//!
//! Knows the bus's objects and the order of things; knows no provider (see `providers::batch_api`) and nothing of who waits.

mod ask;
mod claim;
mod collect;
mod line;
mod submit;

use crate::call::CallContext;
use crate::providers::batch_api::{BatchApi, BatchState};
use crate::providers::batch_of;
use ask::Asking;
use claim::Claim;
use penstock_runtime::bus::{Bucket, Bus, BusError, NativeObjects};
use penstock_runtime::clock;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::native_batch::{NativeAnswer, NativeGroup, NativeJob, NativeQuestion, NativeStage};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tracing::{info, warn};

/// Groups of one provider that a process submits or collects at once: each takes its lines' memory.
const AT_ONCE: usize = 2;

/// A pulse that is older than this says that its worker is gone.
const GONE: Duration = Duration::from_secs(60);

/// One provider's native batches in this process. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Native {
    context: CallContext,
    api: &'static dyn BatchApi,
    bus: Bus,
    stores: Arc<OnceCell<Stores>>,
    at_once: Arc<Semaphore>,
}

#[derive(Clone)]
struct Stores {
    groups: Bucket<NativeStage>,
    objects: NativeObjects,
}

/// Why nothing was done.
enum Stopped {
    /// The bus does not answer.
    Bus(BusError),
    /// The provider does not, or says no.
    Provider(Failure),
}

impl From<BusError> for Stopped {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Provider(failure)
    }
}

impl Stopped {
    fn into_failure(self) -> Failure {
        match self {
            Self::Bus(error) => Failure::gateway(FailureKind::Internal, error.to_string()),
            Self::Provider(failure) => failure,
        }
    }
}

impl Native {
    /// Answers what is asked about a provider's groups, where it has a batch API; as long as the role lives.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub(crate) async fn serve(context: &CallContext, bus: &Bus) -> Result<(), BusError> {
        let Some(dialect) = context.provider.batch_api else { return Ok(()) };
        let native = Self {
            context: context.clone(),
            api: batch_of(dialect),
            bus: bus.clone(),
            stores: Arc::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        };
        bus.answer_native(&context.provider.id, move |question| {
            let native = native.clone();
            async move { Box::pin(native.answer(question)).await }
        })
        .await
    }

    async fn answer(&self, question: NativeQuestion) -> NativeAnswer {
        let answered = match &question {
            NativeQuestion::Advance(group) => self.advance(group).await,
            NativeQuestion::Cancel(group) => self.cancel(group).await,
            NativeQuestion::Forget(group) => self.forget(group).await,
        };
        answered.unwrap_or_else(|stopped| {
            let failure = stopped.into_failure();
            warn!(provider = %self.context.provider.id, reason = failure.message, "a native batch has to wait");
            NativeAnswer::Later(Box::new(failure))
        })
    }

    /// The bucket and the objects: made when they are first needed, since most deployments never do.
    async fn stores(&self) -> Result<&Stores, BusError> {
        let open = || async {
            Ok(Stores { groups: self.bus.native_groups().await?, objects: self.bus.native_objects().await? })
        };
        Box::pin(self.stores.get_or_try_init(open)).await
    }

    fn asking(&self) -> Asking<'_> {
        Asking { provider: &self.context.provider, memory: &self.context.memory, api: self.api }
    }

    async fn advance(&self, group: &NativeGroup) -> Result<NativeAnswer, Stopped> {
        let groups = &self.stores().await?.groups;
        let Some((stage, revision)) = groups.get_with_revision(&group.name()).await? else {
            return self.begin(group, Claim::first(self, group, None), NativeAnswer::Submitting).await;
        };
        match stage {
            NativeStage::Submitting { pulse, .. } if is_gone(pulse) => {
                self.begin(group, Claim::first(self, group, Some(revision)), NativeAnswer::Submitting).await
            }
            NativeStage::Submitting { .. } => Ok(NativeAnswer::Submitting),
            NativeStage::Submitted(job) => self.poll(group, job, revision).await,
            NativeStage::Collecting { job, pulse, .. } if is_gone(pulse) => {
                self.begin(group, Claim::second(self, group, job, revision), NativeAnswer::Collecting).await
            }
            NativeStage::Collecting { .. } => Ok(NativeAnswer::Collecting),
            NativeStage::Collected(counts) => Ok(NativeAnswer::Collected(counts)),
            NativeStage::Failed(failure) => Ok(NativeAnswer::Failed(failure)),
        }
    }

    /// Asks the provider how a group is.
    async fn poll(&self, group: &NativeGroup, job: NativeJob, revision: u64) -> Result<NativeAnswer, Stopped> {
        match Box::pin(self.asking().poll(&job)).await?.state {
            BatchState::Running(done) => Ok(NativeAnswer::Running { done }),
            // One that was refused has no answers: each line is told of as one that was never run.
            BatchState::Ended(_) | BatchState::Refused(_) => {
                self.begin(group, Claim::second(self, group, job, revision), NativeAnswer::Collecting).await
            }
        }
    }

    /// Begins to work on a group, unless another worker has just begun, or this one has no place for it.
    async fn begin(
        &self,
        group: &NativeGroup,
        claiming: impl Future<Output = Result<Option<Claim>, BusError>>,
        meanwhile: NativeAnswer,
    ) -> Result<NativeAnswer, Stopped> {
        let Ok(place) = self.at_once.clone().try_acquire_owned() else { return Ok(meanwhile) };
        if self.context.life.is_stopping() {
            return Ok(meanwhile);
        }
        if let Some(claim) = claiming.await? {
            let (native, group) = (self.clone(), group.clone());
            self.context.life.work(async move {
                native.work(&group, claim).await;
                drop(place);
            });
        }
        Ok(meanwhile)
    }

    async fn work(&self, group: &NativeGroup, mut claim: Claim) {
        let what = if claim.job().is_some() { "collect" } else { "submit" };
        let Some(next) = claim.hold(self.next(group, &claim.begun())).await else { return };
        info!(provider = %self.context.provider.id, group = group.name(), what, stage = ?next, "a native batch goes on");
        claim.end(next).await;
    }

    /// What is due now, and what the group's stage is then; `None`: it has to be done again.
    async fn next(&self, group: &NativeGroup, begun: &claim::Begun) -> Option<NativeStage> {
        let done = match begun {
            claim::Begun::Submitting { in_doubt } => Box::pin(submit::submit(self, group, *in_doubt)).await,
            claim::Begun::Collecting(job) => Box::pin(collect::collect(self, group, job)).await.map(Some),
        };
        done.unwrap_or_else(|stopped| {
            let failure = stopped.into_failure();
            warn!(provider = %self.context.provider.id, group = group.name(), reason = failure.message, "a native batch is tried again");
            None
        })
    }

    async fn cancel(&self, group: &NativeGroup) -> Result<NativeAnswer, Stopped> {
        let groups = &self.stores().await?.groups;
        match groups.get(&group.name()).await? {
            Some(NativeStage::Submitted(job)) => {
                Box::pin(self.asking().cancel(&job)).await?;
                Ok(NativeAnswer::Running { done: 0 })
            }
            // Nothing has begun: it never will.
            None => {
                let failure = Box::new(Failure::gateway(FailureKind::Cancelled, "the batch was cancelled"));
                let stage = NativeStage::Failed(failure.clone());
                match groups.create(&group.name(), &stage).await? {
                    Some(_) => Ok(NativeAnswer::Failed(failure)),
                    None => self.advance(group).await,
                }
            }
            Some(_) => self.advance(group).await,
        }
    }

    async fn forget(&self, group: &NativeGroup) -> Result<NativeAnswer, Stopped> {
        let Stores { groups, objects } = self.stores().await?;
        objects.remove(&group.lines_object()).await?;
        objects.remove(&group.answers_object()).await?;
        groups.delete(&group.name()).await?;
        Ok(NativeAnswer::Forgotten)
    }
}

fn is_gone(pulse: penstock_schemas::UnixMicros) -> bool {
    clock::now().since(pulse) >= GONE
}
