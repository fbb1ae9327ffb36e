//! What the ingress counts: requests by the class of their status, and how the ledger is. Labels are bounded.

use axum::http::StatusCode;
use penstock_runtime::bus::Journal;
use penstock_runtime::ledger_metrics::LedgerMetrics;
use penstock_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: u16,
}

/// The ingress's metrics. Cloning shares them.
#[derive(Clone)]
pub(crate) struct IngressMetrics {
    requests: Family<ByStatus, Counter>,
    ledger: LedgerMetrics,
    registry: Metrics,
}

impl IngressMetrics {
    /// Registers them.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let requests = metrics.register("requests", "Requests by the status of their answer", Family::default());
        Self { requests, ledger: LedgerMetrics::register(metrics), registry: metrics.clone() }
    }

    /// Counts an answer.
    pub(crate) fn count(&self, status: StatusCode) {
        self.requests.get_or_create(&ByStatus { status: status.as_u16() }).inc();
    }

    /// Notes how the ledger is.
    pub(crate) fn ledger(&self, journal: &Journal) {
        self.ledger.note(journal);
    }

    /// All metrics of this process, as text for Prometheus.
    pub(crate) fn text(&self) -> String {
        self.registry.text()
    }
}
