//! What analytics counts: events and batches that ClickHouse has taken, how long it took them, and events that cannot be stored.

use crate::traces::TraceMetrics;
use penstock_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Upper ends of the buckets for inserts, in seconds.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByBudget {
    budget: String,
}

/// The metrics of analytics. Cloning shares them.
#[derive(Clone)]
pub(crate) struct AnalyticsMetrics {
    pub(crate) events: Counter,
    pub(crate) batches: Counter,
    pub(crate) seconds: Histogram,
    pub(crate) dead: Counter,
    pub(crate) down: Gauge,
    pub(crate) posts_taken: Counter,
    pub(crate) posts_lost: Counter,
    pub(crate) healed: Counter,
    pub(crate) differences: Counter,
    pub(crate) bodies_dropped: Counter,
    pub(crate) spans: TraceMetrics,
    lag: Gauge<f64, AtomicU64>,
    stalled: Gauge,
    budgets: Family<ByBudget, Gauge<f64, AtomicU64>>,
}

impl AnalyticsMetrics {
    /// Registers them.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            events: metrics.register("ledger_events", "Usage events that ClickHouse has taken", Counter::default()),
            batches: metrics.register("ledger_batches", "Batches of usage events", Counter::default()),
            seconds: metrics.register(
                "ledger_insert_seconds",
                "Time for ClickHouse to take a batch",
                Histogram::new(SECONDS),
            ),
            dead: metrics.register(
                "ledger_dead_events",
                "Usage events that cannot be stored and were put among the dead letters",
                Counter::default(),
            ),
            down: metrics.register("ledger_down", "1 while ClickHouse takes no usage events", Gauge::default()),
            posts_taken: metrics.register("webhook_posts", "Alerts that webhooks have taken", Counter::default()),
            posts_lost: metrics.register(
                "webhook_posts_lost",
                "Alerts that a webhook did not take within an hour",
                Counter::default(),
            ),
            healed: metrics.register("budgets_healed", "Books of budgets set right by the ledger", Counter::default()),
            differences: metrics.register(
                "budget_differences",
                "Budgets that differ from the ledger though nothing is in flight",
                Counter::default(),
            ),
            bodies_dropped: metrics.register(
                "bodies_dropped",
                "Bodies that were taken to be kept and that ClickHouse did not take in time",
                Counter::default(),
            ),
            spans: TraceMetrics::register(metrics),
            lag: metrics.register(
                "ledger_lag_seconds",
                "Age of the oldest event of the batch that ClickHouse took last, when it took it",
                Gauge::default(),
            ),
            stalled: metrics.register(
                "ledger_stalled_seconds",
                "For how long ClickHouse has not taken what it was given",
                Gauge::default(),
            ),
            budgets: metrics.register("budget_used_ratio", "Used part of a budget in its window", Family::default()),
        }
    }

    /// ClickHouse has taken a batch whose oldest event is so old.
    pub(crate) fn took(&self, age: Duration) {
        self.lag.set(age.as_secs_f64());
    }

    /// It has not taken anything for so long.
    pub(crate) fn stalls(&self, since: Option<Duration>) {
        let seconds = since.map_or(0, |since| since.as_secs());
        self.stalled.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// How much of these budgets is used; the others have none.
    pub(crate) fn budgets_used(&self, used: Vec<(String, f64)>) {
        self.budgets.clear();
        for (budget, share) in used {
            self.budgets.get_or_create(&ByBudget { budget }).set(share);
        }
    }
}
