//! Files and uploads in the shapes of the client dialects, and what a caller says of a file. Pure: knows no store.
//! Sources: <https://platform.openai.com/docs/api-reference/files/object>,
//! <https://platform.openai.com/docs/api-reference/uploads/object>, <https://platform.claude.com/docs/en/api/files-create>.

use crate::refusal::Refusal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use penstock_dialects::client::WrongRequest;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::{FileDescription, FileId, FilePurpose, StoredFile, Upload, UploadPart};
use penstock_schemas::hex;
use serde_json::{Value, json};

/// The longest name of a file, in characters: Anthropic's. Source: <https://platform.claude.com/docs/en/build-with-claude/files>.
const LONGEST_NAME: usize = 500;

/// The longest media type, in bytes: RFC 6838, 4.2, twice and the slash.
const LONGEST_TYPE: usize = 255;

/// In how many seconds a file may expire, the least and the most.
/// Source: <https://platform.openai.com/docs/api-reference/files/create>.
const EXPIRES: (u64, u64) = (3600, 30 * 24 * 3600);

/// The same at Anthropic. Source: `expires_in_seconds` in
/// <https://github.com/anthropics/anthropic-sdk-python/blob/main/src/anthropic/types/file_upload_params.py>.
const EXPIRES_AT_ANTHROPIC: (u64, u64) = (3600, 90 * 24 * 3600);

/// How long Google keeps a file, in seconds. Source: <https://ai.google.dev/gemini-api/docs/files>.
const EXPIRES_AT_GOOGLE: u64 = 48 * 3600;

/// What a file is called that has no name at Anthropic's and at Google's.
const UNNAMED: &str = "unnamed";

/// What a caller says of a file that it sends, by its fields.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asking<'a> {
    pub(crate) filename: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) purpose: Option<&'a str>,
    pub(crate) anchor: Option<&'a str>,
    pub(crate) seconds: Option<&'a str>,
    /// Anthropic's field for the same.
    pub(crate) in_seconds: Option<&'a str>,
}

/// Reads what a caller says of a file.
///
/// # Errors
/// The first field that is missing or wrong.
pub(crate) fn read_description(dialect: Dialect, asking: Asking<'_>) -> Result<FileDescription, Refusal> {
    // Neither has purposes.
    let is_plain = matches!(dialect, Dialect::Anthropic | Dialect::Google);
    let purpose = match asking.purpose {
        None if is_plain => FilePurpose::UserData,
        None => return Err(Refusal::Wrong(WrongRequest::MissingField("purpose"))),
        Some(word) => check_purpose(word)?,
    };
    let filename = match asking.filename {
        // The last part of a path, as Anthropic takes it.
        Some(name) if dialect == Dialect::Anthropic => name.rsplit(['/', '\\']).next().filter(|name| !name.is_empty()),
        name => name,
    };
    let filename = match filename {
        None if is_plain => UNNAMED,
        name => name.ok_or(Refusal::Wrong(WrongRequest::MissingField("filename")))?,
    };
    check_name(filename)?;
    if purpose == FilePurpose::Batch && !may_hold_lines(filename) {
        return Err(wrong("file", "a file of a batch must be a `.jsonl`: one JSON object a line"));
    }
    let content_type = asking.content_type.filter(|kind| !kind.is_empty()).map(ToOwned::to_owned);
    if content_type.as_ref().is_some_and(|kind| kind.len() > LONGEST_TYPE || kind.chars().any(char::is_control)) {
        return Err(wrong("mime_type", format!("it must be a media type of at most {LONGEST_TYPE} bytes")));
    }
    let expires_after = read_expiry(asking)?.or((dialect == Dialect::Google).then_some(EXPIRES_AT_GOOGLE));
    Ok(FileDescription { filename: filename.to_owned(), purpose, content_type, expires_after })
}

/// The purpose that a caller gives.
///
/// # Errors
/// When there is none of that name, or it is not for callers to give.
pub(crate) fn check_purpose(word: &str) -> Result<FilePurpose, Refusal> {
    FilePurpose::parse_given(word).ok_or_else(|| wrong("purpose", unknown_purpose(word)))
}

fn wrong(field: &'static str, why: impl Into<String>) -> Refusal {
    Refusal::Wrong(WrongRequest::WrongField { field, why: why.into() })
}

pub(super) fn unknown_purpose(word: &str) -> String {
    let known: Vec<String> = FilePurpose::GIVEN.iter().map(|purpose| format!("`{}`", purpose.as_str())).collect();
    let word: String = word.chars().take(64).collect();
    format!("`{word}` is none: use {}", known.join(", "))
}

/// Whether a name is not that of another kind of file. Source: <https://platform.openai.com/docs/api-reference/files/create>.
fn may_hold_lines(filename: &str) -> bool {
    filename.rsplit_once('.').is_none_or(|(_, kind)| kind.eq_ignore_ascii_case("jsonl"))
}

