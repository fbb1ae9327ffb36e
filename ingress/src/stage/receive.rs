//! Stage 1: bytes into a request of a known shape, within limits of size and time; first its head, and its body once its
//! caller is known. Knows nothing of who asks.

use crate::config::IngressConfig;
use crate::dialect::{Asked, Endpoint, carried};
use crate::refusal::Refusal;
use crate::role::Shared;
use crate::strangers::Peer;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use penstock_runtime::memory::{Memory, Reserved};
use penstock_runtime::{clock, heavy};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::frame::STREAM_CREDIT;
use penstock_schemas::name::{BatchId, RequestId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The most tags that one request may carry, and the longest name or value of one, in bytes.
const TAGS: (usize, usize) = (32, 256);

/// The longest name of a user, in bytes. Anthropic takes 256 characters of `user_id`, OpenAI 64 of `safety_identifier`;
/// clients write JSON into both.
const USER: usize = 512;

/// The longest `traceparent`, in bytes: that of version 00 has 55. Source: <https://www.w3.org/TR/trace-context/>.
const TRACEPARENT: usize = 128;

/// How often a request's body may be held at once: as it came, in its agnostic form, on its way to the bus.
const COPIES: usize = 3;

/// What a request takes besides its body, in bytes: what may wait of its answer, on the bus and at the socket, and its own
/// small parts.
const ANSWER: usize = STREAM_CREDIT as usize + 128 * 1024;

/// A request of which only the head was read: enough to know who asks.
pub(crate) struct RequestHead {
    pub(crate) id: RequestId,
    pub(crate) at: UnixMicros,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: HeaderMap,
    /// The query of the address.
    pub(crate) query: Option<String>,
    pub(crate) deadline: UnixMicros,
    /// Who sends it.
    pub(crate) peer: Peer,
    content_type: Option<String>,
    tags: BTreeMap<String, String>,
}

/// A request that can be understood.
pub(crate) struct Received {
    pub(crate) id: RequestId,
    pub(crate) at: UnixMicros,
    pub(crate) headers: HeaderMap,
    /// The parameters of the address that a provider of the caller's dialect is to see.
    pub(crate) carried_query: BTreeMap<String, String>,
    pub(crate) asked: Asked,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) deadline: UnixMicros,
    /// The batch that it is a line of; `None`: a client waits for the answer.
    pub(crate) batch: Option<BatchId>,
    /// Its place in the process's memory, as long as the request lasts.
    pub(crate) memory: Arc<Reserved>,
}

/// Reads the head of a request: what is wrong with it is refused before anything is held for it.
pub(crate) fn read_head(
    parts: Parts,
    endpoint: Endpoint,
    id: RequestId,
    config: &IngressConfig,
) -> Result<RequestHead, Refusal> {
    let (at, peer) = (clock::now(), Peer::of(&parts));
    let headers = parts.headers;
    check_encoding(&headers)?;
    check_length(&headers, config)?;
    let content_type = check_content_type(&headers, &endpoint)?;
    let tags = read_tags(&headers)?;
    let timeout = read_timeout(&headers)?.map_or(config.total_timeout, |asked| asked.min(config.total_timeout));
    let query = parts.uri.query().map(ToOwned::to_owned);
    Ok(RequestHead { id, at, endpoint, headers, query, deadline: at.after(timeout), peer, content_type, tags })
}

/// Reads the rest of a request whose caller is known.
pub(crate) async fn read_rest(head: RequestHead, body: Body, ingress: &Shared) -> Result<Received, Refusal> {
    let RequestHead { id, at, endpoint, headers, query, deadline, content_type, tags, .. } = head;
    let (body, memory) = read_body(body, &ingress.config, &ingress.memory).await?;
    let asked = heavy(body.len(), || endpoint.read(body, content_type))?;
    check_names(&asked, &headers)?;
    carried::check(asked.dialect, &headers)?;
    let carried_query = carried::query(asked.dialect, query.as_deref());
    Ok(Received { id, at, headers, carried_query, asked, tags, deadline, batch: None, memory: Arc::new(memory) })
}

