//! What workers count: attempts by provider and outcome, their times, tokens and cost, calls in flight. Labels are bounded by
//! the configured providers and the models that are known of them.

use crate::keys::KeyFault;
use crate::provider::Provider;
use penstock_runtime::metrics::{Metrics, OTHER, SECONDS};
use penstock_schemas::envelope::Traffic;
use penstock_schemas::event::AttemptEnded;
use penstock_schemas::failure::FailureKind;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::ProviderId;
use penstock_schemas::usage::UsageSource;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Upper ends of the buckets for tokens, as OpenTelemetry's conventions advise for `gen_ai.client.token.usage`.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByModel {
    provider: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClass {
    provider: String,
    model: String,
    class: &'static str,
}

/// The labels that the conventions want, in Prometheus's spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Conventional {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: String,
    gen_ai_request_model: String,
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTokenType {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: String,
    gen_ai_request_model: String,
    gen_ai_token_type: &'static str,
}

type Times = Family<ByProvider, Histogram, fn() -> Histogram>;
type Amounts<L> = Family<L, Histogram, fn() -> Histogram>;

/// Those that OpenTelemetry's conventions name.
#[derive(Clone)]
struct ConventionalMetrics {
    token_usage: Amounts<ByTokenType>,
    duration: Amounts<Conventional>,
    first_token: Amounts<Conventional>,
}

impl ConventionalMetrics {
    fn register(metrics: &Metrics) -> Self {
        let times = || Amounts::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let tokens = Amounts::new_with_constructor((|| Histogram::new(TOKENS)) as fn() -> Histogram);
        Self {
            token_usage: metrics.register_as(
                "gen_ai_client_token_usage",
                "Tokens of an attempt, by input and output",
                tokens,
            ),
            duration: metrics.register_as("gen_ai_client_operation_duration_seconds", "Time of an attempt", times()),
            first_token: metrics.register_as(
                "gen_ai_server_time_to_first_token_seconds",
                "Time to the first content of a streamed attempt that was served",
                times(),
            ),
        }
    }

    fn count(&self, event: &AttemptEnded, provider: &Provider, model: &str) {
        let labels = Conventional {
            gen_ai_operation_name: event.start.operation.as_str(),
            gen_ai_provider_name: provider.telemetry_name.clone(),
            gen_ai_request_model: model.to_owned(),
            error_type: event.failure.map_or("", FailureKind::as_str),
        };
        self.duration.get_or_create(&labels).observe(seconds(event.total_us));
        if let Some(first) = event.first_token_us.filter(|_| event.start.stream && event.failure.is_none()) {
            self.first_token.get_or_create(&labels).observe(seconds(first));
        }
        if event.usage_source == UsageSource::Unknown {
            return;
        }
        let Conventional { gen_ai_operation_name, gen_ai_provider_name, gen_ai_request_model, .. } = labels;
        let mut labels = ByTokenType {
            gen_ai_operation_name,
            gen_ai_provider_name,
            gen_ai_request_model,
            gen_ai_token_type: "input",
        };
        self.token_usage.get_or_create(&labels).observe(number(event.usage.input_total()));
        if event.usage.output_total() > 0 {
            labels.gen_ai_token_type = "output";
            self.token_usage.get_or_create(&labels).observe(number(event.usage.output_total()));
        }
    }
}

/// The workers' metrics. Cloning shares them.
#[derive(Clone)]
pub(crate) struct WorkerMetrics {
    attempts: Family<ByOutcome, Counter>,
    mismatches: Family<ByProvider, Counter>,
    running: Family<ByProvider, Gauge>,
    running_of_batches: Family<ByProvider, Gauge>,
    first_token: Times,
    total: Times,
    probes: Family<ByOutcome, Counter>,
    keys_set_aside: Family<ByReason, Counter>,
    slots: Family<ByProvider, Gauge>,
    tokens: Family<ByClass, Counter>,
    cost: Family<ByModel, Counter<f64, AtomicU64>>,
    conventional: ConventionalMetrics,
}

