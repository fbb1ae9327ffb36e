//! `/v1/conversations`: conversations that callers make, with what was said in them; each project has its own. Responses add to
//! them: see `conversation::thread`. Source: <https://platform.openai.com/docs/api-reference/conversations>.

use super::item_list::{Order, list, page, shaped};
use crate::conversation::read_metadata;
use crate::conversation::shelf::Shelf;
use crate::conversation::thread::{self, Addition, MOST_ITEMS};
use crate::http::body::{hold_values, read_json};
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
use penstock_dialects::responses::client::{check_items, fields, value, wrong};
use penstock_runtime::memory::Reserved;
use penstock_runtime::{clock, heavy};
use penstock_schemas::conversation::{KeptConversation, KeptInput, KeptItem, conversation_id, seconds};
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

/// What refusals call the id in the path.
const PARAM: &str = "conversation_id";

/// How many items one request may add.
const AT_ONCE: usize = 20;

/// What `include` may name. Source: `ResponseIncludable` of the official SDKs.
const INCLUDE: [&str; 8] = [
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    SEALED,
    "message.output_text.logprobs",
];

/// Without it, thoughts come without what only a provider can read.
const SEALED: &str = "reasoning.encrypted_content";

/// `POST`: begins a conversation.
pub(super) async fn create(State(ingress): State<Shared>, credentials: Credentials, body: Body) -> Response {
    let created = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let (fields, _memory) = read_fields(&ingress, &credentials, body).await?;
        let request = clock::request_id();
        let (created_at, metadata) = (seconds(request), read_metadata(&fields)?);
        let mut kept = KeptConversation { created_at, metadata, ..KeptConversation::default() };
        Addition::of_caller(request, read_items(&fields)?.unwrap_or_default()).put(&mut kept);
        let id = conversation_id(request);
        thread::create(&shelf, &id, &kept).await?;
        Ok(shown(&id, &kept))
    };
    respond(created.await)
}

/// `GET …/{id}`: what it is.
pub(super) async fn show(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let found = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let (kept, _) = thread::find(&shelf, &id, PARAM).await?;
        Ok(shown(&id, &kept))
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
        let metadata = read_metadata(&fields)?;
        let put = |kept: &mut KeptConversation| {
            metadata.clone_into(&mut kept.metadata);
            Ok(())
        };
        let kept = thread::change(&shelf, &id, PARAM, put).await?;
        Ok(shown(&id, &kept))
    };
    respond(updated.await)
}

/// `DELETE …/{id}`: it is forgotten, with all that was said in it.
pub(super) async fn delete(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let deleted = async {
        let shelf = shelf(&ingress, &credentials).await?;
        thread::remove(&shelf, &id, PARAM).await?;
        Ok(json!({ "id": id, "object": "conversation.deleted", "deleted": true }))
    };
    respond(deleted.await)
}

/// `POST …/{id}/items`: adds what was said elsewhere.
pub(super) async fn add_items(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    let added = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let is_sealed = includes_sealed(query(&credentials))?;
        let (fields, _memory) = read_fields(&ingress, &credentials, body).await?;
        let items = read_items(&fields)?.ok_or(Refusal::Wrong(WrongRequest::MissingField("items")))?;
        let (count, addition) = (items.len(), Addition::of_caller(clock::request_id(), items));
        let limit = ingress.config.body_limit;
        let put = |kept: &mut KeptConversation| {
            addition.put(kept);
            check_size(kept, limit)
        };
        let kept = thread::change(&shelf, &id, PARAM, put).await?;
        let added = kept.items.get(kept.items.len() - count..).unwrap_or_default();
        Ok(list(&named(added, is_sealed), false))
    };
    respond(added.await)
}

/// `GET …/{id}/items`: what was said, the newest first unless told otherwise.
pub(super) async fn items(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let listed = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let query = query(&credentials);
        let is_sealed = includes_sealed(query)?;
        let (kept, _) = thread::find(&shelf, &id, PARAM).await?;
        page(named(&kept.items, is_sealed), query, Order::NewestFirst, |after| no_item(&id, after))
    };
    respond(listed.await)
}

/// `GET …/{id}/items/{item_id}`: one of them.
pub(super) async fn show_item(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path((id, item_id)): Path<(String, String)>,
) -> Response {
    let found = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let is_sealed = includes_sealed(query(&credentials))?;
        let (kept, _) = thread::find(&shelf, &id, PARAM).await?;
        let item = kept.items.iter().find(|item| item.id == item_id).ok_or_else(|| no_item(&id, &item_id))?;
        Ok(shown_item(item, is_sealed))
    };
    respond(found.await)
}

