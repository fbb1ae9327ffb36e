//! Stage 1: bytes into a request of a known shape, within limits of size and time. Knows nothing of who asks.

use crate::config::IngressConfig;
use crate::dialect::{Asked, Endpoint};
use crate::refusal::Refusal;
use crate::role::Shared;
use crate::room::{Reserved, Room};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::RequestId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The most tags that one request may carry, and the longest name or value of one, in bytes.
const TAGS: (usize, usize) = (32, 256);

/// A request that can be understood.
pub(crate) struct Received {
    pub(crate) id: RequestId,
    pub(crate) at: UnixMicros,
    pub(crate) headers: HeaderMap,
    /// The query of the address.
    pub(crate) query: Option<String>,
    pub(crate) asked: Asked,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) deadline: UnixMicros,
    /// Its place in the process's memory, as long as the request lasts.
    pub(crate) room: Arc<Reserved>,
}

/// Reads the whole request.
pub(crate) async fn receive(
    request: Request,
    endpoint: Endpoint,
    id: RequestId,
    ingress: &Shared,
) -> Result<Received, Refusal> {
    let (config, room) = (&ingress.config, &ingress.room);
    let at = clock::now();
    let (parts, body) = request.into_parts();
    check_encoding(&parts.headers)?;
    let content_type = check_content_type(&parts.headers, &endpoint)?;
    let expected = header(&parts.headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
    let (body, room) = read_body(body, expected, config, room).await?;
    let asked = endpoint.read(body, content_type)?;
    let tags = read_tags(&parts.headers)?;
    let deadline =
        at.after(read_timeout(&parts.headers)?.map_or(config.total_timeout, |asked| asked.min(config.total_timeout)));
    let query = parts.uri.query().map(ToOwned::to_owned);
    Ok(Received { id, at, headers: parts.headers, query, asked, tags, deadline, room: Arc::new(room) })
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

/// Reads the JSON body of a request that is no call.
pub(crate) async fn read_json(
    headers: &HeaderMap,
    body: axum::body::Body,
    config: &IngressConfig,
    room: &Room,
) -> Result<(Bytes, Reserved), Refusal> {
    check_encoding(headers)?;
    let value = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default()).unwrap_or("application/json");
    let essence = value.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json")
        && !essence.eq_ignore_ascii_case("application/merge-patch+json")
    {
        return Err(Refusal::WrongContentType(value.chars().take(100).collect()));
    }
    let expected = header(headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
    read_body(body, expected, config, room).await
}

async fn read_body(
    body: axum::body::Body,
    expected: Option<usize>,
    config: &IngressConfig,
    room: &Room,
) -> Result<(Bytes, Reserved), Refusal> {
    let limit = config.body_limit;
    if expected.is_some_and(|expected| expected > limit) {
        return Err(Refusal::BodyTooLarge { limit });
    }
    let mut reserved = room.reserve(expected.unwrap_or(0))?;
    let read = timeout(config.body_timeout, collect(body, expected.unwrap_or(0), limit, &mut reserved)).await;
    let body = read.map_err(|_| Refusal::SlowBody(config.body_timeout))??;
    Ok((body, reserved))
}

async fn collect(
    mut body: axum::body::Body,
    expected: usize,
    limit: usize,
    reserved: &mut Reserved,
) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        if bytes.is_empty() && data.len() == expected {
            return Ok(data);
        }
        if bytes.len() + data.len() > expected {
            reserved.grow(data.len())?;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
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
