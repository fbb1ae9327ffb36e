//! What is only asked for: spend, targets, the audit. Asks the analytics role over the bus; knows nothing of where its
//! numbers are.

use super::{Asked, Reply};
use crate::refusal::Refusal;
use penstock_runtime::clock;
use penstock_schemas::audit::{AuditQuery, AuditReply};
use penstock_schemas::spend::{SpendQuery, SpendReply, parse_time};
use penstock_schemas::target::TargetReport;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tracing::warn;

/// The answer of `GET /admin/v1/targets`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Targets {
    /// All targets that are served.
    targets: Vec<TargetReport>,
}

/// `GET /admin/v1/spend?by=model,project&since=7d`.
pub(super) async fn spend(asked: Asked) -> Result<Reply, Refusal> {
    let (by, since, until) = (asked.query("by"), asked.query("since"), asked.query("until"));
    let mut query = SpendQuery::parse(by, since, until, clock::now()).map_err(Refusal::BadQuery)?;
    if !asked.actor.sees_all() {
        query.projects.clone_from(&asked.actor.projects);
    }
    match asked.ingress.bus.ask_spend(&query).await {
        Ok(SpendReply::Report(report)) => Ok(Reply::new(to_value(&report))),
        Ok(SpendReply::BadQuery(why)) => Err(Refusal::BadQuery(why)),
        Ok(SpendReply::Unavailable(why)) => {
            warn!(why, "spend cannot be reported");
            Err(Refusal::NotReady("the records of spend cannot be read now"))
        }
        Err(error) => {
            warn!(%error, "spend cannot be reported");
            Err(Refusal::NotReady("no analytics role answers"))
        }
    }
}

/// `GET /admin/v1/audit?since=7d&object=budget&actor=ann`.
pub(super) async fn audit(asked: Asked) -> Result<Reply, Refusal> {
    asked.actor.must_see_all()?;
    let since = parse_time("since", asked.query("since").unwrap_or("30d"), clock::now()).map_err(Refusal::BadQuery)?;
    let text = |name: &str| asked.query(name).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let query = AuditQuery { since, object: text("object"), actor: text("actor") };
    match asked.ingress.bus.ask_audit(&query).await {
        Ok(AuditReply::Report(report)) => Ok(Reply::new(to_value(&report))),
        Ok(AuditReply::Unavailable(why)) => {
            warn!(why, "the audit cannot be read");
            Err(Refusal::NotReady("the audit cannot be read now"))
        }
        Err(error) => {
            warn!(%error, "the audit cannot be read");
            Err(Refusal::NotReady("no analytics role answers"))
        }
    }
}

/// `GET /admin/v1/targets`: which targets are well, and why not.
pub(super) async fn targets(asked: Asked) -> Result<Reply, Refusal> {
    Ok(Reply::new(to_value(&Targets { targets: asked.ingress.health.report(clock::now()) })))
}

fn to_value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("answers have a JSON form")
}
