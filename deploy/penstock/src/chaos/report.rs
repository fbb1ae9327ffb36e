//! What the run comes to, for people and for programs. Knows nothing of how it was made.

use super::ChaosOptions;
use super::ledger::Ledger;
use super::load::{CUT, Run};
use crate::Format;
use crate::tools::output::print;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    requests: u64,
    answered_correctly: u64,
    availability_percent: f64,
    target_percent: f64,
    /// In what is not available, too: such a request is its client's to repeat.
    lost_with_their_ingress: u64,
    errors: BTreeMap<String, u64>,
    failovers: usize,
    failover_ms: Percentiles,
    others_ms: Percentiles,
    ledger: Ledger,
    seconds: f64,
    requests_per_second: f64,
    seed: u64,
}

/// Time until the whole answer was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Percentiles {
    p50: u64,
    p99: u64,
}

impl Report {
    pub(super) fn new(options: &ChaosOptions, run: &Run, ledger: Ledger) -> Self {
        let seconds = run.took.as_secs_f64();
        Self {
            requests: options.requests,
            answered_correctly: run.right,
            availability_percent: share(run.right, options.requests),
            target_percent: options.target,
            lost_with_their_ingress: run.wrong.get(CUT).copied().unwrap_or_default(),
            errors: run.wrong.clone(),
            failovers: run.failovers.len(),
            failover_ms: Percentiles::of(&run.failovers),
            others_ms: Percentiles::of(&run.direct),
            ledger,
            seconds: (seconds * 10.0).round() / 10.0,
            requests_per_second: (as_float(options.requests) / seconds).round(),
            seed: options.seed,
        }
    }

    /// Whether everything is as it should be.
    pub(super) fn is_reached(&self) -> bool {
        self.availability_percent >= self.target_percent && self.ledger.lost == 0 && self.ledger.doubled == 0
    }

    /// Prints it.
    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        let Percentiles { p50, p99 } = self.failover_ms;
        let others = self.others_ms;
        let ledger = &self.ledger;
        let mut rows: Vec<[String; 2]> = [
            ("requests", format!("{} in {} s: {} a second", self.requests, self.seconds, self.requests_per_second)),
            ("answered correctly", self.answered_correctly.to_string()),
            ("availability", format!("{:.3} % (target {} %)", self.availability_percent, self.target_percent)),
            ("failovers", format!("{}; p50 {p50} ms, p99 {p99} ms", self.failovers)),
            ("all others", format!("p50 {} ms, p99 {} ms", others.p50, others.p99)),
            ("calls of providers", format!("{}; {} rows in the ledger", ledger.calls, ledger.rows)),
            ("ledger", format!("{} calls lost, {} rows doubled", ledger.lost, ledger.doubled)),
            (
                "paid twice, perhaps",
                format!("{} requests; {} calls of unknown end", ledger.answered_twice, ledger.unknown),
            ),
        ]
        .map(|(name, value)| [name.to_owned(), value])
        .into();
        rows.extend(self.errors.iter().map(|(kind, count)| [format!("error: {kind}"), count.to_string()]));
        print(format, &["what", "result"], &rows, self)
    }
}

impl Percentiles {
    fn of(times: &[Duration]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let time = sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)));
            time.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        Self { p50: at(50), p99: at(99) }
    }
}

/// In percent, rounded down to thousandths: what is just below a target does not reach it.
fn share(part: u64, whole: u64) -> f64 {
    as_float(part * 100_000 / whole.max(1)) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down_and_percentiles_are_of_what_happened() {
        assert!((share(49_949, 50_000) - 99.898).abs() < 1e-9);
        assert!((share(3, 3) - 100.0).abs() < 1e-9);
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(Percentiles::of(&times), Percentiles { p50: 101, p99: 199 });
        assert_eq!(Percentiles::of(&[]), Percentiles { p50: 0, p99: 0 });
    }
}
