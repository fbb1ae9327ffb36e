//! The cached answers that this process holds: those of the whole deployment, as far as they fit. What is removed anywhere is
//! removed here; what comes late, of a request before the removal, is not taken. Knows nothing of what makes a key.

use super::flight::Flights;
use super::key::CacheKey;
use super::semantic::{IndexedQuestion, Spaces};
use super::tally::Tallies;
use super::thresholds::Thresholds;
use bytes::Bytes;
use penstock_runtime::bus::{Bucket, BusError, CacheStore, CacheUpdate};
use penstock_runtime::{Life, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::cache::{CacheEntry, CacheMark, HitQuestion, HitReply, SemanticHit, ThresholdRecord};
use penstock_schemas::event::CacheResult;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::{ProjectId, RequestId};
use quick_cache::Weighter;
use quick_cache::sync::Cache as Bounded;
use std::collections::HashMap;
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
    /// Its question, where it may answer others.
    pub(super) question: Option<IndexedQuestion>,
}

/// A kept answer whose question is near another.
#[derive(Debug)]
pub(crate) struct NearAnswer {
    key: CacheKey,
    kept: Arc<KeptAnswer>,
    pub(crate) cosine: f32,
}

impl NearAnswer {
    /// Its question.
    pub(crate) fn question(&self) -> Option<&str> {
        self.kept.question.as_ref().map(|question| question.text.as_str())
    }
}

/// An answer that was found.
#[derive(Debug)]
pub(crate) struct FoundAnswer {
    pub(crate) key: CacheKey,
    pub(crate) entry: CacheEntry,
    pub(crate) content: Bytes,
    pub(crate) age: Duration,
}

#[derive(Clone)]
struct Weight;

impl Weighter<CacheKey, Arc<KeptAnswer>> for Weight {
    fn weight(&self, _: &CacheKey, kept: &Arc<KeptAnswer>) -> u64 {
        let question = kept.question.as_ref().map_or(0, IndexedQuestion::bytes);
        OVERHEAD + question + kept.content.as_ref().map_or(0, |content| content.len() as u64)
    }
}

/// Whose request got which answer: that of this key, which this request had paid for.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) project: ProjectId,
    pub(crate) key: CacheKey,
    pub(crate) source: RequestId,
    /// Where it is the answer to another question.
    pub(crate) semantic: Option<SemanticHit>,
}

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
    spaces: Spaces,
    thresholds: Thresholds,
    tallies: Tallies,
    is_current: AtomicBool,
    /// What could not be written.
    unkept: AtomicU64,
}

/// Until when all answers of a project, or of one of its namespaces, are not to be used.
type Marks = HashMap<(ProjectId, Option<String>), UnixMicros>;

