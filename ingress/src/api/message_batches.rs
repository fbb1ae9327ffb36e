//! `/v1/messages/batches`: Anthropic's Message Batches in front of the same core as OpenAI's; each project has its own, and
//! neither API shows what was made through the other. Source: <https://platform.claude.com/docs/en/api/creating-message-batches>.

use super::batch_wishes::{BatchWishes, OwnFields};
use super::while_granted;
use crate::allow;
use crate::batch::inline::{InlineLine, LineKeeper};
use crate::batch::results::{LineResult, read_results};
use crate::batches::{BatchQuery, made_through, new_id};
use crate::http::body::read_json;
use crate::http::proxied::own_address;
use crate::http::query::Query;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::stage::receive;
use crate::state::Shared;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures_util::TryStreamExt;
use penstock_dialects::client::WrongRequest;
use penstock_dialects::json::read_all;
use penstock_runtime::bus::CONTENT_MEMORY;
use penstock_runtime::{clock, heavy};
use penstock_schemas::batch::{Batch, BatchStatus, RequestCounts};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::FileId;
use penstock_schemas::name::ProjectId;
use penstock_schemas::rfc3339;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// The path that every request of a batch is for.
const ENDPOINT: &str = "/v1/messages";

/// How long a batch may take.
const WINDOW: (&str, Duration) = ("24h", Duration::from_secs(24 * 3600));

/// How many batches a page has: by default, and at most.
/// Source: <https://platform.claude.com/docs/en/api/listing-message-batches>.
const PAGE: (usize, usize) = (20, 1000);

/// The longest `custom_id`, in characters.
const CUSTOM_ID: usize = 64;

/// What Anthropic's ids have in front of ours.
const PREFIX: &str = "msg";

/// A batch's id as Anthropic's clients know it.
fn outer(batch: &Batch) -> String {
    format!("{PREFIX}{}", batch.id)
}

/// The id of a batch that a client names.
fn inner(id: &str) -> &str {
    id.strip_prefix(PREFIX).unwrap_or_default()
}

#[derive(Deserialize)]
struct Wish<'a> {
    #[serde(borrow)]
    requests: Option<Vec<Wanted<'a>>>,
    penstock: Option<OwnFields>,
}

#[derive(Deserialize)]
struct Wanted<'a> {
    custom_id: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// `POST`: a batch begins.
pub(super) async fn create(State(ingress): State<Shared>, credentials: Credentials, body: Body) -> Response {
    respond(Box::pin(begin(&ingress, &credentials, body)).await.map(|batch| shown(&batch, &credentials.headers)))
}

async fn begin(ingress: &Shared, credentials: &Credentials, body: Body) -> Result<Batch, Refusal> {
    let found = credentials.find_key(ingress).await?;
    let (body, _memory) = read_json(&credentials.headers, body, &ingress.config, &ingress.memory).await?;
    let wish: Wish<'_> = heavy(body.len(), || serde_json::from_slice(&body))
        .await
        .map_err(|error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string())))?;
    let owner = found.owner(receive::read_sender(&credentials.headers)?);
    let requests = wish.requests.ok_or(Refusal::Wrong(WrongRequest::MissingField("requests")))?;
    let lines = lines(&requests, ingress.config.batch.lines)?;
    let (id, now) = (new_id(), clock::now());
    let wishes = BatchWishes::read(wish.penstock, &BTreeMap::new(), now)?;
    let mut keeper = LineKeeper::begin(ingress, &found.key, &id).await?;
    for line in &lines {
        keeper.add(line).await?;
    }
    let input = Box::pin(keeper.finish()).await?;
    let window = (WINDOW.0.to_owned(), now, now.after(WINDOW.1));
    let batch = Batch {
        counts: RequestCounts { total: lines.len() as u64, ..RequestCounts::default() },
        api: Dialect::Anthropic,
        ..Batch::asked_for(id, owner, ENDPOINT.to_owned(), input, window)
    };
    ingress.batches.create(wishes.put_into(batch)).await
}

