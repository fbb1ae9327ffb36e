//! Google's files: resumable uploads, and what is known of a file; onto the files that `/v1/files` keeps. The bytes of an
//! upload come without a key, to an address that only its beginner was given.
//! Sources: <https://ai.google.dev/gemini-api/docs/files>, <https://ai.google.dev/api/files>,
//! <https://github.com/googleapis/python-genai/blob/main/google/genai/_api_client.py>.

use super::gemini_batches;
use crate::files::{
    ArrivingBody, Asking, file_id, google_page, google_shape, read_description, read_google_listing, refused,
    unavailable, unknown,
};
use crate::http::body::{header, read_small_json, refuse_encoded};
use crate::http::proxied::own_address;
use crate::http::query::Query;
use crate::http::reply;
use crate::keys::ticket;
use crate::refusal::Refusal;
use crate::stage::authenticate::{self, Credentials, Found};
use crate::state::Shared;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::bus::{CONTENT_MEMORY, NewPart, NewUpload};
use penstock_runtime::clock;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::{StoredFile, Upload, UploadStatus};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::pin::pin;

/// What a request of an upload asks for; several, with commas between.
const COMMAND: &str = "x-goog-upload-command";

/// Where its bytes stand in the file.
const OFFSET: &str = "x-goog-upload-offset";

/// How long the file is to be.
const LENGTH: &str = "x-goog-upload-header-content-length";

/// Where an upload is. The official SDKs try a request again whose answer does not say so.
const STATUS: &str = "x-goog-upload-status";

#[derive(Deserialize)]
struct Wish {
    file: Option<Wanted>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    name: Option<String>,
    #[serde(alias = "display_name")]
    display_name: Option<String>,
    #[serde(alias = "mime_type")]
    mime_type: Option<String>,
}

/// What is to be done with an upload that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UploadCommand {
    /// To say how far it is.
    Query,
    /// To forget it.
    Cancel,
    /// To take bytes.
    Take,
    /// To take the last bytes, and to make a file of it.
    TakeLast,
    /// To make a file of it.
    Finish,
}

/// `POST /upload/v1beta/files`: an upload begins, or goes on where its address names it.
pub(super) async fn upload(State(ingress): State<Shared>, credentials: Credentials, body: Body) -> Response {
    let named = Query(credentials.query.as_deref().unwrap_or_default()).get("upload_id").map(Cow::into_owned);
    let done = match named {
        None => Box::pin(begin(&ingress, &credentials, body)).await,
        Some(ticket) => Box::pin(go_on(&ingress, &credentials, &ticket, body)).await,
    };
    done.unwrap_or_else(|refusal| {
        let mut response = reply::refuse(Dialect::Google, &refusal, clock::request_id());
        if response.status().is_client_error() && refusal.retry_after().is_none() {
            reply::set(response.headers_mut(), STATUS, "final");
        }
        response
    })
}

async fn begin(ingress: &Shared, credentials: &Credentials, body: Body) -> Result<Response, Refusal> {
    let headers = &credentials.headers;
    let found = credentials.find_key(ingress).await?;
    let wrong = |header, why: &str| Refusal::Wrong(WrongRequest::WrongHeader { header, why: why.to_owned() });
    if header(headers, "x-goog-upload-protocol") != Some("resumable") {
        return Err(wrong("x-goog-upload-protocol", "it must be `resumable`"));
    }
    if header(headers, COMMAND) != Some("start") {
        return Err(wrong(COMMAND, "it must be `start`, where the address names no upload"));
    }
    let bytes = header(headers, LENGTH).and_then(|bytes| bytes.parse::<u64>().ok()).filter(|bytes| *bytes > 0);
    let bytes = bytes.ok_or_else(|| wrong(LENGTH, "it must be the length of the file: a number of bytes from 1"))?;
    let wanted = read_wanted(ingress, headers, body).await?;
    let content_type = wanted.mime_type.as_deref().or_else(|| header(headers, "x-goog-upload-header-content-type"));
    let filename = wanted.display_name.as_deref().or_else(|| header(headers, "x-goog-upload-file-name"));
    let asking = Asking { filename: filename.filter(|name| !name.is_empty()), content_type, ..Asking::default() };
    let new = NewUpload {
        project: found.key.project.clone(),
        key_id: found.key.id.clone(),
        of_token: found.of_token(),
        description: read_description(Dialect::Google, asking)?,
        bytes,
    };
    let upload = ingress.files.begin_upload(new).await.map_err(refused)?;
    let ticket = ticket::write(&ingress.keys, &upload.project, upload.id);
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("upload_id", &ticket).finish();
    let address = own_address(headers).unwrap_or_default();
    let mut response = answer(&json!({}), "active");
    let url = format!("{address}/upload/v1beta/files?{query}&upload_protocol=resumable");
    reply::set(response.headers_mut(), "x-goog-upload-url", &url);
    Ok(response)
}

