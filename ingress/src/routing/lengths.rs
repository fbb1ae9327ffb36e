//! How long each target's answers were, asked of the ledger when an ingress begins, so that expected costs are what they were before
//! it. Knows nothing of what is done with them.

use super::learnt::{KnownLength, Learnt};
use crate::config::{Strategy, VirtualModel};
use penstock_runtime::Life;
use penstock_runtime::bus::Bus;
use penstock_schemas::name::Target;
use penstock_schemas::rows::{RowQuery, RowQuestion};
use penstock_schemas::spend::ReportReply;
use serde_json::Value;
use std::time::Duration;
use tokio::time::sleep;
use tracing::debug;

/// Between two questions, until one is answered.
const AGAIN: Duration = Duration::from_secs(5);

/// Asks until it is answered once, where a virtual model goes by lengths: what is learnt from then on is newer.
pub(super) fn recall<'a>(bus: &Bus, life: &Life, learnt: &Learnt, mut models: impl Iterator<Item = &'a VirtualModel>) {
    if !models.any(wants_lengths) {
        return;
    }
    let (bus, life, learnt) = (bus.clone(), life.clone(), learnt.clone());
    life.clone().side(async move {
        tokio::select! {
            () = life.ended() => {}
            () = ask(&bus, &learnt) => {}
        }
    });
}

async fn ask(bus: &Bus, learnt: &Learnt) {
    loop {
        match bus.ask_rows(&RowQuery { what: RowQuestion::Lengths, projects: None }).await {
            Ok(ReportReply::Report(report)) => return learnt.recall(report.data.iter().filter_map(read)),
            Ok(ReportReply::BadQuery(why) | ReportReply::Unavailable(why)) => {
                debug!(why, "lengths of answers are not known");
            }
            Err(error) => debug!(%error, "lengths of answers are not known"),
        }
        sleep(AGAIN).await;
    }
}

fn wants_lengths(model: &VirtualModel) -> bool {
    let goes_by = [Strategy::Cost, Strategy::Auto, Strategy::Latency, Strategy::Quality];
    goes_by.into_iter().any(|strategy| model.uses(strategy)) || model.routing.max_usd.is_some()
}

fn read(row: &Value) -> Option<KnownLength> {
    Some(KnownLength {
        target: Target::parse(row["target"].as_str()?).ok()?,
        project: row["project"].as_str()?.to_owned(),
        answers: u32::try_from(row["answers"].as_u64()?).unwrap_or(u32::MAX),
        tokens: row["tokens"].as_f64().filter(|tokens| *tokens > 0.0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::learnt::tests::{stream, target};
    use super::*;
    use penstock_schemas::usage::Usage;
    use serde_json::json;

    #[test]
    fn what_the_ledger_knows_stands_until_answers_of_its_own_come() {
        let learnt = Learnt::default();
        let seen = Usage { input: Some(10), output: Some(70), ..Usage::default() };
        stream(&learnt, "b/m", (10, 10), &seen);
        let rows = [
            json!({ "target": "a/m", "project": "p", "answers": 30, "tokens": 900.0 }),
            json!({ "target": "a/m", "project": "q", "answers": 10, "tokens": 100.0 }),
            json!({ "target": "b/m", "project": "p", "answers": 10, "tokens": 500.0 }),
            json!({ "target": "no target", "project": "p", "answers": 10, "tokens": 500.0 }),
            json!({ "target": "c/m", "project": "p", "answers": 10, "tokens": null }),
        ];
        learnt.recall(rows.iter().filter_map(read));
        let length = |name: &str, project: &str| learnt.length(&target(name), project);
        assert_eq!((length("a/m", "p"), length("a/m", "q")), (Some(900.0), Some(100.0)));
        assert_eq!(length("a/m", "new"), Some(700.0), "of a new project, the mean of all answers");
        assert_eq!(length("b/m", "p"), Some(70.0), "its own answer is newer");
        assert_eq!(length("c/m", "p"), None);
        stream(&learnt, "a/m", (10, 10), &seen);
        assert!(length("a/m", "p").is_some_and(|tokens| tokens > 500.0 && tokens < 900.0), "{:?}", length("a/m", "p"));
    }
}
