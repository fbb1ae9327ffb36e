//! Where a request would go, and why, without a call: `POST /admin/v1/route`. Knows nothing of strategies.

use super::{AdminRequest, Reply};
use crate::manage::ManageError;
use crate::refusal::Refusal;
use crate::routing::RouteQuery;
use crate::session;
use crate::stage::route;
use bytes::Bytes;
use penstock_dialects::client::{ClientRequest, Endpoint, WrongRequest};
use penstock_runtime::clock;
use penstock_schemas::envelope::{Caller, Operation};
use penstock_schemas::name::{KeyId, ProjectId};
use penstock_schemas::route::{RouteDecision, RoutePlan, RouteQuestion};
use penstock_schemas::session::{Session, SessionSource};
use serde_json::json;

/// The project and the key of a question that names none.
const NOBODY: &str = "default";

/// `POST /admin/v1/route`.
pub(super) async fn ask(asked: AdminRequest) -> Result<Reply, Refusal> {
    let AdminRequest { ingress, actor, body, .. } = asked;
    let wrong = |error: serde_json::Error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string()));
    let question: RouteQuestion = serde_json::from_value(body.unwrap_or_default()).map_err(wrong)?;
    let caller = caller(&question)?;
    if !actor.sees_all() && !actor.projects.contains(&caller.project.to_string()) {
        return Err(Refusal::NoRole);
    }
    let request = Bytes::from(serde_json::to_vec(&question.request).unwrap_or_default());
    let session = match &question.session {
        Some(id) => Session::parse(id, SessionSource::Header),
        None => session::of_body(&request),
    };
    let request = penstock_runtime::heavy(request.len(), || read(&question, request.clone())).await?;
    let caller = Caller { end_user: request.user.clone(), ..caller };
    let mut query = RouteQuery {
        id: clock::request_id(),
        asked: &request,
        agnostic: None,
        caller: &caller,
        session: session.as_ref(),
        now: clock::now(),
        traits: None,
        vector: Err("none is wanted"),
    };
    route::look_at(&mut query, &ingress).await;
    let (plan, decision) = route::dry_run(&query, &ingress)?;
    let plan = plan.links().iter().map(|link| link.target.to_string()).collect();
    let named = || RouteDecision {
        strategy: "none".to_owned(),
        reason: "the request names a target".to_owned(),
        propensity: 1.0,
        ..RouteDecision::default()
    };
    Ok(Reply::new(json!(RoutePlan { plan, decision: decision.unwrap_or_else(named) })))
}

fn caller(question: &RouteQuestion) -> Result<Caller, Refusal> {
    let rule = |field: &'static str, why: String| Refusal::from(ManageError::rule(field, why));
    let project = ProjectId::parse(question.project.as_deref().unwrap_or(NOBODY));
    let key_id = KeyId::parse(question.key.as_deref().unwrap_or(NOBODY));
    Ok(Caller {
        project: project.map_err(|error| rule("project", error.to_string()))?,
        key_id: key_id.map_err(|error| rule("key", error.to_string()))?,
        user: question.user.clone(),
        end_user: None,
        tags: question.tags.clone(),
    })
}

/// What cannot be read of the request is no mistake in the form of the question.
fn read(question: &RouteQuestion, request: Bytes) -> Result<ClientRequest, Refusal> {
    let endpoint = Endpoint::new(question.dialect.into(), Operation::Chat);
    let read = Endpoint { model: question.model.clone(), ..endpoint }.read(request, None);
    read.map_err(|refusal| ManageError::rule("request", refusal.to_string()).into())
}
