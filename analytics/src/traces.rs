//! Traces, made of the ledger's events when these are stored: a request's span, its stages and its attempts, as
//! OpenTelemetry's conventions have them. So nothing that a caller waits for makes or sends a span, and whether a trace is
//! worth keeping is known when it is made. Knows where spans go, and nothing of SQL.

mod assembly;
mod export;
mod settings;
mod spans;

pub use settings::TraceExport;

use assembly::{Assembly, Piece};
use export::Exporter;
pub(crate) use export::TraceMetrics;
use opentelemetry_sdk::trace::SpanData;
use penstock_runtime::{Life, clock};
use penstock_schemas::event::UsageEvent;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tracing::warn;

/// Where the events of traces go.
pub(crate) struct Traces {
    assembly: Arc<Mutex<Assembly>>,
    spans: mpsc::Sender<SpanData>,
    metrics: TraceMetrics,
}

impl Traces {
    /// Begins to export; `None` when the exporter cannot be made, which the log says.
    pub(crate) fn start(settings: &TraceExport, life: &Life, metrics: &TraceMetrics) -> Option<Self> {
        let exporter = match Exporter::new(settings, metrics.clone()) {
            Ok(exporter) => exporter,
            Err(why) => {
                warn!(why, "traces are not exported: the OTEL_EXPORTER_OTLP_* variables cannot be used");
                return None;
            }
        };
        let (spans, taken) = mpsc::channel(settings.queue);
        life.work(exporter.run(taken, life.clone()));
        let assembly = Arc::new(Mutex::new(Assembly::new(settings.keep)));
        Some(Self { assembly, spans, metrics: metrics.clone() })
    }

    /// Takes what of these events belongs to traces. Never waits: spans for which the queue has no room are counted.
    pub(crate) fn take(&self, events: impl Iterator<Item = UsageEvent>) {
        let mut assembly = self.assembly.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        let mut kept: Vec<Piece> = Vec::new();
        // The attempts first: a request's decision is for all that are here.
        let mut requests = Vec::new();
        for event in events {
            match event {
                UsageEvent::AttemptEnded(ended) => kept.extend(assembly.attempt(ended, now)),
                UsageEvent::Request(request) => requests.push(request),
                _ => {}
            }
        }
        for request in requests {
            kept.extend(assembly.request(request, now));
        }
        kept.extend(assembly.sweep(now));
        drop(assembly);
        for span in kept.iter().flat_map(spans::of) {
            if self.spans.try_send(span).is_err() {
                self.metrics.queue_was_full();
            }
        }
    }
}
