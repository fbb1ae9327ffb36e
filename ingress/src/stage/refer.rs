//! Stage: a request that names files of its project becomes one that says what is in them, so that any provider can read it.
//! Knows no dialect.

use super::record::Record;
use crate::files::unavailable;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use bytes::Bytes;
use futures_util::TryStreamExt;
use penstock_dialects::client::WrongRequest;
use penstock_dialects::client::file_references::{self, AttachedFile, FileReference};
use penstock_runtime::heavy;
use penstock_runtime::memory::MemoryFull;
use penstock_schemas::envelope::Operation;
use penstock_schemas::file::{FilePurpose, StoredFile};
use penstock_schemas::name::ProjectId;
use penstock_schemas::stage::Stage;
use std::pin::pin;

/// The most files that one request may name.
const MOST: usize = 100;

/// How often a file that stands in a request may be held at once: as it came, as base64, and in each copy of the request.
const COPIES: usize = 6;

/// Puts the contents of the files that a request names into it.
///
/// # Errors
/// When one of them does not exist, is for something else or cannot stand there, or all are too long.
pub(crate) async fn refer(request: &mut Request, ingress: &Shared, record: &mut Record) -> Result<(), Refusal> {
    record.enter(Stage::Refer);
    let asked = &request.asked;
    if !matches!(asked.operation, Operation::Chat | Operation::CountTokens) {
        return Ok(());
    }
    let references = heavy(asked.body.len(), || file_references::find(asked.dialect, &asked.body)).await;
    if references.is_empty() {
        return Ok(());
    }
    // Boxed: most requests name none.
    Box::pin(spell_out(request, &references, ingress, record)).await
}

async fn spell_out(
    request: &mut Request,
    references: &[FileReference],
    ingress: &Shared,
    record: &mut Record,
) -> Result<(), Refusal> {
    let (body, limit) = (request.asked.body.clone(), ingress.config.body_limit);
    let files = look_up(references, &request.caller.project, ingress).await?;
    let length: u64 = files.iter().map(|file| file.bytes.div_ceil(3) * 4).sum();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if body.len().saturating_add(length) > limit {
        return Err(Refusal::BodyTooLarge { limit });
    }
    record.hold_more(length.saturating_mul(COPIES)).map_err(|_| MemoryFull::InUse)?;
    let mut out = Vec::with_capacity(body.len() + length);
    let mut copied = 0;
    for (reference, file) in references.iter().zip(&files) {
        let bytes = fetch(file, ingress).await?;
        let description = &file.description;
        let (filename, content_type) = (description.filename.as_str(), description.content_type.as_deref());
        let attached = AttachedFile { filename, content_type, bytes: &bytes };
        let put = heavy(bytes.len(), || reference.put(&body, attached)).await.map_err(|why| wrong(reference, why))?;
        out.extend_from_slice(&body[copied..reference.at.start]);
        out.extend_from_slice(&put);
        copied = reference.at.end;
    }
    out.extend_from_slice(&body[copied..]);
    let whole = Bytes::from(out);
    heavy(whole.len(), || request.asked.spell_out(whole)).await?;
    Ok(())
}

fn wrong(reference: &FileReference, why: impl Into<String>) -> Refusal {
    Refusal::Wrong(WrongRequest::WrongPart { place: reference.place.clone(), why: why.into() })
}

/// What is known of the files, in the order in which they are named.
async fn look_up(
    references: &[FileReference],
    project: &ProjectId,
    ingress: &Shared,
) -> Result<Vec<StoredFile>, Refusal> {
    if let Some(beyond) = references.get(MOST) {
        return Err(wrong(beyond, format!("a request may name {MOST} files")));
    }
    let mut files = Vec::with_capacity(references.len());
    for reference in references {
        let found = ingress.files.get(project, reference.id).await.map_err(|error| unavailable(&error))?;
        let file = found.ok_or_else(|| wrong(reference, format!("the file `{}` does not exist", reference.id)))?;
        let purpose = file.description.purpose;
        if !matches!(purpose, FilePurpose::UserData | FilePurpose::Vision | FilePurpose::Assistants) {
            let why = format!("the file is for `{}`: send it again as `user_data`", purpose.as_str());
            return Err(wrong(reference, why));
        }
        files.push(file);
    }
    Ok(files)
}

async fn fetch(file: &StoredFile, ingress: &Shared) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::with_capacity(usize::try_from(file.bytes).unwrap_or_default());
    let mut content = pin!(ingress.files.read(file, 0..file.bytes));
    while let Some(piece) = content.try_next().await.map_err(|error| unavailable(&error))? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
