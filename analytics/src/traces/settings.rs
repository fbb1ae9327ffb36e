//! How traces are exported: section `[traces]`, and OpenTelemetry's variables for queues. Where they go and with which headers
//! is read by the exporter itself.

use super::assembly::Keep;
use penstock_runtime::config::Document;
use penstock_runtime::telemetry::TelemetryVariables;
use penstock_schemas::money::Picodollars;
use std::time::Duration;

/// The largest queue and batch of spans, whatever the variables say: a span has some 2 KB.
const MOST: u64 = 65_536;

/// How traces are exported.
#[derive(Clone, Debug)]
pub struct TraceExport {
    /// What is kept whatever was drawn.
    pub(super) keep: Keep,
    /// Spans that wait at most: `OTEL_BSP_MAX_QUEUE_SIZE`.
    pub(super) queue: usize,
    /// Spans that are sent together at most: `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
    pub(super) batch: usize,
    /// How long spans wait for others: `OTEL_BSP_SCHEDULE_DELAY`.
    pub(super) delay: Duration,
    /// How long one batch may take: `OTEL_BSP_EXPORT_TIMEOUT`.
    pub(super) timeout: Duration,
}

impl TraceExport {
    /// Reads the section, with the defaults that OpenTelemetry's specification has for the rest.
    pub(crate) fn read(document: &mut Document) -> Self {
        let mut section = document.section("traces");
        let slow = section.duration("slow").unwrap_or(Duration::from_secs(60));
        let text = section.or("expensive_usd", "1.00".to_owned());
        let expensive = Picodollars::parse(&text).unwrap_or_else(|_| {
            section.mistake("expensive_usd", &format!("`{text}` is no amount of dollars, such as \"1.00\""));
            Picodollars(i64::MAX)
        });
        Self {
            keep: Keep { slow, expensive },
            queue: 2048,
            batch: 512,
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        }
    }

    /// The same with what OpenTelemetry's variables say of queues.
    #[must_use]
    pub fn with(self, variables: &TelemetryVariables) -> Self {
        let count = |name, default| variables.number(name).map_or(default, |number| as_count(number.min(MOST)));
        let time = |name, default| variables.number(name).map_or(default, Duration::from_millis);
        let queue = count("OTEL_BSP_MAX_QUEUE_SIZE", self.queue);
        Self {
            keep: self.keep,
            queue,
            batch: count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", self.batch).min(queue),
            delay: time("OTEL_BSP_SCHEDULE_DELAY", self.delay),
            timeout: time("OTEL_BSP_EXPORT_TIMEOUT", self.timeout),
        }
    }
}

fn as_count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
