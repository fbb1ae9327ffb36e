//! Where a request names files of ours, and what it says once their contents stand there instead, in each client dialect.
//! Only where a dialect has files: what merely looks so, in the arguments of a tool, stays. Pure: fetches nothing.
//! Sources: <https://platform.openai.com/docs/guides/pdf-files>, <https://platform.claude.com/docs/en/build-with-claude/files>,
//! <https://ai.google.dev/gemini-api/docs/files>.

use crate::data_url;
use crate::json::{Fields, JsonKind, RawObject, items, kind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::FileId;
use serde_json::json;
use serde_json::value::RawValue;
use std::ops::Range;

/// How an id begins in a request, behind a quote or, in Google's addresses of files, behind a slash.
const MARK: &[u8] = b"file-";

/// The length of an id.
const MARKED: usize = MARK.len() + 32;

/// What names a file in a part of Google's, its address in there, and its media type: as its API and as its SDKs write them.
const GOOGLE_DATA: [&str; 2] = ["fileData", "file_data"];
const GOOGLE_URI: [&str; 2] = ["fileUri", "file_uri"];
const GOOGLE_KIND: [&str; 2] = ["mimeType", "mime_type"];

/// What a media type is taken for by the end of a file's name, where none was given.
const ENDINGS: [(&str, &str); 13] = [
    (".pdf", "application/pdf"),
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".gif", "image/gif"),
    (".webp", "image/webp"),
    (".txt", "text/plain"),
    (".md", "text/markdown"),
    (".csv", "text/csv"),
    (".html", "text/html"),
    (".xml", "text/xml"),
    (".json", "application/json"),
    (".jsonl", "application/jsonl"),
];

/// One place that names a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReference {
    /// The object that names it.
    pub at: Range<usize>,
    /// Where that is, for people.
    pub place: String,
    /// The file.
    pub id: FileId,
    form: Form,
}

/// How an object names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// OpenAI's `file` and `input_file`.
    File,
    /// OpenAI's `input_image`.
    Image,
    /// Anthropic's `source`.
    Source,
    /// Anthropic's upload into the provider's container.
    Container,
    /// Google's part with `fileData`.
    Part,
}

/// A file whose content is to stand in a request.
#[derive(Clone, Copy, Debug)]
pub struct AttachedFile<'a> {
    /// Its name.
    pub filename: &'a str,
    /// Its media type, where one was given.
    pub content_type: Option<&'a str>,
    /// Its content.
    pub bytes: &'a [u8],
}

/// The places that name files of ours, in their order; none when the request is of another form.
pub fn find(dialect: Dialect, body: &[u8]) -> Vec<FileReference> {
    // Most requests have none, and are not read for it.
    let is_named = memmem::find_iter(body, MARK).any(|at| {
        let is_begun = at.checked_sub(1).is_some_and(|before| matches!(body[before], b'"' | b'/'));
        let id = body.get(at..at + MARKED).filter(|_| is_begun).and_then(|id| std::str::from_utf8(id).ok());
        id.is_some_and(|id| FileId::parse(id).is_some())
    });
    if !is_named {
        return Vec::new();
    }
    let Ok(text) = std::str::from_utf8(body) else { return Vec::new() };
    let Ok(fields) = Fields::read(text) else { return Vec::new() };
    let found: Vec<Named<'_>> = match dialect {
        Dialect::Openai => parts(&fields, "messages", &["content"]).into_iter().filter_map(of_openai).collect(),
        Dialect::Responses => {
            parts(&fields, "input", &["content", "output"]).into_iter().filter_map(of_responses).collect()
        }
        Dialect::Anthropic => of_anthropic(parts(&fields, "messages", &["content"])),
        Dialect::Google => parts(&fields, "contents", &["parts"]).into_iter().filter_map(of_google).collect(),
        _ => Vec::new(),
    };
    found.into_iter().filter_map(|named| named.settle(text)).collect()
}

/// An object that may name a file, with its place and form.
struct Named<'a> {
    object: &'a RawValue,
    /// Where it names it.
    place: String,
    form: Form,
    id: Option<String>,
}