/// The requests as lines: a request whose `params` are wrong gets its error as its result.
fn lines<'a>(requests: &'a [Wanted<'_>], most: u64) -> Result<Vec<InlineLine<'a>>, Refusal> {
    if requests.is_empty() || requests.len() as u64 > most {
        let why = format!("it must have from 1 to {most} requests ([batch] lines)");
        return Err(Refusal::Wrong(WrongRequest::WrongField { field: "requests", why }));
    }
    let mut names = HashSet::new();
    let line = |(at, wanted): (usize, &'a Wanted<'_>)| {
        let wrong = |field: &str, why: String| {
            Refusal::Wrong(WrongRequest::WrongPart { place: format!("requests.{at}.{field}"), why })
        };
        let id = wanted.custom_id.as_deref().unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !(1..=CUSTOM_ID).contains(&id.len()) || !id.chars().all(is_name) {
            let why = format!("it must be 1 to {CUSTOM_ID} letters, digits, `_` and `-`");
            return Err(wrong("custom_id", why));
        }
        if !names.insert(id) {
            return Err(wrong("custom_id", format!("`{id}` stands in another request too")));
        }
        let params = wanted.params.filter(|params| params.get().starts_with('{'));
        let params = params.ok_or_else(|| wrong("params", "it must be an object".to_owned()))?;
        Ok(InlineLine::new(id, ENDPOINT, params))
    };
    requests.iter().enumerate().map(line).collect()
}

/// `GET`: the batches of a project, the newest first.
pub(super) async fn list(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    let listed = async {
        let found = credentials.find_key(&ingress).await?;
        let query = Query(credentials.query.as_deref().unwrap_or_default());
        let named = |name| query.get(name).map(|id| inner(&id).to_owned());
        let [after, before] = ["after_id", "before_id"].map(named);
        if after.is_some() && before.is_some() {
            return Err(Refusal::BadQuery("`after_id` and `before_id` exclude each other".to_owned()));
        }
        let wanted = BatchQuery { after, before, limit: query.limit(PAGE)? };
        let (page, has_more) = ingress.batches.list(&found.key.project, Dialect::Anthropic, &wanted);
        Ok(json!({
            "data": page.iter().map(|batch| shown(batch, &credentials.headers)).collect::<Vec<_>>(),
            "has_more": has_more,
            "first_id": page.first().map(|batch| outer(batch)),
            "last_id": page.last().map(|batch| outer(batch)),
        }))
    };
    respond(listed.await)
}

/// `GET …/{id}`: a batch as it is now.
pub(super) async fn show(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let found = async {
        let project = credentials.find_key(&ingress).await?.key.project.clone();
        ingress.batches.get(&project, Dialect::Anthropic, inner(&id)).await
    };
    respond(found.await.map(|batch| shown(&batch, &credentials.headers)))
}

/// `POST …/{id}/cancel`: a batch is to stop.
pub(super) async fn cancel(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let cancelled = async {
        let project = credentials.find_key(&ingress).await?.key.project.clone();
        ingress.batches.cancel(made_through(&project, Dialect::Anthropic), inner(&id)).await
    };
    respond(cancelled.await.map(|batch| shown(&batch, &credentials.headers)))
}

/// `DELETE …/{id}`: a batch that is over is removed, with its requests and results.
pub(super) async fn delete(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let deleted = async {
        let project = credentials.find_key(&ingress).await?.key.project.clone();
        forget(&ingress, &project, (Dialect::Anthropic, inner(&id))).await?;
        Ok(json!({ "id": id, "type": "message_batch_deleted" }))
    };
    respond(deleted.await)
}

/// Removes a batch that came with its requests, with these and its results.
pub(super) async fn forget(ingress: &Shared, project: &ProjectId, (api, id): (Dialect, &str)) -> Result<(), Refusal> {
    let batch = ingress.batches.forget(project, api, id).await?;
    let files = [Some(batch.input_file), batch.output_file, batch.error_file];
    for file in files.iter().flatten().filter_map(|id| FileId::parse(id)) {
        let gone = ingress.files.delete(project, file).await;
        gone.map_err(|_| Refusal::NotReady("the store of files does not answer"))?;
    }
    Ok(())
}

/// `GET …/{id}/results`: what came of each request, one on each line, once the batch is over.
pub(super) async fn results(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let found = async {
        let found = credentials.find_key(&ingress).await?;
        let batch = ingress.batches.get(&found.key.project, Dialect::Anthropic, inner(&id)).await?;
        if !batch.status.is_final() {
            let why = "the batch is not over: its results are there when `processing_status` is `ended`".to_owned();
            return Err(Refusal::Wrong(WrongRequest::WrongField { field: "message_batch_id", why }));
        }
        batch.models.iter().try_for_each(|model| allow::check_name(&found.key, model, &ingress).map(drop))?;
        let memory = ingress.memory.reserve(CONTENT_MEMORY)?;
        let lines = read_results(&ingress, &batch).map_ok(move |result| {
            let _held = &memory;
            result_line(&result)
        });
        Ok(Body::from_stream(while_granted(lines, found.plain_grant(&ingress)?)))
    };
    match found.await {
        Ok(body) => {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-jsonl"));
            reply::content(headers, body, clock::request_id())
        }
        Err(refusal) => reply::refuse(Dialect::Anthropic, &refusal, clock::request_id()),
    }
}

/// The result of one request.
fn result_line(result: &LineResult) -> String {
    let error = |kind: &str, message: &str| json!({ "type": "errored", "error": { "type": "error", "error": { "type": kind, "message": message } } });
    let told = match (&result.response, &result.error) {
        (Some(response), _) if response.status_code == 200 => {
            json!({ "type": "succeeded", "message": read_all(&response.body) })
        }
        (Some(response), _) => json!({ "type": "errored", "error": read_all(&response.body) }),
        (None, Some(why)) if why.code == "batch_cancelled" => json!({ "type": "canceled" }),
        (None, Some(why)) if why.code == "batch_expired" => json!({ "type": "expired" }),
        (None, Some(why)) => error("invalid_request_error", &why.message),
        (None, None) => error("api_error", "the request has no result"),
    };
    format!("{}\n", json!({ "custom_id": result.custom_id, "result": told }))
}

fn respond(result: Result<Value, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(Dialect::Anthropic, &refusal, id),
    }
}

