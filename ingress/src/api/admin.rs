//! The admin API: who asks and in which role is found out here, once, for every route of the table in `routes`. What is
//! asked is answered in the files below.

mod batches;
mod bodies;
mod cached;
mod dry_route;
mod heads;
mod ledger_rows;
pub(crate) mod live;
mod objects;
mod provider_keys;
mod questions;
pub(crate) mod routes;
mod trials;

use crate::dashboard::session;
use crate::http::body::{header, read_small_json};
use crate::http::reply;
use crate::identity::TokenRole;
use crate::manage::{Actor, Holder};
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::status;
use crate::strangers::Peer;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, on};
use futures_util::future::BoxFuture;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::clock;
use penstock_runtime::memory::Reserved;
use penstock_schemas::audit::Way;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::kind::Role;
use penstock_schemas::name::RequestId;
use routes::AdminRoute;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// What a route of the admin API does.
pub(crate) type Handler = Arc<dyn Fn(AdminRequest) -> BoxFuture<'static, Result<Reply, Refusal>> + Send + Sync>;

/// What was asked, by somebody who is known.
pub(crate) struct AdminRequest {
    pub(crate) ingress: Shared,
    pub(crate) actor: Actor,
    /// What stands in the place of `{name}` or `{id}`; empty where the path has none.
    pub(crate) name: String,
    /// What stands in every place of the path.
    places: HashMap<String, String>,
    query: HashMap<String, String>,
    headers: HeaderMap,
    /// `None` where the route takes none.
    pub(crate) body: Option<Value>,
    /// The memory for it.
    _memory: Option<Reserved>,
}

/// What is answered.
pub(crate) struct Reply {
    status: StatusCode,
    value: Value,
    revision: Option<u64>,
}

impl Reply {
    pub(crate) fn new(value: Value) -> Self {
        Self { status: status::ANSWERED, value, revision: None }
    }

    pub(crate) fn created(self) -> Self {
        Self { status: status::CREATED, ..self }
    }

    pub(crate) fn at(self, revision: u64) -> Self {
        Self { revision: Some(revision), ..self }
    }
}

/// The handler of a route, for the router.
pub(crate) fn serve(route: &AdminRoute) -> MethodRouter<Shared> {
    let (handler, takes_body) = (route.handler.clone(), route.body.is_some());
    let allowed: Vec<&'static str> =
        route.parameters.iter().filter(|one| one.is_in_query).map(|one| one.name).collect();
    on(
        route.filter(),
        move |State(ingress): State<Shared>,
              path: Result<Path<HashMap<String, String>>, PathRejection>,
              request: Request| async move {
            let id = clock::request_id();
            let asked = understand(ingress, path, request, id, (takes_body, &allowed)).await;
            let replied = match asked {
                Ok(asked) => handler(asked).await,
                Err(refusal) => Err(refusal),
            };
            match replied {
                Ok(reply) => respond(&reply, id),
                Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
            }
        },
    )
}

async fn understand(
    ingress: Shared,
    path: Result<Path<HashMap<String, String>>, PathRejection>,
    request: Request,
    id: RequestId,
    (takes_body, allowed): (bool, &[&'static str]),
) -> Result<AdminRequest, Refusal> {
    let (parts, body) = request.into_parts();
    let peer = Peer::of(&parts);
    let actor = peer.judge(identify(&ingress, &parts.headers, id).await)?;
    let names = path.map_err(|_| Refusal::UnknownPath(parts.uri.path().to_owned()))?.0;
    let name = names.values().next().cloned().unwrap_or_default();
    let query = read_query(parts.uri.query().unwrap_or_default(), allowed)?;
    let read = if takes_body { Some(read_body(&ingress, &parts.headers, body).await?) } else { None };
    let (body, memory) = read.unzip();
    Ok(AdminRequest { ingress, actor, name, places: names, query, headers: parts.headers, body, _memory: memory })
}

async fn read_body(ingress: &Shared, headers: &HeaderMap, body: Body) -> Result<(Value, Reserved), Refusal> {
    let (bytes, memory) = read_small_json(headers, body, &ingress.config, &ingress.memory).await?;
    let read = penstock_runtime::heavy(bytes.len(), || serde_json::from_slice(&bytes)).await;
    let value = read.map_err(|error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string())))?;
    Ok((value, memory))
}

fn read_query(text: &str, allowed: &[&'static str]) -> Result<HashMap<String, String>, Refusal> {
    let mut query = HashMap::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if !allowed.contains(&name.as_ref()) {
            let hint = if allowed.is_empty() { "nothing is".to_owned() } else { format!("use {}", allowed.join(", ")) };
            return Err(Refusal::BadQuery(format!("`{name}` is not known here: {hint}")));
        }
        query.insert(name.into_owned(), value.into_owned());
    }
    Ok(query)
}

/// Who asks.
pub(crate) async fn identify(ingress: &Shared, headers: &HeaderMap, id: RequestId) -> Result<Actor, Refusal> {
    ingress.soon_ready(clock::now().after(ingress.config.total_timeout)).await;
    let bearer = header(headers, "authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let bearer = bearer.filter(|token| !token.is_empty());
    if let Some(token) = bearer.filter(|token| ingress.issuers.may_know(token)) {
        let TokenRole { name, role, project } =
            Box::pin(ingress.issuers.role_of(token)).await?.ok_or(Refusal::NoRole)?;
        let projects = if role == Role::Admin { Vec::new() } else { vec![project.to_string()] };
        return Ok(Actor { role, projects, request_id: Some(id), ..Actor::admin(name, Way::Api) });
    }
    let root = ingress.config.admin_key.as_ref();
    let holder = match (bearer, session::token_hash(ingress, headers).await?) {
        (None, Some(sha256)) => ingress.objects.holder_of_hash(&sha256, root),
        (bearer, _) => ingress.objects.holder(bearer.unwrap_or_default(), root),
    };
    match holder {
        Holder::Known(actor) => Ok(Actor { request_id: Some(id), ..actor }),
        Holder::Unknown => Err(Refusal::WrongAdminKey),
        Holder::NotReady => Err(Refusal::NotReady("the admin tokens have not been read yet")),
        Holder::Closed => Err(Refusal::AdminClosed),
    }
}

impl AdminRequest {
    /// What stands in a place of the path.
    pub(crate) fn place(&self, name: &str) -> &str {
        self.places.get(name).map_or("", String::as_str)
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The revision that `If-Match` wants.
    pub(crate) fn revision(&self) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.headers.get("if-match") else { return Ok(None) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(None);
        }
        // Some clients leave the quotes away.
        let number = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        let wrong = || {
            Refusal::Wrong(WrongRequest::WrongHeader {
                header: "if-match",
                why: "write the ETag of an earlier answer, such as \"12\"".to_owned(),
            })
        };
        number.parse().map(Some).ok().ok_or_else(wrong)
    }
}

fn respond(reply: &Reply, id: RequestId) -> Response {
    let mut response = reply::json(&reply.value, id);
    *response.status_mut() = reply.status;
    // A login's cookie goes along by itself: no cache on the way may keep what it opens.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(revision) = reply.revision {
        let tag = HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits are a header value");
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
