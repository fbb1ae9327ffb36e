//! `/v1/files`: files that callers give us to keep, each project its own; in OpenAI's shape, or in Anthropic's where the
//! caller says which version of that API it speaks.
//! Sources: <https://platform.openai.com/docs/api-reference/files>, <https://platform.claude.com/docs/en/api/files-create>.

use super::models::dialect;
use crate::allow;
use crate::files::{
    ArrivingForm, Asking, Collected, FileField, Listing, Sink, check_purpose, content, describe, file_id, page,
    read_description, read_listing, refused, removed, unavailable, unknown,
};
use crate::http::reply;
use crate::refusal::Refusal;
use crate::stage::authenticate::{Credentials, Found};
use crate::state::Shared;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::bus::{BusError, CONTENT_MEMORY, FileQuota, Files, NewFile};
use penstock_runtime::clock;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::{FileDescription, FilePurpose, StoredFile};
use penstock_schemas::form::PartHead;
use penstock_schemas::name::ProjectId;
use serde_json::Value;
use std::pin::pin;

/// A purpose that is wrong is refused before the file is taken, where it comes first.
const FILE: FileField = FileField {
    name: "file",
    check: |head, collected| {
        if head.filename.as_deref().unwrap_or_default().is_empty() {
            let why = "it must be a file: give its part a `filename`".to_owned();
            return Err(Refusal::Wrong(WrongRequest::WrongField { field: "file", why }));
        }
        collected.field("purpose").map_or(Ok(()), |word| check_purpose(word).map(drop))
    },
};

/// Anthropic's need no name and have no purpose.
const FILE_OF_ANTHROPIC: FileField = FileField { name: "file", check: |_, _| Ok(()) };

/// `POST`: keeps a file.
pub(super) async fn create(State(ingress): State<Shared>, credentials: Credentials, body: Body) -> Response {
    let dialect = dialect(&credentials.headers);
    let made = Box::pin(receive(&ingress, &credentials, dialect, body)).await;
    respond(dialect, made.map(|file| describe(dialect, &file)))
}

async fn receive(
    ingress: &Shared,
    credentials: &Credentials,
    dialect: Dialect,
    body: Body,
) -> Result<StoredFile, Refusal> {
    let found = credentials.find_key(ingress).await?;
    let (limit, body_timeout) = (ingress.files.limits().file_bytes, ingress.config.body_timeout);
    let form = ArrivingForm::announced(&credentials.headers, limit, body_timeout)?;
    ingress.files.check(&found.key.project, form.most()).map_err(refused)?;
    let _memory = ingress.memory.reserve(CONTENT_MEMORY)?;
    let grant = found.plain_grant(ingress)?;
    let stored = async {
        let announced = form.most();
        let field = if dialect == Dialect::Anthropic { FILE_OF_ANTHROPIC } else { FILE };
        let collected = form.collect(body, field, || open_file(ingress, &found, announced)).await?;
        let description = describe_asked(dialect, &collected)?;
        match collected.file {
            Some((_, Sink::File(writer))) if writer.bytes() > 0 => writer.finish(description).await.map_err(refused),
            Some(_) => Err(Refusal::Wrong(WrongRequest::WrongField { field: "file", why: "it is empty".to_owned() })),
            None => Err(Refusal::Wrong(WrongRequest::MissingField("file"))),
        }
    };
    grant.hold(pin!(stored)).await
}

/// `GET`: the files of the project.
pub(super) async fn list(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    let dialect = dialect(&credentials.headers);
    let found = async {
        let listing = read_listing(dialect, credentials.query.as_deref().unwrap_or_default())?;
        let key = credentials.find_key(&ingress).await?.key;
        let (files, has_more) =
            listed(&ingress.files, &key.project, listing).await.map_err(|error| unavailable(&error))?;
        Ok(page(dialect, &files, has_more))
    };
    respond(dialect, found.await)
}

async fn listed(files: &Files, project: &ProjectId, listing: Listing) -> Result<(Vec<StoredFile>, bool), BusError> {
    match listing {
        Listing::Page(query) => files.list(project, query).await,
        Listing::Before(query) => {
            let (mut files, has_more) = files.list(project, query).await?;
            files.reverse();
            Ok((files, has_more))
        }
        Listing::These(ids) => {
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                found.extend(files.get(project, id).await?);
            }
            Ok((found, false))
        }
    }
}

/// `GET …/{id}`: what is known of a file.
pub(super) async fn show(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let dialect = dialect(&credentials.headers);
    let found = find(&ingress, &credentials, &id).await;
    respond(dialect, found.map(|(_, file)| describe(dialect, &file)))
}

/// `GET …/{id}/content`: all of a file.
pub(super) async fn download(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let dialect = dialect(&credentials.headers);
    let found = async {
        let (key, file) = find(&ingress, &credentials, &id).await?;
        if file.description.purpose == FilePurpose::BatchOutput {
            // Answers of models, which not every key of the project may use.
            let batch = ingress.batches.of_file(&key.key.project, file.id).await?;
            batch.models.iter().try_for_each(|model| allow::check_name(&key.key, model, &ingress).map(drop))?;
        }
        let memory = ingress.memory.reserve(CONTENT_MEMORY)?;
        Ok(content(&ingress, &file, key.plain_grant(&ingress)?, memory))
    };
    found.await.unwrap_or_else(|refusal: Refusal| reply::refuse(dialect, &refusal, clock::request_id()))
}

/// `DELETE …/{id}`: a file is removed.
pub(super) async fn delete(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let dialect = dialect(&credentials.headers);
    let deleted = async {
        let key = credentials.find_key(&ingress).await?.key;
        let file = file_id(&id)?;
        let deleted = ingress.files.delete(&key.project, file).await.map_err(|error| unavailable(&error))?;
        if deleted { Ok(removed(dialect, file)) } else { Err(unknown("file", &id, "file_id")) }
    };
    respond(dialect, deleted.await)
}

async fn find(ingress: &Shared, credentials: &Credentials, id: &str) -> Result<(Found, StoredFile), Refusal> {
    let key = credentials.find_key(ingress).await?;
    let found = ingress.files.get(&key.key.project, file_id(id)?).await.map_err(|error| unavailable(&error))?;
    found.map(|file| (key, file)).ok_or_else(|| unknown("file", id, "file_id"))
}

async fn open_file(ingress: &Shared, found: &Found, announced: u64) -> Result<Sink, Refusal> {
    let (project, key_id) = (found.key.project.clone(), found.key.id.clone());
    let new = NewFile { id: None, project, key_id, announced, quota: FileQuota::Holds };
    ingress.files.create(new).await.map(Sink::File).map_err(refused)
}

fn describe_asked(dialect: Dialect, collected: &Collected) -> Result<FileDescription, Refusal> {
    let head: Option<&PartHead> = collected.file.as_ref().map(|(head, _)| head);
    let head = head.ok_or(Refusal::Wrong(WrongRequest::MissingField("file")))?;
    let asking = Asking {
        filename: head.filename.as_deref(),
        content_type: head.content_type.as_deref(),
        purpose: collected.field("purpose"),
        anchor: collected.field("expires_after[anchor]"),
        seconds: collected.field("expires_after[seconds]"),
        in_seconds: collected.field("expires_in_seconds").filter(|_| dialect == Dialect::Anthropic),
    };
    read_description(dialect, asking)
}

fn respond(dialect: Dialect, result: Result<Value, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(dialect, &refusal, id),
    }
}