fn check_name(filename: &str) -> Result<(), Refusal> {
    if filename.is_empty() {
        return Err(wrong("filename", "it is empty"));
    }
    if filename.chars().count() > LONGEST_NAME {
        return Err(wrong("filename", format!("it has more than {LONGEST_NAME} characters")));
    }
    if filename.chars().any(char::is_control) {
        return Err(wrong("filename", "it holds control characters"));
    }
    Ok(())
}

fn read_expiry(asking: Asking<'_>) -> Result<Option<u64>, Refusal> {
    let read = |field, seconds: &str, (least, most): (u64, u64)| {
        let seconds = seconds.parse().ok().filter(|seconds| (least..=most).contains(seconds));
        seconds.map(Some).ok_or_else(|| wrong(field, format!("it must be a whole number from {least} to {most}")))
    };
    if let Some(seconds) = asking.in_seconds {
        return read("expires_in_seconds", seconds, EXPIRES_AT_ANTHROPIC);
    }
    match (asking.anchor, asking.seconds) {
        (None, None) => Ok(None),
        (Some("created_at"), Some(seconds)) => read("expires_after.seconds", seconds, EXPIRES),
        (Some("created_at"), None) => Err(Refusal::Wrong(WrongRequest::MissingField("expires_after.seconds"))),
        (None, Some(_)) => Err(Refusal::Wrong(WrongRequest::MissingField("expires_after.anchor"))),
        (Some(_), _) => Err(wrong("expires_after.anchor", "it must be `created_at`")),
    }
}

fn seconds(at: UnixMicros) -> u64 {
    at.0 / 1_000_000
}

fn rfc3339(at: UnixMicros) -> String {
    Timestamp::from_second(i64::try_from(seconds(at)).unwrap_or(0)).unwrap_or_default().to_string()
}

/// A file as its owner sees it.
pub(crate) fn describe(dialect: Dialect, file: &StoredFile) -> Value {
    let description = &file.description;
    if dialect == Dialect::Anthropic {
        return json!({
            "id": file.id,
            "type": "file",
            "filename": description.filename,
            "mime_type": description.content_type.as_deref().unwrap_or("application/octet-stream"),
            "size_bytes": file.bytes,
            "created_at": rfc3339(file.created_at),
            "expires_at": file.expires_at.map(rfc3339),
            "downloadable": true,
        });
    }
    let mut shape = json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": seconds(file.created_at),
        "filename": description.filename,
        "purpose": description.purpose,
        "status": "processed",
    });
    if let Some(at) = file.expires_at {
        shape["expires_at"] = seconds(at).into();
    }
    shape
}

/// A file as Google shows it, to a caller who has reached us at this address. Source: <https://ai.google.dev/api/files>.
pub(crate) fn google_shape(file: &StoredFile, address: &str) -> Value {
    let (description, made) = (&file.description, rfc3339(file.created_at));
    let uri = format!("{address}/v1beta/files/{}", file.id);
    let is_made_here = description.purpose == FilePurpose::BatchOutput;
    let mut shape = json!({
        "name": format!("files/{}", file.id),
        "displayName": description.filename,
        "mimeType": description.content_type.as_deref().unwrap_or("application/octet-stream"),
        "sizeBytes": file.bytes.to_string(),
        "createTime": made,
        "updateTime": made,
        "sha256Hash": STANDARD.encode(hex::read(&file.sha256).unwrap_or_default()),
        "uri": uri,
        "state": "ACTIVE",
        "source": if is_made_here { "GENERATED" } else { "UPLOADED" },
    });
    if let Some(at) = file.expires_at {
        shape["expirationTime"] = rfc3339(at).into();
    }
    if is_made_here {
        shape["downloadUri"] = format!("{uri}:download?alt=media").into();
    }
    shape
}

/// That a file is removed.
pub(crate) fn removed(dialect: Dialect, id: FileId) -> Value {
    match dialect {
        Dialect::Anthropic => json!({ "id": id, "type": "file_deleted" }),
        _ => json!({ "id": id, "object": "file", "deleted": true }),
    }
}

/// An upload as its owner sees it.
pub(crate) fn upload_shape(upload: &Upload, now: UnixMicros) -> Value {
    json!({
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": seconds(upload.created_at),
        "filename": upload.description.filename,
        "purpose": upload.description.purpose,
        "status": upload.status(now).as_str(),
        "expires_at": seconds(upload.expires_at),
        "file": upload.file.as_ref().map(|file| describe(Dialect::Openai, file)),
    })
}

/// A part of an upload.
pub(crate) fn part_shape(upload: &str, part: &UploadPart) -> Value {
    json!({ "id": part.id, "object": "upload.part", "created_at": seconds(part.created_at), "upload_id": upload })
}
