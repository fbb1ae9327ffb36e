//! Receive: bytes into a request of a known shape, within limits of size and time; first its head, and its body once its
//! caller is known. Does not decide who that is.

use super::authenticate::{Credentials, Found, Sender};
use crate::config::IngressConfig;
use crate::http::body::{check_encoding, check_length, header, hold_values, read_body, reserve_for};
use crate::refusal::Refusal;
use crate::request::{Arrival, Request};
use crate::run_at;
use crate::session;
use crate::state::Shared;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::Bytes;
use penstock_dialects::client::{ClientRequest, Endpoint, Purpose, WrongRequest, carried};
use penstock_runtime::{clock, heavy};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::extent::Extent;
use penstock_schemas::message::MESSAGE_BYTES;
use penstock_schemas::name::RequestId;
use std::collections::BTreeMap;
use std::time::Duration;

/// The most tags that one request may carry, and the longest name or value of one, in bytes.
const TAGS: (usize, usize) = (32, 256);

/// The longest name of a user, in bytes. Anthropic takes 256 characters of `user_id`, OpenAI 64 of `safety_identifier`;
/// clients write JSON into both.
const USER: usize = 512;

/// The longest `traceparent`, in bytes: that of version 00 has 55. Source: <https://www.w3.org/TR/trace-context/>.
const TRACEPARENT: usize = 128;

/// The longest time of a session. OpenAI's own. Source: <https://developers.openai.com/blog/realtime-api>.
const SESSION: Duration = Duration::from_secs(60 * 60);

/// Headers of which one alone can count.
const ONCE: [&str; 11] = [
    "idempotency-key",
    "x-penstock-cache",
    "x-penstock-cache-namespace",
    "x-penstock-explain",
    "x-penstock-resumable",
    "x-penstock-run-at",
    "x-penstock-session",
    "x-penstock-tags",
    "x-penstock-timeout-ms",
    "x-penstock-user",
    "x-penstock-webhook",
];

/// What is said of a header that makes sense for nothing else.
const FOR_ASYNC: &str = "it is for requests with `Prefer: respond-async`";

/// A request of which only the head was read: enough to know who asks.
pub(crate) struct RequestHead {
    pub(crate) deadline: UnixMicros,
    /// What says who asks.
    pub(crate) credentials: Credentials,
    id: RequestId,
    at: UnixMicros,
    endpoint: Endpoint,
    content_type: Option<String>,
    tags: BTreeMap<String, String>,
}

/// Reads the head of a request: what is wrong with it is refused before anything is held for it.
pub(crate) fn read_head(
    parts: Parts,
    endpoint: Endpoint,
    id: RequestId,
    config: &IngressConfig,
) -> Result<RequestHead, Refusal> {
    let at = clock::now();
    let headers = &parts.headers;
    check_once(headers)?;
    check_encoding(headers)?;
    check_length(headers, config.body_limit)?;
    let content_type = check_content_type(headers, &endpoint)?;
    let tags = read_tags(headers)?;
    let longest = if endpoint.operation == Operation::Realtime { SESSION } else { config.total_timeout };
    let timeout = read_timeout(headers)?.map_or(longest, |asked| asked.min(longest));
    let (deadline, credentials) = (at.after(timeout), Credentials::of(parts));
    Ok(RequestHead { deadline, credentials, id, at, endpoint, content_type, tags })
}

/// Reads the rest of a request whose caller is found.
pub(crate) async fn read_rest(
    head: RequestHead,
    body: Body,
    caller: Found,
    ingress: &Shared,
) -> Result<Request, Refusal> {
    let RequestHead { deadline, credentials, id, at, endpoint, content_type, tags } = head;
    let known_at = clock::now();
    let Credentials { headers, query, .. } = credentials;
    let (body, mut memory) = read_body(&headers, body, &ingress.config, &ingress.memory).await?;
    hold_values(&mut memory, &body, endpoint.operation).await?;
    let asked = heavy(body.len(), || endpoint.read(body, content_type)).await?;
    check_user(&asked)?;
    check_headers(&headers)?;
    carried::check(asked.dialect, &headers)?;
    let grant = caller.grant(&asked, Sender { user: user(&headers), tags }, ingress)?;
    let session = heavy(asked.body.len(), || session::read(&headers, &asked.body)).await?;
    let carried_query = carried::query(asked.dialect, query.as_deref());
    let is_async = is_async(&headers, query.as_deref());
    let (webhook, run_at) = (webhook(&headers, is_async, ingress)?, read_run_at(&headers, is_async, at)?);
    let trace = ingress.config.trace(id, header(&headers, "traceparent"));
    let arrival = Arrival { id, at, deadline, headers, carried_query, known_at, trace };
    let mut request = Request::new(grant, arrival, asked, memory);
    (request.is_async, request.webhook, request.run_at) = (is_async, webhook, run_at);
    request.session = session.map(Box::new);
    Ok(request)
}

