//! `/v1/jobs/{id}`: requests that are answered later, asked for, waited for, cancelled, forgotten; each project has its own.

use super::job_stream;
use crate::allow;
use crate::http::query::Query;
use crate::http::reply;
use crate::jobs::{self, shown};
use crate::refusal::Refusal;
use crate::stage::authenticate::{Credentials, Found};
use crate::stage::repeat::last_event;
use crate::state::Shared;
use axum::extract::{Path, State};
use axum::http::header::ACCEPT;
use axum::response::Response;
use penstock_runtime::clock;
use penstock_runtime::config::parse_duration;
use penstock_runtime::memory::Reserved;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::job::KeptJob;
use penstock_schemas::name::ProjectId;
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::sleep;

/// How many jobs a page has: by default, and at most.
const PAGE: (usize, usize) = (20, 100);

/// Between two looks at a job that is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// The longest wait of one request.
const LONGEST: Duration = Duration::from_secs(60);

/// `GET`: a job as it is now, or after `?wait=30s`; as a stream of events, its answer as it comes.
pub(crate) async fn show(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let accepts = credentials.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_stream = accepts.contains("text/event-stream");
    let found = async {
        let wait = Query(credentials.query.as_deref().unwrap_or_default()).get("wait");
        let why = || Refusal::BadQuery("`wait` must be a time such as `30s`, at most 60s".to_owned());
        let read = |text: Cow<'_, str>| parse_duration(&text).filter(|wait| *wait <= LONGEST).ok_or_else(why);
        let wait = wait.map_or(Ok(Duration::ZERO), read)?;
        let (found, job, _memory) = find(&ingress, &credentials, &id).await?;
        if is_stream {
            return job_stream::follow(&ingress, found, &job, last_event(&credentials.headers)?);
        }
        let (job, _memory) = wait_for(&ingress, &found.key.project, &id, wait).await?;
        Ok(reply::json(&shown(&job), clock::request_id()))
    };
    found.await.unwrap_or_else(|refusal: Refusal| reply::refuse(Dialect::Openai, &refusal, clock::request_id()))
}

/// `GET /v1/jobs`: the jobs of a project, the newest first, without their answers.
pub(crate) async fn list(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    let listed = async {
        let key = credentials.find_key(&ingress).await?.key;
        let query = Query(credentials.query.as_deref().unwrap_or_default());
        let (after, limit) = (query.get("after"), query.limit(PAGE)?);
        let (page, has_more) = jobs::list(&key.project, (after.as_deref(), limit), &ingress).await?;
        let data: Vec<Value> = page.iter().map(|job| json!(shown(job))).collect();
        let id = |job: Option<&Value>| job.map(|job| job["id"].clone());
        let (first, last) = (id(data.first()), id(data.last()));
        Ok(json!({ "object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more }))
    };
    respond(listed.await)
}

/// `POST …/cancel`: a job is no longer wanted.
pub(crate) async fn cancel(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let cancelled = async {
        let (found, ..) = find(&ingress, &credentials, &id).await?;
        Ok(shown(&jobs::cancel(&found.key.project, &id, &ingress).await?))
    };
    respond(cancelled.await)
}

/// `DELETE`: a job is forgotten.
pub(crate) async fn forget(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let forgotten = async {
        let (found, ..) = find(&ingress, &credentials, &id).await?;
        jobs::forget(&found.key.project, &id, &ingress).await?;
        Ok(json!({ "id": id, "object": "job", "deleted": true }))
    };
    respond(forgotten.await)
}

/// A job of a caller who may use its model.
async fn find(ingress: &Shared, credentials: &Credentials, id: &str) -> Result<(Found, KeptJob, Reserved), Refusal> {
    let found = credentials.find_key(ingress).await?;
    let (job, _, memory) = jobs::get(&found.key.project, id, ingress).await?;
    allow::check_name(&found.key, job.model.as_deref().unwrap_or_default(), ingress)?;
    Ok((found, job, memory))
}

/// A job, as soon as it is over or the time is.
async fn wait_for(
    ingress: &Shared,
    project: &ProjectId,
    id: &str,
    wait: Duration,
) -> Result<(KeptJob, Reserved), Refusal> {
    let until = clock::now().after(wait);
    loop {
        let (job, _, memory) = jobs::get(project, id, ingress).await?;
        if job.status.is_final() || clock::now() >= until || ingress.life.is_stopping() {
            return Ok((job, memory));
        }
        sleep(LOOK).await;
    }
}

fn respond<T: Serialize>(result: Result<T, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}
