//! What the ingress counts: requests by the class of their status, and how the ledger is. Labels are bounded.

use axum::http::StatusCode;
use penstock_runtime::bus::{Journal, LedgerState};
use penstock_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: u16,
}

/// The ingress's metrics. Cloning shares them.
#[derive(Clone)]
pub(crate) struct IngressMetrics {
    requests: Family<ByStatus, Counter>,
    ledger_failing: Gauge,
    ledger_failures: Gauge,
    ledger_waiting: Gauge,
    registry: Metrics,
}

impl IngressMetrics {
    /// Registers them.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let requests = metrics.register("requests", "Requests by the status of their answer", Family::default());
        let gauge = |name, help| metrics.register(name, help, Gauge::default());
        Self {
            requests,
            ledger_failing: gauge("ledger_failing", "1 while the ledger does not take this ingress's usage events"),
            ledger_failures: gauge("ledger_failures", "Messages that the ledger did not confirm, since the start"),
            ledger_waiting: gauge("ledger_waiting_bytes", "Usage events that wait in this ingress for the ledger"),
            registry: metrics.clone(),
        }
    }

    /// Counts an answer.
    pub(crate) fn count(&self, status: StatusCode) {
        self.requests.get_or_create(&ByStatus { status: status.as_u16() }).inc();
    }

    /// Notes how the ledger is.
    pub(crate) fn ledger(&self, journal: &Journal) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.ledger_failing.set(i64::from(journal.state() == LedgerState::Failing));
        self.ledger_failures.set(number(journal.health().failures()));
        self.ledger_waiting.set(number(journal.waiting_bytes() as u64));
    }

    /// All metrics of this process, as text for Prometheus.
    pub(crate) fn text(&self) -> String {
        self.registry.text()
    }
}