/// The request that a session begins with: it has no body, and its model stands in its address.
pub(crate) fn begin_session(
    head: RequestHead,
    caller: Found,
    model: &str,
    ingress: &Shared,
) -> Result<Request, Refusal> {
    let RequestHead { deadline, credentials, id, at, tags, .. } = head;
    let known_at = clock::now();
    let Credentials { headers, query, .. } = credentials;
    let memory = reserve_for(&ingress.memory, MESSAGE_BYTES)?;
    let asked = ClientRequest {
        dialect: Dialect::Openai,
        operation: Operation::Realtime,
        model: model.to_owned(),
        user: None,
        delivery: Delivery::Stream,
        body: Bytes::from_static(b"{}"),
        content_type: None,
        extent: Extent::unknown(0),
        purpose: Purpose::Answer,
    };
    check_headers(&headers)?;
    carried::check(asked.dialect, &headers)?;
    let grant = caller.grant(&asked, Sender { user: user(&headers), tags }, ingress)?;
    let session = session::read(&headers, &asked.body)?;
    let carried_query = carried::query(asked.dialect, query.as_deref());
    let trace = ingress.config.trace(id, header(&headers, "traceparent"));
    let arrival = Arrival { id, at, deadline, headers, carried_query, known_at, trace };
    let mut request = Request::new(grant, arrival, asked, memory);
    request.session = session.map(Box::new);
    Ok(request)
}

/// Whether the caller comes back for the answer. Source of the header: <https://www.rfc-editor.org/rfc/rfc7240#section-4.1>.
fn is_async(headers: &HeaderMap, query: Option<&str>) -> bool {
    let preferred = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = preferred.flat_map(|value| value.split([',', ';'])).map(str::trim);
    let is_preferred = preferences.any(|preference| preference.eq_ignore_ascii_case("respond-async"));
    let query = query.unwrap_or_default().as_bytes();
    is_preferred || form_urlencoded::parse(query).any(|(name, value)| name == "async" && value == "true")
}

/// The webhook that is told when the answer is there: one of those that the operator has made.
fn webhook(headers: &HeaderMap, is_async: bool, ingress: &Shared) -> Result<Option<String>, Refusal> {
    const HEADER: &str = "x-penstock-webhook";
    let Some(name) = header(headers, HEADER) else { return Ok(None) };
    let wrong = |why: &str| Err(Refusal::Wrong(WrongRequest::WrongHeader { header: HEADER, why: why.to_owned() }));
    if !is_async {
        return wrong(FOR_ASYNC);
    }
    if !ingress.keys.directory().webhooks.contains_key(name) {
        return wrong("there is no webhook of that name");
    }
    Ok(Some(name.to_owned()))
}

/// Before when nothing is sent.
fn read_run_at(headers: &HeaderMap, is_async: bool, now: UnixMicros) -> Result<Option<UnixMicros>, Refusal> {
    const HEADER: &str = "x-penstock-run-at";
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let at = if is_async { run_at::read(value.to_str().unwrap_or_default(), now) } else { Err(FOR_ASYNC.to_owned()) };
    at.map(Some).map_err(|why| Refusal::Wrong(WrongRequest::WrongHeader { header: HEADER, why }))
}

/// What the head of a request says of its sender.
pub(crate) fn read_sender(headers: &HeaderMap) -> Result<Sender, Refusal> {
    check_headers(headers)?;
    Ok(Sender { user: user(headers), tags: read_tags(headers)? })
}

fn user(headers: &HeaderMap) -> Option<String> {
    header(headers, "x-penstock-user").map(ToOwned::to_owned)
}

fn too_long(most: usize) -> String {
    format!("it must be at most {most} bytes long")
}

/// What the caller names goes into the ledger, into counters and into messages: none of it may be of any length.
pub(super) fn check_user(asked: &ClientRequest) -> Result<(), Refusal> {
    if asked.user.as_ref().is_some_and(|user| user.len() > USER) {
        let field = if asked.dialect == Dialect::Anthropic { "metadata.user_id" } else { "user" };
        return Err(Refusal::Wrong(WrongRequest::WrongField { field, why: too_long(USER) }));
    }
    Ok(())
}

