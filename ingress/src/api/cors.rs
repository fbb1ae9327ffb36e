//! Pages in browsers, from the origins that the operator names: preflights are answered, and answers may be read with the
//! headers that matter. Off unless configured; never for the admin API. Knows no route.
//! Source: <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use crate::state::Shared;
use crate::status;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;

/// What a page may read of an answer besides its body.
const EXPOSED: &str = "x-request-id, request-id, retry-after, x-should-retry, idempotent-replayed, \
    x-penstock-request-id, x-penstock-target, x-penstock-attempts, x-penstock-cache, x-penstock-cache-age, x-penstock-cache-similarity, x-penstock-cost-usd, \
    x-penstock-dropped-params, x-penstock-usage, x-penstock-downgraded, x-penstock-route, x-ratelimit-limit-requests, \
    x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, \
    x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, anthropic-ratelimit-requests-limit, \
    anthropic-ratelimit-requests-remaining, anthropic-ratelimit-requests-reset, anthropic-ratelimit-tokens-limit, \
    anthropic-ratelimit-tokens-remaining, anthropic-ratelimit-tokens-reset, x-goog-upload-url, x-goog-upload-status, \
    x-goog-upload-size-received";

const METHODS: &str = "GET, POST, DELETE";

/// How long a browser may keep the answer to a preflight, in seconds: Chromium keeps none longer than two hours.
const MAX_AGE: &str = "600";

/// Answers preflights, and lets pages of the configured origins read what they are answered.
pub(super) async fn allow(State(ingress): State<Shared>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).filter(|origin| is_allowed(&ingress.config.cors, origin)).cloned();
    let Some(origin) = origin.filter(|_| !request.uri().path().starts_with("/admin/")) else {
        return next.run(request).await;
    };
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight { preflight(request.headers()) } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(VARY, HeaderValue::from_static("origin"));
    response
}

fn is_allowed(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
}

/// The headers that a page wants to send are all let through: which of them are right is judged when they come.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_origin_is_allowed() {
        let is =
            |allowed: &str, origin: &'static str| is_allowed(&[allowed.to_owned()], &HeaderValue::from_static(origin));
        assert!(is("https://app.example", "https://app.example") && is("*", "https://any.example"));
        assert!(
            !is("https://app.example", "https://app.example.evil") && !is("https://app.example", "http://app.example")
        );
        assert!(!is_allowed(&[], &HeaderValue::from_static("https://app.example")));
    }
}
