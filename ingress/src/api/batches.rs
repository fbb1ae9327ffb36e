//! `/v1/batches`: OpenAI's batches, begun, shown, listed and cancelled; each project has its own.
//! Source: <https://platform.openai.com/docs/api-reference/batch>.

use super::batch_wishes::{BatchWishes, OwnFields};
use crate::batch;
use crate::batches::{BatchQuery, made_through, new_id};
use crate::http::body::read_small_json;
use crate::http::query::Query;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::stage::receive;
use crate::state::Shared;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::clock;
use penstock_runtime::config::parse_duration;
use penstock_schemas::UnixMicros;
use penstock_schemas::batch::Batch;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::{FileId, FilePurpose};
use penstock_schemas::name::ProjectId;
use penstock_schemas::native_lane::NativeLane;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many batches a page has: by default, and at most.
const PAGE: (usize, usize) = (20, 100);

/// The shortest and the longest window of a batch.
const WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30 * 24 * 3600));

/// How long the files of a batch may be kept by its caller's wish, in seconds. Source: `output_expires_after` in
/// <https://platform.openai.com/docs/api-reference/batch/create>.
const KEPT: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;

/// OpenAI's limits of `metadata`: pairs, and the longest name and value in characters.
const METADATA: (usize, usize, usize) = (16, 64, 512);

#[derive(Deserialize)]
struct Wish {
    input_file_id: Option<String>,
    endpoint: Option<String>,
    completion_window: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    output_expires_after: Option<Expiry>,
    penstock: Option<OwnFields>,
}

#[derive(Deserialize)]
struct Expiry {
    anchor: String,
    seconds: u64,
}

/// `POST`: a batch begins.
pub(crate) async fn create(State(ingress): State<Shared>, credentials: Credentials, body: Body) -> Response {
    let begun = async {
        let found = credentials.find_key(&ingress).await?;
        let (body, _memory) = read_small_json(&credentials.headers, body, &ingress.config, &ingress.memory).await?;
        let wish: Wish = serde_json::from_slice(&body)
            .map_err(|error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string())))?;
        let now = clock::now();
        let owner = found.owner(receive::read_sender(&credentials.headers)?);
        let (window, length) = window(wish.completion_window)?;
        let metadata = metadata(wish.metadata.unwrap_or_default())?;
        let wishes = BatchWishes::read(wish.penstock, &metadata, now)?;
        let endpoint = endpoint(wish.endpoint)?;
        let begins_at = wishes.run_at.unwrap_or(now);
        let input_file = input_file(wish.input_file_id, (&found.key.project, begins_at), &ingress).await?;
        let (id, window) = (new_id(), (window, now, now.after(length)));
        let batch = Batch {
            output_expires_after: expiry(wish.output_expires_after)?,
            metadata,
            ..Batch::asked_for(id, owner, endpoint, input_file, window)
        };
        Ok(shown(&ingress.batches.create(wishes.put_into(batch)).await?))
    };
    respond(begun.await)
}

/// `GET`: the batches of a project, the newest first.
pub(crate) async fn list(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    let listed = async {
        let found = credentials.find_key(&ingress).await?;
        let query = Query(credentials.query.as_deref().unwrap_or_default());
        let after = query.get("after").map(Into::into);
        let wanted = BatchQuery { after, before: None, limit: query.limit(PAGE)? };
        let (page, has_more) = ingress.batches.list(&found.key.project, Dialect::Openai, &wanted);
        Ok(json!({
            "object": "list",
            "data": page.iter().map(|batch| shown(batch)).collect::<Vec<_>>(),
            "first_id": page.first().map(|batch| batch.id.to_string()),
            "last_id": page.last().map(|batch| batch.id.to_string()),
            "has_more": has_more,
        }))
    };
    respond(listed.await)
}

/// `GET …/{id}`: a batch as it is now.
pub(crate) async fn show(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let found = async {
        let found = credentials.find_key(&ingress).await?;
        Ok(shown(&ingress.batches.get(&found.key.project, Dialect::Openai, &id).await?))
    };
    respond(found.await)
}

/// `POST …/{id}/cancel`: a batch is to stop.
pub(crate) async fn cancel(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let cancelled = async {
        let found = credentials.find_key(&ingress).await?;
        Ok(shown(&ingress.batches.cancel(made_through(&found.key.project, Dialect::Openai), &id).await?))
    };
    respond(cancelled.await)
}

fn respond(result: Result<Value, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}

fn endpoint(asked: Option<String>) -> Result<String, Refusal> {
    let path = asked.ok_or(Refusal::Wrong(WrongRequest::MissingField("endpoint")))?;
    if batch::endpoint(&path).is_some() {
        return Ok(path);
    }
    Err(Refusal::Wrong(WrongRequest::WrongField {
        field: "endpoint",
        why: format!("it must be one of {}", batch::endpoints()),
    }))
}

