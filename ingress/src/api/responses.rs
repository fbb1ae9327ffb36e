//! `/v1/responses/{id}`: kept responses, asked for, forgotten, cancelled; each project has its own.
//! Source: <https://platform.openai.com/docs/api-reference/responses/get>.

use super::item_list::{Order, own_id, page, shaped};
use crate::conversation::follow::follow;
use crate::conversation::shelf::{Shelf, status, with_status};
use crate::conversation::{unavailable, unknown};
use crate::http::query::Query;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::state::Shared;
use axum::extract::{Path, State};
use axum::response::Response;
use penstock_dialects::json::RawObject;
use penstock_dialects::responses::client::wrong;
use penstock_runtime::clock;
use penstock_schemas::conversation::{KeptInput, KeptResponse};
use penstock_schemas::envelope::Dialect;
use serde_json::json;
use serde_json::value::RawValue;

/// What refusals call the id in the path.
const PARAM: &str = "response_id";

/// `GET`: a response as it is now, or with `stream` as it comes to be.
pub(crate) async fn show(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let query = Query(credentials.query.as_deref().unwrap_or_default());
    let is_stream = query.get("stream").as_deref() == Some("true");
    let next = match query.get("starting_after").map(|number| number.parse::<u32>()) {
        None => Ok(0),
        Some(Ok(number)) => Ok(number as usize + 1),
        Some(Err(_)) => Err(Refusal::BadQuery("`starting_after` must be the number of an event".to_owned())),
    };
    let found = async {
        let next = next?;
        let shelf = shelf(&ingress, &credentials).await?;
        let (kept, _) = shelf.get(&id, PARAM, clock::now()).await?;
        Ok::<_, Refusal>((shelf, kept, next))
    };
    match found.await {
        Ok((shelf, _, next)) if is_stream => follow(shelf, id, next, clock::request_id()),
        found => respond(found.map(|(_, kept, _)| kept.response)),
    }
}

/// `DELETE`: a response is forgotten.
pub(crate) async fn forget(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let forgotten = async {
        let shelf = shelf(&ingress, &credentials).await?;
        shelf.get(&id, PARAM, clock::now()).await?;
        shelf.forget(&id).await?;
        Ok(json!({ "id": id, "object": "response", "deleted": true }))
    };
    respond(forgotten.await)
}

/// `POST …/cancel`: a response in the background is no longer wanted. One that is over stays as it is.
pub(crate) async fn cancel(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(id): Path<String>,
) -> Response {
    let cancelled = async {
        let shelf = shelf(&ingress, &credentials).await?;
        loop {
            let (kept, version) = shelf.get(&id, PARAM, clock::now()).await?;
            if !is_background(&kept) {
                return Err(Refusal::from(wrong(
                    PARAM.to_owned(),
                    "only a response in the background can be cancelled",
                )));
            }
            if !matches!(status(&kept).as_str(), "queued" | "in_progress") {
                return Ok(kept.response);
            }
            let kept = with_status(kept, "cancelled");
            let replaced = shelf.replace(&id, &kept, Some(version)).await;
            // Whoever works on it has written to it meanwhile: look again.
            if replaced.map_err(|error| unavailable(&error))?.is_some() {
                return Ok(kept.response);
            }
        }
    };
    respond(cancelled.await)
}

/// `GET …/input_items`: what a response was asked, the newest first unless told otherwise.
pub(crate) async fn items(State(ingress): State<Shared>, credentials: Credentials, Path(id): Path<String>) -> Response {
    let listed = async {
        let shelf = shelf(&ingress, &credentials).await?;
        shelf.get(&id, PARAM, clock::now()).await?;
        let query = Query(credentials.query.as_deref().unwrap_or_default());
        page(named(&id, shelf.input(&id).await?), query, Order::NewestFirst, |after| unknown(after, "after"))
    };
    respond(listed.await)
}

async fn shelf(ingress: &Shared, credentials: &Credentials) -> Result<Shelf, Refusal> {
    let key = credentials.find_key(ingress).await?;
    Ok(Shelf::new(ingress, &key.key))
}

fn respond<T: serde::Serialize>(result: Result<T, Refusal>) -> Response {
    let id = clock::request_id();
    match result {
        Ok(value) => reply::json(&value, id),
        Err(refusal) => reply::refuse(Dialect::Responses, &refusal, id),
    }
}

fn is_background(kept: &KeptResponse) -> bool {
    let fields = RawObject::read(kept.response.get().as_bytes()).unwrap_or_default();
    fields.get("background").is_some_and(|value| value.get() == "true")
}

/// The items, each under its id or one that tells its place.
fn named(id: &str, items: KeptInput) -> Vec<(String, Box<RawValue>)> {
    let hex = id.split('_').nth(1).unwrap_or_default();
    let named = |(at, item): (usize, Box<RawValue>)| {
        let own = own_id(&item).unwrap_or_else(|| format!("item_{hex}_{at}"));
        (own.clone(), shaped(&item, &own))
    };
    items.into_iter().enumerate().map(named).collect()
}
