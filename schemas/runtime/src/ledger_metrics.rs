//! What every process tells of the ledger that it writes to and of its connection to NATS. Knows no other metric.

use crate::bus::{Bus, Journal, LedgerState};
use crate::metrics::Metrics;
use prometheus_client::metrics::gauge::Gauge;

/// The metrics. Cloning shares them.
#[derive(Clone)]
pub struct LedgerMetrics {
    failing: Gauge,
    failures: Gauge,
    waiting: Gauge,
    connected: Gauge,
}

impl LedgerMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let gauge = |name, help| metrics.register(name, help, Gauge::default());
        Self {
            failing: gauge("ledger_failing", "1 while the ledger does not take this process's usage events"),
            failures: gauge("ledger_failures", "Messages that the ledger did not confirm, since the start"),
            waiting: gauge("ledger_waiting_bytes", "Usage events that wait in this process for the ledger"),
            connected: gauge("nats_connected", "1 while this process is connected to NATS"),
        }
    }

    /// Notes how both are.
    pub fn note(&self, journal: &Journal, bus: &Bus) {
        self.connected.set(i64::from(bus.is_connected()));
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.failing.set(i64::from(journal.state() == LedgerState::Failing));
        self.failures.set(number(journal.health().failures()));
        self.waiting.set(number(journal.waiting_bytes() as u64));
    }
}
