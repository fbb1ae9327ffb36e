//! The login to the dashboard: an admin key or token is shown once, and a cookie that no script can read stands for it from
//! then on, on every ingress. A cookie opens nothing by itself: requests must also carry a header that only our own pages send,
//! so that another site cannot use it.

use crate::http::body::{header, read_short_json};
use crate::http::reply;
use crate::manage::{Holder, hash};
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::strangers::Peer;
use axum::extract::{Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::{Secret, clock};
use penstock_schemas::dashboard::DashboardSession;
use penstock_schemas::envelope::Dialect;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use tracing::warn;

/// The cookie.
const COOKIE: &str = "penstock_session";

/// What our pages send with it.
const OURS: &str = "x-penstock-dashboard";

/// How long a login holds.
const HOLDS: Duration = Duration::from_secs(12 * 3_600);

/// What the values of the cookie begin with.
const PREFIX: &str = "pds_";

/// The longest token that is read, in bytes.
const LONGEST: usize = 4_096;

#[derive(Deserialize)]
struct Login {
    token: String,
}

/// `GET /dashboard/session`: whether there is one. A page that is opened asks this first, and no error stands in its log.
pub(crate) async fn look(State(ingress): State<Shared>, headers: HeaderMap) -> Response {
    let id = clock::request_id();
    match token_hash(&ingress, &headers).await {
        Ok(found) => reply::json(&json!({ "logged_in": found.is_some_and(|hash| is_good(&ingress, &hash)) }), id),
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}

fn is_good(ingress: &Shared, token_sha256: &str) -> bool {
    matches!(ingress.objects.holder_of_hash(token_sha256, ingress.config.admin_key.as_ref()), Holder::Known(_))
}

/// `POST /dashboard/session`: `{"token": "…"}` begins a session.
pub(crate) async fn log_in(State(ingress): State<Shared>, request: Request) -> Response {
    let id = clock::request_id();
    match begin(&ingress, request).await {
        Ok(cookie) => with_cookie(reply::json(&json!({ "logged_in": true }), id), &cookie),
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}

/// `DELETE /dashboard/session`: the session is over, on every ingress.
pub(crate) async fn log_out(State(ingress): State<Shared>, headers: HeaderMap) -> Response {
    let id = clock::request_id();
    match end(&ingress, &headers).await {
        Ok(()) => with_cookie(reply::json(&json!({ "logged_in": false }), id), &cookie("", Duration::ZERO, &headers)),
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}

/// Ends a session, if there is one: to remove what is not there would leave a trace of it, and so let strangers fill the bucket.
async fn end(ingress: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = shown(headers) else { return Ok(()) };
    if token_hash(ingress, headers).await?.is_none() {
        return Ok(());
    }
    ingress.sessions.delete(&hash(value)).await.map_err(|error| {
        warn!(%error, "a session could not be ended");
        Refusal::NotReady("the session could not be ended")
    })
}

async fn begin(ingress: &Shared, request: Request) -> Result<String, Refusal> {
    let (parts, body) = request.into_parts();
    let bytes = read_short_json(&parts.headers, body, ingress.config.head_timeout).await?;
    let login: Login =
        serde_json::from_slice(&bytes).map_err(|error| Refusal::Wrong(WrongRequest::InvalidJson(error.to_string())))?;
    let token_sha256 = hash(login.token.get(..LONGEST).unwrap_or(&login.token).trim());
    let known = match ingress.objects.holder_of_hash(&token_sha256, ingress.config.admin_key.as_ref()) {
        Holder::Known(_) => Ok(()),
        Holder::Unknown => Err(Refusal::WrongAdminKey),
        Holder::NotReady => Err(Refusal::NotReady("the admin tokens have not been read yet")),
        Holder::Closed => Err(Refusal::AdminClosed),
    };
    Peer::of(&parts).judge(known)?;
    let value = Secret::generate(PREFIX);
    let session = DashboardSession { token_sha256, until: clock::now().after(HOLDS) };
    ingress.sessions.put(&hash(value.reveal()), &session).await.map_err(|error| {
        warn!(%error, "a session could not be begun");
        Refusal::NotReady("the session could not be kept")
    })?;
    Ok(cookie(value.reveal(), HOLDS, &parts.headers))
}

/// The hash of the token that the session of a request was begun with; `None`: there is no session.
pub(crate) async fn token_hash(ingress: &Shared, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = shown(headers) else { return Ok(None) };
    let session = ingress.sessions.get(&hash(value)).await.map_err(|error| {
        warn!(%error, "a session could not be read");
        Refusal::NotReady("the sessions cannot be read now")
    })?;
    Ok(session.filter(|session| clock::now() < session.until).map(|session| session.token_sha256))
}

/// What stands in the cookie, if our own page sends it.
fn shown(headers: &HeaderMap) -> Option<&str> {
    headers.get(OURS)?;
    let cookies = headers.get_all("cookie").iter().filter_map(|cookies| cookies.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value).find(|value| value.starts_with(PREFIX))
}

fn cookie(value: &str, holds: Duration, headers: &HeaderMap) -> String {
    // Behind a proxy only the browser knows whether it came by TLS.
    let is_tls = header(headers, "origin").is_some_and(|origin| origin.starts_with("https:"));
    let secure = if is_tls { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", holds.as_secs())
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    let cookie = HeaderValue::from_str(cookie).expect("a cookie of ours is a header value");
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_cookie_counts_only_beside_the_header_of_our_own_pages() {
        let both = headers(&[("cookie", "a=b; penstock_session=pds_1; c=d"), ("x-penstock-dashboard", "1")]);
        assert_eq!(shown(&both), Some("pds_1"));
        assert_eq!(shown(&headers(&[("cookie", "penstock_session=pds_1")])), None);
        assert_eq!(shown(&headers(&[("x-penstock-dashboard", "1")])), None);
        assert_eq!(shown(&headers(&[("cookie", "penstock_session=x"), ("x-penstock-dashboard", "1")])), None);
    }

    #[test]
    fn over_tls_the_cookie_goes_over_tls_alone() {
        assert!(cookie("v", HOLDS, &headers(&[("origin", "https://gateway.example")])).ends_with("; Secure"));
        assert!(!cookie("v", HOLDS, &headers(&[("origin", "http://127.0.0.1:8080")])).contains("Secure"));
    }
}
