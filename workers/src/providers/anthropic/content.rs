//! Parts of a message as blocks: text, images, documents, and what only callers of the dialect can say.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/vision>,
//! <https://platform.claude.com/docs/en/build-with-claude/pdf-support>.

use crate::providers::fit::{Fit, wrong};
use penstock_schemas::chat::{Content, FilePart, ImageUrl, Part};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// Blocks of the dialect's own, which come and go as they are.
const OWN: [&str; 4] = ["search_result", "container_upload", "tool_reference", "server_tool_use"];

/// All of a message's content as blocks; an empty text is none, since the provider refuses it.
pub(super) fn blocks(content: Option<Content>, place: &str, fit: &mut Fit) -> Result<Vec<Value>, Failure> {
    let parts = match content {
        None => return Ok(Vec::new()),
        Some(Content::Text(text)) => return Ok(text_block(&text, None).into_iter().collect()),
        Some(Content::Parts(parts)) => parts,
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for (at, part) in parts.into_iter().enumerate() {
        blocks.extend(block(part, &format!("{place}.content[{at}]"), fit)?);
    }
    Ok(blocks)
}

/// A block of text.
pub(super) fn text_block(text: &str, cache_control: Option<Value>) -> Option<Value> {
    (!text.is_empty()).then(|| marked(json!({ "type": "text", "text": text }), cache_control))
}

/// The block with its mark for the cache.
pub(super) fn marked(mut block: Value, cache_control: Option<Value>) -> Value {
    if let (Some(fields), Some(mark)) = (block.as_object_mut(), cache_control) {
        fields.insert("cache_control".to_owned(), mark);
    }
    block
}

fn block(part: Part, place: &str, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let mark = part.cache_control;
    let missing = |field: &str| wrong(format!("{place}.{field}"), "it is missing");
    match part.kind.as_str() {
        "text" => Ok(text_block(&part.text.ok_or_else(|| missing("text"))?, mark)),
        "refusal" => {
            let refusal = part.extra.get("refusal").and_then(Value::as_str).unwrap_or_default();
            Ok(text_block(refusal, mark))
        }
        "image_url" => {
            let image = part.image_url.ok_or_else(|| missing("image_url"))?;
            if image.detail.as_deref().is_some_and(|detail| detail != "auto") {
                fit.omit(format!("{place}.image_url.detail"));
            }
            Ok(Some(marked(json!({ "type": "image", "source": image_source(&image, place)? }), mark)))
        }
        "file" => {
            let file = part.file.ok_or_else(|| missing("file"))?;
            Ok(Some(marked(document(&file, place, fit)?, mark)))
        }
        "input_audio" => {
            fit.cannot(format!("{place}.input_audio"), "the provider takes no audio")?;
            Ok(None)
        }
        kind if OWN.contains(&kind) || kind.ends_with("_tool_result") => {
            let mut fields = Map::from_iter([("type".to_owned(), kind.into())]);
            fields.extend(part.text.map(|text| ("text".to_owned(), text.into())));
            fields.extend(part.extra);
            Ok(Some(marked(Value::Object(fields), mark)))
        }
        kind => {
            let kind: String = kind.chars().take(40).collect();
            fit.cannot(format!("{place}.type"), &format!("the provider knows no part `{kind}`"))?;
            Ok(None)
        }
    }
}

fn image_source(image: &ImageUrl, place: &str) -> Result<Value, Failure> {
    let place = format!("{place}.image_url.url");
    match source(&image.url) {
        Some(Source::Inline(media_type, data)) if media_type.starts_with("image/") => {
            Ok(json!({ "type": "base64", "media_type": media_type, "data": data }))
        }
        Some(Source::Address(url)) => Ok(json!({ "type": "url", "url": url })),
        _ => Err(wrong(place, "it must be an http(s) address or a base64 data URL of an image")),
    }
}

fn document(file: &FilePart, place: &str, fit: &mut Fit) -> Result<Value, Failure> {
    let mut block = match (&file.file_data, &file.file_url, &file.file_id) {
        (Some(data), ..) => match source(data) {
            Some(Source::Inline("application/pdf", data)) => {
                json!({ "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": data } })
            }
            Some(Source::Inline(media_type, data)) if media_type.starts_with("image/") => {
                json!({ "type": "image", "source": { "type": "base64", "media_type": media_type, "data": data } })
            }
            _ => {
                let why = "it must be a base64 data URL of a PDF or an image";
                return Err(wrong(format!("{place}.file.file_data"), why));
            }
        },
        (None, Some(url), _) => json!({ "type": "document", "source": { "type": "url", "url": url } }),
        (None, None, Some(id)) => {
            let kind = if file.extra.get("kind").is_some_and(|kind| kind == "image") { "image" } else { "document" };
            json!({ "type": kind, "source": { "type": "file", "file_id": id } })
        }
        (None, None, None) => return Err(wrong(format!("{place}.file"), "it holds no file")),
    };
    let is_document = block["type"] == "document";
    if let Some(fields) = block.as_object_mut().filter(|_| is_document) {
        fields.extend(file.filename.as_ref().map(|name| ("title".to_owned(), name.as_str().into())));
        for (name, value) in &file.extra {
            match name.as_str() {
                "citations" | "context" => drop(fields.insert(name.clone(), value.clone())),
                _ => fit.omit(format!("{place}.file.{name}")),
            }
        }
    }
    Ok(block)
}

enum Source<'a> {
    /// Media type and base64.
    Inline(&'a str, &'a str),
    Address(&'a str),
}

fn source(url: &str) -> Option<Source<'_>> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Some(Source::Address(url));
    }
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    Some(Source::Inline(media_type.split(';').next().unwrap_or_default(), data))
}
