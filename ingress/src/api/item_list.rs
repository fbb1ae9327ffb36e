//! Lists of items, page by page: of what a response was asked, and of a conversation. Knows nothing of where they are kept.
//! Source: <https://platform.openai.com/docs/api-reference/responses/input-items>.

use crate::http::query::Query;
use crate::refusal::Refusal;
use penstock_dialects::json::{RawObject, read_all, whole_characters};
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

/// Items of a page: the default of `limit`, and its maximum.
pub(super) const PAGE: (usize, usize) = (20, 100);

/// Types of items that must have a `status` in a list. Where the stored item has none, one is added. Source: the types of the
/// official SDKs.
const WITH_STATUS: [&str; 3] = ["message", "function_call", "function_call_output"];

/// How a list is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

impl Order {
    /// As a query says, else this.
    pub(super) fn read(query: Query<'_>, usual: Self) -> Result<Self, Refusal> {
        match query.get("order").as_deref() {
            None => Ok(usual),
            Some("asc") => Ok(Self::OldestFirst),
            Some("desc") => Ok(Self::NewestFirst),
            Some(_) => Err(Refusal::BadQuery("`order` must be `asc` or `desc`".to_owned())),
        }
    }
}

/// A list of items, or a page of one.
#[derive(Serialize)]
pub(super) struct ItemList {
    object: &'static str,
    data: Vec<Box<RawValue>>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

/// One page of the items, in this order unless told otherwise. `unknown` refuses an item behind which none are.
pub(super) fn page(
    mut items: Vec<(String, Box<RawValue>)>,
    query: Query<'_>,
    usual: Order,
    unknown: impl FnOnce(&str) -> Refusal,
) -> Result<ItemList, Refusal> {
    let limit = query.limit(PAGE)?;
    if Order::read(query, usual)? == Order::NewestFirst {
        items.reverse();
    }
    let start = match query.get("after") {
        None => 0,
        Some(after) => {
            let found = items.iter().position(|(name, _)| *name == after);
            found.map(|at| at + 1).ok_or_else(|| unknown(&after))?
        }
    };
    let has_more = items.len() > start + limit;
    let page = items.get(start..).unwrap_or_default();
    Ok(list(&page[..limit.min(page.len())], has_more))
}

/// Items as a list.
pub(super) fn list(items: &[(String, Box<RawValue>)], has_more: bool) -> ItemList {
    ItemList {
        object: "list",
        data: items.iter().map(|(_, item)| whole_characters(item)).collect(),
        first_id: items.first().map(|(name, _)| name.clone()),
        last_id: items.last().map(|(name, _)| name.clone()),
        has_more,
    }
}

/// The id that an item has.
pub(super) fn own_id(item: &RawValue) -> Option<String> {
    let fields = RawObject::read(item.get().as_bytes()).ok()?;
    serde_json::from_str(fields.get("id")?.get()).ok()
}

/// An item under an id; messages as lists have them, with parts.
pub(super) fn shaped(item: &RawValue, id: &str) -> Box<RawValue> {
    let Ok(mut fields) = RawObject::read(item.get().as_bytes()) else { return item.to_owned() };
    fields.set("id", &id);
    if fields.get("type").is_none() {
        fields.set("type", &"message");
    }
    let kind: String = fields.get("type").and_then(|kind| serde_json::from_str(kind.get()).ok()).unwrap_or_default();
    if kind == "message"
        && let Some(text) = fields.get("content").filter(|content| content.get().starts_with('"'))
    {
        let text = read_all(&text);
        let is_own = fields.get("role").is_some_and(|role| role.get() == "\"assistant\"");
        let parts = if is_own {
            json!([{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }])
        } else {
            json!([{ "type": "input_text", "text": text }])
        };
        fields.set("content", &parts);
    }
    if WITH_STATUS.contains(&&*kind) && fields.get("status").is_none() {
        fields.set("status", &"completed");
    }
    to_raw_value(&fields).expect("fields are JSON")
}
