//! Batches of the projects that an admin may see, and their cancelling. Knows neither how a batch runs nor how one is begun:
//! that takes a virtual key, and `/v1/batches`.

use super::{AdminRequest, Reply};
use crate::api::batches::shown;
use crate::batches::BatchQuery;
use crate::manage::Actor;
use crate::refusal::Refusal;
use penstock_schemas::batch::{Batch, BatchStatus};
use penstock_schemas::name::{BatchId, ProjectId};
use serde_json::{Value, json};

/// Batches of a page: by default, and at most.
const PAGE: (usize, usize) = (20, 100);

/// Where a batch can be.
const STATUSES: [BatchStatus; 8] = [
    BatchStatus::Validating,
    BatchStatus::Failed,
    BatchStatus::InProgress,
    BatchStatus::Finalizing,
    BatchStatus::Completed,
    BatchStatus::Expired,
    BatchStatus::Cancelling,
    BatchStatus::Cancelled,
];

/// `GET /admin/v1/batches?project=search&status=in_progress&limit=20&after=batch_…`: the newest first.
pub(super) async fn list(asked: AdminRequest) -> Result<Reply, Refusal> {
    let given = |name: &str| asked.query(name);
    let project = given("project");
    if let Some(Err(error)) = project.map(ProjectId::parse) {
        return Err(Refusal::BadQuery(format!("`project`: {error}")));
    }
    let wrong = || Refusal::BadQuery(format!("`limit` is a number from 1 to {}", PAGE.1));
    let limit = match given("limit") {
        Some(text) => text.parse().ok().filter(|limit| (1..=PAGE.1).contains(limit)).ok_or_else(wrong)?,
        None => PAGE.0,
    };
    let status = given("status");
    if status.is_some_and(|word| !STATUSES.iter().any(|status| status.as_str() == word)) {
        return Err(Refusal::BadQuery("`status` is none of a batch's".to_owned()));
    }
    if given("after").is_some_and(|after| BatchId::parse(after).is_err()) {
        return Err(Refusal::BadQuery("`after` is the `next` of an earlier answer".to_owned()));
    }
    let seen = seen(&asked.actor);
    let is_wanted = |batch: &Batch| {
        seen(batch)
            && project.is_none_or(|project| project == batch.caller.project.as_str())
            && status.is_none_or(|status| status == batch.status.as_str())
    };
    let page = BatchQuery { after: given("after").map(ToOwned::to_owned), before: None, limit };
    let (batches, has_more) = asked.ingress.batches.list_of(is_wanted, &page);
    let next = batches.last().filter(|_| has_more).map(|batch| batch.id.to_string());
    let data: Vec<Value> = batches.iter().map(|batch| of_any(batch)).collect();
    Ok(Reply::new(json!({ "data": data, "has_more": has_more, "next": next })))
}

/// `GET /admin/v1/batches/{id}`.
pub(super) async fn show(asked: AdminRequest) -> Result<Reply, Refusal> {
    let (batch, _) = asked.ingress.batches.find(seen(&asked.actor), &asked.name).await?;
    Ok(Reply::new(of_any(&batch)))
}

/// `POST /admin/v1/batches/{id}/cancel`: by an admin, or an owner of its project.
pub(super) async fn cancel(asked: AdminRequest) -> Result<Reply, Refusal> {
    let (batch, _) = asked.ingress.batches.find(seen(&asked.actor), &asked.name).await?;
    let project = batch.caller.project.as_str();
    asked.actor.must_own(project)?;
    if !batch.status.is_final() {
        asked.ingress.objects.record_cancel(&asked.actor, project, batch.id.as_str()).await?;
    }
    let cancelled = asked.ingress.batches.cancel(seen(&asked.actor), &asked.name).await?;
    Ok(Reply::new(of_any(&cancelled)))
}

/// The batches that an admin may see.
fn seen(actor: &Actor) -> impl Fn(&Batch) -> bool {
    move |batch| actor.sees_all() || actor.projects.iter().any(|own| own == batch.caller.project.as_str())
}

/// A batch as its own project sees it, and whose it is.
fn of_any(batch: &Batch) -> Value {
    let mut shown = shown(batch);
    let whose = json!({
        "project": batch.caller.project,
        "key_id": batch.caller.key_id,
        "user": batch.caller.user,
        "api": batch.api.as_str(),
        "models": batch.models,
        "is_over": batch.status.is_final(),
    });
    if let (Value::Object(shown), Value::Object(whose)) = (&mut shown, whose) {
        shown.extend(whose);
    }
    shown
}
