//! The cached answers that this process holds: those of the whole deployment, as far as they fit. What is removed anywhere is
//! removed here; what comes late, of a request before the removal, is not taken. Knows nothing of what makes a key.

use super::flight::Flights;
use super::key::CacheKey;
use bytes::Bytes;
use penstock_runtime::bus::{BusError, CacheStore, CacheUpdate};
use penstock_runtime::{Life, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::cache::{CacheEntry, CacheMark, CacheReport, HitQuestion, HitReply, NamespaceReport};
use penstock_schemas::name::{ProjectId, RequestId};
use quick_cache::Weighter;
use quick_cache::sync::Cache as Bounded;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::sleep;
use tracing::warn;

/// What an entry takes besides its content, about, in bytes.
const OVERHEAD: u64 = 512;

/// What a typical entry takes, to size the table: in bytes.
const TYPICAL: u64 = 2048;

/// Hits that this process remembers, so that one can be reported as wrong: 60 bytes each.
const REMEMBERED: usize = 100_000;

/// Removals of single answers that are remembered against one that comes late.
const REMOVED: usize = 10_000;

/// How long removals are remembered: longer than a request takes.
const MARKED: Duration = Duration::from_secs(3600);

/// Between two looks at what the stream takes of the disk.
const TIDY: Duration = Duration::from_secs(5);

/// Of these, the looks between two at what has expired: each goes over all of it.
const SWEEP: u32 = 12;

/// An answer that is kept.
#[derive(Debug)]
pub(crate) struct KeptAnswer {
    pub(crate) entry: CacheEntry,
    /// `None`: it is fetched.
    content: Option<Bytes>,
}

/// An answer that was found.
#[derive(Debug)]
pub(crate) struct FoundAnswer {
    pub(crate) entry: CacheEntry,
    pub(crate) content: Bytes,
    pub(crate) age: Duration,
}

#[derive(Clone)]
struct Weight;

impl Weighter<CacheKey, Arc<KeptAnswer>> for Weight {
    fn weight(&self, _: &CacheKey, kept: &Arc<KeptAnswer>) -> u64 {
        OVERHEAD + kept.content.as_ref().map_or(0, |content| content.len() as u64)
    }
}

/// Whose request got which answer: that of this key, which this request had paid for.
type Hit = (ProjectId, CacheKey, RequestId);

/// The cache of one process. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Cache(Arc<Shared>);

struct Shared {
    store: CacheStore,
    life: Life,
    kept: Bounded<CacheKey, Arc<KeptAnswer>, Weight>,
    marks: RwLock<Marks>,
    removed: Bounded<CacheKey, UnixMicros>,
    hits: Bounded<RequestId, Hit>,
    flights: Flights,
    is_current: AtomicBool,
    /// What could not be written.
    unkept: AtomicU64,
}

/// Until when all answers of a project, or of one of its namespaces, are not to be used.
type Marks = HashMap<(ProjectId, Option<String>), UnixMicros>;

impl Cache {
    /// Follows what is kept from now on, and holds so many bytes of it; all of it may take so many of the disk.
    pub(crate) fn follow(store: &CacheStore, life: &Life, memory: u64, disk: u64) -> Self {
        let items = usize::try_from(memory / TYPICAL).unwrap_or(usize::MAX).max(100);
        let cache = Self(Arc::new(Shared {
            kept: Bounded::with_weighter(items, memory, Weight),
            marks: RwLock::default(),
            removed: Bounded::new(REMOVED),
            hits: Bounded::new(REMEMBERED),
            flights: Flights::default(),
            is_current: AtomicBool::new(false),
            unkept: AtomicU64::new(0),
            life: life.clone(),
            store: store.clone(),
        }));
        let told = cache.clone();
        store.follow(move |update| told.update(update));
        life.service("the cache's limits", cache.clone().tidy(disk));
        cache
    }

    /// Whether what was there when this process started is known.
    pub(crate) fn is_current(&self) -> bool {
        self.0.is_current.load(Ordering::Acquire)
    }

    /// Those that are under way.
    pub(crate) fn flights(&self) -> &Flights {
        &self.0.flights
    }

    /// The answer to a request with this key that is not older than that.
    pub(crate) async fn find(&self, key: &CacheKey, oldest: Duration) -> Option<FoundAnswer> {
        let kept = self.0.kept.get(key)?;
        let now = clock::now();
        if kept.entry.expires_at <= now {
            self.0.kept.remove(key);
            return None;
        }
        let age = now.since(kept.entry.kept_at);
        if age > oldest {
            return None;
        }
        let content = match &kept.content {
            Some(content) => content.clone(),
            None => self.fetch(key, &kept).await?,
        };
        Some(FoundAnswer { entry: kept.entry.clone(), content, age })
    }

    async fn fetch(&self, key: &CacheKey, kept: &KeptAnswer) -> Option<Bytes> {
        let content = self.0.store.content(&key.spelled(), &kept.entry).await;
        let content = content.inspect_err(|error| warn!(%error, "a cached answer cannot be read")).ok()?;
        if content.is_none() {
            self.0.kept.remove(key);
        }
        content
    }

    /// Keeps an answer here, and has it kept for all.
    pub(crate) fn keep(&self, key: CacheKey, entry: CacheEntry, content: Bytes) {
        if self.is_removed(&key, &entry) {
            return;
        }
        self.hit(entry.request_id, (entry.project.clone(), key, entry.request_id));
        self.0.kept.insert(key, Arc::new(KeptAnswer { entry: entry.clone(), content: Some(content.clone()) }));
        if !self.0.store.has_room() {
            return;
        }
        let cache = self.clone();
        self.0.life.work(async move {
            if let Err(error) = cache.0.store.keep(&key.spelled(), &entry, &content).await {
                cache.0.unkept.fetch_add(1, Ordering::Relaxed);
                warn!(%error, "an answer is not kept for other processes");
            }
        });
    }

    /// Notes that a request got an answer.
    pub(crate) fn hit(&self, request: RequestId, hit: Hit) {
        self.0.hits.insert(request, hit);
    }

    /// The answer that a request got, or gave, as far as this process knows.
    pub(crate) fn of_request(&self, asked: &HitQuestion) -> Option<HitReply> {
        let (project, key, source) = self.0.hits.get(&asked.request_id)?;
        // Another answer may have taken its place.
        let is_it = |kept: &Arc<KeptAnswer>| project == asked.project && kept.entry.request_id == source;
        let kept = self.0.kept.get(&key).filter(is_it)?;
        Some(HitReply { key: key.spelled(), namespace: kept.entry.namespace.clone() })
    }

    /// Removes answers, everywhere.
    pub(crate) async fn remove(&self, mark: CacheMark) -> Result<(), BusError> {
        self.0.store.mark(&mark).await?;
        self.obey(mark);
        Ok(())
    }

    /// What is kept, by project and namespace: as far as this process holds it.
    pub(crate) fn report(&self) -> CacheReport {
        let now = clock::now();
        let mut all: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        for (_, kept) in self.0.kept.iter().filter(|(_, kept)| kept.entry.expires_at > now) {
            let sums = all.entry((kept.entry.project.to_string(), kept.entry.namespace.clone())).or_default();
            *sums = (sums.0 + 1, sums.1 + kept.entry.bytes);
        }
        let of = |((project, namespace), (entries, bytes))| NamespaceReport { project, namespace, entries, bytes };
        CacheReport { caches: all.into_iter().map(of).collect() }
    }

    fn update(&self, update: CacheUpdate) {
        match update {
            CacheUpdate::Current => self.0.is_current.store(true, Ordering::Release),
            CacheUpdate::Mark(mark) => self.obey(mark),
            CacheUpdate::Entry(key, entry, content) => {
                let Some(key) = CacheKey::read(&key).filter(|key| !self.is_removed(key, &entry)) else { return };
                self.0.kept.insert(key, Arc::new(KeptAnswer { entry: *entry, content }));
            }
        }
    }

    fn obey(&self, mark: CacheMark) {
        if let Some(key) = mark.key.as_deref() {
            let Some(key) = CacheKey::read(key) else { return };
            self.0.removed.insert(key, mark.at);
            if self.0.kept.get(&key).is_some_and(|kept| kept.entry.asked_at <= mark.at) {
                self.0.kept.remove(&key);
            }
            return;
        }
        let is_meant = |entry: &CacheEntry| {
            entry.project == mark.project
                && mark.namespace.as_ref().is_none_or(|namespace| *namespace == entry.namespace)
                && entry.asked_at <= mark.at
        };
        self.0.kept.retain(|_, kept| !is_meant(&kept.entry));
        let mut marks = self.0.marks.write().unwrap_or_else(PoisonError::into_inner);
        marks.insert((mark.project, mark.namespace), mark.at);
    }

    /// Whether an answer was removed before it came.
    fn is_removed(&self, key: &CacheKey, entry: &CacheEntry) -> bool {
        if self.0.removed.get(key).is_some_and(|at| entry.asked_at <= at) {
            return true;
        }
        let marks = self.0.marks.read().unwrap_or_else(PoisonError::into_inner);
        let is_before = |namespace| {
            let marked = marks.get(&(entry.project.clone(), namespace));
            marked.is_some_and(|at| entry.asked_at <= *at)
        };
        !marks.is_empty() && (is_before(None) || is_before(Some(entry.namespace.clone())))
    }

    async fn tidy(self, disk: u64) {
        for turn in 1_u32.. {
            sleep(TIDY).await;
            if turn.is_multiple_of(SWEEP) {
                let now = clock::now();
                self.0.kept.retain(|_, kept| kept.entry.expires_at > now);
                self.0.marks.write().unwrap_or_else(PoisonError::into_inner).retain(|_, at| now.since(*at) < MARKED);
            }
            if let Err(error) = self.0.store.bound(disk).await {
                warn!(%error, "what the cache takes of the disk is not known");
            }
        }
    }
}