async fn input_file(
    asked: Option<String>,
    (project, begins_at): (&ProjectId, UnixMicros),
    ingress: &Shared,
) -> Result<String, Refusal> {
    const FIELD: &str = "input_file_id";
    let id = asked.ok_or(Refusal::Wrong(WrongRequest::MissingField(FIELD)))?;
    let wrong = |why: &str| Refusal::Wrong(WrongRequest::WrongField { field: FIELD, why: why.to_owned() });
    let none = "no such file: upload it with `purpose` `batch` first";
    let parsed = FileId::parse(&id).ok_or_else(|| wrong(none))?;
    let found = ingress
        .files
        .get(project, parsed)
        .await
        .map_err(|_| Refusal::NotReady("the store of files does not answer"))?;
    let file = found.ok_or_else(|| wrong(none))?;
    if file.description.purpose != FilePurpose::Batch {
        return Err(wrong("the file is for something else: upload it with `purpose` `batch`"));
    }
    if file.is_expired(begins_at) {
        return Err(wrong("the file is gone before the batch begins: upload it again, or let it begin earlier"));
    }
    Ok(id)
}

/// The window as it was asked for, and how long it is.
fn window(asked: Option<String>) -> Result<(String, Duration), Refusal> {
    const FIELD: &str = "completion_window";
    let text = asked.ok_or(Refusal::Wrong(WrongRequest::MissingField(FIELD)))?;
    let length = parse_duration(&text).filter(|length| (WINDOW.0..=WINDOW.1).contains(length));
    let why = || "it must be a time such as `24h` or `30m`, from one second to 30 days".to_owned();
    let length = length.ok_or_else(|| Refusal::Wrong(WrongRequest::WrongField { field: FIELD, why: why() }))?;
    Ok((text, length))
}

fn expiry(asked: Option<Expiry>) -> Result<Option<u64>, Refusal> {
    let Some(Expiry { anchor, seconds }) = asked else { return Ok(None) };
    if anchor == "created_at" && KEPT.contains(&seconds) {
        return Ok(Some(seconds));
    }
    let why = format!("`anchor` must be `created_at`, and `seconds` from {} to {}", KEPT.start(), KEPT.end());
    Err(Refusal::Wrong(WrongRequest::WrongField { field: "output_expires_after", why }))
}

fn metadata(pairs: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal> {
    let (most, name, value) = METADATA;
    let is_short = |(key, text): (&String, &String)| key.chars().count() <= name && text.chars().count() <= value;
    if pairs.len() <= most && pairs.iter().all(is_short) {
        return Ok(pairs);
    }
    let why = format!("at most {most} pairs, with names of at most {name} characters and values of at most {value}");
    Err(Refusal::Wrong(WrongRequest::WrongField { field: "metadata", why }))
}

/// A batch, as OpenAI shows it; what only Penstock knows stands under its own name.
pub(super) fn shown(batch: &Batch) -> Value {
    let seconds = |at: UnixMicros| at.0 / 1_000_000;
    let at = |at: Option<UnixMicros>| at.map(seconds);
    let (times, counts, usage) = (&batch.times, &batch.counts, &batch.usage);
    let errors = (!batch.errors.is_empty()).then(|| json!({ "object": "list", "data": batch.errors }));
    json!({
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": errors,
        "input_file_id": batch.input_file,
        "completion_window": batch.window,
        "status": batch.status.as_str(),
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": seconds(batch.created_at),
        "in_progress_at": at(times.in_progress),
        "expires_at": seconds(batch.expires_at),
        "finalizing_at": at(times.finalizing),
        "completed_at": at(times.completed),
        "failed_at": at(times.failed),
        "expired_at": at(times.expired),
        "cancelling_at": at(times.cancelling),
        "cancelled_at": at(times.cancelled),
        "request_counts": counts,
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": { "cached_tokens": usage.cached_tokens },
            "output_tokens": usage.output_tokens,
            "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
            "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
        },
        "metadata": batch.metadata,
        "penstock": own(batch),
    })
}

/// What only Penstock knows of a batch.
pub(super) fn own(batch: &Batch) -> Value {
    let models: Vec<Value> = batch.native.iter().map(lane).collect();
    json!({
        "cost_usd": batch.cost.to_string(),
        "paused": batch.paused,
        "priority": batch.priority.as_str(),
        "run_at": batch.run_at.map(|at| at.0 / 1_000_000),
        "native": { "wish": batch.native_wish.as_str(), "models": models },
    })
}

/// What becomes of the lines that name a model, and why.
fn lane(lane: &NativeLane) -> Value {
    json!({
        "model": lane.model,
        "target": lane.target,
        "lines": lane.lines,
        "is_native": lane.is_native,
        "why": lane.why,
        "under_way": lane.groups.iter().map(|group| u64::from(group.group.lines)).sum::<u64>(),
        "done": lane.done,
        "queued": lane.queued,
        "waiting": lane.waiting,
    })
}
