//! What workers count: attempts by provider and outcome, their times, calls in flight. Labels are bounded by the
//! configured providers.

use crate::keys::KeyFault;
use penstock_runtime::metrics::Metrics;
use penstock_schemas::envelope::Traffic;
use penstock_schemas::event::AttemptEnded;
use penstock_schemas::failure::FailureKind;
use penstock_schemas::name::ProviderId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// Upper ends of the buckets for times, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProvider {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    provider: String,
    outcome: &'static str,
    failure: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    provider: String,
    reason: &'static str,
}

type Times = Family<ByProvider, Histogram, fn() -> Histogram>;

/// The workers' metrics. Cloning shares them.
#[derive(Clone)]
pub struct WorkerMetrics {
    attempts: Family<ByOutcome, Counter>,
    mismatches: Family<ByProvider, Counter>,
    running: Family<ByProvider, Gauge>,
    running_of_batches: Family<ByProvider, Gauge>,
    first_token: Times,
    total: Times,
    probes: Family<ByOutcome, Counter>,
    keys_set_aside: Family<ByReason, Counter>,
}

/// A call in flight, as long as it is held.
pub struct Running(Gauge, Option<Gauge>);

impl Running {
    fn gauges(&self) -> impl Iterator<Item = &Gauge> {
        std::iter::once(&self.0).chain(&self.1)
    }
}

impl WorkerMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let times = || Times::new_with_constructor(|| Histogram::new(SECONDS));
        Self {
            attempts: metrics.register("attempts", "Calls to providers by outcome", Family::default()),
            mismatches: metrics.register(
                "usage_mismatches",
                "Answers whose usage figures contradict each other",
                Family::default(),
            ),
            running: metrics.register("calls_in_flight", "Calls that workers hold", Family::default()),
            running_of_batches: metrics.register(
                "batch_calls_in_flight",
                "Of these, the calls of batches",
                Family::default(),
            ),
            first_token: metrics.register(
                "first_token_seconds",
                "From the attempt's start to its first content",
                times(),
            ),
            keys_set_aside: metrics.register(
                "provider_keys_set_aside",
                "Times that a key was set aside because its provider refuses it",
                Family::default(),
            ),
            probes: metrics.register("probes", "Questions to providers whether they are there", Family::default()),
            total: metrics.register("attempt_seconds", "From the attempt's start to its end", times()),
        }
    }

    /// Counts a call as in flight.
    pub fn running(&self, provider: &ProviderId, traffic: Traffic) -> Running {
        let labels = ByProvider { provider: provider.to_string() };
        let of_batches = (traffic == Traffic::Batch).then(|| self.running_of_batches.get_or_create_owned(&labels));
        let running = Running(self.running.get_or_create_owned(&labels), of_batches);
        running.gauges().for_each(|gauge| {
            gauge.inc();
        });
        running
    }

    /// Counts a key that is not used for a while.
    pub fn key_set_aside(&self, provider: &ProviderId, fault: KeyFault) {
        let labels = ByReason { provider: provider.to_string(), reason: fault.as_str() };
        self.keys_set_aside.get_or_create(&labels).inc();
    }

    /// Counts a probe.
    pub fn probed(&self, provider: &ProviderId, failure: Option<FailureKind>) {
        let outcome = if failure.is_none() { "served" } else { "refused" };
        let failure = failure.map_or("", FailureKind::as_str);
        self.probes.get_or_create(&ByOutcome { provider: provider.to_string(), outcome, failure }).inc();
    }

    /// Counts an answer whose usage figures contradict each other.
    pub fn mismatch(&self, provider: &ProviderId) {
        self.mismatches.get_or_create(&ByProvider { provider: provider.to_string() }).inc();
    }

    /// Counts an attempt that has ended.
    pub fn count(&self, event: &AttemptEnded) {
        let provider = event.start.target.provider.to_string();
        let failure = event.failure.map_or("", |failure| failure.as_str());
        let labels = ByOutcome { provider: provider.clone(), outcome: event.outcome.as_str(), failure };
        self.attempts.get_or_create(&labels).inc();
        let labels = ByProvider { provider };
        if let Some(first) = event.first_token_us {
            self.first_token.get_or_create(&labels).observe(std::time::Duration::from_micros(first).as_secs_f64());
        }
        self.total.get_or_create(&labels).observe(std::time::Duration::from_micros(event.total_us).as_secs_f64());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gauges().for_each(|gauge| {
            gauge.dec();
        });
    }
}
