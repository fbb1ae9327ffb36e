//! Parts of messages as Bedrock's blocks: text, images, sounds, documents. All but text travels as bytes in the request.

use super::family::Family;
use super::names::DocumentNames;
use super::wire::{Block, Document, Media, Source};
use crate::data_url::Inline;
use crate::fit::{Fit, wrong};
use crate::provider::unsupported;
use penstock_schemas::chat::{Content, FilePart, Part};
use penstock_schemas::failure::Failure;
use serde_json::json;

/// What turning parts into blocks needs to know and to remember.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    pub(super) family: Family,
    pub(super) fit: &'a mut Fit,
    pub(super) names: DocumentNames,
}

impl Blocks<'_> {
    /// The blocks of a message's content. Text without a letter is left out: Bedrock refuses it.
    ///
    /// # Errors
    /// When a part is of a kind that Bedrock does not take, or wrong; `place` is the message's.
    pub(super) fn of(&mut self, content: Content, place: &str) -> Result<Vec<Block>, Failure> {
        let mut blocks = Vec::new();
        for (index, part) in content.into_parts().into_iter().enumerate() {
            let place = format!("{place}.content[{index}]");
            let mark = self.family.cache_point(part.cache_control.as_ref());
            let before = blocks.len();
            blocks.extend(self.block(part, &place)?);
            // A cache point alone would have nothing before it.
            if blocks.len() > before {
                blocks.extend(mark.map(Block::CachePoint));
            }
        }
        Ok(blocks)
    }

    fn block(&mut self, part: Part, place: &str) -> Result<Option<Block>, Failure> {
        match part.kind.as_str() {
            "text" => {
                let text = part.text.ok_or_else(|| wrong(format!("{place}.text"), "a text part holds a text"))?;
                Ok(Some(text).filter(|text| !text.trim().is_empty()).map(Block::Text))
            }
            // An assistant's own words of an earlier turn.
            "refusal" => {
                let text = part.extra.get("refusal").and_then(|text| text.as_str()).unwrap_or_default();
                Ok((!text.trim().is_empty()).then(|| Block::Text(text.to_owned())))
            }
            "image_url" => {
                let image = part.image_url.unwrap_or_default();
                if image.detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.fit.omit(format!("{place}.image_url.detail"));
                }
                let place = format!("{place}.image_url.url");
                let inline = data(&image.url, &place)?;
                if inline.is_pdf() {
                    let file = FilePart { file_data: Some(image.url), ..FilePart::default() };
                    return self.document(file, &place).map(Some);
                }
                let format = inline.media_type.strip_prefix("image/").filter(|_| inline.is_image());
                let format =
                    format.ok_or_else(|| unsupported(&place, "Bedrock takes PNG, JPEG, GIF and WebP images"))?;
                let source = Source { bytes: inline.data.to_string() };
                Ok(Some(Block::Image(Media { format: format.to_owned(), source })))
            }
            "input_audio" => {
                let audio = part.input_audio.unwrap_or_default();
                let is_word = !audio.format.is_empty() && audio.format.chars().all(|c| c.is_ascii_alphanumeric());
                if !is_word || audio.data.is_empty() {
                    return Err(wrong(format!("{place}.input_audio"), "it holds `data` and a `format`"));
                }
                let source = Source { bytes: audio.data };
                Ok(Some(Block::Audio(Media { format: audio.format, source })))
            }
            "file" => self.document(part.file.unwrap_or_default(), &format!("{place}.file")).map(Some),
            kind => {
                self.fit.cannot(place, &format!("Bedrock has no content of the kind `{kind}`"))?;
                Ok(None)
            }
        }
    }

    fn document(&mut self, file: FilePart, place: &str) -> Result<Block, Failure> {
        let Some(url) = file.file_data.or(file.file_url) else {
            return Err(unsupported(format!("{place}.file_id"), "Bedrock keeps no files: send `file_data`"));
        };
        let place = format!("{place}.file_data");
        let inline = data(&url, &place)?;
        let source = Source { bytes: inline.data.to_string() };
        if let Some(format) = inline.media_type.strip_prefix("image/").filter(|_| inline.is_image()) {
            return Ok(Block::Image(Media { format: format.to_owned(), source }));
        }
        let by_name = || file.filename.as_deref()?.rsplit_once('.').and_then(|(_, ending)| document_format(ending));
        let format = by_type(&inline.media_type)
            .or_else(by_name)
            .filter(|format| (*format == "pdf") == inline.is_pdf() || inline.kind.is_none());
        // Text under any other name.
        let format = format.or_else(|| inline.text().map(|_| "txt")).ok_or_else(|| {
            let why = "Bedrock takes pdf, csv, doc, docx, xls, xlsx, html, txt and md documents, and images";
            unsupported(place.as_str(), why)
        })?;
        let name = self.names.get(file.filename.as_deref());
        let is_cited = file.extra.get("citations").is_some_and(|citations| citations["enabled"] == true);
        if is_cited && !self.family.is_claude() {
            self.fit.omit(format!("{}.citations", place.trim_end_matches(".file_data")));
        }
        // Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html>.
        let citations = (is_cited && self.family.is_claude()).then(|| json!({ "enabled": true }));
        Ok(Block::Document(Document { format, name, source, citations }))
    }
}

/// What a data URL holds.
fn data<'a>(url: &'a str, place: &str) -> Result<Inline<'a>, Failure> {
    let inline = Inline::read(url).ok_or_else(|| wrong(place, "it is no base64 data URL"))?;
    if inline.data.is_empty() {
        return Err(wrong(place, "it holds no data"));
    }
    Ok(inline)
}

fn by_type(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "text/html" => "html",
        "text/plain" => "txt",
        "text/markdown" => "md",
        _ => return None,
    })
}

/// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html>.
fn document_format(ending: &str) -> Option<&'static str> {
    const ALL: [&str; 9] = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
    ALL.into_iter().find(|format| format.eq_ignore_ascii_case(ending))
}
