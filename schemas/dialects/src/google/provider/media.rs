//! Images, documents and audio as Gemini takes them: bytes in place, or the address of a file.
//! Source: <https://ai.google.dev/api/caching#Part>.

use super::part::{Blob, FileData, Part};
use crate::data_url::Inline;
use crate::fit::{Fit, wrong};
use crate::provider::unsupported;
use penstock_schemas::chat;
use penstock_schemas::failure::Failure;

/// One part of a message; `place` is where it stands: `messages[0].content[1]`. `None` when it says nothing, or is left out.
pub(super) fn part(part: chat::Part, place: &str, fit: &mut Fit) -> Result<Option<Part>, Failure> {
    let missing = |field: &str| wrong(format!("{place}.{field}"), "it is missing");
    match part.kind.as_str() {
        "text" | "refusal" => {
            let refusal = part.extra.get("refusal").and_then(|text| text.as_str()).map(str::to_owned);
            let text = part.text.or(refusal).ok_or_else(|| missing("text"))?;
            Ok((!text.trim().is_empty()).then(|| Part::text(text)))
        }
        "image_url" => {
            let image = part.image_url.ok_or_else(|| missing("image_url"))?;
            if image.detail.as_deref().is_some_and(|detail| detail != "auto") {
                fit.omit(format!("{place}.image_url.detail"));
            }
            address(&image.url, &format!("{place}.image_url.url")).map(Some)
        }
        "input_audio" => {
            let audio = part.input_audio.ok_or_else(|| missing("input_audio"))?;
            let data = Inline::of(&format!("audio/{}", audio.format), audio.data.into());
            let data = data.ok_or_else(|| wrong(format!("{place}.input_audio.data"), "it must be base64"))?;
            Ok(Some(blob(data.media_type, data.data.into_owned())))
        }
        // As vLLM has them.
        kind @ ("audio_url" | "video_url") => {
            let url = part.extra.get(kind).and_then(|named| named.get("url")?.as_str()).map(str::to_owned);
            address(&url.ok_or_else(|| missing(&format!("{kind}.url")))?, &format!("{place}.{kind}.url")).map(Some)
        }
        "file" => {
            let file = part.file.ok_or_else(|| missing("file"))?;
            match (file.file_data, file.file_url, file.file_id) {
                (Some(data), ..) => address(&data, &format!("{place}.file.file_data")).map(Some),
                (_, Some(url), _) => address(&url, &format!("{place}.file.file_url")).map(Some),
                (.., Some(id)) => Ok(Some(file_at(id))),
                _ => Err(missing("file.file_data")),
            }
        }
        other => {
            let why =
                format!("the provider has no content of the kind `{}`", other.chars().take(64).collect::<String>());
            fit.cannot(format!("{place}.type"), &why)?;
            Ok(None)
        }
    }
}

/// What is at an address, which may hold the bytes itself.
fn address(url: &str, place: &str) -> Result<Part, Failure> {
    if ["https://", "http://", "gs://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(file_at(url.to_owned()));
    }
    let inline = Inline::read(url).ok_or_else(|| wrong(place, "it must be an address or a base64 data URL"))?;
    if inline.data.is_empty() {
        return Err(wrong(place, "it is empty, which the provider refuses"));
    }
    let family = inline.media_type.split('/').next().unwrap_or_default();
    let is_taken = match family {
        // Taken by their names alone: nothing here tells these by their bytes.
        "audio" | "video" => true,
        "image" => inline.is_image() || matches!(inline.media_type.as_str(), "image/heic" | "image/heif"),
        "text" => inline.text().is_some(),
        _ => inline.is_pdf(),
    };
    if is_taken {
        return Ok(blob(inline.media_type, inline.data.into_owned()));
    }
    // Text under any other name: JSON, a script, a log.
    if family == "image" || inline.text().is_none() {
        return Err(unsupported(
            place,
            "the provider takes PNG, JPEG, WebP and HEIC images, PDFs, text, audio and video",
        ));
    }
    Ok(blob("text/plain".to_owned(), inline.data.into_owned()))
}

fn blob(mime_type: String, data: String) -> Part {
    Part::inline(Blob { mime_type, data })
}

fn file_at(file_uri: String) -> Part {
    Part::file(FileData { mime_type: None, file_uri })
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::envelope::Unsupported;
    use serde_json::json;

    #[test]
    fn audio_and_video_at_an_address_are_what_is_there() {
        for (kind, url, sent) in [
            ("audio_url", "https://a.example/b.mp3", json!({"fileData": {"fileUri": "https://a.example/b.mp3"}})),
            (
                "video_url",
                "data:video/mp4;base64,AAAA",
                json!({"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}),
            ),
        ] {
            let asked = serde_json::from_value(json!({"type": kind, kind: {"url": url}})).unwrap();
            let made = part(asked, "messages[0].content[0]", &mut Fit::new(Unsupported::Refuse)).unwrap();
            assert_eq!(json!(made), sent);
        }
        let empty = serde_json::from_value(json!({"type": "audio_url"})).unwrap();
        let failure = part(empty, "messages[0].content[0]", &mut Fit::new(Unsupported::Refuse)).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("messages[0].content[0].audio_url.url"));
    }
}
