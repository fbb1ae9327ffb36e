//! How good each target's answers were found: the means of scores, asked of the ledger now and then. Knows nothing of what is
//! done with them.

use super::learnt::Learnt;
use crate::config::{Strategy, VirtualModel};
use penstock_runtime::Life;
use penstock_runtime::bus::Bus;
use penstock_schemas::name::Target;
use penstock_schemas::rows::{RowQuery, RowQuestion};
use penstock_schemas::spend::ReportReply;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::sleep;
use tracing::debug;

/// Between two questions.
const AGAIN: Duration = Duration::from_secs(10);

/// Scores of a target below which their mean says nothing.
const LEAST: u64 = 5;

/// Asks as long as the role lives, where a virtual model goes by scores.
pub(super) fn follow<'a>(bus: &Bus, life: &Life, learnt: &Learnt, models: impl Iterator<Item = &'a VirtualModel>) {
    let names: BTreeSet<String> =
        models.filter(|model| wants_scores(model)).map(|one| one.routing.score.clone()).collect();
    if names.is_empty() {
        return;
    }
    let (bus, learnt) = (bus.clone(), learnt.clone());
    life.service("scores of targets", async move {
        loop {
            for name in &names {
                let query = RowQuery { what: RowQuestion::Ratings(name.clone()), projects: None };
                match bus.ask_rows(&query).await {
                    Ok(ReportReply::Report(report)) => learnt.rate(name, means(&report.data)),
                    Ok(ReportReply::BadQuery(why) | ReportReply::Unavailable(why)) => {
                        debug!(why, "scores are not known");
                    }
                    Err(error) => debug!(%error, "scores are not known"),
                }
            }
            sleep(AGAIN).await;
        }
    });
}

/// Whether the operator has not said everything that the model goes by.
fn wants_scores(model: &VirtualModel) -> bool {
    let is_used = model.uses(Strategy::Quality) || model.routing.min_quality.is_some();
    is_used && model.links.iter().any(|one| one.quality.is_none())
}

fn means(rows: &[Value]) -> HashMap<Target, f64> {
    let mean = |row: &Value| {
        let target = Target::parse(row["target"].as_str()?).ok()?;
        let (count, mean) = (row["scores"].as_u64()?, row["mean"].as_f64()?);
        (count >= LEAST).then_some((target, mean.clamp(0.0, 1.0)))
    };
    rows.iter().filter_map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_few_scores_say_nothing() {
        let rows = [
            json!({ "target": "a/m", "scores": 5, "mean": 0.75 }),
            json!({ "target": "b/m", "scores": 4, "mean": 0.5 }),
            json!({ "target": "c/m", "scores": 9, "mean": 7.5 }),
            json!({ "target": null, "scores": 9, "mean": 1 }),
        ];
        let means = means(&rows);
        let of = |name: &str| means.get(&Target::parse(name).unwrap()).copied();
        assert_eq!((of("a/m"), of("b/m"), of("c/m"), means.len()), (Some(0.75), None, Some(1.0), 2));
    }
}
