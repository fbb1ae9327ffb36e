//! `models/{model}:batchGenerateContent` and `/v1beta/batches`: Gemini's batches in front of the same core as OpenAI's; each
//! project has its own, and no API shows what was made through another.
//! Sources: <https://ai.google.dev/gemini-api/docs/batch-api>, <https://ai.google.dev/api/batch-api>,
//! <https://github.com/googleapis/python-genai/blob/main/google/genai/batches.py>.

use super::batch_wishes::{BatchWishes, OwnFields};
use super::while_granted;
use crate::allow;
use crate::batch::inline::{InlineLine, LineKeeper, read_file};
use crate::batch::results::{LineResult, read_results};
use crate::batches::{BatchQuery, made_through, new_id};
use crate::files::{file_id, unknown};
use crate::http::body::read_json;
use crate::http::query::Query;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::stage::authenticate::{Credentials, Found};
use crate::stage::receive;
use crate::state::Shared;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures_util::stream::{StreamExt, TryStreamExt};
use penstock_dialects::client::WrongRequest;
use penstock_dialects::json::read_all;
use penstock_runtime::bus::CONTENT_MEMORY;
use penstock_runtime::{clock, heavy};
use penstock_schemas::batch::{Batch, BatchStatus, RequestCounts};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::FileId;
use penstock_schemas::name::BatchId;
use penstock_schemas::rfc3339;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// The method of a model that makes a batch.
pub(super) const METHOD: &str = ":batchGenerateContent";

/// How long a batch may take. Source: <https://ai.google.dev/gemini-api/docs/batch-api>.
const WINDOW: (&str, Duration) = ("24h", Duration::from_secs(24 * 3600));

/// How many batches a page has: by default, and at most.
const PAGE: (usize, usize) = (50, 1000);

/// The longest `metadata` of a request and the longest `key` of a line, in bytes: they come back with the answer.
const METADATA: usize = 400;

/// The longest `displayName`, in characters.
const DISPLAY_NAME: usize = 512;

/// Under which names of a batch's metadata its display name stands, and that its answers are a file.
const NAME: &str = "displayName";
const IN_FILE: &str = "responsesFile";

#[derive(Deserialize)]
struct Wish<'a> {
    #[serde(borrow)]
    batch: Option<Wanted<'a>>,
    penstock: Option<OwnFields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted<'a> {
    #[serde(alias = "display_name")]
    display_name: Option<String>,
    #[serde(borrow, alias = "input_config")]
    input_config: Option<Input<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(borrow)]
    requests: Option<Requests<'a>>,
    #[serde(alias = "file_name")]
    file_name: Option<String>,
}

#[derive(Deserialize)]
struct Requests<'a> {
    #[serde(borrow)]
    requests: Vec<Inline<'a>>,
}

#[derive(Deserialize)]
struct Inline<'a> {
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// A line of a file of requests.
#[derive(Deserialize)]
struct FileLine<'a> {
    key: Option<String>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

/// `POST models/{model}:batchGenerateContent`: a batch begins.
pub(super) async fn create(ingress: &Shared, credentials: &Credentials, model: &str, body: Body) -> Response {
    respond(Box::pin(begin(ingress, credentials, model, body)).await.map(|batch| shown(&batch, None)))
}

