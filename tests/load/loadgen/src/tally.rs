//! Counts, distributions, and how they are shown. Knows nothing of how they came about.

use crate::talk::Reply;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// What was counted. Times in nanoseconds.
pub(crate) struct Tally {
    pub(crate) ok: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) sample_error: Option<String>,
    pub(crate) cancelled: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) events: u64,
    /// From the send to the last byte.
    pub(crate) latency: Histogram<u64>,
    /// From the scheduled time to the last byte.
    pub(crate) corrected: Histogram<u64>,
    /// From the send to the first chunk of a stream.
    pub(crate) first_chunk: Histogram<u64>,
    /// Between two chunks.
    pub(crate) gap: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            ok: 0,
            errors: BTreeMap::new(),
            sample_error: None,
            cancelled: 0,
            bytes: 0,
            frames: 0,
            events: 0,
            latency: histogram(),
            corrected: histogram(),
            first_chunk: histogram(),
            gap: histogram(),
        }
    }
}

impl Tally {
    /// One request's end, and how long ago it was due.
    pub(crate) fn count(&mut self, outcome: Result<Reply, String>, since_due: Duration) {
        let received = match outcome {
            Ok(Reply::Whole(received)) => received,
            Ok(Reply::Cancelled) => return self.cancelled += 1,
            Err(error) => {
                let kind = error.split(':').next().unwrap_or_default().to_owned();
                *self.errors.entry(kind).or_default() += 1;
                self.sample_error.get_or_insert(error);
                return;
            }
        };
        self.ok += 1;
        self.bytes += received.bytes;
        self.frames += received.frames;
        self.events += received.events;
        record(&mut self.latency, received.total);
        record(&mut self.corrected, since_due);
        if let Some(first_chunk) = received.first_chunk {
            record(&mut self.first_chunk, first_chunk);
        }
    }

    pub(crate) fn gap(&mut self, gap: Duration) {
        record(&mut self.gap, gap);
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 120_000_000_000, 3).expect("the bounds are in order")
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// A distribution in microseconds.
pub(crate) fn quantiles(histogram: &Histogram<u64>) -> Value {
    let at = |quantile| round(histogram.value_at_quantile(quantile) as f64 / 1e3, 1);
    let mean = round(histogram.mean() / 1e3, 1);
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0), "mean": mean})
}

/// `value` with `digits` digits after the point.
pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// The report for people.
pub(crate) fn print(report: &Value) {
    let label = report["label"].as_str().unwrap_or_default();
    println!(
        "{label} {} connections, rate {}: {} ok, {} errors {} in {} s = {} per s, {} MB/s",
        report["connections"],
        report["rate"],
        report["ok"],
        report["errors"],
        report["error_kinds"],
        report["seconds"],
        report["rps"],
        report["mb_per_s"]
    );
    if let Some(error) = report["sample_error"].as_str() {
        println!("  first error: {error}");
    }
    for name in ["latency_us", "corrected_us", "ttft_us", "frame_gap_us"] {
        if let Some(times) = report[name].as_object() {
            let times: Vec<String> = times.iter().map(|(quantile, time)| format!("{quantile} {time}")).collect();
            println!("  {name:<13} {}", times.join("  "));
        }
    }
    if !report["frames_per_stream"].is_null() {
        let (frames, events) = (&report["frames_per_stream"], &report["events_per_stream"]);
        println!("  per stream: {frames} body frames, {events} events; {} cancelled", report["cancelled"]);
    }
    for (name, used) in report["cpu"].as_object().into_iter().flatten() {
        println!("  {name}: {} µs/request, {} cores, {} MB", used["us_per_req"], used["cores"], used["rss_mb"]);
    }
    println!(
        "  loadgen: {} µs/request; machine: {} cores busy, {} of them by others, {} stolen",
        report["loadgen_cpu_us_per_req"], report["system_busy_cores"], report["foreign_cores"], report["steal_cores"]
    );
}
