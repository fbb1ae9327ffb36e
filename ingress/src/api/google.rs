//! The paths of Google's API: `/v1beta/models` and what stands below it. Its methods stand behind a colon in the path's
//! last part, so that one route takes them all. A stream without `alt=sse` is a JSON list that grows.

use super::gemini_batches;
use super::usable::{allowed, find};
use crate::http::reply;
use crate::models::Listed;
use crate::pipeline;
use crate::refusal::Refusal;
use crate::stage::authenticate::Credentials;
use crate::state::Shared;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use penstock_dialects::google::client as google;
use penstock_runtime::clock;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::sse::{self, EVENT_BYTES};
use serde_json::{Value, json};

/// A method of a model.
pub(crate) async fn call(
    State(ingress): State<Shared>,
    Path(rest): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    if let Some(model) = rest.strip_suffix(gemini_batches::METHOD) {
        let (parts, body) = request.into_parts();
        let credentials = Credentials::of(parts);
        return gemini_batches::create(&ingress, &credentials, model, body).await;
    }
    let Some(endpoint) = google::read_path(&rest) else {
        let path = request.uri().path().to_owned();
        return reply::refuse(crate::dialect::of_path(&path), &Refusal::UnknownPath(path), clock::request_id());
    };
    let is_stream = endpoint.delivery.is_some_and(|delivery| delivery.is_stream());
    let response = pipeline::serve(ingress, endpoint, request).await;
    if is_stream && !has_alt_sse(query.as_deref()) { as_list(response) } else { response }
}

/// The models that the caller's key may use.
pub(crate) async fn list(State(ingress): State<Shared>, credentials: Credentials) -> Response {
    let id = clock::request_id();
    match credentials.find_key(&ingress).await {
        Ok(key) => {
            let models: Vec<Value> = allowed(&ingress, &key).iter().map(describe).collect();
            reply::json(&json!({ "models": models }), id)
        }
        Err(refusal) => reply::refuse(Dialect::Google, &refusal, id),
    }
}

/// One model.
pub(crate) async fn show(
    State(ingress): State<Shared>,
    credentials: Credentials,
    Path(name): Path<String>,
) -> Response {
    let id = clock::request_id();
    // As in requests: some clients put `models/` before a name that has it already.
    let name = name.strip_prefix("models/").unwrap_or(&name);
    match credentials.find_key(&ingress).await.and_then(|key| find(&ingress, &key, name)) {
        Ok(model) => reply::json(&describe(&model), id),
        Err(refusal) => reply::refuse(Dialect::Google, &refusal, id),
    }
}

/// Whether a request for the models is one of Google's clients, which send their key in a way of their own.
pub(crate) fn is_asking(credentials: &Credentials) -> bool {
    let Credentials { headers, query, .. } = credentials;
    let has_key =
        query.as_deref().is_some_and(|query| form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "key"));
    headers.contains_key("x-goog-api-key") || has_key
}

/// A model as Google describes one. Source: <https://ai.google.dev/api/models>.
fn describe(listed: &Listed) -> Value {
    let (id, model) = (&listed.name, listed.model.as_ref());
    let methods = match model.map(|model| model.mode.as_str()) {
        Some("embedding") => json!(["embedContent", "batchEmbedContents"]),
        _ => json!(["generateContent", "streamGenerateContent", "countTokens"]),
    };
    let mut described =
        json!({ "name": format!("models/{id}"), "displayName": id, "supportedGenerationMethods": methods });
    let Some(model) = model else { return described };
    for (field, known) in [("inputTokenLimit", model.context), ("outputTokenLimit", model.max_output)] {
        if let Some(tokens) = known {
            described[field] = tokens.into();
        }
    }
    described["thinking"] = model.capabilities.iter().any(|capability| capability == "reasoning").into();
    described
}

fn has_alt_sse(query: Option<&str>) -> bool {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.any(|(name, value)| (name == "alt" || name == "$alt") && value == "sse")
}

/// A stream on its way into a list.
struct Listing {
    stream: BodyDataStream,
    events: sse::Parser,
    has_begun: bool,
}

/// The events of a stream as the items of a JSON list, each as soon as it is there.
fn as_list(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return response;
    }
    let (mut head, body) = response.into_parts();
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    let listing = Listing { stream: body.into_data_stream(), events: sse::Parser::new(EVENT_BYTES), has_begun: false };
    let items = stream::unfold(Some(listing), |listing| async move {
        let mut listing = listing?;
        match listing.stream.next().await {
            Some(Err(error)) => Some((Err(error), None)),
            Some(Ok(bytes)) => {
                listing.events.push(&bytes);
                let out = listing.items();
                Some((Ok(out), Some(listing)))
            }
            None => Some((Ok(listing.end()), None)),
        }
    });
    let items = items.filter(|item| std::future::ready(item.as_ref().map_or(true, |bytes: &Bytes| !bytes.is_empty())));
    Response::from_parts(head, Body::from_stream(items))
}

impl Listing {
    fn items(&mut self) -> Bytes {
        let mut out = Vec::new();
        // An event that is too long was refused by the worker before.
        while let Ok(Some(event)) = self.events.next_event() {
            self.item(&event.data, &mut out);
        }
        out.into()
    }

    fn item(&mut self, data: &[u8], out: &mut Vec<u8>) {
        if data.is_empty() {
            return;
        }
        out.extend_from_slice(if self.has_begun { b",\r\n" } else { b"[" });
        self.has_begun = true;
        out.extend_from_slice(data);
    }

    fn end(&mut self) -> Bytes {
        let mut out = Vec::new();
        if let Ok(Some(event)) = self.events.finish() {
            self.item(&event.data, &mut out);
        }
        out.extend_from_slice(if self.has_begun { b"]" } else { b"[]" });
        out.into()
    }
}
