//! What the cache did for each namespace since this process started. Knows no entry.

use penstock_schemas::event::CacheResult;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::ProjectId;
use quick_cache::sync::Cache as Bounded;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Namespaces that are counted: callers name them. Beyond, the least used begin anew.
const NAMESPACES: usize = 10_000;

type Name = (ProjectId, String);

/// The sums of all namespaces.
pub(super) struct Tallies(Bounded<Name, Arc<HitTally>>);

/// The sums of one.
#[derive(Default)]
pub(super) struct HitTally {
    pub(super) missed: AtomicU64,
    pub(super) exact: AtomicU64,
    pub(super) semantic: AtomicU64,
    pub(super) joined: AtomicU64,
    /// In picodollars.
    pub(super) saved: AtomicI64,
}

impl Default for Tallies {
    fn default() -> Self {
        Self(Bounded::new(NAMESPACES))
    }
}

impl Tallies {
    /// Counts a look-up, and what it saved.
    pub(super) fn count(&self, project: &ProjectId, namespace: &str, result: CacheResult, saved: Option<Picodollars>) {
        let name = (project.clone(), namespace.to_owned());
        let Ok(tally) = self.0.get_or_insert_with(&name, || Ok::<_, std::convert::Infallible>(Arc::default()));
        let count = match result {
            CacheResult::Off => return,
            CacheResult::Miss => &tally.missed,
            CacheResult::Exact => &tally.exact,
            CacheResult::Semantic => &tally.semantic,
            CacheResult::Joined => &tally.joined,
        };
        count.fetch_add(1, Ordering::Relaxed);
        tally.saved.fetch_add(saved.map_or(0, |saved| saved.0), Ordering::Relaxed);
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (Name, Arc<HitTally>)> + '_ {
        self.0.iter()
    }
}
