//! `POST /v1/feedback`: a score of an answer, by the request's id. A virtual key may score the requests of its project; an admin
//! or an owner those of their projects. Decides nothing about what a score means.

use super::admin::identify;
use super::wrong_hit::WrongHit;
use crate::http::body::read_small_json;
use crate::http::reply;
use crate::manage::ManageError;
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::state::Shared;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::event::UsageEvent;
use penstock_schemas::kind::Role;
use penstock_schemas::name::{ProjectId, RequestId};
use penstock_schemas::rows::{RowQuery, RowQuestion};
use penstock_schemas::score::{Feedback, Score, ScoreSource};
use penstock_schemas::spend::ReportReply;
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// How long a request may stand in the ledger before ClickHouse has it: its project is the caller's word until then.
const FRESH: Duration = Duration::from_secs(120);

/// Longest wait for the ledger.
const LEDGER: Duration = Duration::from_secs(5);

/// Who scores, and in which projects; `None`: in all.
struct Judge {
    by: String,
    source: ScoreSource,
    projects: Option<Vec<String>>,
}

/// Takes a score.
pub(crate) async fn create(State(ingress): State<Shared>, credentials: Credentials, body: Body) -> Response {
    let id = clock::request_id();
    let taken = async {
        // Who asks comes first: nothing of a stranger's body is held.
        let judge = judge(&ingress, &credentials, id).await?;
        let (body, _memory) = read_small_json(&credentials.headers, body, &ingress.config, &ingress.memory).await?;
        if let Some(report) = WrongHit::read(&body) {
            return report.take(&ingress, &credentials).await;
        }
        let score = score(&ingress, judge, &body, id).await?;
        Ok(json!({ "id": score.id, "object": "feedback", "request_id": score.request_id, "name": score.name }))
    };
    match taken.await {
        Ok(shown) => reply::json(&shown, id),
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}

async fn score(ingress: &Shared, judge: Judge, body: &[u8], id: RequestId) -> Result<Score, Refusal> {
    let feedback: Feedback =
        serde_json::from_slice(body).map_err(|error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string())))?;
    if let Some((field, why)) = feedback.mistake() {
        return Err(Refusal::Wrong(WrongRequest::WrongField { field, why }));
    }
    let unknown = || Refusal::from(ManageError::NoRow { what: "request", name: feedback.request_id.clone() });
    let request_id = RequestId::parse(&feedback.request_id).ok_or_else(unknown)?;
    let project = project_of(ingress, request_id, &judge).await?.ok_or_else(unknown)?;
    let Feedback { name, value, comment, .. } = feedback;
    let (by, source) = (judge.by, judge.source);
    let score = Score { id: id.0, at: clock::now(), request_id, project, name, value, comment, by, source };
    let pending = ingress.journal.append(UsageEvent::Score(Box::new(score.clone()))).await;
    match timeout(LEDGER, pending.acknowledged()).await {
        Ok(true) => Ok(score),
        Ok(false) | Err(_) => Err(Refusal::NotReady("the ledger does not take the score now")),
    }
}

async fn judge(ingress: &Shared, credentials: &Credentials, id: RequestId) -> Result<Judge, Refusal> {
    // The admin API first: a token of it is no key, and trying it as one would count against its address.
    let Ok(actor) = identify(ingress, &credentials.headers, id).await else {
        let key = credentials.find_key(ingress).await?.key;
        let projects = Some(vec![key.project.to_string()]);
        return Ok(Judge { by: key.id.to_string(), source: ScoreSource::Key, projects });
    };
    if actor.role == Role::Viewer {
        return Err(ManageError::Forbidden { needed: "admin, or owner of the project".to_owned() }.into());
    }
    let projects = (!actor.sees_all()).then(|| actor.projects.clone());
    Ok(Judge { by: actor.name, source: ScoreSource::Admin, projects })
}

/// The project of a request that the judge may score. Of one that is too young to stand in ClickHouse, a key's own project is
/// believed: what it scores elsewhere belongs to no request there.
async fn project_of(ingress: &Shared, id: RequestId, judge: &Judge) -> Result<Option<ProjectId>, Refusal> {
    let query = RowQuery { what: RowQuestion::Request(id), projects: judge.projects.clone() };
    let report = match ingress.bus.ask_rows(&query).await {
        Ok(ReportReply::Report(report)) => report,
        Ok(ReportReply::BadQuery(why) | ReportReply::Unavailable(why)) => {
            warn!(why, "a request that is scored cannot be looked up");
            return Err(Refusal::NotReady("the ledger cannot be read now"));
        }
        Err(error) => {
            warn!(%error, "a request that is scored cannot be looked up");
            return Err(Refusal::NotReady("no analytics role answers"));
        }
    };
    let found = report.data.first().and_then(|found| {
        let row = found.get("request").filter(|row| row.is_object()).or_else(|| found.get("attempts")?.get(0))?;
        ProjectId::parse(row.get("project")?.as_str()?).ok()
    });
    let is_fresh = is_fresh(id, clock::now());
    let own = match judge.projects.as_deref() {
        Some([project]) if is_fresh && judge.source == ScoreSource::Key => ProjectId::parse(project.as_str()).ok(),
        _ => None,
    };
    Ok(found.or(own))
}

/// Whether the request began about now. An id of a time that is still to come is made up.
fn is_fresh(id: RequestId, now: UnixMicros) -> bool {
    id.0.get_timestamp().is_some_and(|at| (now.0 / 1_000_000).abs_diff(at.to_unix().0) < FRESH.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_time_that_is_still_to_come_is_no_fresh_request() {
        let (id, now) = (clock::request_id(), clock::now());
        let far = Duration::from_secs(200);
        let before = UnixMicros(now.0 - 200_000_000);
        assert_eq!([now, now.after(far), before].map(|now| is_fresh(id, now)), [true, false, false]);
    }
}
