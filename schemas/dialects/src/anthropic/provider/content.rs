//! Parts of a message as blocks: text, images, documents, and what only callers of the dialect can say.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/vision>,
//! <https://platform.claude.com/docs/en/build-with-claude/pdf-support>,
//! <https://platform.claude.com/docs/en/build-with-claude/files#file-types-and-content-blocks>.

use crate::data_url::Inline;
use crate::fit::{Fit, wrong};
use crate::provider::unsupported;
use penstock_schemas::chat::{Content, FilePart, ImageUrl, Part};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// Who says it: each side has blocks that the other may not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    System,
    User,
    Assistant,
    Result,
}

impl Side {
    /// Whether a block of the dialect's own, which comes and goes as it is, may stand here.
    fn has(self, kind: &str) -> bool {
        match self {
            Self::System => false,
            Self::User => matches!(kind, "search_result" | "container_upload"),
            Self::Result => matches!(kind, "search_result" | "tool_reference"),
            Self::Assistant => matches!(kind, "server_tool_use" | "mcp_tool_use") || kind.ends_with("_tool_result"),
        }
    }

    fn has_media(self) -> bool {
        matches!(self, Self::User | Self::Result)
    }
}

/// All of a message's content as blocks; text of white space is none, since the provider refuses it.
pub(super) fn blocks(content: Option<Content>, side: Side, place: &str, fit: &mut Fit) -> Result<Vec<Value>, Failure> {
    let parts = match content {
        None => return Ok(Vec::new()),
        Some(Content::Text(text)) => return Ok(text_block(&text, None).into_iter().collect()),
        Some(Content::Parts(parts)) => parts,
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for (at, part) in parts.into_iter().enumerate() {
        blocks.extend(block(part, side, &format!("{place}.content[{at}]"), fit)?);
    }
    Ok(blocks)
}

/// A block of text.
pub(super) fn text_block(text: &str, cache_control: Option<Value>) -> Option<Value> {
    (!text.trim().is_empty()).then(|| marked(json!({ "type": "text", "text": text }), cache_control))
}

/// The block with its mark for the cache.
pub(super) fn marked(mut block: Value, cache_control: Option<Value>) -> Value {
    if let (Some(fields), Some(mark)) = (block.as_object_mut(), cache_control) {
        fields.insert("cache_control".to_owned(), mark);
    }
    block
}

fn block(part: Part, side: Side, place: &str, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let mark = part.cache_control;
    let missing = |field: &str| wrong(format!("{place}.{field}"), "it is missing");
    match part.kind.as_str() {
        "text" => Ok(text_block(&part.text.ok_or_else(|| missing("text"))?, mark)),
        "refusal" => {
            let refusal = part.extra.get("refusal").and_then(Value::as_str).unwrap_or_default();
            Ok(text_block(refusal, mark))
        }
        "image_url" if side.has_media() => {
            let image = part.image_url.ok_or_else(|| missing("image_url"))?;
            if image.detail.as_deref().is_some_and(|detail| detail != "auto") {
                fit.omit(format!("{place}.image_url.detail"));
            }
            Ok(Some(marked(picture(&image, place)?, mark)))
        }
        "file" if side.has_media() => {
            let file = part.file.ok_or_else(|| missing("file"))?;
            Ok(Some(marked(document(&file, place, fit)?, mark)))
        }
        "image_url" | "file" => {
            fit.cannot(format!("{place}.type"), "the provider takes text alone in this message")?;
            Ok(None)
        }
        "input_audio" => {
            fit.cannot(format!("{place}.input_audio"), "the provider takes no audio")?;
            Ok(None)
        }
        kind if side.has(kind) => {
            let mut fields = Map::from_iter([("type".to_owned(), kind.into())]);
            fields.extend(part.text.map(|text| ("text".to_owned(), text.into())));
            fields.extend(part.extra);
            Ok(Some(marked(Value::Object(fields), mark)))
        }
        kind => {
            let kind: String = kind.chars().take(40).collect();
            fit.cannot(format!("{place}.type"), &format!("the provider knows no part `{kind}` here"))?;
            Ok(None)
        }
    }
}

/// An image, or a PDF in its place: where a dialect has one kind of part for both, callers write them so.
/// Source: <https://github.com/expectedparrot/edsl/issues/2057>.
fn picture(image: &ImageUrl, place: &str) -> Result<Value, Failure> {
    let place = format!("{place}.image_url.url");
    if is_address(&image.url) {
        return Ok(json!({ "type": "image", "source": { "type": "url", "url": image.url } }));
    }
    let inline = Inline::read(&image.url);
    let inline = inline.ok_or_else(|| wrong(&place, "it must be an http(s) address or a base64 data URL"))?;
    let kind = match (inline.is_image(), inline.is_pdf()) {
        (true, _) => "image",
        (false, true) => "document",
        (false, false) => return Err(unsupported(place, "the provider takes PNG, JPEG, GIF and WebP images")),
    };
    Ok(json!({ "type": kind, "source": in_place(&inline) }))
}

fn is_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn in_place(inline: &Inline<'_>) -> Value {
    json!({ "type": "base64", "media_type": inline.media_type, "data": inline.data })
}

fn document(file: &FilePart, place: &str, fit: &mut Fit) -> Result<Value, Failure> {
    let data_place = format!("{place}.file.file_data");
    let mut block = match (&file.file_data, &file.file_url, &file.file_id) {
        (Some(url), ..) | (None, Some(url), _) if is_address(url) => {
            json!({ "type": "document", "source": { "type": "url", "url": url } })
        }
        (Some(data), ..) | (None, Some(data), _) => in_file(data, &data_place)?,
        (None, None, Some(id)) => {
            let kind = if file.extra.get("kind").is_some_and(|kind| kind == "image") { "image" } else { "document" };
            json!({ "type": kind, "source": { "type": "file", "file_id": id } })
        }
        (None, None, None) => return Err(wrong(format!("{place}.file"), "it holds no file")),
    };
    let is_document = block["type"] == "document";
    if let Some(fields) = block.as_object_mut().filter(|_| is_document) {
        let title = file.filename.as_ref().filter(|name| !name.trim().is_empty());
        fields.extend(title.map(|name| ("title".to_owned(), name.as_str().into())));
        for (name, value) in &file.extra {
            match name.as_str() {
                "citations" | "context" => drop(fields.insert(name.clone(), value.clone())),
                _ => fit.omit(format!("{place}.file.{name}")),
            }
        }
    }
    Ok(block)
}

/// A file that the request holds: a PDF, an image, or text of any kind, which the provider takes as plain text.
fn in_file(data: &str, place: &str) -> Result<Value, Failure> {
    let inline = Inline::read(data).ok_or_else(|| wrong(place, "it must be a base64 data URL"))?;
    if inline.is_image() {
        return Ok(json!({ "type": "image", "source": in_place(&inline) }));
    }
    if inline.is_pdf() {
        return Ok(json!({ "type": "document", "source": in_place(&inline) }));
    }
    let text = inline.text().filter(|_| !inline.media_type.starts_with("image/"));
    let text =
        text.ok_or_else(|| unsupported(place, "the provider takes PDFs, PNG, JPEG, GIF and WebP images, and text"))?;
    if text.trim().is_empty() {
        return Err(wrong(place, "the file is empty, which the provider refuses"));
    }
    Ok(json!({ "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": text } }))
}
