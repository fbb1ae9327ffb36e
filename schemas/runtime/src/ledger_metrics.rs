//! What every process that writes to the ledger tells of it: whether it is taken, and what waits. Knows no other metric.

use crate::bus::{Journal, LedgerState};
use crate::metrics::Metrics;
use prometheus_client::metrics::gauge::Gauge;

/// The metrics. Cloning shares them.
#[derive(Clone)]
pub struct LedgerMetrics {
    failing: Gauge,
    failures: Gauge,
    waiting: Gauge,
}

impl LedgerMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let gauge = |name, help| metrics.register(name, help, Gauge::default());
        Self {
            failing: gauge("ledger_failing", "1 while the ledger does not take this process's usage events"),
            failures: gauge("ledger_failures", "Messages that the ledger did not confirm, since the start"),
            waiting: gauge("ledger_waiting_bytes", "Usage events that wait in this process for the ledger"),
        }
    }

    /// Notes how the ledger is.
    pub fn note(&self, journal: &Journal) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.failing.set(i64::from(journal.state() == LedgerState::Failing));
        self.failures.set(number(journal.health().failures()));
        self.waiting.set(number(journal.waiting_bytes() as u64));
    }
}
