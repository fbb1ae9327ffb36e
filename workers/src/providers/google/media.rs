//! Images, documents and audio as Gemini takes them: bytes in place, or the address of a file.
//! Source: <https://ai.google.dev/api/caching#Part>.

use super::contents::Part;
use crate::providers::fit::wrong;
use crate::providers::unsupported;
use penstock_schemas::chat;
use penstock_schemas::failure::Failure;
use serde::Serialize;

/// Bytes in place.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob {
    mime_type: String,
    data: String,
}

/// A file that Google can reach.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileData {
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<String>,
    file_uri: String,
}

/// One part of a message; `place` is where it stands: `messages[0].content[1]`.
pub(super) fn part(part: chat::Part, place: &str) -> Result<Part, Failure> {
    let missing = |field: &str| wrong(format!("{place}.{field}"), "it is missing");
    match part.kind.as_str() {
        "text" | "refusal" => {
            let refusal = part.extra.get("refusal").and_then(|text| text.as_str()).map(str::to_owned);
            Ok(Part::text(part.text.or(refusal).ok_or_else(|| missing("text"))?))
        }
        "image_url" => {
            let image = part.image_url.ok_or_else(|| missing("image_url"))?;
            address(&image.url, &format!("{place}.image_url.url"))
        }
        "input_audio" => {
            let audio = part.input_audio.ok_or_else(|| missing("input_audio"))?;
            Ok(blob(format!("audio/{}", audio.format), audio.data))
        }
        "file" => {
            let file = part.file.ok_or_else(|| missing("file"))?;
            match (file.file_data, file.file_url, file.file_id) {
                (Some(data), ..) => address(&data, &format!("{place}.file.file_data")),
                (_, Some(url), _) => address(&url, &format!("{place}.file.file_url")),
                (.., Some(id)) => Ok(file_at(id)),
                _ => Err(missing("file.file_data")),
            }
        }
        other => {
            let why =
                format!("the provider has no content of the kind `{}`", other.chars().take(64).collect::<String>());
            Err(unsupported(format!("{place}.type"), &why))
        }
    }
}

/// What is at an address, which may hold the bytes itself.
fn address(url: &str, place: &str) -> Result<Part, Failure> {
    let Some(data) = url.strip_prefix("data:") else { return Ok(file_at(url.to_owned())) };
    let (head, data) = data.split_once(',').ok_or_else(|| wrong(place, "it is no data URL"))?;
    let mime_type = head.strip_suffix(";base64").ok_or_else(|| wrong(place, "it must be in base64"))?;
    let essence = mime_type.split(';').next().unwrap_or_default();
    Ok(blob(if essence.is_empty() { "text/plain" } else { essence }.to_owned(), data.to_owned()))
}

fn blob(mime_type: String, data: String) -> Part {
    Part::inline(Blob { mime_type, data })
}

fn file_at(file_uri: String) -> Part {
    Part::file(FileData { mime_type: None, file_uri })
}