async fn begin(ingress: &Shared, credentials: &Credentials, model: &str, body: Body) -> Result<Batch, Refusal> {
    let found = credentials.find_key(ingress).await?;
    let (body, _memory) = read_json(&credentials.headers, body, &ingress.config, &ingress.memory).await?;
    let wish: Wish<'_> = heavy(body.len(), || serde_json::from_slice(&body))
        .await
        .map_err(|error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string())))?;
    let owner = found.owner(receive::read_sender(&credentials.headers)?);
    let wishes = BatchWishes::read(wish.penstock, &BTreeMap::new(), clock::now())?;
    let wanted = wish.batch.ok_or(Refusal::Wrong(WrongRequest::MissingField("batch")))?;
    let display_name = wanted.display_name.unwrap_or_default();
    if display_name.chars().count() > DISPLAY_NAME {
        let why = format!("it has more than {DISPLAY_NAME} characters");
        return Err(Refusal::Wrong(WrongRequest::WrongField { field: "batch.displayName", why }));
    }
    let input = wanted.input_config.ok_or(Refusal::Wrong(WrongRequest::MissingField("batch.inputConfig")))?;
    let endpoint = format!("/v1beta/models/{}:generateContent", model.strip_prefix("models/").unwrap_or(model));
    let (id, now, is_file) = (new_id(), clock::now(), input.file_name.is_some());
    let (file, total) = match (input.requests, input.file_name) {
        (Some(requests), None) => Box::pin(inline(ingress, &found, (&id, &endpoint), &requests.requests)).await?,
        (None, Some(name)) => Box::pin(from_file(ingress, &found, (&id, &endpoint), &name)).await?,
        _ => {
            let why = "it must have either `requests` or `fileName`".to_owned();
            return Err(Refusal::Wrong(WrongRequest::WrongField { field: "batch.inputConfig", why }));
        }
    };
    let mut batch = Batch {
        counts: RequestCounts { total, ..RequestCounts::default() },
        api: Dialect::Google,
        ..Batch::asked_for(id, owner, endpoint, file, (WINDOW.0.to_owned(), now, now.after(WINDOW.1)))
    };
    batch.metadata.insert(NAME.to_owned(), display_name);
    if is_file {
        batch.metadata.insert(IN_FILE.to_owned(), "true".to_owned());
    }
    ingress.batches.create(wishes.put_into(batch)).await
}

/// Keeps requests that came with the batch. Each is named by its place and its metadata, which come back with the answer.
async fn inline(
    ingress: &Shared,
    found: &Found,
    (id, endpoint): (&BatchId, &str),
    requests: &[Inline<'_>],
) -> Result<(String, u64), Refusal> {
    let most = ingress.config.batch.lines;
    if requests.is_empty() || requests.len() as u64 > most {
        let why = format!("it must have from 1 to {most} requests ([batch] lines)");
        return Err(Refusal::Wrong(WrongRequest::WrongField { field: "batch.inputConfig.requests", why }));
    }
    let mut keeper = LineKeeper::begin(ingress, &found.key, id).await?;
    for (at, Inline { request, metadata }) in requests.iter().enumerate() {
        let wrong = |field: &str, why: &str| {
            Refusal::Wrong(WrongRequest::WrongPart {
                place: format!("batch.inputConfig.requests.requests[{at}].{field}"),
                why: why.to_owned(),
            })
        };
        let request = request.filter(|request| request.get().starts_with('{'));
        let request = request.ok_or_else(|| wrong("request", "it must be an object"))?;
        if metadata.is_some_and(|metadata| metadata.get().len() > METADATA) {
            return Err(wrong("metadata", &format!("it is longer than {METADATA} bytes")));
        }
        let name = serde_json::to_string(&(at, metadata)).expect("a place and a JSON value have a JSON form");
        keeper.add(&InlineLine::new(&name, endpoint, request)).await?;
    }
    Ok((Box::pin(keeper.finish()).await?, requests.len() as u64))
}

/// Keeps the requests of a file: lines with `key` and `request`. A line that is wrong gets its error as its result.
async fn from_file(
    ingress: &Shared,
    found: &Found,
    (id, endpoint): (&BatchId, &str),
    name: &str,
) -> Result<(String, u64), Refusal> {
    const FIELD: &str = "batch.inputConfig.fileName";
    let wrong = |why: &str| Refusal::Wrong(WrongRequest::WrongField { field: FIELD, why: why.to_owned() });
    let file = FileId::parse(name.strip_prefix("files/").unwrap_or(name)).ok_or_else(|| wrong("no such file"))?;
    let unread = |_: io::Error| Refusal::NotReady("the store of files does not answer");
    let lines = read_file(ingress, &found.key.project, file).await.map_err(io::Error::other).map_err(unread)?;
    let (mut lines, most) = (lines.ok_or_else(|| wrong("no such file"))?, ingress.config.batch.lines);
    let mut keeper = LineKeeper::begin(ingress, &found.key, id).await?;
    let mut total = 0;
    while let Some(text) = lines.next().await.transpose().map_err(unread)? {
        total += 1;
        if total > most {
            return Err(wrong(&format!("the file has more than {most} lines ([batch] lines)")));
        }
        match serde_json::from_slice::<FileLine<'_>>(&text) {
            Ok(FileLine { key: Some(key), request: Some(request) }) if key.len() <= METADATA => {
                keeper.add(&InlineLine::new(&key, endpoint, request)).await?;
            }
            // Refused as a line of any batch is that names no request.
            _ => keeper.add_bad().await?,
        }
    }
    if total == 0 {
        return Err(wrong("the file has no lines"));
    }
    Ok((Box::pin(keeper.finish()).await?, total))
}