/// `DELETE …/{id}/items/{item_id}`: one of them is forgotten.
pub(super) async fn delete_item(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path((id, item_id)): Path<(String, String)>,
) -> Response {
    let deleted = async {
        let shelf = shelf(&ingress, &credentials).await?;
        let take = |kept: &mut KeptConversation| {
            let before = kept.items.len();
            kept.items.retain(|item| item.id != item_id);
            if kept.items.len() < before { Ok(()) } else { Err(no_item(&id, &item_id)) }
        };
        let kept = thread::change(&shelf, &id, PARAM, take).await?;
        Ok(shown(&id, &kept))
    };
    respond(deleted.await)
}

/// What is kept of the key's project.
pub(super) async fn shelf(ingress: &Shared, credentials: &Credentials) -> Result<Shelf, Refusal> {
    let found = credentials.find_key(ingress).await?;
    Ok(Shelf::new(ingress, &found.key))
}

pub(super) fn query(credentials: &Credentials) -> Query<'_> {
    Query(credentials.query.as_deref().unwrap_or_default())
}

fn respond<T: serde::Serialize>(result: Result<T, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(Dialect::Responses, &refusal, id),
    }
}

pub(super) async fn read_fields(
    ingress: &Shared,
    credentials: &Credentials,
    body: Body,
) -> Result<(RawObject, Reserved), Refusal> {
    let (bytes, mut memory) = read_json(&credentials.headers, body, &ingress.config, &ingress.memory).await?;
    hold_values(&mut memory, &bytes, Operation::Chat).await?;
    // Official SDKs send no body where there is nothing to say.
    let bytes = if bytes.is_empty() { "{}".into() } else { bytes };
    Ok((heavy(bytes.len(), || fields(&bytes)).await?, memory))
}

fn read_items(fields: &RawObject) -> Result<Option<KeptInput>, Refusal> {
    let Some(items) = value::<KeptInput>(fields, "items")? else { return Ok(None) };
    if items.len() > AT_ONCE {
        let why = format!("at most {AT_ONCE} items can be added at once");
        return Err(wrong("items".to_owned(), &why).into());
    }
    check_items(&items, "items")?;
    Ok(Some(items))
}

/// Whether `include` asks for the encrypted content of reasoning items. An unknown value is refused.
fn includes_sealed(query: Query<'_>) -> Result<bool, Refusal> {
    let mut is_sealed = false;
    for name in query.all(&["include", "include[]"]) {
        if !INCLUDE.contains(&&*name) {
            return Err(Refusal::BadQuery(format!("`include` may name {}", INCLUDE.join(", "))));
        }
        is_sealed |= name == SEALED;
    }
    Ok(is_sealed)
}

/// A request that names the conversation says all of it to a model.
fn check_size(kept: &KeptConversation, limit: usize) -> Result<(), Refusal> {
    let bytes: usize = kept.items.iter().map(|item| item.item.get().len()).sum();
    if bytes > limit || kept.items.len() > MOST_ITEMS {
        let why = format!("a conversation has at most {MOST_ITEMS} items, and {limit} bytes: begin another");
        return Err(Failure::gateway(FailureKind::TooLarge, why).into());
    }
    Ok(())
}

fn shown(id: &str, kept: &KeptConversation) -> Value {
    let KeptConversation { created_at, metadata, .. } = kept;
    json!({ "id": id, "object": "conversation", "created_at": created_at, "metadata": metadata })
}

fn named(items: &[KeptItem], is_sealed: bool) -> Vec<(String, Box<RawValue>)> {
    items.iter().map(|item| (item.id.clone(), shown_item(item, is_sealed))).collect()
}

fn shown_item(kept: &KeptItem, is_sealed: bool) -> Box<RawValue> {
    let item = shaped(&kept.item, &kept.id);
    if is_sealed || !item.get().contains("encrypted_content") {
        return item;
    }
    let Ok(mut fields) = RawObject::read(item.get().as_bytes()) else { return item };
    if fields.get("type").is_some_and(|kind| kind.get() == "\"reasoning\"") {
        fields.remove("encrypted_content");
    }
    to_raw_value(&fields).expect("fields are JSON")
}

/// That a conversation has no such item.
fn no_item(conversation: &str, id: &str) -> Refusal {
    let id: String = id.chars().take(128).collect();
    let why = format!("Item with id '{id}' not found in conversation '{conversation}'.");
    let mut failure = Failure::gateway(FailureKind::NotFound, why);
    failure.param = Some("item_id".to_owned());
    failure.into()
}
