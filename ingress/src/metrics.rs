//! What the ingress counts: requests by the class of their status and by what became of them, the time that they took in all
//! and in each stage, queues, circuits, and how the ledger is. Labels are bounded: no name that only a caller knows.

use crate::queue::Queues;
use axum::http::StatusCode;
use penstock_runtime::bus::{Bus, Journal};
use penstock_runtime::ledger_metrics::LedgerMetrics;
use penstock_runtime::memory::Memory;
use penstock_runtime::metrics::{Metrics, SECONDS};
use penstock_schemas::cache::CheckReport;
use penstock_schemas::event::RequestEvent;
use penstock_schemas::failure::FailureKind;
use penstock_schemas::load::{FleetReport, ProviderLoad};
use penstock_schemas::target::{CircuitState, TargetReport};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Upper ends of the buckets for stages, in seconds: most take microseconds, and waits take long.
const STAGE_SECONDS: [f64; 10] = [0.0001, 0.0005, 0.002, 0.01, 0.05, 0.2, 1.0, 5.0, 30.0, 300.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    dialect: &'static str,
    operation: &'static str,
    outcome: &'static str,
    failure: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStage {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCache {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByBound {
    bound: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWhatBecameOfIt {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProvider {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCircuit {
    provider: String,
    state: &'static str,
}

type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// A request that waits.
pub(crate) struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The pools of the whole cluster by provider, as this ingress has heard: each ingress tells the same.
#[derive(Clone)]
struct PoolMetrics {
    workers: Family<ByProvider, Gauge>,
    slots: Family<ByProvider, Gauge>,
    busy: Family<ByProvider, Gauge>,
    waiting: Family<ByProvider, Gauge>,
    wait: Family<ByProvider, Gauge<f64, AtomicU64>>,
}

impl PoolMetrics {
    fn register(metrics: &Metrics) -> Self {
        Self {
            workers: metrics.register("pool_workers", "Workers of a provider in the cluster", Family::default()),
            slots: metrics.register("pool_slots", "Calls that they take at once", Family::default()),
            busy: metrics.register("pool_busy", "Calls that they have", Family::default()),
            waiting: metrics.register("pool_waiting", "Calls that wait for them at all ingresses", Family::default()),
            wait: metrics.register("pool_wait_seconds", "The longest of these waits so far", Family::default()),
        }
    }

    fn set(&self, providers: &[ProviderLoad]) {
        for family in [&self.workers, &self.slots, &self.busy, &self.waiting] {
            family.clear();
        }
        self.wait.clear();
        for load in providers {
            let by = ByProvider { provider: load.provider.to_string() };
            self.workers.get_or_create(&by).set(i64::from(load.workers));
            self.slots.get_or_create(&by).set(i64::from(load.slots));
            self.busy.get_or_create(&by).set(i64::from(load.busy));
            self.waiting.get_or_create(&by).set(i64::from(load.waiting));
            self.wait.get_or_create(&by).set(f64::from(load.wait_ms) / 1000.0);
        }
    }
}

/// The ingress's metrics. Cloning shares them.
#[derive(Clone)]
pub(crate) struct IngressMetrics {
    requests: Family<ByStatus, Counter>,
    outcomes: Family<ByOutcome, Counter>,
    seconds: Times<ByOperation>,
    first_token: Times<ByOperation>,
    stages: Times<ByStage>,
    cache: Family<ByCache, Counter>,
    queued: Family<ByProvider, Gauge>,
    circuits: Family<ByCircuit, Gauge>,
    pools: PoolMetrics,
    memory_free: Gauge,
    cache_waiting: Gauge,
    cache_wrong: Counter,
    bodies_lost: Counter,
    judgements: Family<ByWhatBecameOfIt, Counter>,
    cache_not_compared: Counter,
    cache_checked: Family<ByCache, Counter>,
    cache_false_hits: Family<ByBound, Gauge<f64, AtomicU64>>,
    embeddings: Family<ByWhatBecameOfIt, Counter>,
    ledger: LedgerMetrics,
    registry: Metrics,
}

impl IngressMetrics {
    /// A body that was to be kept could not be.
    pub(crate) fn body_lost(&self) {
        self.bodies_lost.inc();
    }

    /// Counts an answer that was for a judge.
    pub(crate) fn judged(&self, outcome: &'static str) {
        self.judgements.get_or_create(&ByWhatBecameOfIt { outcome }).inc();
    }

    /// Registers them.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let times = || Times::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let count = |name, about| metrics.register(name, about, Counter::default());
        let stages = Times::new_with_constructor((|| Histogram::new(STAGE_SECONDS)) as fn() -> Histogram);
        Self {
            bodies_lost: count("bodies_lost", "Bodies that were to be kept and could not be"),
            judgements: judgements(metrics),
            requests: metrics.register("requests", "Requests by the status of their answer", Family::default()),
            outcomes: metrics.register(
                "requests_ended",
                "Requests of known callers, lines of batches among them, by what became of them",
                Family::default(),
            ),
            seconds: metrics.register("request_seconds", "From a request's first byte to its answer's last", times()),
            first_token: metrics.register(
                "request_first_token_seconds",
                "From a request's first byte to the first content of its answer",
                times(),
            ),
            stages: metrics.register("stage_seconds", "Time of a request in a stage", stages),
            cache: metrics.register("cache_lookups", "Requests by what the cache did", Family::default()),
            cache_waiting: metrics.register(
                "cache_waiting",
                "Requests that wait for the answer to the same request",
                Gauge::default(),
            ),
            cache_wrong: count("cache_wrong", "Cached answers that callers reported as wrong"),
            cache_not_compared: count(
                "cache_not_compared",
                "Requests for the semantic cache whose vector did not come in time",
            ),
            cache_checked: metrics.register(
                "cache_checked_hits",
                "Semantic hits that were checked by asking the model anyway, by what came of it",
                Family::default(),
            ),
            cache_false_hits: metrics.register(
                "cache_false_hit_rate",
                "Wrong ones among the semantic hits that were checked, and the bounds of the true rate",
                Family::default(),
            ),
            embeddings: metrics.register(
                "embeddings",
                "Vectors of requests that were wanted, by what became of them",
                Family::default(),
            ),
            queued: metrics.register("queued_calls", "Calls that wait for a provider's workers", Family::default()),
            circuits: metrics.register(
                "circuits",
                "Targets of a provider by the state of their circuit",
                Family::default(),
            ),
            pools: PoolMetrics::register(metrics),
            memory_free: metrics.register("memory_free_bytes", "Memory that requests can still take", Gauge::default()),
            ledger: LedgerMetrics::register(metrics),
            registry: metrics.clone(),
        }
    }

    /// Counts an answer.
    pub(crate) fn count(&self, status: StatusCode) {
        self.requests.get_or_create(&ByStatus { status: status.as_u16() }).inc();
    }

    /// Counts a request that is over.
    pub(crate) fn ended(&self, event: &RequestEvent) {
        let operation = event.operation.as_str();
        let (dialect, outcome) = (event.dialect.as_str(), event.outcome.as_str());
        let failure = event.failure.map_or("", FailureKind::as_str);
        self.outcomes.get_or_create(&ByOutcome { dialect, operation, outcome, failure }).inc();
        self.cache.get_or_create(&ByCache { result: event.cache.as_str() }).inc();
        let took = event.ended_at.since(event.received_at).as_secs_f64();
        self.seconds.get_or_create(&ByOperation { operation }).observe(took);
        if let Some(first) = event.first_token_us {
            let first = Duration::from_micros(first).as_secs_f64();
            self.first_token.get_or_create(&ByOperation { operation }).observe(first);
        }
        for time in &event.stages {
            let took = Duration::from_micros(time.us).as_secs_f64();
            self.stages.get_or_create(&ByStage { stage: time.stage.as_str() }).observe(took);
        }
    }

    /// Counts one that waits for another's answer, until what is given is dropped.
    pub(crate) fn waits(&self) -> Waiting {
        self.cache_waiting.inc();
        Waiting(self.cache_waiting.clone())
    }

    /// Counts a cached answer that was reported as wrong.
    pub(crate) fn wrong_hit(&self) {
        self.cache_wrong.inc();
    }

    /// Counts a request whose vector was not there in time.
    pub(crate) fn not_compared(&self) {
        self.cache_not_compared.inc();
    }

    /// Counts a semantic hit that was checked.
    pub(crate) fn checked_hit(&self, result: &'static str) {
        self.cache_checked.get_or_create(&ByCache { result }).inc();
    }

    /// Notes how often semantic hits are wrong; without checks it says nothing.
    pub(crate) fn false_hits(&self, report: &CheckReport) {
        if report.checked > 0 {
            for (bound, value) in [("rate", report.rate), ("low", report.low), ("high", report.high)] {
                self.cache_false_hits.get_or_create(&ByBound { bound }).set(value);
            }
        }
    }

    /// Counts a vector that a stage wanted.
    pub(crate) fn embedded(&self, outcome: &'static str) {
        self.embeddings.get_or_create(&ByWhatBecameOfIt { outcome }).inc();
    }

    /// Notes how the ledger and the connection are.
    pub(crate) fn ledger(&self, journal: &Journal, bus: &Bus) {
        self.ledger.note(journal, bus);
    }

    /// Notes how the pools of the cluster are.
    pub(crate) fn pools(&self, fleet: &FleetReport) {
        self.pools.set(&fleet.providers);
    }

    /// Notes what stands at this moment: queues, circuits, memory.
    pub(crate) fn stands(&self, queues: &Queues, targets: &[TargetReport], memory: &Memory) {
        self.queued.clear();
        for (provider, length) in queues.lengths() {
            self.queued.get_or_create(&ByProvider { provider: provider.to_string() }).set(as_gauge(length));
        }
        let mut counts: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
        for target in targets {
            for state in [CircuitState::Closed, CircuitState::HalfOpen, CircuitState::Open] {
                let count = counts.entry((target.target.provider.to_string(), state.as_str())).or_default();
                *count += usize::from(target.circuit == state);
            }
        }
        // A provider that is gone has none.
        self.circuits.clear();
        for ((provider, state), count) in counts {
            self.circuits.get_or_create(&ByCircuit { provider, state }).set(as_gauge(count));
        }
        self.memory_free.set(as_gauge(memory.free()));
    }

    /// All metrics of this process, as text for Prometheus.
    pub(crate) fn text(&self) -> String {
        self.registry.text()
    }
}

/// The count of answers for judges: it begins at none, so that what comes first is an increase.
fn judgements(metrics: &Metrics) -> Family<ByWhatBecameOfIt, Counter> {
    let about = "Answers for judges, by what became of them";
    let family: Family<ByWhatBecameOfIt, Counter> = metrics.register("judgements", about, Family::default());
    for outcome in ["scored", "compared", "failed", "dropped"] {
        drop(family.get_or_create(&ByWhatBecameOfIt { outcome }));
    }
    family
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
