//! What is told of the cache: what this process holds, what it did since it started, and what was measured of semantic hits.
//! Changes nothing.

use super::key::CacheKey;
use super::memory::Cache;
use super::thresholds;
use penstock_schemas::cache::{
    CachePolicy, CacheReport, CheckReport, NamespaceReport, SemanticReport, ThresholdRecord,
};
use penstock_schemas::money::Picodollars;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Characters of the name of a set of questions.
const NAME: usize = 16;

/// The most sets that are told of one namespace: those with the most checks.
const SETS: usize = 100;

impl Cache {
    /// What is kept and was measured, by project and namespace. `policy` says which thresholds hold.
    pub(crate) fn report(&self, policy: &CachePolicy) -> CacheReport {
        let mut all: BTreeMap<(String, String), NamespaceReport> = BTreeMap::new();
        for kept in self.kept() {
            let report = all.entry((kept.entry.project.to_string(), kept.entry.namespace.clone())).or_default();
            report.entries += 1;
            report.bytes += kept.entry.bytes;
        }
        for ((project, namespace), tally) in self.tallies().all() {
            let report = all.entry((project.to_string(), namespace)).or_default();
            let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
            report.exact_hits = read(&tally.exact);
            report.semantic_hits = read(&tally.semantic);
            report.joined = read(&tally.joined);
            let hits = report.exact_hits + report.semantic_hits + report.joined;
            report.lookups = hits + read(&tally.missed);
            report.hit_rate = real(hits) / real(report.lookups.max(1));
            report.saved_usd = Picodollars(tally.saved.load(Ordering::Relaxed)).to_string();
        }
        for (space, record) in self.thresholds().all() {
            let report = all.entry((record.project.clone(), record.namespace.clone())).or_default();
            report.semantic.push(self.of_set(&space, &record, policy));
        }
        let finished = all.into_iter().map(|((project, namespace), mut report)| {
            (report.project, report.namespace) = (project, namespace);
            if report.saved_usd.is_empty() {
                report.saved_usd = Picodollars(0).to_string();
            }
            report.false_hits = sum(report.semantic.iter().map(|set| &set.false_hits));
            report.semantic.sort_by(|a, b| b.false_hits.checked.cmp(&a.false_hits.checked).then(a.space.cmp(&b.space)));
            report.semantic.truncate(SETS);
            report
        });
        CacheReport { caches: finished.collect() }
    }

    fn of_set(&self, space: &CacheKey, record: &ThresholdRecord, policy: &CachePolicy) -> SemanticReport {
        let adaptive = thresholds::of(record, policy.target_false_hits);
        #[expect(clippy::cast_possible_truncation, reason = "a probability needs no more digits")]
        let threshold = policy.threshold.map_or(adaptive.current(), |fixed| fixed as f32);
        SemanticReport {
            space: space.spelled()[..NAME].to_owned(),
            model: record.model.clone(),
            questions: self.questions(space),
            threshold: rounded(threshold),
            is_fixed: policy.threshold.is_some(),
            false_hits: thresholds::report(adaptive.above(threshold)),
        }
    }

    /// What was measured of all sets, together, at the thresholds that hold.
    pub(crate) fn false_hits(&self, policy: &CachePolicy) -> CheckReport {
        let sets: Vec<SemanticReport> =
            self.thresholds().all().iter().map(|(space, record)| self.of_set(space, record, policy)).collect();
        sum(sets.iter().map(|set| &set.false_hits))
    }
}

fn sum<'a>(reports: impl Iterator<Item = &'a CheckReport>) -> CheckReport {
    let sums = reports.fold((0, 0), |(wrong, checked), one| (wrong + one.wrong, checked + one.checked));
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    thresholds::report((count(sums.0), count(sums.1)))
}

/// As it is written: 0.85, and not 0.8500000238.
fn rounded(probability: f32) -> f64 {
    (f64::from(probability) * 10_000.0).round() / 10_000.0
}

fn real(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
