//! The dashboard: pages that are part of this program, and the login to them. What the pages show, they ask the admin API for;
//! this file knows none of it.

mod assets;
pub(crate) mod session;

use crate::http::reply;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::status;
use assets::Asset;
use axum::Router;
use axum::extract::{Path, Request};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use penstock_runtime::clock;
use penstock_schemas::envelope::Dialect;

/// What a page may load and do: what this program serves, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The paths of the dashboard. They are not part of the API.
pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/dashboard", get(page))
        .route("/dashboard/{*page}", get(page))
        .route("/dashboard/assets/{name}", get(asset))
        .route("/dashboard/session", get(session::look).post(session::log_in).delete(session::log_out))
}

/// Whether a browser asks, and not a program.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

/// `GET /` of a browser, `/dashboard` and every page below it: which page it is, the script reads from the address.
pub(crate) async fn page(request: Request) -> Response {
    serve(assets::PAGE, request.headers())
}

/// `GET /dashboard/assets/{name}`.
async fn asset(Path(name): Path<String>, request: Request) -> Response {
    match assets::find(&name) {
        Some(asset) => serve(asset, request.headers()),
        None => {
            reply::refuse(Dialect::Openai, &Refusal::UnknownPath(request.uri().path().to_owned()), clock::request_id())
        }
    }
}

fn serve(asset: Asset, headers: &HeaderMap) -> Response {
    let tag = asset.tag();
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|known| *known == tag);
    let mut response = if is_known { status::UNCHANGED.into_response() } else { asset.bytes.into_response() };
    let fixed = |text: &'static str| HeaderValue::from_static(text);
    let told = [
        (CONTENT_TYPE, fixed(asset.content_type)),
        (ETAG, tag),
        // Asked for anew each time, and mostly answered with 304: a new version is seen at once.
        (CACHE_CONTROL, fixed("no-cache")),
        (HeaderName::from_static("content-security-policy"), fixed(POLICY)),
        (HeaderName::from_static("x-content-type-options"), fixed("nosniff")),
        (HeaderName::from_static("referrer-policy"), fixed("no-referrer")),
    ];
    for (name, value) in told {
        response.headers_mut().insert(name, value);
    }
    response
}
