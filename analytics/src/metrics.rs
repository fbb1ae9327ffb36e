//! What analytics counts: events and batches that ClickHouse has taken, how long it took them, and events that cannot be stored.

use crate::traces::TraceMetrics;
use penstock_runtime::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// Upper ends of the buckets for inserts, in seconds.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

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
    pub(crate) spans: TraceMetrics,
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
            spans: TraceMetrics::register(metrics),
        }
    }
}
