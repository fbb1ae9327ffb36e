//! Experiments on a virtual model: what they are, and what they have shown, arm by arm, with intervals and verdicts. Knows nothing
//! of where the sums come from.
//!
//! The unit is who is kept in one arm: a user, else a session, else a request. The sums are of units' means, so that many
//! requests of one user do not count as many witnesses.

mod sequence;

pub use sequence::{ALPHA, ArmVerdict, Difference, Estimate, Figure, LEAST_UNITS, Sums, difference};

use crate::UnixMicros;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is known of an experiment when it is reported.
#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentPlan {
    /// Its name.
    pub name: String,
    /// The virtual model.
    pub model: String,
    /// The arms and their shares, the first of which the others are compared with; shadows behind them.
    pub arms: Vec<(String, f64)>,
    /// The name of the scores.
    pub score: String,
    /// The figures by which an arm that is worse is stopped.
    pub guard: Vec<Figure>,
}

/// That an arm takes no requests any more: it was worse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArmStop {
    /// The experiment.
    pub experiment: String,
    /// The arm.
    pub arm: String,
    /// Since when.
    pub at: UnixMicros,
    /// Why.
    pub reason: String,
}

/// What an experiment has shown.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ExperimentReport {
    /// Its name.
    pub name: String,
    /// The virtual model.
    pub model: String,
    /// The arms, the first of which the others are compared with.
    pub arms: Vec<ArmReport>,
}

/// What an arm has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ArmReport {
    /// Its name.
    pub arm: String,
    /// Its share of the requests; of a shadow, of those that are copied.
    pub share: f64,
    /// Why it takes no requests any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Requests.
    pub requests: u64,
    /// Users, sessions or requests that are kept in it.
    pub units: u64,
    /// The part of requests that failed.
    pub errors: Option<Estimate>,
    /// Dollars for a request.
    pub cost_usd: Option<Estimate>,
    /// Milliseconds for a request.
    pub latency_ms: Option<Estimate>,
    /// The score.
    pub score: Option<Estimate>,
    /// Its differences to the first arm, with intervals that hold at all times together.
    pub differences: Vec<Difference>,
}

/// The sums of an arm, as the ledger gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ArmSums {
    requests: u64,
    units: u64,
    figures: [Sums; 4],
}

impl ArmSums {
    fn of(row: &Value) -> Self {
        let count = |name: &str| row[name].as_u64().unwrap_or(0);
        let number = |name: &str| row[name].as_f64().unwrap_or(0.0);
        let sums = |name: &str| Sums {
            units: count(&format!("{name}_units")),
            sum: number(&format!("{name}_sum")),
            squares: number(&format!("{name}_squares")),
        };
        let figures = ["errors", "cost", "latency", "score"].map(sums);
        Self { requests: count("requests"), units: count("units"), figures }
    }
}

impl ExperimentPlan {
    /// The report, of a row for each arm and of the arms that were stopped. All verdicts together are wrong with a probability of
    /// at most [`ALPHA`]: it is divided among the arms and figures.
    pub fn report(&self, rows: &[Value], stops: &[ArmStop]) -> ExperimentReport {
        let sums = |arm: &str| rows.iter().find(|row| row["arm"] == arm).map(ArmSums::of).unwrap_or_default();
        let control = self.arms.first().map(|(arm, _)| sums(arm)).unwrap_or_default();
        let tests = self.arms.len().saturating_sub(1).max(1) * Figure::ALL.len();
        let alpha = ALPHA / f64::from(u32::try_from(tests).unwrap_or(u32::MAX));
        let one = |(at, (arm, share)): (usize, &(String, f64))| {
            let sums = sums(arm);
            let differences = Figure::ALL.iter().zip(control.figures.iter().zip(&sums.figures));
            let differences = differences.filter(|_| at > 0);
            let [errors, cost_usd, latency_ms, score] = sums.figures.map(|sums| sums.estimate());
            let is_this = |stop: &&ArmStop| stop.experiment == self.name && stop.arm == *arm;
            ArmReport {
                arm: arm.clone(),
                share: *share,
                stopped: stops.iter().find(is_this).map(|stop| stop.reason.clone()),
                requests: sums.requests,
                units: sums.units,
                errors,
                cost_usd,
                latency_ms,
                score,
                differences: differences.filter_map(|(figure, (a, b))| difference(*figure, a, b, alpha)).collect(),
            }
        };
        let arms = self.arms.iter().enumerate().map(one).collect();
        ExperimentReport { name: self.name.clone(), model: self.model.clone(), arms }
    }

    /// The arms that are to be stopped now, and why: those that are worse in a figure of the guard.
    pub fn worse(&self, report: &ExperimentReport) -> Vec<(String, String)> {
        let running = report.arms.iter().skip(1).filter(|arm| arm.stopped.is_none());
        let worse = |arm: &ArmReport| {
            let is_guarded = |one: &&Difference| one.verdict == ArmVerdict::Worse && self.guard.contains(&one.figure);
            let found = arm.differences.iter().find(is_guarded)?;
            let Estimate { mean, low, high } = found.estimate;
            let figure = found.figure.as_str();
            Some((arm.arm.clone(), format!("{figure} differ by {mean:+.4} ({low:+.4} to {high:+.4})")))
        };
        running.filter_map(worse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_arm_that_fails_more_often_is_stopped_and_one_that_only_costs_more_is_not() {
        let plan = ExperimentPlan {
            name: "mini".to_owned(),
            model: "chat".to_owned(),
            arms: vec![("control".to_owned(), 0.5), ("mini".to_owned(), 0.5), ("new".to_owned(), 0.0)],
            score: "quality".to_owned(),
            guard: vec![Figure::Errors],
        };
        let row = |arm: &str, failed: f64, cost: f64| {
            json!({ "arm": arm, "requests": 1000, "units": 500, "errors_units": 500, "errors_sum": failed, "errors_squares": failed,
                "cost_units": 500, "cost_sum": 500.0 * cost, "cost_squares": 500.0 * cost * cost * 1.01 })
        };
        let rows = [row("control", 10.0, 0.1), row("mini", 100.0, 0.1), row("dear", 10.0, 0.9), row("new", 10.0, 0.9)];
        let report = plan.report(&rows, &[]);
        let worse = plan.worse(&report);
        assert_eq!(worse.len(), 1, "{worse:?}");
        assert!(worse[0].0 == "mini" && worse[0].1.starts_with("errors differ by +0.18"), "{worse:?}");
        let cost = report.arms[2].differences.iter().find(|one| one.figure == Figure::Cost).unwrap();
        assert_eq!((cost.verdict, report.arms[0].differences.len()), (ArmVerdict::Worse, 0));
        let stop = ArmStop {
            experiment: "mini".to_owned(),
            arm: "mini".to_owned(),
            at: UnixMicros(0),
            reason: "x".to_owned(),
        };
        let stopped = plan.report(&rows, &[stop]);
        assert_eq!((stopped.arms[1].stopped.as_deref(), plan.worse(&stopped).len()), (Some("x"), 0));
        assert_eq!(stopped.arms[1].errors.map(|errors| errors.mean), Some(0.2));
    }
}
