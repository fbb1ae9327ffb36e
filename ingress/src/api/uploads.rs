//! `/v1/uploads`: files that arrive in parts. Source: <https://platform.openai.com/docs/api-reference/uploads>.

use crate::files::{
    ArrivingForm, Asking, FileField, Sink, part_shape, read_description, refused, unknown, upload_shape,
};
use crate::http::body::read_small_json;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::stage::authenticate::{Credentials, Found};
use crate::state::Shared;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::bus::{CONTENT_MEMORY, NewPart, NewUpload, PART_BYTES};
use penstock_runtime::memory::Reserved;
use penstock_runtime::{clock, heavy};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::{PartId, Upload, UploadId};
use serde_json::{Map, Value};
use std::pin::pin;

/// The most parts that a request may name.
const MOST_PARTS: usize = 1000;

/// `POST`: begins an upload.
pub(super) async fn create(State(ingress): State<Shared>, credentials: Credentials, body: Body) -> Response {
    let made = async {
        let found = credentials.find_key(&ingress).await?;
        let (fields, _held) = read_fields(&ingress, &credentials, body).await?;
        let upload = ingress.files.begin_upload(read_new(&found, &fields)?).await.map_err(refused)?;
        Ok(upload_shape(&upload, clock::now()))
    };
    respond(made.await)
}

/// `POST …/{id}/parts`: takes a part.
pub(super) async fn add_part(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    respond(Box::pin(receive(&ingress, &credentials, &id, body)).await)
}

async fn receive(ingress: &Shared, credentials: &Credentials, id: &str, body: Body) -> Result<Value, Refusal> {
    let found = credentials.find_key(ingress).await?;
    let form = ArrivingForm::announced(&credentials.headers, PART_BYTES, ingress.config.body_timeout)?;
    let upload = upload_id(id)?;
    let _memory = ingress.memory.reserve(CONTENT_MEMORY)?;
    let new = NewPart { longest: PART_BYTES, offset: None };
    let writer = ingress.files.begin_part((&found.key.project, upload), new).await.map_err(refused)?;
    let writer = writer.ok_or_else(|| no_upload(id))?;
    let grant = found.plain_grant(ingress)?;
    let stored = async {
        let data = FileField { name: "data", check: |_, _| Ok(()) };
        let collected = Box::pin(form.collect(body, data, || async { Ok(Sink::Part(writer)) })).await?;
        match collected.file {
            Some((_, Sink::Part(writer))) => {
                let part = writer.finish().await.map_err(refused)?;
                Ok(part_shape(id, &part))
            }
            _ => Err(Refusal::Wrong(WrongRequest::MissingField("data"))),
        }
    };
    grant.hold(pin!(stored)).await
}

/// `POST …/{id}/complete`: makes a file of the parts.
pub(super) async fn complete(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    let completed = async {
        let found = credentials.find_key(&ingress).await?;
        let upload = upload_id(&id)?;
        let (fields, _held) = read_fields(&ingress, &credentials, body).await?;
        let parts = read_parts(&fields)?;
        let md5 = text(&fields, "md5")?.filter(|md5| !md5.is_empty());
        let _memory = ingress.memory.reserve(CONTENT_MEMORY)?;
        let done = ingress.files.complete_upload((&found.key.project, upload), &parts, md5).await;
        shown(&id, done.map_err(refused)?)
    };
    respond(Box::pin(completed).await)
}

/// `POST …/{id}/cancel`: no part is wanted any more.
pub(super) async fn cancel(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let cancelled = async {
        let found = credentials.find_key(&ingress).await?;
        let done = ingress.files.cancel_upload(&found.key.project, upload_id(&id)?).await;
        shown(&id, done.map_err(refused)?)
    };
    respond(cancelled.await)
}

fn shown(id: &str, upload: Option<Upload>) -> Result<Value, Refusal> {
    upload.map(|upload| upload_shape(&upload, clock::now())).ok_or_else(|| no_upload(id))
}

fn upload_id(text: &str) -> Result<UploadId, Refusal> {
    UploadId::parse(text).ok_or_else(|| no_upload(text))
}

fn no_upload(id: &str) -> Refusal {
    unknown("upload", id, "upload_id")
}

/// The fields of a body, and the memory for them.
async fn read_fields(
    ingress: &Shared,
    credentials: &Credentials,
    body: Body,
) -> Result<(Map<String, Value>, Reserved), Refusal> {
    let (bytes, memory) = read_small_json(&credentials.headers, body, &ingress.config, &ingress.memory).await?;
    let read = heavy(bytes.len(), || serde_json::from_slice(&bytes)).await;
    Ok((read.map_err(|error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string())))?, memory))
}

fn text<'a>(fields: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(name, "it must be a text")),
    }
}

fn wrong(field: &'static str, why: &str) -> Refusal {
    Refusal::Wrong(WrongRequest::WrongField { field, why: why.to_owned() })
}

fn read_new(found: &Found, fields: &Map<String, Value>) -> Result<NewUpload, Refusal> {
    let bytes = fields
        .get("bytes")
        .filter(|bytes| !bytes.is_null())
        .ok_or(Refusal::Wrong(WrongRequest::MissingField("bytes")))?;
    let bytes = bytes.as_u64().filter(|bytes| *bytes > 0);
    let bytes = bytes.ok_or_else(|| wrong("bytes", "it must be a whole number from 1"))?;
    let none = Map::new();
    let expiry = match fields.get("expires_after") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(expiry)) => expiry,
        Some(_) => return Err(wrong("expires_after", "it must be an object")),
    };
    let seconds = expiry.get("seconds").filter(|seconds| !seconds.is_null()).map(ToString::to_string);
    let asking = Asking {
        filename: text(fields, "filename")?,
        content_type: text(fields, "mime_type")?,
        purpose: text(fields, "purpose")?,
        anchor: text(expiry, "anchor")?,
        seconds: seconds.as_deref(),
        in_seconds: None,
    };
    let description = read_description(Dialect::Openai, asking)?;
    let (project, key_id) = (found.key.project.clone(), found.key.id.clone());
    Ok(NewUpload { project, key_id, of_token: None, description, bytes })
}

fn read_parts(fields: &Map<String, Value>) -> Result<Vec<PartId>, Refusal> {
    let parts = match fields.get("part_ids") {
        None | Some(Value::Null) => return Err(Refusal::Wrong(WrongRequest::MissingField("part_ids"))),
        Some(Value::Array(parts)) if parts.len() <= MOST_PARTS => parts,
        Some(_) => return Err(wrong("part_ids", "it must be a list of at most 1000 ids of parts")),
    };
    let ids = parts.iter().enumerate().map(|(at, id)| {
        id.as_str().and_then(PartId::parse).ok_or_else(|| {
            Refusal::Wrong(WrongRequest::WrongPart {
                place: format!("part_ids[{at}]"),
                why: "it is no id of a part of this upload".to_owned(),
            })
        })
    });
    ids.collect()
}

fn respond(result: Result<Value, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}
