//! What every stage and handler of the ingress shares: configuration, keys, models, limits and the bus, as they stand now.
//! Knows no stage and no handler, and starts nothing.

use crate::batches::Batches;
use crate::cache::{AnswersToCompare, Cache};
use crate::capture::AnswerToJudge;
use crate::carry::Carry;
use crate::config::IngressConfig;
use crate::embedding::Embedder;
use crate::identity::Issuers;
use crate::keys::ring::KeyRing;
use crate::later_jobs::LaterJobs;
use crate::limits::{Keeper, Rules};
use crate::manage::Objects;
use crate::metrics::IngressMetrics;
use crate::models::Models;
use crate::queue::Queues;
use crate::routing::RouteMemory;
use crate::strangers::Strangers;
use penstock_runtime::bus::{Alarm, Bucket, Bus, Files, Inbox, Journal, Kept, Replays};
use penstock_runtime::health::Health;
use penstock_runtime::memory::Memory;
use penstock_runtime::{Life, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::dashboard::DashboardSession;
use penstock_schemas::directory::Directory;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

/// Between two looks whether this process is ready.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// Bodies of an ingress that are captured or stored at once.
const CAPTURES: usize = 64;

/// Live views of the dashboard that an ingress has open at the most.
const LIVE_VIEWS: usize = 32;

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Parts>);

/// See [`Shared`].
pub(crate) struct Parts {
    pub(crate) config: IngressConfig,
    pub(crate) bus: Bus,
    pub(crate) life: Life,
    pub(crate) inbox: Inbox,
    pub(crate) journal: Journal,
    pub(crate) keys: KeyRing,
    pub(crate) issuers: Issuers,
    pub(crate) models: Models,
    pub(crate) health: Health,
    /// What routing remembers.
    pub(crate) routes: RouteMemory,
    pub(crate) objects: Objects,
    pub(crate) keeper: Keeper,
    pub(crate) alarm: Alarm,
    pub(crate) rules: Mutex<(Arc<Directory>, Arc<Rules>)>,
    pub(crate) replays: Replays,
    pub(crate) queues: Queues,
    pub(crate) memory: Memory,
    pub(crate) strangers: Strangers,
    pub(crate) carry: Carry,
    pub(crate) cache: Cache,
    pub(crate) embedder: Embedder,
    /// Room for requests that wait until this process is ready.
    pub(crate) early: Semaphore,
    pub(crate) conversations: Kept,
    pub(crate) files: Files,
    pub(crate) batches: Batches,
    /// Jobs that are to begin later.
    pub(crate) later_jobs: LaterJobs,
    /// Answers that judges are to score.
    pub(crate) to_judge: mpsc::Sender<AnswerToJudge>,
    /// Answers that the judge of the cache is to compare.
    pub(crate) to_compare: mpsc::Sender<AnswersToCompare>,
    /// Logins to the dashboard.
    pub(crate) sessions: Bucket<DashboardSession>,
    pub(crate) rooms: Rooms,
    pub(crate) metrics: Arc<IngressMetrics>,
}

/// How many there may be at once of what goes on beside requests.
pub(crate) struct Rooms {
    /// Responses in the background.
    pub(crate) background: Arc<Semaphore>,
    /// Bodies that are captured or stored.
    pub(crate) captures: Arc<Semaphore>,
    /// Live views of the dashboard.
    pub(crate) live: Arc<Semaphore>,
}

impl Rooms {
    /// Room for so many responses in the background.
    pub(crate) fn new(background: usize) -> Self {
        let room = |places| Arc::new(Semaphore::new(places));
        Self { background: room(background), captures: room(CAPTURES), live: room(LIVE_VIEWS) }
    }
}

impl Deref for Shared {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Waits for a process that is just starting, or has lost its connection for a moment: as long as a call may wait for
    /// a worker, and for no more requests than may do so. What cannot be served then is refused by who needs what is
    /// missing.
    pub(crate) async fn soon_ready(&self, deadline: UnixMicros) {
        if self.is_ready() {
            return;
        }
        let Ok(_room) = self.early.try_acquire() else { return };
        let until = clock::now().after(self.config.queue_timeout).min(deadline);
        while !self.is_ready() && !self.life.is_stopping() && clock::now() < until {
            sleep(LOOK).await;
        }
    }

    /// All limits, as the directory says now.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        let directory = self.keys.directory();
        let mut known = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.0, &directory) {
            let rules = Arc::new(Rules::of(&directory));
            *known = (directory, rules);
        }
        known.1.clone()
    }

    /// Whether requests can be served.
    pub(crate) fn is_ready(&self) -> bool {
        self.keys.is_current() && self.models.is_current() && self.bus.is_connected() && !self.life.is_stopping()
    }
}
