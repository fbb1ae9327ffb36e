//! The content of a file on its way to a client: read as fast as the client reads, for as long as its key holds. Knows
//! nothing of dialects.

use crate::http::reply;
use crate::keys::grant::Grant;
use crate::state::Shared;
use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use hyper::body::{Frame, SizeHint};
use penstock_runtime::bus::BusError;
use penstock_runtime::clock;
use penstock_runtime::memory::Reserved;
use penstock_schemas::file::StoredFile;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::select;
use tracing::warn;

/// The rest of a file.
struct Content {
    bytes: BoxStream<'static, Result<Bytes, Ended>>,
    left: u64,
    _memory: Reserved,
}

/// Why a content ends before its end. The connection is broken off then, so that a part is not taken for the whole.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("the key holds no longer")]
    Revoked,
}

/// The response that holds all of a file. It ends early when the caller's right does.
pub(crate) fn content(ingress: &Shared, file: &StoredFile, grant: Grant, memory: Reserved) -> Response {
    let bytes = ingress.files.read(file, 0..file.bytes).boxed();
    let bytes = futures_util::stream::unfold((bytes, grant), |(mut bytes, mut grant)| async move {
        let next = select! {
            biased;
            _ = grant.over() => Err(Ended::Revoked),
            next = bytes.next() => next?.map_err(Ended::from),
        };
        if let Err(error) = &next {
            warn!(%error, "the content of a file is broken off");
        }
        Some((next, (bytes, grant)))
    });
    let body = Content { bytes: bytes.boxed(), left: file.bytes, _memory: memory };
    reply::content(headers(file), Body::new(body), clock::request_id())
}

/// A browser that is led here is to show nothing: the bytes are a caller's.
fn headers(file: &StoredFile) -> HeaderMap {
    let name = &file.description.filename;
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' }).collect();
    let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let disposition = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}");
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).expect("printable ASCII is a header value")),
    ])
}

impl HttpBody for Content {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.bytes.poll_next_unpin(cx).map_ok(|bytes| {
            self.left = self.left.saturating_sub(bytes.len() as u64);
            Frame::data(bytes)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