/// A call in flight, as long as it is held.
pub(crate) struct Running(Gauge, Option<Gauge>);

impl Running {
    fn gauges(&self) -> impl Iterator<Item = &Gauge> {
        std::iter::once(&self.0).chain(&self.1)
    }
}

impl WorkerMetrics {
    /// Registers them.
    pub(crate) fn register(metrics: &Metrics) -> Self {
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
            slots: metrics.register("slots", "Calls that workers take at once", Family::default()),
            tokens: metrics.register("tokens", "Tokens and units that attempts consumed, by class", Family::default()),
            cost: metrics.register(
                "cost_usd",
                "Dollars that attempts cost, as far as there are prices",
                Family::default(),
            ),
            conventional: ConventionalMetrics::register(metrics),
            total: metrics.register("attempt_seconds", "From the attempt's start to its end", times()),
        }
    }

    /// Counts a call as in flight.
    pub(crate) fn running(&self, provider: &ProviderId, traffic: Traffic) -> Running {
        let labels = ByProvider { provider: provider.to_string() };
        let of_batches = (traffic == Traffic::Batch).then(|| self.running_of_batches.get_or_create_owned(&labels));
        let running = Running(self.running.get_or_create_owned(&labels), of_batches);
        running.gauges().for_each(|gauge| {
            gauge.inc();
        });
        running
    }

    /// Counts a key that is not used for a while.
    pub(crate) fn key_set_aside(&self, provider: &ProviderId, fault: KeyFault) {
        let labels = ByReason { provider: provider.to_string(), reason: fault.as_str() };
        self.keys_set_aside.get_or_create(&labels).inc();
    }

    /// Counts a probe.
    pub(crate) fn probed(&self, provider: &ProviderId, failure: Option<FailureKind>) {
        let outcome = if failure.is_none() { "served" } else { "refused" };
        let failure = failure.map_or("", FailureKind::as_str);
        self.probes.get_or_create(&ByOutcome { provider: provider.to_string(), outcome, failure }).inc();
    }

    /// Counts an answer whose usage figures contradict each other.
    pub(crate) fn mismatch(&self, provider: &ProviderId) {
        self.mismatches.get_or_create(&ByProvider { provider: provider.to_string() }).inc();
    }

    /// Notes how many calls a pool takes at once.
    pub(crate) fn serves(&self, provider: &Provider) {
        let slots = i64::try_from(provider.concurrency).unwrap_or(i64::MAX);
        self.slots.get_or_create(&ByProvider { provider: provider.id.to_string() }).set(slots);
    }

    /// Counts an attempt that has ended.
    pub(crate) fn count(&self, event: &AttemptEnded, called: &Provider) {
        let model = if called.lists(&event.start.target.model) { event.start.target.model.as_str() } else { OTHER };
        self.conventional.count(event, called, model);
        for (class, count) in event.usage.used() {
            let (provider, model) = (called.id.to_string(), model.to_owned());
            self.tokens.get_or_create(&ByClass { provider, model, class }).inc_by(count);
        }
        if let Some(cost) = event.cost {
            let (provider, model) = (called.id.to_string(), model.to_owned());
            self.cost.get_or_create(&ByModel { provider, model }).inc_by(dollars(cost));
        }
        let provider = event.start.target.provider.to_string();
        let failure = event.failure.map_or("", |failure| failure.as_str());
        let labels = ByOutcome { provider: provider.clone(), outcome: event.outcome.as_str(), failure };
        self.attempts.get_or_create(&labels).inc();
        let labels = ByProvider { provider };
        if let Some(first) = event.first_token_us {
            self.first_token.get_or_create(&labels).observe(seconds(first));
        }
        self.total.get_or_create(&labels).observe(seconds(event.total_us));
    }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a number to draw: the ledger has the exact one")]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "an amount to draw: the ledger has the exact one")]
fn dollars(amount: Picodollars) -> f64 {
    amount.0.max(0) as f64 / 1e12
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gauges().for_each(|gauge| {
            gauge.dec();
        });
    }
}