/// `GET /v1beta/batches`: the batches of a project, the newest first.
pub(super) async fn list(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    let listed = async {
        let found = credentials.find_key(&ingress).await?;
        let query = Query(credentials.query.as_deref().unwrap_or_default());
        let limit = query.length("pageSize", PAGE)?;
        let wanted = BatchQuery { after: query.get("pageToken").map(Into::into), before: None, limit };
        let (page, has_more) = ingress.batches.list(&found.key.project, Dialect::Google, &wanted);
        let operations: Vec<Value> = page.iter().map(|batch| shown(batch, None)).collect();
        let mut answer = json!({ "operations": operations });
        if let Some(last) = page.last().filter(|_| has_more) {
            answer["nextPageToken"] = json!(last.id);
        }
        Ok(answer)
    };
    respond(listed.await)
}

/// `GET /v1beta/batches/{id}`: a batch as it is now, with its answers once it is over.
pub(super) async fn show(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let shown = async {
        let found = credentials.find_key(&ingress).await?;
        let batch = ingress.batches.get(&found.key.project, Dialect::Google, &id).await?;
        if !batch.status.is_final() {
            return Ok(reply::json(&shown(&batch, None), clock::request_id()));
        }
        batch.models.iter().try_for_each(|model| allow::check_name(&found.key, model, &ingress).map(drop))?;
        if batch.metadata.contains_key(IN_FILE) {
            let file = batch.output_file.as_ref().or(batch.error_file.as_ref());
            let output = file.map(|file| json!({ "responsesFile": format!("files/{file}") }));
            return Ok(reply::json(&shown(&batch, output), clock::request_id()));
        }
        let (answers, _memory) = inlined(&ingress, &batch).await?;
        Ok(reply::json(&shown(&batch, Some(answers)), clock::request_id()))
    };
    shown.await.unwrap_or_else(|refusal: Refusal| reply::refuse(Dialect::Google, &refusal, clock::request_id()))
}

/// All answers in the order of their requests, and their place in the memory.
async fn inlined(ingress: &Shared, batch: &Batch) -> Result<(Value, penstock_runtime::memory::Reserved), Refusal> {
    let broken = |_| Refusal::NotReady("the results of the batch cannot be read");
    let mut memory = ingress.memory.none();
    let mut results = Box::pin(read_results(ingress, batch));
    let mut answers: Vec<(u64, Value)> = Vec::new();
    while let Some(result) = results.try_next().await.map_err(broken)? {
        let (at, metadata) = result
            .custom_id
            .as_deref()
            .and_then(|name| serde_json::from_str::<(u64, Option<Box<RawValue>>)>(name).ok())
            .unwrap_or_default();
        memory.grow(result.response.as_ref().map_or(0, |response| response.body.get().len()) * 3)?;
        let mut answer = answer(&result);
        if let Some(metadata) = metadata {
            answer["metadata"] = read_all(&metadata);
        }
        answers.push((at, answer));
    }
    answers.sort_by_key(|(at, _)| *at);
    let answers: Vec<Value> = answers.into_iter().map(|(_, answer)| answer).collect();
    Ok((json!({ "inlinedResponses": { "inlinedResponses": answers } }), memory))
}

/// `POST /v1beta/batches/{id}:cancel`: a batch is to stop.
pub(super) async fn act(State(ingress): State<Shared>, credentials: Credentials, Path(name): Path<String>) -> Response {
    let cancelled = async {
        let project = credentials.find_key(&ingress).await?.key.project.clone();
        let id = name.strip_suffix(":cancel").ok_or_else(|| Refusal::UnknownPath(format!("/v1beta/batches/{name}")))?;
        ingress.batches.cancel(made_through(&project, Dialect::Google), id).await
    };
    respond(cancelled.await.map(|_| json!({})))
}

/// `DELETE /v1beta/batches/{id}`: a batch that is over is removed, with its requests and answers.
pub(super) async fn delete(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let deleted = async {
        let project = credentials.find_key(&ingress).await?.key.project.clone();
        super::message_batches::forget(&ingress, &project, (Dialect::Google, &id)).await
    };
    respond(deleted.await.map(|()| json!({})))
}

