//! What each project keeps of answers for repetitions: counted by the ingress that takes the answer, as its frames pass by, and
//! known to all when it is over. Beyond its quota a project's own oldest answers go, so that none can push out another's.
//! Reads no content.

use super::stored::Stored;
use super::streams::KEPT_MAX_AGE;
use super::{Bus, BusError, failed};
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::stream::Stream;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::{ProjectId, RequestId};
use penstock_schemas::place;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tracing::warn;

/// What a frame takes besides its payload, in bytes.
const FRAME: u64 = 150;

/// Answers that may wait to be written down.
const WAITING: usize = 4096;

/// The quotas of all projects. Cloning shares them.
#[derive(Clone)]
pub(super) struct KeptQuota {
    counted: Arc<Mutex<Counted>>,
    over: mpsc::Sender<Over>,
    quota: u64,
}

/// Answers that are under way at this ingress.
#[derive(Default)]
struct Counted {
    answers: HashMap<RequestId, Answer>,
    by_project: HashMap<ProjectId, u64>,
}

struct Answer {
    project: ProjectId,
    bytes: u64,
    /// After this no more frames come.
    deadline: UnixMicros,
    /// There was more under way of this project than it may keep: what has come of this answer was removed.
    is_lost: bool,
}

/// What becomes of an answer that is kept no longer, or is complete.
struct Over {
    project: ProjectId,
    request: RequestId,
    /// `None`: nothing of it is kept.
    bytes: Option<u64>,
}

/// Keeps the books of one ingress.
struct Clerk {
    bus: Bus,
    store: Store,
    stream: Stream,
    stored: Stored,
    quota: u64,
}

impl KeptQuota {
    /// Begins to count: each project may keep so many bytes.
    pub(super) async fn open(bus: &Bus, quota: u64) -> Result<Self, BusError> {
        let store = bus.key_value_for(&bus.subjects.kept_sizes_bucket(), KEPT_MAX_AGE).await?;
        let stored = Stored::follow(bus, &store, |key, _| place::kept_answer_parts(key).map_or(0, |(.., bytes)| bytes));
        let clerk = Clerk { bus: bus.clone(), store, stream: bus.kept_stream().await?, stored, quota };
        let (over, waiting) = mpsc::channel(WAITING);
        bus.life.service("quotas of kept answers", clerk.run(waiting));
        Ok(Self { counted: Arc::default(), over, quota })
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer of this project is to come.
    pub(super) fn begin(&self, project: &ProjectId, request: RequestId, deadline: UnixMicros, now: UnixMicros) {
        let mut counted = self.counted();
        let late: Vec<RequestId> =
            counted.answers.iter().filter(|(_, answer)| answer.deadline < now).map(|(request, _)| *request).collect();
        let late: Vec<Over> = late.into_iter().filter_map(|request| counted.end(request)).collect();
        let answer = Answer { project: project.clone(), bytes: 0, deadline, is_lost: false };
        counted.answers.insert(request, answer);
        drop(counted);
        late.into_iter().for_each(|over| self.tell(over));
    }

    /// A frame of it has come.
    pub(super) fn count(&self, request: RequestId, payload: usize, is_last: bool) {
        let mut counted = self.counted();
        let is_over_quota = counted.add(request, payload as u64 + FRAME) > self.quota;
        let over = match (is_last, is_over_quota) {
            (true, _) => counted.end(request),
            (false, true) => counted.lose(request),
            (false, false) => None,
        };
        drop(counted);
        if let Some(over) = over {
            self.tell(over);
        }
    }

    fn tell(&self, over: Over) {
        if self.over.try_send(over).is_err() {
            warn!("the size of a kept answer was not written down: too many wait for NATS");
        }
    }
}

impl Counted {
    /// What the project has under way with so much more.
    fn add(&mut self, request: RequestId, bytes: u64) -> u64 {
        let Some(answer) = self.answers.get_mut(&request) else { return 0 };
        answer.bytes += bytes;
        let sum = self.by_project.entry(answer.project.clone()).or_default();
        *sum += bytes;
        *sum
    }

