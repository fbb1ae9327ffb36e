//! Replies as HTTP: a refusal, JSON, a stream of events, each with the headers that every reply has. Chooses no status and
//! no words of its own: `status` and `dialect` do.

use crate::dialect;
use crate::refusal::Refusal;
use crate::status;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::name::RequestId;

/// The response that says why not.
pub(crate) fn refuse(dialect: Dialect, refusal: &Refusal, id: RequestId) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = refusal.retry_after() {
        // Whole seconds, rounded up: a header of 0 would ask for a storm.
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        headers.insert(RETRY_AFTER, HeaderValue::from_str(&seconds.to_string()).expect("digits are a header value"));
    }
    if refusal.is_lasting() {
        // The official SDKs of OpenAI and Anthropic ask a 429 again by themselves, unless this tells them not to.
        set(&mut headers, "x-should-retry", "false");
    }
    let body = dialect::error_body(dialect, refusal, id).to_string();
    finish(status::of(refusal, dialect), headers, Body::from(body), id)
}

/// A stream of events that comes from nowhere else.
pub(crate) fn events(body: Body, id: RequestId) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    finish(status::ANSWERED, headers, body, id)
}

/// What is no JSON and comes from nowhere else.
pub(crate) fn content(headers: HeaderMap, body: Body, id: RequestId) -> Response {
    finish(status::ANSWERED, headers, body, id)
}

/// Any other JSON.
pub(crate) fn json(value: &impl serde::Serialize, id: RequestId) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = serde_json::to_vec(value).expect("answers have a JSON form");
    finish(status::ANSWERED, headers, Body::from(body), id)
}

/// That a request is taken, and where its answer will be.
pub(crate) fn accepted(value: &impl serde::Serialize, location: &str, id: RequestId) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("preference-applied", HeaderValue::from_static("respond-async"));
    set(&mut headers, "location", location);
    let body = serde_json::to_vec(value).expect("answers have a JSON form");
    finish(status::ACCEPTED, headers, Body::from(body), id)
}

/// A response with these headers, and the request's id.
pub(crate) fn finish(status: StatusCode, mut headers: HeaderMap, body: Body, id: RequestId) -> Response {
    let id = id.to_string();
    // The official SDKs show these with their errors: OpenAI's the first, Anthropic's the second.
    set(&mut headers, "x-request-id", &id);
    set(&mut headers, "request-id", &id);
    set(&mut headers, "x-penstock-request-id", &id);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Says that an answer was given before. Stripe's name for it: <https://docs.stripe.com/api/idempotent_requests>.
pub(crate) fn mark_as_repeated(response: &mut Response) {
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
}

/// Sets a header; characters that a header cannot hold become `?`.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let safe: String = value.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    headers.insert(
        HeaderName::from_static(name),
        HeaderValue::from_str(&safe).expect("printable ASCII is a header value"),
    );
}