/// `GET /v1beta/files/{id}:download`: the answers of a batch whose requests came as a file.
pub(super) async fn download(ingress: &Shared, credentials: &Credentials, id: &str) -> Response {
    let found = async {
        let found = credentials.find_key(ingress).await?;
        let batch = ingress.batches.of_file(&found.key.project, file_id(id)?).await?;
        if batch.api != Dialect::Google || !batch.status.is_final() {
            return Err(unknown("file", id, "name"));
        }
        batch.models.iter().try_for_each(|model| allow::check_name(&found.key, model, ingress).map(drop))?;
        let memory = ingress.memory.reserve(CONTENT_MEMORY)?;
        let lines = read_results(ingress, &batch).map_ok(move |result| {
            let _held = &memory;
            let mut line = answer(&result);
            line["key"] = json!(result.custom_id);
            format!("{line}\n")
        });
        Ok(Body::from_stream(while_granted(lines, found.plain_grant(ingress)?)))
    };
    match found.await {
        Ok(body) => {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
            reply::content(headers, body, clock::request_id())
        }
        Err(refusal) => reply::refuse(Dialect::Google, &refusal, clock::request_id()),
    }
}

/// What came of one request: its answer, or the error as a `google.rpc.Status`.
/// Source: <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>.
fn answer(result: &LineResult) -> Value {
    let error = |code: u32, message: &str| json!({ "error": { "code": code, "message": message } });
    match (&result.response, &result.error) {
        (Some(response), _) if response.status_code == 200 => json!({ "response": read_all(&response.body) }),
        (Some(response), _) => {
            let body: Value = serde_json::from_str(response.body.get()).unwrap_or_default();
            let code = match response.status_code {
                400 | 413 | 422 => 3,
                401 => 16,
                403 => 7,
                404 => 5,
                409 => 10,
                429 => 8,
                499 => 1,
                503 => 14,
                504 => 4,
                _ => 13,
            };
            error(code, body["error"]["message"].as_str().unwrap_or("the request failed"))
        }
        (None, Some(why)) => {
            let code = match why.code.as_str() {
                "batch_cancelled" => 1,
                "batch_expired" => 4,
                "insufficient_budget" => 8,
                _ => 3,
            };
            error(code, &why.message)
        }
        (None, None) => error(13, "the request has no result"),
    }
}

fn respond(result: Result<Value, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(Dialect::Google, &refusal, id),
    }
}

/// A batch as Google shows it: a long-running operation. What only Penstock knows stands under its own name.
fn shown(batch: &Batch, output: Option<Value>) -> Value {
    let state = match batch.status {
        BatchStatus::Validating => "BATCH_STATE_PENDING",
        BatchStatus::InProgress | BatchStatus::Finalizing | BatchStatus::Cancelling => "BATCH_STATE_RUNNING",
        BatchStatus::Completed => "BATCH_STATE_SUCCEEDED",
        BatchStatus::Failed => "BATCH_STATE_FAILED",
        BatchStatus::Expired => "BATCH_STATE_EXPIRED",
        BatchStatus::Cancelled => "BATCH_STATE_CANCELLED",
    };
    let model = batch.endpoint.trim_start_matches("/v1beta/").trim_end_matches(":generateContent");
    let (counts, ended) = (batch.counts, batch.times.ended());
    let done = counts.completed + counts.failed;
    let name = format!("batches/{}", batch.id);
    let mut shown = json!({
        "name": name,
        "metadata": {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "name": name,
            "model": model,
            "displayName": batch.metadata.get(NAME),
            "state": state,
            "createTime": rfc3339::write(batch.created_at),
            "updateTime": rfc3339::write(ended.or(batch.times.finalizing).or(batch.times.in_progress).unwrap_or(batch.created_at)),
            "batchStats": {
                "requestCount": counts.total.to_string(),
                "successfulRequestCount": counts.completed.to_string(),
                "failedRequestCount": counts.failed.to_string(),
                "pendingRequestCount": counts.total.saturating_sub(done).to_string(),
            },
        },
        "penstock": super::batches::own(batch),
    });
    if let Some(ended) = ended.filter(|_| batch.status.is_final()) {
        shown["done"] = json!(true);
        shown["metadata"]["endTime"] = json!(rfc3339::write(ended));
    }
    if let Some(output) = output {
        shown["response"] = output.clone();
        shown["metadata"]["output"] = output;
    }
    shown
}