    fn free(&mut self, project: &ProjectId, bytes: u64) {
        if let Some(sum) = self.by_project.get_mut(project) {
            *sum = sum.saturating_sub(bytes);
            if *sum == 0 {
                self.by_project.remove(project);
            }
        }
    }

    /// What has come of it is removed.
    fn lose(&mut self, request: RequestId) -> Option<Over> {
        let answer = self.answers.get_mut(&request)?;
        answer.is_lost = true;
        let (project, bytes) = (answer.project.clone(), std::mem::take(&mut answer.bytes));
        self.free(&project, bytes);
        Some(Over { project, request, bytes: None })
    }

    fn end(&mut self, request: RequestId) -> Option<Over> {
        let answer = self.answers.remove(&request)?;
        self.free(&answer.project, answer.bytes);
        Some(Over { project: answer.project, request, bytes: (!answer.is_lost).then_some(answer.bytes) })
    }
}

impl Clerk {
    async fn run(self, mut waiting: mpsc::Receiver<Over>) {
        while let Some(over) = waiting.recv().await {
            if let Err(error) = self.settle(&over).await {
                warn!(%error, project = %over.project, "what a project keeps of answers could not be looked after");
            }
        }
        // A service ends with the role, not before it.
        std::future::pending::<()>().await;
    }

    async fn settle(&self, over: &Over) -> Result<(), BusError> {
        let ingress = self.bus.process().clone();
        let Some(bytes) = over.bytes else {
            return self.remove(&self.bus.subjects.kept_reply(&ingress, over.request)).await;
        };
        let key = place::kept_answer(&over.project, &ingress, over.request, bytes);
        let put = self.bus.noted(&self.store.name, self.store.put(&key, bytes::Bytes::new()).await);
        let sequence = put.map_err(failed("count a kept answer"))?;
        self.stored.add(&key, sequence, usize::try_from(bytes).unwrap_or(usize::MAX));
        for key in self.stored.too_old((over.project.as_str(), None), 0, self.quota, KEPT_MAX_AGE).unwrap_or_default() {
            if let Some((_, ingress, request, _)) = place::kept_answer_parts(&key) {
                self.remove(&self.bus.subjects.kept_reply(&ingress, request)).await?;
            }
            self.store.delete(&key).await.map_err(failed("forget an old answer"))?;
        }
        Ok(())
    }

    async fn remove(&self, subject: &str) -> Result<(), BusError> {
        let purged = self.stream.purge().filter(subject).await;
        purged.map(drop).map_err(failed("forget an old answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_is_under_way_is_counted_by_project_and_beyond_the_quota_lost() {
        let (over, mut told) = mpsc::channel(10);
        let quota = KeptQuota { counted: Arc::default(), over, quota: 10 * (FRAME + 100) };
        let [one, two] = ["one", "two"].map(|name| ProjectId::parse(name).unwrap());
        let request = |number| RequestId(Uuid::from_u128(number));
        for (number, project, deadline) in [(1, &one, 9), (2, &one, 9), (3, &two, 9), (4, &two, 5)] {
            quota.begin(project, request(number), UnixMicros(deadline), UnixMicros(0));
        }
        let mut next = || told.try_recv().ok().map(|over| (over.request.0.as_u128(), over.bytes));
        (0..5).for_each(|_| quota.count(request(1), 100, false));
        (0..6).for_each(|_| quota.count(request(2), 100, false));
        assert_eq!((next(), next()), (Some((2, None)), None), "six and five are more than ten");
        quota.count(request(2), 100, true);
        quota.count(request(1), 100, true);
        quota.count(request(3), 100, true);
        quota.count(request(9), 100, true);
        assert_eq!(
            [next(), next(), next(), next()],
            [Some((2, None)), Some((1, Some(1500))), Some((3, Some(250))), None]
        );
        quota.begin(&one, request(5), UnixMicros(20), UnixMicros(6));
        assert_eq!(next(), Some((4, Some(0))), "its deadline has passed");
        assert!(quota.counted().by_project.is_empty() && quota.counted().answers.len() == 1);
    }
}