impl Named<'_> {
    /// An object that names it in its field `file_id`.
    fn by_id<'a>(object: &'a RawValue, place: &str, form: Form) -> Named<'a> {
        Named { object, place: format!("{place}.file_id"), form, id: Fields::of(object).text("file_id").ok().flatten() }
    }

    fn settle(self, body: &str) -> Option<FileReference> {
        let id = FileId::parse(&self.id?)?;
        // The object was read out of the body, and stands in it.
        let from = self.object.get().as_ptr().addr().checked_sub(body.as_ptr().addr())?;
        let at = from..from + self.object.get().len();
        Some(FileReference { at, place: self.place, id, form: self.form })
    }
}

/// The parts in these lists of each item.
fn parts<'a>(fields: &Fields<'a>, list: &str, within: &[&str]) -> Vec<(String, &'a RawValue)> {
    let Some(found) = fields.get(list) else { return Vec::new() };
    let mut all = Vec::new();
    for (at, item) in items(found).into_iter().enumerate() {
        let item = Fields::of(item);
        for name in within {
            let parts = item.get(name).map(items).unwrap_or_default();
            all.extend(
                parts.into_iter().enumerate().map(|(part, value)| (format!("{list}[{at}].{name}[{part}]"), value)),
            );
        }
    }
    all
}

fn is_type(fields: &Fields<'_>, wanted: &str) -> bool {
    fields.text("type").ok().flatten().is_some_and(|kind| kind == wanted)
}

fn of_openai((place, part): (String, &RawValue)) -> Option<Named<'_>> {
    let fields = Fields::of(part);
    let object = fields.get("file").filter(|file| kind(file) == JsonKind::Object && is_type(&fields, "file"))?;
    Some(Named::by_id(object, &format!("{place}.file"), Form::File))
}

fn of_responses((place, part): (String, &RawValue)) -> Option<Named<'_>> {
    let fields = Fields::of(part);
    let form = match fields.text("type").ok()??.as_str() {
        "input_file" => Form::File,
        "input_image" => Form::Image,
        _ => return None,
    };
    Some(Named::by_id(part, &place, form))
}

/// The address of a file ends in its name, `files/file-…`; those that Google keeps have other names.
fn of_google((place, part): (String, &RawValue)) -> Option<Named<'_>> {
    let fields = Fields::of(part);
    let (name, data) = GOOGLE_DATA.iter().find_map(|name| Some((name, fields.get(name)?)))?;
    let data = Fields::of(data);
    let (field, uri) = GOOGLE_URI.iter().find_map(|name| Some((name, data.text(name).ok()??)))?;
    let id = uri.rsplit_once("files/").map(|(_, id)| id.to_owned());
    Some(Named { object: part, place: format!("{place}.{name}.{field}"), form: Form::Part, id })
}

fn of_anthropic(blocks: Vec<(String, &RawValue)>) -> Vec<Named<'_>> {
    let mut found = Vec::new();
    for (place, block) in blocks {
        let fields = Fields::of(block);
        if is_type(&fields, "tool_result") {
            let inner = fields.get("content").map(items).unwrap_or_default().into_iter().enumerate();
            found.extend(inner.filter_map(|(at, block)| of_block(&format!("{place}.content[{at}]"), block)));
        }
        found.extend(of_block(&place, block));
    }
    found
}

fn of_block<'a>(place: &str, block: &'a RawValue) -> Option<Named<'a>> {
    let fields = Fields::of(block);
    match fields.text("type").ok()??.as_str() {
        "document" | "image" => {
            let object = fields.get("source").filter(|source| is_type(&Fields::of(source), "file"))?;
            Some(Named::by_id(object, &format!("{place}.source"), Form::Source))
        }
        "container_upload" => Some(Named::by_id(block, place, Form::Container)),
        _ => None,
    }
}