/// What the caller names goes into the ledger, into counters and into messages: none of it may be of any length.
fn check_names(asked: &Asked, headers: &HeaderMap) -> Result<(), Refusal> {
    let why = |most: usize| format!("it must be at most {most} bytes long");
    if asked.user.as_ref().is_some_and(|user| user.len() > USER) {
        let field = if asked.dialect == Dialect::Anthropic { "metadata.user_id" } else { "user" };
        return Err(Refusal::WrongField { field, why: why(USER) });
    }
    for (header, most) in [("x-penstock-user", USER), ("traceparent", TRACEPARENT)] {
        if headers.get(header).is_some_and(|value| value.len() > most) {
            return Err(Refusal::WrongHeader { header, why: why(most) });
        }
    }
    Ok(())
}

/// A header's value, when it is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
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
        } else {
            Err(Refusal::NoForm(short()))
        };
    }
    if value.is_none() || is("application/json") { Ok(None) } else { Err(Refusal::WrongContentType(short())) }
}

/// A compressed body could be any size once it is unpacked: nobody sends one but by mistake.
fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(()) };
    let value = value.to_str().unwrap_or_default();
    if value.trim().is_empty() || value.trim().eq_ignore_ascii_case("identity") {
        return Ok(());
    }
    Err(Refusal::WrongEncoding(value.chars().take(100).collect()))
}

/// What is announced to be too long is not waited for.
fn check_length(headers: &HeaderMap, config: &IngressConfig) -> Result<(), Refusal> {
    let limit = config.body_limit;
    let announced = header(headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) { Err(Refusal::BodyTooLarge { limit }) } else { Ok(()) }
}

/// Reads the JSON body of a request that is no call.
pub(crate) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    config: &IngressConfig,
    memory: &Memory,
) -> Result<(Bytes, Reserved), Refusal> {
    check_encoding(headers)?;
    check_length(headers, config)?;
    let value = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default()).unwrap_or("application/json");
    let essence = value.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json")
        && !essence.eq_ignore_ascii_case("application/merge-patch+json")
    {
        return Err(Refusal::WrongContentType(value.chars().take(100).collect()));
    }
    read_body(body, config, memory).await
}

/// Memory is reserved as the bytes arrive: what is only announced holds none.
async fn read_body(body: Body, config: &IngressConfig, memory: &Memory) -> Result<(Bytes, Reserved), Refusal> {
    let mut reserved = memory.reserve(ANSWER)?;
    let read = timeout(config.body_timeout, collect(body, config.body_limit, &mut reserved)).await;
    let body = read.map_err(|_| Refusal::SlowBody(config.body_timeout))??;
    Ok((body, reserved))
}

async fn collect(mut body: Body, limit: usize, reserved: &mut Reserved) -> Result<Bytes, Refusal> {
    let (mut first, mut rest) = (None, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
        if first.as_ref().map_or(rest.len(), Bytes::len) + data.len() > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        reserved.grow(data.len() * COPIES)?;
        // Most bodies come in one piece, which need not be copied.
        if first.is_none() && rest.is_empty() {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// `x-penstock-tags: feature=search,team=web`.
fn read_tags(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Refusal> {
    const HEADER: &str = "x-penstock-tags";
    let wrong = |why: &str| Refusal::WrongHeader { header: HEADER, why: why.to_owned() };
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
    let wrong = Refusal::WrongHeader { header: HEADER, why: "it must be a number of milliseconds above 0".to_owned() };
    millis.map(|millis| Some(Duration::from_millis(millis))).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use penstock_schemas::envelope::{Dialect, Operation};

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

    #[test]
    fn what_is_compressed_is_refused() {
        assert!(check_encoding(&headers("content-encoding", "identity")).is_ok());
        assert!(check_encoding(&headers("content-encoding", "gzip")).is_err());
    }
}
