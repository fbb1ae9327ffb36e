//! Stage 1: bytes into a request of a known shape, within limits of size and time. Knows nothing of who asks.

use crate::config::IngressConfig;
use crate::dialect::{Asked, Endpoint};
use crate::refusal::Refusal;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::RequestId;
use std::collections::BTreeMap;
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
}

/// Reads the whole request.
pub(crate) async fn receive(
    request: Request,
    endpoint: Endpoint,
    id: RequestId,
    config: &IngressConfig,
) -> Result<Received, Refusal> {
    let at = clock::now();
    let (parts, body) = request.into_parts();
    check_content_type(&parts.headers)?;
    let expected = header(&parts.headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
    let body = read_body(body, expected, config).await?;
    let asked = endpoint.read(body, None)?;
    let tags = read_tags(&parts.headers)?;
    let deadline =
        at.after(read_timeout(&parts.headers)?.map_or(config.total_timeout, |asked| asked.min(config.total_timeout)));
    let query = parts.uri.query().map(ToOwned::to_owned);
    Ok(Received { id, at, headers: parts.headers, query, asked, tags, deadline })
}

/// A header's value, when it is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let value = value.to_str().unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Refusal::WrongContentType(value.chars().take(100).collect()))
    }
}

async fn read_body(body: axum::body::Body, expected: Option<usize>, config: &IngressConfig) -> Result<Bytes, Refusal> {
    let limit = config.body_limit;
    if expected.is_some_and(|expected| expected > limit) {
        return Err(Refusal::BodyTooLarge { limit });
    }
    let read = timeout(config.body_timeout, collect(body, expected.unwrap_or(0), limit)).await;
    read.map_err(|_| Refusal::SlowBody(config.body_timeout))?
}

async fn collect(mut body: axum::body::Body, expected: usize, limit: usize) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        if bytes.is_empty() && data.len() == expected {
            return Ok(data);
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
    fn only_json_is_taken() {
        assert!(check_content_type(&headers("content-type", "application/json; charset=utf-8")).is_ok());
        assert!(check_content_type(&HeaderMap::new()).is_ok());
        assert!(check_content_type(&headers("content-type", "text/plain")).is_err());
    }
}
