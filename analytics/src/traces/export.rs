//! The way of spans to the receiver: from a bounded queue, in batches, over OTLP. A receiver that hangs or is gone fills the
//! queue, and what does not fit is counted; nothing waits for it. Knows nothing of what the spans say.

use super::settings::TraceExport;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use penstock_runtime::Life;
use penstock_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

/// How long the last batches may take together when the role stops.
const LAST: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// What is counted of spans. Cloning shares it.
#[derive(Clone)]
pub(crate) struct TraceMetrics {
    exported: Counter,
    dropped: Family<ByReason, Counter>,
}

impl TraceMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let (exported, dropped) = (Counter::default(), Family::default());
        Self {
            exported: metrics.register("spans_exported", "Spans that the receiver of traces has taken", exported),
            dropped: metrics.register("spans_dropped", "Spans that were not exported, and why", dropped),
        }
    }

    pub(super) fn queue_was_full(&self) {
        self.dropped(1, "queue_full");
    }

    fn dropped(&self, count: usize, reason: &'static str) {
        self.dropped.get_or_create(&ByReason { reason }).inc_by(count as u64);
    }
}

/// Sends spans.
pub(super) struct Exporter {
    exporter: SpanExporter,
    batch: usize,
    delay: Duration,
    timeout: Duration,
    metrics: TraceMetrics,
    is_failing: bool,
    /// When the last batches must be sent.
    last: Option<Instant>,
}

impl Exporter {
    /// One for the endpoint that the variables name.
    ///
    /// # Errors
    /// When they cannot be used: the reason, without the headers, which hold secrets.
    pub(super) fn new(settings: &TraceExport, metrics: TraceMetrics) -> Result<Self, String> {
        let mut exporter = SpanExporter::builder().build().map_err(|error| error.to_string())?;
        let mut resource = Resource::builder();
        let is_named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
            || std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|text| text.contains("service.name="));
        if !is_named {
            resource = resource.with_service_name("penstock");
        }
        exporter.set_resource(&resource.build());
        let TraceExport { batch, delay, timeout, .. } = *settings;
        Ok(Self { exporter, batch, delay, timeout, metrics, is_failing: false, last: None })
    }

    /// Sends what comes until there can be no more.
    pub(super) async fn run(mut self, mut spans: Receiver<SpanData>, life: Life) {
        loop {
            let mut batch = Vec::new();
            if spans.recv_many(&mut batch, self.batch).await == 0 {
                return;
            }
            let until = Instant::now() + self.delay;
            while batch.len() < self.batch && !life.is_stopping() {
                let room = self.batch - batch.len();
                tokio::select! {
                    more = timeout_at(until, spans.recv_many(&mut batch, room)) => match more {
                        Ok(1..) => {}
                        Ok(0) | Err(_) => break,
                    },
                    () = life.stopping() => break,
                }
            }
            self.send(batch, &life).await;
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>, life: &Life) {
        let count = batch.len();
        let sent = timeout(self.timeout, self.exporter.export(batch));
        let last = &mut self.last;
        let out_of_time = async {
            life.stopping().await;
            sleep_until(*last.get_or_insert_with(|| Instant::now() + LAST)).await;
        };
        let sent = tokio::select! {
            biased;
            sent = sent => sent,
            () = out_of_time => return self.metrics.dropped(count, "failed"),
        };
        match sent {
            Ok(Ok(())) => {
                self.metrics.exported.inc_by(count as u64);
                if std::mem::take(&mut self.is_failing) {
                    info!("the receiver of traces takes them again");
                }
            }
            Ok(Err(error)) => self.failed(count, &error.to_string()),
            Err(_) => self.failed(count, "it did not answer in time"),
        }
    }

    fn failed(&mut self, count: usize, why: &str) {
        self.metrics.dropped(count, "failed");
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!(why, "the receiver of traces does not take them");
        }
    }
}