/// Refuses a header that is sent twice with different values: it is not known which counts. A proxy may have added its own.
fn check_once(headers: &HeaderMap) -> Result<(), Refusal> {
    let differs = |name: &&str| {
        let mut values = headers.get_all(*name).iter();
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    match ONCE.into_iter().find(differs) {
        None => Ok(()),
        Some(header) => {
            let why = "it stands twice, with different values".to_owned();
            Err(Refusal::Wrong(WrongRequest::WrongHeader { header, why }))
        }
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    for (header, most) in [("x-penstock-user", USER), ("traceparent", TRACEPARENT)] {
        if headers.get(header).is_some_and(|value| value.len() > most) {
            return Err(Refusal::Wrong(WrongRequest::WrongHeader { header, why: too_long(most) }));
        }
    }
    // Refused, not ignored: the ledger would have no user, or no webhook would be told of the answer.
    for header in ["x-penstock-user", "x-penstock-webhook"] {
        if headers.get(header).is_some_and(|value| value.to_str().is_err()) {
            let why = "it must be printable ASCII characters".to_owned();
            return Err(Refusal::Wrong(WrongRequest::WrongHeader { header, why }));
        }
    }
    Ok(())
}

/// The body's media type, where it is one that the endpoint takes. Without any, it is taken for JSON.
fn check_content_type(headers: &HeaderMap, endpoint: &Endpoint) -> Result<Option<String>, Refusal> {
    let value = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = value.map(|value| value.split(';').next().unwrap_or_default().trim());
    let is = |wanted: &str| essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted));
    let short = || value.unwrap_or_default().chars().take(100).collect();
    if endpoint.takes_form() {
        return if is("multipart/form-data") {
            Ok(value.map(ToOwned::to_owned))
        } else if endpoint.operation == Operation::ImageEdits && is("application/json") {
            Ok(None) // its images are in place
        } else {
            Err(Refusal::NoForm(short()))
        };
    }
    if value.is_none() || is("application/json") { Ok(None) } else { Err(Refusal::WrongContentType(short())) }
}

/// `x-penstock-tags: feature=search,team=web`.
fn read_tags(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Refusal> {
    const HEADER: &str = "x-penstock-tags";
    let wrong = |why: &str| Refusal::Wrong(WrongRequest::WrongHeader { header: HEADER, why: why.to_owned() });
    let mut tags = BTreeMap::new();
    let Some(value) = headers.get(HEADER) else { return Ok(tags) };
    let text = value.to_str().map_err(|_| wrong("it must be ASCII text"))?;
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong("write it as name=value,name=value"))?;
        if name.is_empty() || name.len() > TAGS.1 || value.len() > TAGS.1 {
            return Err(wrong("a name has 1 to 256 characters, a value at most 256"));
        }
        tags.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    if tags.len() > TAGS.0 { Err(wrong("at most 32 tags")) } else { Ok(tags) }
}

fn read_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    const HEADER: &str = "x-penstock-timeout-ms";
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|millis| *millis > 0);
    let wrong = Refusal::Wrong(WrongRequest::WrongHeader {
        header: HEADER,
        why: "it must be a number of milliseconds above 0".to_owned(),
    });
    millis.map(|millis| Some(Duration::from_millis(millis))).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn tags_are_pairs() {
        let tags = read_tags(&headers("x-penstock-tags", "feature=search, team = web=2,")).unwrap();
        assert_eq!(format!("{tags:?}"), r#"{"feature": "search", "team": "web=2"}"#);
        assert!(read_tags(&headers("x-penstock-tags", "feature")).is_err());
    }

    #[test]
    fn a_user_and_a_webhook_that_cannot_be_read_are_refused_and_not_passed_over() {
        for name in ["x-penstock-user", "x-penstock-webhook"] {
            assert!(check_headers(&headers(name, "one")).is_ok());
            let odd = HeaderValue::from_bytes(b"on\xc3\xa9").unwrap();
            let odd = HeaderMap::from_iter([(http::HeaderName::from_static(name), odd)]);
            assert!(check_headers(&odd).is_err(), "{name}");
        }
    }

    #[test]
    fn a_header_of_ours_that_comes_with_two_values_is_refused() {
        for name in ONCE {
            let mut sent = headers(name, "one");
            sent.append(name, HeaderValue::from_static("one"));
            assert!(check_once(&sent).is_ok(), "{name}");
            sent.append(name, HeaderValue::from_static("two"));
            assert!(check_once(&sent).is_err(), "{name}");
        }
    }

    #[test]
    fn only_json_is_taken_but_where_it_is_a_form() {
        let endpoint = |operation| Endpoint::new(Dialect::Openai, operation);
        let (chat, audio) = (endpoint(Operation::Chat), endpoint(Operation::Transcriptions));
        assert!(check_content_type(&headers("content-type", "application/json; charset=utf-8"), &chat).is_ok());
        assert!(check_content_type(&HeaderMap::new(), &chat).is_ok());
        assert!(check_content_type(&headers("content-type", "text/plain"), &chat).is_err());
        let form = headers("content-type", "multipart/form-data; boundary=b");
        assert!(check_content_type(&form, &chat).is_err());
        assert_eq!(check_content_type(&form, &audio).unwrap().as_deref(), Some("multipart/form-data; boundary=b"));
        assert!(check_content_type(&HeaderMap::new(), &audio).is_err());
    }
}
