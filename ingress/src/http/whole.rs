//! The body of an answer that is there whole: it goes to the socket in pieces, and keeps its place in the process's memory
//! until the last of them is written. Knows nothing of what the bytes mean.

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What goes to the socket at once, in bytes.
const PIECE: usize = 64 * 1024;

/// The rest of an answer, and what is kept until it is written.
pub(crate) struct WholeBody<K> {
    rest: Bytes,
    _kept: K,
}

impl<K> WholeBody<K> {
    pub(crate) fn new(bytes: Bytes, kept: K) -> Self {
        Self { rest: bytes, _kept: kept }
    }
}

impl<K: Unpin> HttpBody for WholeBody<K> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn all_of_it_comes_in_pieces_of_a_known_size() {
        let bytes: Bytes = (0..200_000_u32).map(|n| n.to_be_bytes()[3]).collect();
        let mut body = WholeBody::new(bytes.clone(), ());
        assert_eq!(body.size_hint().exact(), Some(200_000));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), PIECE);
        assert_eq!([first, body.collect().await.unwrap().to_bytes()].concat(), bytes);
    }
}
