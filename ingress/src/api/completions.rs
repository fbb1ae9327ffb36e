//! `/v1/chat/completions` that callers asked to be stored (`store`): listed, shown, given other notes, forgotten; each project
//! has its own. Source: <https://platform.openai.com/docs/api-reference/chat/list>.

use super::conversations::{query, read_fields, shelf};
use super::item_list::{Order, PAGE, list, page};
use crate::conversation::completions;
use crate::conversation::read_metadata;
use crate::http::query::Query;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::state::Shared;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use penstock_dialects::client::WrongRequest;
use penstock_dialects::json::RawObject;
use penstock_runtime::clock;
use penstock_schemas::conversation::KeptCompletion;
use penstock_schemas::envelope::Dialect;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

/// `GET`: those that the key may see, the oldest first unless told otherwise.
pub(super) async fn show_all(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    let listed = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let query = query(&credentials);
        let limit = query.limit(PAGE)?;
        let wanted = completions::CompletionFilter {
            is_newest_first: Order::read(query, Order::OldestFirst)? == Order::NewestFirst,
            after: query.get("after").map(String::from),
            model: query.get("model").map(String::from),
            metadata: notes(query),
        };
        let (found, has_more) = completions::find_all(&shelf, &wanted, limit).await?;
        let found: Vec<_> = found.into_iter().map(|(id, kept)| (id, shown(&kept))).collect();
        Ok(list(&found, has_more))
    };
    respond(Box::pin(listed).await)
}

/// `GET …/{id}`: one of them.
pub(super) async fn show(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let found = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let (kept, _) = completions::find(&shelf, &id).await?;
        Ok(shown(&kept))
    };
    respond(found.await)
}

/// `POST …/{id}`: other notes.
pub(super) async fn update(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    let updated = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let (fields, _memory) = read_fields(&ingress, &credentials, body).await?;
        if fields.get("metadata").is_none() {
            return Err(Refusal::Wrong(WrongRequest::MissingField("metadata")));
        }
        let kept = completions::change(&shelf, &id, &read_metadata(&fields)?).await?;
        Ok(shown(&kept))
    };
    respond(updated.await)
}

/// `DELETE …/{id}`: it is forgotten.
pub(super) async fn delete(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let deleted = async {
        let shelf = shelf(&ingress, &credentials).await?;
        completions::remove(&shelf, &id).await?;
        Ok(json!({ "object": "chat.completion.deleted", "id": id, "deleted": true }))
    };
    respond(deleted.await)
}

/// `GET …/{id}/messages`: what was asked, the oldest first unless told otherwise.
pub(super) async fn messages(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let listed = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let query = query(&credentials);
        let (kept, _) = completions::find(&shelf, &id).await?;
        let messages = kept.messages.iter().enumerate().map(|(at, message)| {
            let name = format!("{id}-{at}");
            (name.clone(), shown_message(message, &name))
        });
        page(messages.collect(), query, Order::OldestFirst, |after| completions::unknown(after, "after"))
    };
    respond(listed.await)
}

fn respond<T: serde::Serialize>(result: Result<T, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}

/// `metadata[name]=value`, any number of times.
fn notes(query: Query<'_>) -> Vec<(String, String)> {
    let pairs = form_urlencoded::parse(query.0.as_bytes());
    let note = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        let name = name.strip_prefix("metadata[")?.strip_suffix(']')?;
        Some((name.to_owned(), value.into_owned()))
    };
    pairs.filter_map(note).collect()
}

fn shown(kept: &KeptCompletion) -> Box<RawValue> {
    let mut fields = RawObject::read(kept.completion.get().as_bytes()).unwrap_or_default();
    fields.set("metadata", &kept.metadata);
    to_raw_value(&fields).expect("fields are JSON")
}

/// A message as the list has it: its text, or its parts.
fn shown_message(message: &RawValue, id: &str) -> Box<RawValue> {
    let mut fields = RawObject::read(message.get().as_bytes()).unwrap_or_default();
    fields.set("id", &id);
    let parts = fields.get("content").filter(|content| content.get().starts_with('[')).map(ToOwned::to_owned);
    if parts.is_some() || fields.get("content").is_none() {
        fields.set("content", &Value::Null);
    }
    fields.set("content_parts", &parts);
    to_raw_value(&fields).expect("fields are JSON")
}
