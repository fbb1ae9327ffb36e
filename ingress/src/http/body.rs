//! Bodies of requests, read within limits of size, time and memory; and the headers that say what a body is. Knows nothing
//! of what the bytes mean.

use super::unpack::BodyEncoding;
use crate::config::IngressConfig;
use crate::refusal::Refusal;
use axum::body::{Body, to_bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use penstock_runtime::heavy;
use penstock_runtime::memory::{Memory, MemoryFull, Reserved, values};
use penstock_schemas::envelope::Operation;
use penstock_schemas::frame::STREAM_CREDIT;
use std::time::Duration;
use tokio::time::timeout;

/// How often a request's body may be held at once: as it came, in its agnostic form, on its way to the bus.
const COPIES: usize = 3;

/// What a request takes besides its body, in bytes: what may wait of its answer, on the bus and at the socket, and its own
/// small parts.
const ANSWER: usize = STREAM_CREDIT as usize + 128 * 1024;

/// The longest body that is read before its sender is authenticated, in bytes.
const SHORT: usize = 8 * 1024;

/// The longest body that holds no request to a model, in bytes.
const SMALL: usize = 1024 * 1024;

/// A header's value, when it is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Refuses a body in an encoding that is not known here.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    BodyEncoding::of(headers).map(drop)
}

/// Refuses any compressed body, where files are kept as they come.
pub(crate) fn refuse_encoded(headers: &HeaderMap) -> Result<(), Refusal> {
    match BodyEncoding::of(headers)? {
        None => Ok(()),
        Some(_) => Err(Refusal::WrongEncoding(header(headers, "content-encoding").unwrap_or_default().to_owned())),
    }
}

/// What is announced to be too long is not waited for.
pub(crate) fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), Refusal> {
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
    read_json_within(headers, body, config, (memory, config.body_limit)).await
}

/// The same of what holds no request to a model: a question, an object, a few fields.
pub(crate) async fn read_small_json(
    headers: &HeaderMap,
    body: Body,
    config: &IngressConfig,
    memory: &Memory,
) -> Result<(Bytes, Reserved), Refusal> {
    let limit = config.body_limit.min(SMALL);
    let (body, mut reserved) = read_json_within(headers, body, config, (memory, limit)).await?;
    reserved.grow(values(&body))?;
    Ok((body, reserved))
}

/// Makes room for the values of a request, which are all read at some point: but where they are numbers of tokens.
pub(crate) async fn hold_values(reserved: &mut Reserved, body: &Bytes, operation: Operation) -> Result<(), MemoryFull> {
    if operation == Operation::Embeddings {
        return Ok(());
    }
    reserved.grow(heavy(body.len(), || values(body)).await)
}

async fn read_json_within(
    headers: &HeaderMap,
    body: Body,
    config: &IngressConfig,
    (memory, limit): (&Memory, usize),
) -> Result<(Bytes, Reserved), Refusal> {
    check_encoding(headers)?;
    check_length(headers, limit)?;
    check_json(headers)?;
    read_within(headers, body, config, (memory, limit)).await
}

/// Reads JSON before its sender is authenticated, as at a login: at most [`SHORT`] bytes, which the memory for requests does
/// not count.
pub(crate) async fn read_short_json(headers: &HeaderMap, body: Body, wait: Duration) -> Result<Bytes, Refusal> {
    refuse_encoded(headers)?;
    check_json(headers)?;
    let read = timeout(wait, to_bytes(body, SHORT)).await.map_err(|_| Refusal::SlowBody(wait))?;
    read.map_err(|_| Refusal::BodyTooLarge { limit: SHORT })
}

fn check_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default()).unwrap_or("application/json");
    let essence = value.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json")
        && !essence.eq_ignore_ascii_case("application/merge-patch+json")
    {
        return Err(Refusal::WrongContentType(value.chars().take(100).collect()));
    }
    Ok(())
}

/// What a request takes whose body is here already.
pub(crate) async fn reserve(memory: &Memory, body: &Bytes, operation: Operation) -> Result<Reserved, MemoryFull> {
    let mut reserved = reserve_for(memory, body.len())?;
    hold_values(&mut reserved, body, operation).await?;
    Ok(reserved)
}

/// What one takes of so many bytes whose values are not all read.
pub(crate) fn reserve_for(memory: &Memory, bytes: usize) -> Result<Reserved, MemoryFull> {
    memory.reserve(ANSWER + bytes * COPIES)
}

/// Memory is reserved as the bytes arrive: what is only announced holds none. What was compressed counts as it comes out.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    config: &IngressConfig,
    memory: &Memory,
) -> Result<(Bytes, Reserved), Refusal> {
    read_within(headers, body, config, (memory, config.body_limit)).await
}

async fn read_within(
    headers: &HeaderMap,
    body: Body,
    config: &IngressConfig,
    (memory, limit): (&Memory, usize),
) -> Result<(Bytes, Reserved), Refusal> {
    let mut reserved = memory.reserve(ANSWER)?;
    let encoding = BodyEncoding::of(headers)?;
    let _window = memory.reserve(encoding.map_or(0, BodyEncoding::window))?;
    let body = match encoding {
        None => body,
        Some(encoding) => encoding.unpacked(body),
    };
    let read = timeout(config.body_timeout, collect(body, limit, &mut reserved)).await;
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