/// A batch as Anthropic shows it; what only Penstock knows stands under its own name.
fn shown(batch: &Batch, headers: &HeaderMap) -> Value {
    let status = match batch.status {
        BatchStatus::Validating | BatchStatus::InProgress => "in_progress",
        BatchStatus::Finalizing if batch.outcome == Some(BatchStatus::Cancelled) => "canceling",
        BatchStatus::Finalizing => "in_progress",
        BatchStatus::Cancelling => "canceling",
        BatchStatus::Failed | BatchStatus::Completed | BatchStatus::Expired | BatchStatus::Cancelled => "ended",
    };
    let is_over = batch.status.is_final();
    json!({
        "id": outer(batch),
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts(batch),
        "created_at": rfc3339::write(batch.created_at),
        "expires_at": rfc3339::write(batch.expires_at),
        "ended_at": batch.times.ended().filter(|_| is_over).map(rfc3339::write),
        "cancel_initiated_at": batch.times.cancelling.map(rfc3339::write),
        "archived_at": null,
        "results_url": is_over.then(|| results_url(batch, headers)),
        "penstock": super::batches::own(batch),
    })
}

/// All requests are being processed until all of them are over.
fn counts(batch: &Batch) -> Value {
    let (counts, given_up) = (batch.counts, batch.given_up);
    let of = |outcome| if batch.status == outcome { given_up } else { 0 };
    let (canceled, expired) = (of(BatchStatus::Cancelled), of(BatchStatus::Expired));
    let over = |count: u64| if batch.status.is_final() { count } else { 0 };
    json!({
        "processing": if batch.status.is_final() { 0 } else { counts.total },
        "succeeded": over(counts.completed),
        "errored": over(counts.failed.saturating_sub(canceled + expired)),
        "canceled": canceled,
        "expired": expired,
    })
}

/// Where the results are, as the caller reached us.
fn results_url(batch: &Batch, headers: &HeaderMap) -> String {
    let path = format!("/v1/messages/batches/{}/results", outer(batch));
    own_address(headers).unwrap_or_default() + &path
}