impl FileReference {
    /// The object with the content of the file in the place of its id.
    ///
    /// # Errors
    /// When a file cannot stand there, and why.
    pub fn put(&self, body: &[u8], file: AttachedFile<'_>) -> Result<Vec<u8>, &'static str> {
        let kind = file.media_type();
        if self.form == Form::Source {
            return Ok(source(&file, kind));
        }
        if self.form == Form::Container {
            return Err("a file that is kept here cannot be put into the provider's container");
        }
        let object = body.get(self.at.clone()).unwrap_or_default();
        let mut fields = RawObject::read(object).unwrap_or_default();
        if self.form == Form::Part {
            let said = GOOGLE_DATA.iter().find_map(|name| fields.get(name)).map(Fields::of);
            let said = said.and_then(|data| GOOGLE_KIND.iter().find_map(|name| data.text(name).ok()?));
            let data = json!({ "mimeType": said.as_deref().unwrap_or(kind), "data": STANDARD.encode(file.bytes) });
            GOOGLE_DATA.iter().for_each(|name| fields.remove(name));
            fields.set("inlineData", &data);
            return Ok(fields.to_vec());
        }
        fields.remove("file_id");
        let data = data_url::write(kind, &STANDARD.encode(file.bytes));
        if self.form == Form::Image {
            fields.set("image_url", &data);
            return Ok(fields.to_vec());
        }
        fields.set("file_data", &data);
        if fields.get("filename").is_none() {
            fields.set("filename", &file.filename);
        }
        Ok(fields.to_vec())
    }
}

/// Anthropic's documents are PDFs or plain text.
fn source(file: &AttachedFile<'_>, kind: &str) -> Vec<u8> {
    let is_binary = kind == "application/pdf" || kind.starts_with("image/");
    let source = match std::str::from_utf8(file.bytes).ok().filter(|_| !is_binary) {
        Some(text) => json!({ "type": "text", "media_type": "text/plain", "data": text }),
        None => json!({ "type": "base64", "media_type": kind, "data": STANDARD.encode(file.bytes) }),
    };
    source.to_string().into_bytes()
}

impl<'a> AttachedFile<'a> {
    fn media_type(&self) -> &'a str {
        let named = self.content_type.filter(|kind| !kind.is_empty() && *kind != "application/octet-stream");
        let name = self.filename.to_ascii_lowercase();
        let by_name = || ENDINGS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, kind)| *kind);
        named.or_else(by_name).unwrap_or("application/octet-stream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_slice};

    const ID: &str = "file-00000000000000000000000000000001";

    /// The request with `hi` in the place of every file.
    fn put(dialect: Dialect, request: &Value, filename: &str) -> (Vec<String>, Value) {
        let body = request.to_string().into_bytes();
        let found = find(dialect, &body);
        let mut out = Vec::new();
        let mut copied = 0;
        for reference in &found {
            out.extend_from_slice(&body[copied..reference.at.start]);
            let file = AttachedFile { filename, content_type: None, bytes: b"hi" };
            out.extend(reference.put(&body, file).unwrap());
            copied = reference.at.end;
        }
        out.extend_from_slice(&body[copied..]);
        (found.into_iter().map(|reference| reference.place).collect(), from_slice(&out).unwrap())
    }

    #[test]
    fn a_file_of_a_chat_becomes_its_content() {
        let request = json!({ "messages": [
            { "role": "user", "content": "no" },
            { "role": "user", "content": [{ "type": "text", "text": "?" }, { "type": "file", "file": { "file_id": ID } }] },
        ]});
        let (places, put) = put(Dialect::Openai, &request, "a.pdf");
        assert_eq!(places, ["messages[1].content[1].file.file_id"]);
        let file = json!({ "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf" });
        assert_eq!(put["messages"][1]["content"][1]["file"], file);
        assert_eq!(put["messages"][0], request["messages"][0]);
    }

    #[test]
    fn files_and_images_of_a_response_become_their_contents_also_in_what_a_tool_gave() {
        let request = json!({ "input": [
            { "role": "user", "content": [{ "type": "input_image", "detail": "low", "file_id": ID }] },
            { "type": "function_call_output", "output": [{ "type": "input_file", "file_id": ID, "filename": "b.txt" }] },
        ]});
        let (places, put) = put(Dialect::Responses, &request, "a.png");
        assert_eq!(places, ["input[0].content[0].file_id", "input[1].output[0].file_id"]);
        let image = json!({ "type": "input_image", "detail": "low", "image_url": "data:image/png;base64,aGk=" });
        assert_eq!(put["input"][0]["content"][0], image);
        let file = json!({ "type": "input_file", "filename": "b.txt", "file_data": "data:image/png;base64,aGk=" });
        assert_eq!(put["input"][1]["output"][0], file);
    }

    #[test]
    fn sources_of_anthropics_become_their_contents_as_text_or_as_bytes() {
        let block = |kind: &str| json!({ "type": kind, "source": { "type": "file", "file_id": ID } });
        let request = json!({ "messages": [{ "role": "user", "content": [
            block("document"), { "type": "tool_result", "content": [block("image")] },
        ]}]});
        let (places, as_text) = put(Dialect::Anthropic, &request, "a.md");
        assert_eq!(
            places,
            ["messages[0].content[0].source.file_id", "messages[0].content[1].content[0].source.file_id"]
        );
        let text = json!({ "type": "text", "media_type": "text/plain", "data": "hi" });
        assert_eq!(as_text["messages"][0]["content"][0]["source"], text);
        let (_, as_bytes) = put(Dialect::Anthropic, &request, "a.webp");
        let bytes = json!({ "type": "base64", "media_type": "image/webp", "data": "aGk=" });
        assert_eq!(as_bytes["messages"][0]["content"][1]["content"][0]["source"], bytes);
        let upload = json!({ "messages": [{ "content": [{ "type": "container_upload", "file_id": ID }] }] });
        let found = find(Dialect::Anthropic, upload.to_string().as_bytes());
        let file = AttachedFile { filename: "a", content_type: None, bytes: b"" };
        assert!(found[0].put(b"", file).is_err());
    }

    #[test]
    fn a_part_of_googles_that_names_a_file_of_ours_holds_its_content() {
        let part = |uri: &str| json!({ "fileData": { "fileUri": uri, "mimeType": "text/x-own" }, "videoMetadata": {} });
        let snake = json!({ "file_data": { "file_uri": format!("files/{ID}") } });
        let own = part(&format!("https://gateway.example/v1beta/files/{ID}"));
        let other = part("https://generativelanguage.googleapis.com/v1beta/files/abc-123");
        let request = json!({ "contents": [{ "parts": [own, { "text": "?" }, snake, other] }] });
        let (places, put) = put(Dialect::Google, &request, "a.pdf");
        assert_eq!(places, ["contents[0].parts[0].fileData.fileUri", "contents[0].parts[2].file_data.file_uri"]);
        let parts = &put["contents"][0]["parts"];
        let data = json!({ "inlineData": { "mimeType": "text/x-own", "data": "aGk=" }, "videoMetadata": {} });
        assert_eq!(parts[0], data);
        assert_eq!(parts[2], json!({ "inlineData": { "mimeType": "application/pdf", "data": "aGk=" } }));
        assert_eq!(parts[3], other);
    }

    #[test]
    fn what_only_looks_like_a_file_stays_as_it_is() {
        for request in [
            json!({ "messages": [{ "content": [{ "type": "file", "file": { "file_id": "file-abc123" } }] }] }),
            json!({ "messages": [{ "content": [{ "type": "text", "text": ID }] }], "metadata": { "file_id": ID } }),
            json!({ "messages": [{ "tool_calls": [{ "type": "file", "file": { "file_id": ID } }] }] }),
            json!({ "messages": [{ "content": [{ "type": "tool_use", "input": { "source": { "type": "file", "file_id": ID } } }] }] }),
            json!({ "input": ID }),
            json!([ID]),
        ] {
            for dialect in [Dialect::Openai, Dialect::Responses, Dialect::Anthropic, Dialect::Google] {
                assert_eq!(find(dialect, request.to_string().as_bytes()), [], "{request}");
            }
        }
    }
}
