//! What experiments have shown, and the guard that stops an arm which is worse. Asks the ledger; knows nothing of how arms are
//! drawn.

use crate::config::Experiment;
use crate::refusal::Refusal;
use crate::routing::ArmStops;
use penstock_runtime::bus::{Bus, BusError};
use penstock_runtime::{Life, clock};
use penstock_schemas::alert::Alert;
use penstock_schemas::experiment::{ArmStop, ExperimentPlan, ExperimentReport};
use penstock_schemas::rows::{RowQuery, RowQuestion};
use penstock_schemas::spend::ReportReply;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{debug, warn};

/// Between two looks of the guard.
const AGAIN: Duration = Duration::from_secs(10);

/// What an experiment has shown; of these projects only, where they are named.
pub(crate) async fn report(
    plan: &ExperimentPlan,
    projects: Option<Vec<String>>,
    bus: &Bus,
    stops: &ArmStops,
) -> Result<ExperimentReport, Refusal> {
    let what = RowQuestion::Experiment { name: plan.name.clone(), score: plan.score.clone() };
    match bus.ask_rows(&RowQuery { what, projects }).await {
        Ok(ReportReply::Report(report)) => Ok(plan.report(&report.data, &stops.all())),
        Ok(ReportReply::BadQuery(why) | ReportReply::Unavailable(why)) => {
            debug!(why, "an experiment cannot be reported");
            Err(Refusal::NotReady("the ledger cannot be read now"))
        }
        Err(error) => {
            debug!(%error, "an experiment cannot be reported");
            Err(Refusal::NotReady("no analytics role answers"))
        }
    }
}

/// Stops arms that are worse, as long as the role lives. Every ingress looks; to stop an arm twice is to stop it once.
pub(crate) fn guard(bus: &Bus, life: &Life, stops: &ArmStops, all: Vec<Arc<Experiment>>) {
    if all.is_empty() {
        return;
    }
    let (bus, alarm, stops) = (bus.clone(), bus.alarm(), stops.clone());
    life.service("guard of experiments", async move {
        loop {
            sleep(AGAIN).await;
            for experiment in &all {
                let plan = &experiment.plan;
                let Ok(report) = report(plan, None, &bus, &stops).await else { continue };
                for (arm, reason) in plan.worse(&report) {
                    let told = Alert::arm_stopped(&plan.name, &arm, &reason, clock::now());
                    match stop(plan, arm, reason, &stops).await {
                        Ok(()) => alarm.raise(told),
                        Err(error) => {
                            warn!(%error, experiment = plan.name, "an arm that is worse could not be stopped; trying again");
                        }
                    }
                }
            }
        }
    });
}

async fn stop(plan: &ExperimentPlan, arm: String, reason: String, stops: &ArmStops) -> Result<(), BusError> {
    // A shadow answers no caller.
    warn!(experiment = plan.name, arm, reason, "an arm is worse and takes no requests any more");
    stops.stop(&ArmStop { experiment: plan.name.clone(), arm, at: clock::now(), reason }).await
}
