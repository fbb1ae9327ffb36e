//! Reads the extent of a request: which fields of which operation hold what. The values themselves are read by `options`,
//! `content` and `tools`.

use super::cursor::{Cursor, Kind, MOST_FIELDS, folded};
use super::kind::RequestKind;
use super::other_model::{OTHER_MODEL, names_model};
use super::{BadRequest, Extent, content, options, tools};
use crate::dialect::{Dialect, Operation};
use crate::form::MultipartForm;

/// A file of a form that is fetched from an address may be so long, in bytes: the longest that a provider takes.
/// Source: <https://console.groq.com/docs/speech-to-text>.
const FETCHED_FILE: u64 = 100 * 1024 * 1024;

/// Checks that no name stands twice in one object of a JSON text, at any depth.
///
/// # Errors
/// With the place of the first that does, or when it is no JSON.
pub fn check_names(body: &str) -> Result<(), BadRequest> {
    Cursor::new(body).skip()
}

impl Extent {
    /// Reads a request that is JSON.
    ///
    /// # Errors
    /// When a name stands twice in one object, a field that multiplies cost is of a wrong type, or it is no JSON object.
    pub fn read(dialect: Dialect, operation: Operation, body: &[u8]) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(body).map_err(|_| BadRequest::NotJson)?;
        let mut extent = Self { bytes: body.len() as u64, ..Self::default() };
        let mut cursor = Cursor::new(text);
        let of = RequestKind { dialect, operation };
        of.fields(&mut cursor, &mut extent)?;
        if extent.own_turns > 0 {
            extent.own_turns = extent.own_turns.max(extent.tool_calls);
        }
        if cursor.is_at_end() { Ok(extent) } else { Err(BadRequest::NotJson) }
    }

    /// Reads a request that is a form.
    ///
    /// # Errors
    /// When a part that is no file stands twice, unless its name says that it is a list.
    pub fn of_form(operation: Operation, form: &MultipartForm<'_>, bytes: usize) -> Result<Self, BadRequest> {
        if let Some(name) = form.repeated() {
            let why = "it stands there twice, and providers differ in which they read".to_owned();
            return Err(BadRequest::Wrong { place: name.chars().take(64).collect(), why });
        }
        let names_other = |name: &&str| *name != "model" && names_model(&folded(name), Kind::Text);
        if let Some(name) = form.names().find(names_other) {
            let place = name.chars().take(64).collect();
            return Err(BadRequest::Wrong { place, why: OTHER_MODEL.to_owned() });
        }
        if operation.makes_images() {
            return of_images(form, bytes as u64);
        }
        let fetched = if form.value("url").is_some() { FETCHED_FILE } else { 0 };
        Ok(Self { bytes: (bytes as u64).saturating_add(fetched), ..Self::default() })
    }
}

/// A form for images: its files are seen as images, and what multiplies them must be a number.
fn of_images(form: &MultipartForm<'_>, bytes: u64) -> Result<Extent, BadRequest> {
    let text = |name: &str| form.value(name).and_then(|value| std::str::from_utf8(value).ok()).map(str::trim);
    let count = |name: &str| match text(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| BadRequest::Wrong {
            place: name.to_owned(),
            why: "it must be a whole number that is not negative".to_owned(),
        }),
    };
    let (files, of_files) = form.files();
    let parts = count("partial_images")?.map_or(0, |parts| super::IMAGE_TOKENS.saturating_mul(parts.saturating_add(1)));
    let size = text("size").filter(|size| !size.is_empty()).map_or(0, options::tokens_of_size);
    Ok(Extent {
        bytes: bytes.saturating_sub(of_files),
        choices: count("n")?.unwrap_or(0),
        images: files,
        image_tokens: parts.max(size),
        ..Extent::default()
    })
}

impl RequestKind {
    fn fields(self, cursor: &mut Cursor<'_>, found: &mut Extent) -> Result<(), BadRequest> {
        let mut count = 0;
        cursor.object(self.names(), |cursor, name| {
            count += 1;
            if count > MOST_FIELDS {
                return Err(cursor.wrong(format!("a request has at most {MOST_FIELDS} fields")));
            }
            self.field(cursor, name, found)
        })
    }

    fn field(self, cursor: &mut Cursor<'_>, name: &str, found: &mut Extent) -> Result<(), BadRequest> {
        let kind = cursor.kind()?;
        if kind == Kind::Null {
            return cursor.skip();
        }
        match (folded(name).as_ref(), kind) {
            ("messages" | "system" | "instructions" | "contents" | "systeminstruction" | "content", _) => {
                content::read(cursor, self, found)
            }
            ("requests", Kind::List) => {
                let texts = cursor.list(|cursor| content::read(cursor, self, found))?;
                found.texts = found.texts.max(texts as u64);
                Ok(())
            }
            ("input" | "inputs" | "texts" | "prompt", Kind::List) => self.texts(cursor, found),
            // A prompt that the provider keeps, with settings of its own.
            ("prompt", Kind::Object) => {
                found.is_open = true;
                tools::own(found, 0);
                cursor.skip()
            }
            ("input" | "inputs", Kind::Object) => content::read(cursor, self, found),
            ("documents", Kind::List) if self.operation == Operation::Rerank => {
                let documents = cursor.list(|cursor| content::read(cursor, self, found))?;
                found.documents = found.documents.max(documents as u64);
                Ok(())
            }
            ("query", _) => {
                found.query = cursor.length_of(Cursor::skip)?;
                Ok(())
            }
            ("images" | "image" | "inputimages" | "referenceimages" | "imageurls" | "imageurl", _) => {
                let images = if kind == Kind::List { cursor.list(Cursor::skip)? } else { cursor.skip().map(|()| 1)? };
                found.images = found.images.saturating_add(images as u64);
                Ok(())
            }
            ("generatecontentrequest", Kind::Object) => self.fields(cursor, found),
            ("tools", _) => tools::list(cursor, self.dialect, found),
            ("functions", _) => {
                found.has_tools = true;
                cursor.skip()
            }
            _ => options::field(cursor, self, name, found),
        }
    }

    /// A list of texts, or one text in tokens.
    fn texts(self, cursor: &mut Cursor<'_>, found: &mut Extent) -> Result<(), BadRequest> {
        let mut tokens = 0;
        let count = cursor.list(|cursor| {
            let kind = cursor.kind()?;
            if kind == Kind::Number {
                tokens += 1;
            }
            if kind == Kind::Object { content::read(cursor, self, found) } else { cursor.skip() }
        })?;
        // The items of a conversation are one text together.
        if self.operation != Operation::Chat && self.operation != Operation::CountTokens && tokens < count {
            found.texts = found.texts.max(count as u64);
        }
        Ok(())
    }
}
