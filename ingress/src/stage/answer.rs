//! The answer as HTTP: whole or as a stream, or a refusal, with the reply headers. Chooses no status and no words of its
//! own: `status` and `dialect` do.

use super::dispatch::Placed;
use super::record::Record;
use crate::dialect::openai;
use crate::refusal::Refusal;
use crate::status;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use penstock_runtime::bus::Call;
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::{Ended, Head, Payload};
use penstock_schemas::name::RequestId;
use std::convert::Infallible;

/// An answer that has begun.
pub(crate) enum Answer {
    /// All of it.
    Whole(Box<Ended>, Bytes),
    /// Its first content; the rest follows.
    Stream(Box<Streaming>),
}

/// A stream on its way to the client.
pub(crate) struct Streaming {
    head: Head,
    first: Bytes,
    call: Call,
    placed: Placed,
}

impl Answer {
    pub(crate) fn stream(head: Head, first: Bytes, call: Call, placed: Placed) -> Self {
        Self::Stream(Box::new(Streaming { head, first, call, placed }))
    }

    /// The response. `record` goes with it, and is written when the last byte is out or the client is gone.
    pub(crate) fn respond(self, id: RequestId, mut record: Record) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(openai::content_type(record.delivery())));
        set(&mut headers, "x-penstock-cache", record.cache().as_str());
        let body = match self {
            Self::Whole(ended, bytes) => {
                if let Some(head) = &ended.head {
                    describe(&mut headers, head);
                }
                if let Some(cost) = ended.summary.cost.filter(|_| record.delivery() == Delivery::Whole) {
                    set(&mut headers, "x-penstock-cost-usd", &cost.to_string());
                }
                record.served(&ended.summary);
                Body::from(bytes)
            }
            Self::Stream(streaming) => {
                describe(&mut headers, &streaming.head);
                streaming.body(id, record)
            }
        };
        if headers[CONTENT_TYPE] != "application/json" {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        finish(status::ANSWERED, headers, body, id)
    }
}

impl Streaming {
    fn body(self, id: RequestId, record: Record) -> Body {
        let Self { first, call, placed, .. } = self;
        let state = (Some(first), call, placed, record);
        let rest = stream::unfold(Some(state), move |state| async move {
            let (first, mut call, placed, mut record) = state?;
            if let Some(first) = first {
                let next = (None, call, placed, record);
                return Some((Ok::<_, Infallible>(first), Some(next)));
            }
            let (bytes, is_last) = next_bytes(&mut call, &mut record, id).await;
            Some((Ok(bytes), (!is_last).then_some((None, call, placed, record))))
        });
        Body::from_stream(rest)
    }
}

/// The next bytes for the client, and whether they are the last.
async fn next_bytes(call: &mut Call, record: &mut Record, id: RequestId) -> (Bytes, bool) {
    let failure: Failure = loop {
        match call.next().await {
            Ok(Payload::Accepted(_) | Payload::Alive | Payload::Gone) => {}
            Ok(Payload::Chunk(_, bytes)) => {
                call.consumed(bytes.len());
                return (bytes, false);
            }
            Ok(Payload::End(ended, bytes)) => {
                record.served(&ended.summary);
                return (bytes, true);
            }
            Ok(Payload::Failed(failed)) => break failed.failure,
            Err(failure) => break failure,
        }
    };
    record.broken(&failure);
    (openai::error_event(&failure, id), true)
}

fn describe(headers: &mut HeaderMap, head: &Head) {
    set(headers, "x-penstock-target", &head.target.to_string());
    set(headers, "x-penstock-attempts", &head.attempts.to_string());
}

/// The response that says why not.
pub(crate) fn refuse(refusal: &Refusal, id: RequestId) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = refusal.retry_after() {
        // Whole seconds, rounded up: a header of 0 would ask for a storm.
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        headers.insert(RETRY_AFTER, HeaderValue::from_str(&seconds.to_string()).expect("digits are a header value"));
    }
    finish(status::of(refusal), headers, Body::from(openai::error_body(refusal, id).to_string()), id)
}

/// Any other JSON.
pub(crate) fn json(value: &impl serde::Serialize, id: RequestId) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = serde_json::to_vec(value).expect("answers have a JSON form");
    finish(status::ANSWERED, headers, Body::from(body), id)
}

fn finish(status: StatusCode, mut headers: HeaderMap, body: Body, id: RequestId) -> Response {
    let id = id.to_string();
    // The official OpenAI SDKs show `x-request-id` with their errors.
    set(&mut headers, "x-request-id", &id);
    set(&mut headers, "x-penstock-request-id", &id);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Sets a header; characters that a header cannot hold become `?`.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let safe: String = value.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    headers.insert(
        HeaderName::from_static(name),
        HeaderValue::from_str(&safe).expect("printable ASCII is a header value"),
    );
}