async fn read_wanted(ingress: &Shared, headers: &HeaderMap, body: Body) -> Result<Wanted, Refusal> {
    let (body, _memory) = read_small_json(headers, body, &ingress.config, &ingress.memory).await?;
    if body.is_empty() {
        return Ok(Wanted::default());
    }
    let wish: Wish =
        serde_json::from_slice(&body).map_err(|error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string())))?;
    let wanted = wish.file.unwrap_or_default();
    if wanted.name.as_ref().is_some_and(|name| !name.is_empty()) {
        let why = "a file is given its name here: leave it out".to_owned();
        return Err(Refusal::Wrong(WrongRequest::WrongField { field: "file.name", why }));
    }
    Ok(wanted)
}

async fn go_on(ingress: &Shared, credentials: &Credentials, ticket: &str, body: Body) -> Result<Response, Refusal> {
    let (found, upload) = find(ingress, credentials, ticket).await?;
    let (headers, grant) = (&credentials.headers, found.plain_grant(ingress)?);
    let done = async {
        match UploadCommand::read(header(headers, COMMAND).unwrap_or_default())? {
            UploadCommand::Query => Ok(standing(&upload)),
            UploadCommand::Cancel => {
                let cancelled = ingress.files.cancel_upload(&upload.project, upload.id).await.map_err(refused)?;
                cancelled.map(|_| answer(&json!({}), "cancelled")).ok_or_else(|| gone(&upload))
            }
            UploadCommand::Take => {
                Box::pin(take(ingress, &upload, headers, body)).await?;
                Ok(answer(&json!({}), "active"))
            }
            // Its bytes were sent before: the answer was lost on its way.
            UploadCommand::TakeLast if upload.file.is_some() => complete(ingress, &upload, headers).await,
            UploadCommand::TakeLast => {
                Box::pin(take(ingress, &upload, headers, body)).await?;
                complete(ingress, &upload, headers).await
            }
            UploadCommand::Finish => complete(ingress, &upload, headers).await,
        }
    };
    grant.hold(pin!(done)).await
}

/// How far an upload is.
fn standing(upload: &Upload) -> Response {
    let is_pending = upload.status(clock::now()) == UploadStatus::Pending;
    let mut response = answer(&json!({}), if is_pending { "active" } else { "final" });
    reply::set(response.headers_mut(), "x-goog-upload-size-received", &upload.arrived().to_string());
    response
}

/// The upload that a ticket stands for, and who began it.
async fn find(ingress: &Shared, credentials: &Credentials, ticket: &str) -> Result<(Found, Upload), Refusal> {
    let (project, id) = credentials.judge(ticket::read(&ingress.keys, ticket).ok_or(Refusal::WrongKey))?;
    let upload = ingress.files.get_upload(&project, id).await.map_err(|error| unavailable(&error))?;
    let upload = upload.ok_or_else(|| unknown("upload", &id.to_string(), "upload_id"))?;
    let found = match &upload.of_token {
        Some(key) => authenticate::find_by_token(key, ingress),
        None => authenticate::find_by_id(&upload.key_id, ingress),
    };
    Ok((credentials.admit(found, ingress)?, upload))
}

/// Takes the next bytes of an upload.
async fn take(ingress: &Shared, upload: &Upload, headers: &HeaderMap, mut body: Body) -> Result<(), Refusal> {
    refuse_encoded(headers)?;
    let wrong =
        || Refusal::Wrong(WrongRequest::WrongHeader { header: OFFSET, why: "it must be a number of bytes".to_owned() });
    let offset = header(headers, OFFSET).and_then(|offset| offset.parse::<u64>().ok()).ok_or_else(wrong)?;
    let limit = ingress.files.limits().file_bytes;
    let _memory = ingress.memory.reserve(CONTENT_MEMORY)?;
    let new = NewPart { longest: limit, offset: Some(offset) };
    let writer = ingress.files.begin_part((&upload.project, upload.id), new).await.map_err(refused)?;
    let mut writer = writer.ok_or_else(|| gone(upload))?;
    let mut arriving = ArrivingBody::new((limit, 0), ingress.config.body_timeout);
    while let Some(bytes) = arriving.next(&mut body).await? {
        writer.write(&bytes).await.map_err(refused)?;
    }
    if writer.bytes() > 0 {
        writer.finish().await.map_err(refused)?;
    }
    Ok(())
}