impl Cache {
    /// Follows what is kept from now on, and holds so many bytes of it; all of it may take so many of the disk.
    pub(crate) fn follow(
        store: &CacheStore,
        measured: Bucket<ThresholdRecord>,
        life: &Life,
        (memory, disk): (u64, u64),
    ) -> Self {
        let items = usize::try_from(memory / TYPICAL).unwrap_or(usize::MAX).max(100);
        let cache = Self(Arc::new(Shared {
            kept: Bounded::with_weighter(items, memory, Weight),
            marks: RwLock::default(),
            removed: Bounded::new(REMOVED),
            hits: Bounded::new(REMEMBERED),
            flights: Flights::default(),
            spaces: Spaces::default(),
            thresholds: Thresholds::follow(measured),
            tallies: Tallies::default(),
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
        self.0.is_current.load(Ordering::Acquire) && self.0.thresholds.is_current()
    }

    /// What was measured of semantic hits.
    pub(crate) fn thresholds(&self) -> &Thresholds {
        &self.0.thresholds
    }

    /// Counts what came of a look-up, and what it saved.
    pub(crate) fn count(&self, project: &ProjectId, namespace: &str, result: CacheResult, saved: Option<Picodollars>) {
        self.0.tallies.count(project, namespace, result, saved);
    }

    /// Those that are under way.
    pub(crate) fn flights(&self) -> &Flights {
        &self.0.flights
    }

    /// The answer to a request with this key that is not older than that.
    pub(crate) async fn find(&self, key: &CacheKey, oldest: Duration) -> Option<FoundAnswer> {
        let kept = self.0.kept.get(key)?;
        if kept.entry.expires_at <= clock::now() {
            self.0.kept.remove(key);
            return None;
        }
        self.open(*key, &kept, oldest).await
    }

    /// The answers to the nearest questions of a set that are not too old.
    pub(crate) fn nearest(&self, space: &CacheKey, vector: &[f32], oldest: Duration) -> Vec<NearAnswer> {
        let now = clock::now();
        let is_usable = |kept: &Arc<KeptAnswer>, number: u64| {
            // Another answer may have taken its place.
            let is_it = kept.question.as_ref().is_some_and(|question| question.is(number));
            is_it && kept.entry.expires_at > now && now.since(kept.entry.kept_at) <= oldest
        };
        let near = self.0.spaces.nearest(space, vector).into_iter().filter_map(|(key, number, cosine)| {
            let kept = self.0.kept.peek(&key).filter(|kept| is_usable(kept, number))?;
            Some(NearAnswer { key, kept, cosine })
        });
        near.collect()
    }

    /// The content of one that was found.
    pub(crate) async fn open_near(&self, near: &NearAnswer, oldest: Duration) -> Option<FoundAnswer> {
        // So that it counts as used.
        let kept = self.0.kept.get(&near.key).filter(|kept| Arc::ptr_eq(kept, &near.kept))?;
        self.open(near.key, &kept, oldest).await
    }

    async fn open(&self, key: CacheKey, kept: &KeptAnswer, oldest: Duration) -> Option<FoundAnswer> {
        let age = clock::now().since(kept.entry.kept_at);
        if age > oldest {
            return None;
        }
        let content = match &kept.content {
            Some(content) => content.clone(),
            None => self.fetch(&key, kept).await?,
        };
        Some(FoundAnswer { key, entry: kept.entry.clone(), content, age })
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
        let (project, source) = (entry.project.clone(), entry.request_id);
        self.hit(source, Hit { project, key, source, semantic: None });
        self.insert(key, entry.clone(), Some(content.clone()));
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

    /// Holds an answer here that will be kept.
    pub(crate) fn hold(&self, key: CacheKey, entry: &CacheEntry, content: &Bytes) {
        if !self.is_removed(&key, entry) {
            self.insert(key, entry.clone(), Some(content.clone()));
        }
    }

    fn insert(&self, key: CacheKey, mut entry: CacheEntry, content: Option<Bytes>) {
        // The vector lies in the index alone.
        let question = entry.question.take().and_then(|question| self.0.spaces.enter(key, &question));
        self.0.kept.insert(key, Arc::new(KeptAnswer { entry, content, question }));
    }

    /// Notes that a request got an answer.
    pub(crate) fn hit(&self, request: RequestId, hit: Hit) {
        self.0.hits.insert(request, hit);
    }

    /// The answer that a request got, or gave, as far as this process knows.
    pub(crate) fn of_request(&self, asked: &HitQuestion) -> Option<HitReply> {
        let Hit { project, key, source, semantic } = self.0.hits.get(&asked.request_id)?;
        // Another answer may have taken its place.
        let is_it = |kept: &Arc<KeptAnswer>| project == asked.project && kept.entry.request_id == source;
        let kept = self.0.kept.peek(&key).filter(is_it)?;
        Some(HitReply { key: key.spelled(), namespace: kept.entry.namespace.clone(), semantic })
    }

    /// Removes answers, everywhere.
    pub(crate) async fn remove(&self, mark: CacheMark) -> Result<(), BusError> {
        self.0.store.mark(&mark).await?;
        self.obey(mark);
        Ok(())
    }

    /// What each namespace has in this process.
    pub(super) fn kept(&self) -> impl Iterator<Item = Arc<KeptAnswer>> + '_ {
        let now = clock::now();
        self.0.kept.iter().map(|(_, kept)| kept).filter(move |kept| kept.entry.expires_at > now)
    }

    /// What each namespace was asked for since this process started.
    pub(super) fn tallies(&self) -> &Tallies {
        &self.0.tallies
    }

    /// How many questions a set has.
    pub(super) fn questions(&self, space: &CacheKey) -> u64 {
        self.0.spaces.questions(space)
    }

    fn update(&self, update: CacheUpdate) {
        match update {
            CacheUpdate::Current => self.0.is_current.store(true, Ordering::Release),
            CacheUpdate::Mark(mark) => self.obey(mark),
            CacheUpdate::Entry(key, entry, content) => {
                let Some(key) = CacheKey::read(&key).filter(|key| !self.is_removed(key, &entry)) else { return };
                // Its own are here already.
                let is_here = |kept: Arc<KeptAnswer>| {
                    (kept.entry.request_id, kept.entry.kept_at) == (entry.request_id, entry.kept_at)
                        && kept.question.is_some() == entry.question.is_some()
                };
                if !self.0.kept.peek(&key).is_some_and(is_here) {
                    self.insert(key, *entry, content);
                }
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
                self.0.spaces.sweep();
                self.0.marks.write().unwrap_or_else(PoisonError::into_inner).retain(|_, at| now.since(*at) < MARKED);
            }
            if let Err(error) = self.0.store.bound(disk).await {
                warn!(%error, "what the cache takes of the disk is not known");
            }
        }
    }
}
