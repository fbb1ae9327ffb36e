//! Lists of files: what the query of an address asks for, and the page that is shown, in either client dialect. Pure: knows
//! no store. Sources: <https://platform.openai.com/docs/api-reference/files/list>,
//! <https://platform.claude.com/docs/en/api/files-list>.

use super::shape::{describe, google_shape, unknown_purpose};
use super::unknown;
use crate::http::query::Query;
use crate::refusal::Refusal;
use penstock_runtime::bus::{FileOrder, FileQuery};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::file::{FileId, FilePurpose, StoredFile};
use serde_json::{Value, json};
use std::borrow::Cow;

/// How many files a page has, if nothing is said and at most: OpenAI's, and Anthropic's.
const PAGE: (usize, usize) = (10_000, 10_000);
const PAGE_OF_ANTHROPIC: (usize, usize) = (20, 1000);

/// Google's. Source: <https://ai.google.dev/api/files#method:-files.list>.
const PAGE_OF_GOOGLE: (usize, usize) = (10, 100);

/// The most files that may be asked for by their ids, at Anthropic's.
const IDS: usize = 100;

/// What Anthropic's cursors begin with; ours go on with the last file of the page before.
const CURSOR: &str = "page_";

/// Which files are asked for.
#[derive(Debug)]
pub(crate) enum Listing {
    /// A page.
    Page(FileQuery),
    /// The page in front of a file: asked for from there on, and shown in the other order.
    Before(FileQuery),
    /// These, as far as they are there.
    These(Vec<FileId>),
}

/// Reads which files the query of an address asks for.
///
/// # Errors
/// The first parameter that is wrong.
pub(crate) fn read_listing(dialect: Dialect, query: &str) -> Result<Listing, Refusal> {
    let query = Query(query);
    if dialect == Dialect::Anthropic {
        return of_anthropic(query);
    }
    let limit = query.limit(PAGE)?;
    let order = match query.get("order").as_deref() {
        None | Some("desc") => FileOrder::Newest,
        Some("asc") => FileOrder::Oldest,
        Some(_) => return Err(Refusal::BadQuery("`order` must be `asc` or `desc`".to_owned())),
    };
    let read = |word: Cow<'_, str>| {
        let bad = || Refusal::BadQuery(format!("`purpose`: {}", unknown_purpose(&word)));
        FilePurpose::parse(&word).ok_or_else(bad)
    };
    let purpose = query.get("purpose").map(read).transpose()?;
    Ok(Listing::Page(FileQuery { purpose, after: id(query, "after")?, limit, order }))
}

fn of_anthropic(query: Query<'_>) -> Result<Listing, Refusal> {
    let ids: Vec<Cow<'_, str>> = query.all(&["ids", "ids[]"]).collect();
    if ids.len() > IDS {
        return Err(Refusal::BadQuery(format!("`ids` may name {IDS} files")));
    }
    if !ids.is_empty() {
        return Ok(Listing::These(ids.iter().filter_map(|id| FileId::parse(id)).collect()));
    }
    let limit = query.limit(PAGE_OF_ANTHROPIC)?;
    let page = |after, order| FileQuery { purpose: None, after, limit, order };
    let cursor = query.get("page").map(|cursor| cursor.strip_prefix(CURSOR).and_then(FileId::parse).ok_or(cursor));
    match (id(query, "after_id")?, id(query, "before_id")?, cursor) {
        (None, before @ Some(_), None) => Ok(Listing::Before(page(before, FileOrder::Oldest))),
        (after, None, None) => Ok(Listing::Page(page(after, FileOrder::Newest))),
        (None, None, Some(Ok(after))) => Ok(Listing::Page(page(Some(after), FileOrder::Newest))),
        (None, None, Some(Err(_))) => Err(Refusal::BadQuery("`page` must be the `next_page` of a list".to_owned())),
        _ => Err(Refusal::BadQuery("`page`, `after_id` and `before_id` exclude each other".to_owned())),
    }
}

fn id(query: Query<'_>, name: &'static str) -> Result<Option<FileId>, Refusal> {
    let read = |id: Cow<'_, str>| FileId::parse(&id).ok_or_else(|| unknown("file", &id, name));
    query.get(name).map(read).transpose()
}

/// The same for Google's list, which has the last file of the page before as its token.
///
/// # Errors
/// The first parameter that is wrong.
pub(crate) fn read_google_listing(query: &str) -> Result<FileQuery, Refusal> {
    let query = Query(query);
    let limit = query.length("pageSize", PAGE_OF_GOOGLE)?;
    let wrong = || Refusal::BadQuery("`pageToken` must be the `nextPageToken` of a list".to_owned());
    let token = query.get("pageToken").map(|token| FileId::parse(&token).ok_or_else(wrong));
    Ok(FileQuery { purpose: None, after: token.transpose()?, limit, order: FileOrder::Newest })
}

/// A page of files as Google shows it.
pub(crate) fn google_page(files: &[StoredFile], has_more: bool, address: &str) -> Value {
    let shapes: Vec<Value> = files.iter().map(|file| google_shape(file, address)).collect();
    let mut page = json!({ "files": shapes });
    if let Some(last) = files.last().filter(|_| has_more) {
        page["nextPageToken"] = json!(last.id);
    }
    page
}

/// A page of files.
pub(crate) fn page(dialect: Dialect, files: &[StoredFile], has_more: bool) -> Value {
    let id = |file: Option<&StoredFile>| file.map(|file| file.id);
    let (first, last) = (id(files.first()), id(files.last()));
    let data: Vec<Value> = files.iter().map(|file| describe(dialect, file)).collect();
    if dialect == Dialect::Anthropic {
        let next = last.filter(|_| has_more).map(|last| format!("{CURSOR}{last}"));
        return json!({ "data": data, "has_more": has_more, "first_id": first, "last_id": last, "next_page": next });
    }
    json!({ "object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more })
}