/// Makes the upload a file.
async fn complete(ingress: &Shared, upload: &Upload, headers: &HeaderMap) -> Result<Response, Refusal> {
    let place = (&upload.project, upload.id);
    let now = ingress.files.get_upload(place.0, place.1).await.map_err(|error| unavailable(&error))?;
    let now = now.ok_or_else(|| gone(upload))?;
    // They came in order.
    let parts: Vec<_> = now.parts.iter().filter(|part| part.segment.is_some()).map(|part| part.id).collect();
    let _memory = ingress.memory.reserve(CONTENT_MEMORY)?;
    let done = ingress.files.complete_upload(place, &parts, None).await.map_err(refused)?;
    let file = done.and_then(|upload| upload.file).ok_or_else(|| gone(upload))?;
    Ok(answer(&json!({ "file": shape(&file, headers) }), "final"))
}

fn gone(upload: &Upload) -> Refusal {
    unknown("upload", &upload.id.to_string(), "upload_id")
}

fn answer(value: &Value, status: &str) -> Response {
    let mut response = reply::json(value, clock::request_id());
    reply::set(response.headers_mut(), STATUS, status);
    response
}

impl UploadCommand {
    fn read(text: &str) -> Result<Self, Refusal> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        match words[..] {
            ["query"] => Ok(Self::Query),
            ["cancel"] => Ok(Self::Cancel),
            ["upload"] => Ok(Self::Take),
            ["upload", "finalize"] => Ok(Self::TakeLast),
            ["finalize"] => Ok(Self::Finish),
            _ => {
                let why = "it must be `upload`, `upload, finalize`, `finalize`, `query` or `cancel`".to_owned();
                Err(Refusal::Wrong(WrongRequest::WrongHeader { header: COMMAND, why }))
            }
        }
    }
}

/// `GET /v1beta/files`: the files of the project, the newest first.
pub(super) async fn list(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    let listed = async {
        let query = read_google_listing(credentials.query.as_deref().unwrap_or_default())?;
        let key = credentials.find_key(&ingress).await?.key;
        let found = ingress.files.list(&key.project, query).await.map_err(|error| unavailable(&error))?;
        Ok(google_page(&found.0, found.1, &own_address(&credentials.headers).unwrap_or_default()))
    };
    respond(listed.await)
}

/// `GET /v1beta/files/{id}`: what is known of a file; with `:download`, the answers of a batch.
pub(super) async fn show(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(name): Path<String>,
) -> Response {
    if let Some(id) = name.strip_suffix(":download") {
        return gemini_batches::download(&ingress, &credentials, id).await;
    }
    let found = async {
        let key = credentials.find_key(&ingress).await?.key;
        let file = ingress.files.get(&key.project, file_id(&name)?).await.map_err(|error| unavailable(&error))?;
        file.map(|file| shape(&file, &credentials.headers)).ok_or_else(|| unknown("file", &name, "name"))
    };
    respond(found.await)
}

/// `DELETE /v1beta/files/{id}`: a file is removed.
pub(super) async fn delete(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let deleted = async {
        let key = credentials.find_key(&ingress).await?.key;
        let deleted = ingress.files.delete(&key.project, file_id(&id)?).await;
        if deleted.map_err(|error| unavailable(&error))? { Ok(json!({})) } else { Err(unknown("file", &id, "name")) }
    };
    respond(deleted.await)
}

fn shape(file: &StoredFile, headers: &HeaderMap) -> Value {
    google_shape(file, &own_address(headers).unwrap_or_default())
}

fn respond(result: Result<Value, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(Dialect::Google, &refusal, id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_with_commas_between() {
        let read = |text| UploadCommand::read(text).ok();
        assert_eq!(read("upload, finalize"), Some(UploadCommand::TakeLast));
        assert_eq!((read("upload"), read("query")), (Some(UploadCommand::Take), Some(UploadCommand::Query)));
        assert_eq!((read(""), read("start"), read("upload;"), read("upload,query")), (None, None, None, None));
    }
}
