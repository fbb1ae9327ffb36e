//! What was measured of semantic hits, by set of questions: each checked hit is added to a record that all processes share and
//! that outlives them, and the threshold follows from it. Knows no question and no answer.

use super::key::CacheKey;
use penstock_runtime::bus::{Bucket, BusError, Change};
use penstock_runtime::clock;
use penstock_schemas::cache::{CheckReport, ThresholdRecord};
use penstock_semantic::{AdaptiveThreshold, CheckedHit, Interval, SAFE, StepCounts};
use quick_cache::sync::Cache as Bounded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sets whose measures this process holds: some 500 bytes each. Beyond, the least used are at the safe threshold here.
const SETS: usize = 20_000;

/// Times that a change is tried which another process made impossible.
const TRIES: u32 = 16;

/// What was measured of each set. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Thresholds(Arc<Shared>);

struct Shared {
    bucket: Bucket<ThresholdRecord>,
    known: Bounded<CacheKey, Arc<ThresholdRecord>>,
    is_current: AtomicBool,
}

/// Of which set a hit was.
pub(crate) struct CheckedSet<'a> {
    pub(crate) space: CacheKey,
    pub(crate) project: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) model: &'a str,
}

impl Thresholds {
    pub(super) fn follow(bucket: Bucket<ThresholdRecord>) -> Self {
        let (known, is_current) = (Bounded::new(SETS), AtomicBool::new(false));
        let thresholds = Self(Arc::new(Shared { bucket, known, is_current }));
        let told = thresholds.clone();
        thresholds.0.bucket.follow(move |change| told.change(change));
        thresholds
    }

    fn change(&self, change: Change<ThresholdRecord>) {
        match change {
            Change::Put(key, record) => {
                if let Some(key) = CacheKey::read(&key) {
                    self.0.known.insert(key, Arc::new(record));
                }
            }
            Change::Deleted(key) => {
                if let Some(key) = CacheKey::read(&key) {
                    self.0.known.remove(&key);
                }
            }
            Change::Current => self.0.is_current.store(true, Ordering::Release),
        }
    }

    /// Whether what was measured before this process started is known.
    pub(super) fn is_current(&self) -> bool {
        self.0.is_current.load(Ordering::Acquire)
    }

    /// How probable it must be, in a set, that two questions want the same answer.
    pub(crate) fn current(&self, space: &CacheKey, target: f64) -> f32 {
        self.0.known.get(space).map_or(SAFE, |record| of(&record, target).current())
    }

    /// Adds a hit that was checked, for all processes.
    pub(crate) async fn learn(&self, set: &CheckedSet<'_>, hit: CheckedHit) -> Result<(), BusError> {
        let key = set.space.spelled();
        for _ in 0..TRIES {
            let known = self.0.bucket.get_with_revision(&key).await?;
            let (record, revision) = known.unzip();
            let mut threshold = of(&record.unwrap_or_default(), 0.0);
            threshold.learn(hit);
            let record = ThresholdRecord {
                project: set.project.to_owned(),
                namespace: set.namespace.to_owned(),
                model: set.model.to_owned(),
                counts: threshold.counts().to_vec(),
                at: clock::now(),
            };
            let written = match revision {
                Some(revision) => self.0.bucket.update(&key, &record, revision).await?,
                None => self.0.bucket.create(&key, &record).await?,
            };
            if written.is_some() {
                self.0.known.insert(set.space, Arc::new(record));
                return Ok(());
            }
        }
        Ok(())
    }

    /// All sets that something was measured of.
    pub(crate) fn all(&self) -> Vec<(CacheKey, Arc<ThresholdRecord>)> {
        self.0.known.iter().collect()
    }
}

/// The threshold that follows from a record.
pub(crate) fn of(record: &ThresholdRecord, target: f64) -> AdaptiveThreshold {
    let mut counts = StepCounts::default();
    counts.iter_mut().zip(&record.counts).for_each(|(count, known)| *count = *known);
    AdaptiveThreshold::new(target, counts)
}

/// False hits and checked hits, and between what bounds the true rate is.
pub(crate) fn report((wrong, checked): (usize, usize)) -> CheckReport {
    let Interval { rate, low, high, samples } = Interval::of(wrong, checked);
    CheckReport { checked: samples as u64, wrong: wrong as u64, rate, low, high }
}
