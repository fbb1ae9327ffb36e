//! The body of a provider's answer in one piece, within bounds. Knows nothing of what the answer says.

use super::MEMORY_FULL;
use ::bytes::{Bytes, BytesMut};
use penstock_runtime::memory::Reserved;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::ProviderId;
use reqwest::Response;
use std::time::Duration;
use tokio::time::timeout;

/// How often a whole answer may be held at once: as it came, in the agnostic form, and on its way to the bus.
const ANSWER_COPIES: usize = 3;

/// The most of a refusal's body that is read, in bytes, and the longest wait for it: the status has said what counts.
const REFUSAL_BYTES: usize = 64 * 1024;
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// The innermost reason, which says most; never the URL, which may hold what the operator keeps for himself.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// Why a whole answer could not be read.
pub(crate) enum Unread {
    Broken,
    TooLong,
    /// Paid for and not held: there is no memory for it.
    MemoryFull,
}

impl Unread {
    pub(crate) fn into_failure(self, provider: &ProviderId) -> Failure {
        match self {
            Self::Broken => Failure::provider(FailureKind::Broken, format!("{provider} broke its answer off")),
            Self::TooLong => {
                let why = format!("{provider} answered with more bytes than are allowed");
                Failure::provider(FailureKind::Broken, why)
            }
            Self::MemoryFull => Failure::gateway(FailureKind::Internal, MEMORY_FULL),
        }
    }
}

/// The beginning of a refusal's body. One that is longer, breaks off or does not end says what has come of it.
pub(crate) async fn read_refusal(mut response: Response) -> Bytes {
    let mut body = BytesMut::new();
    let read = async {
        while body.len() < REFUSAL_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES - body.len())]);
        }
    };
    // What it has not said by then is not waited for.
    let _ = timeout(REFUSAL_TIME, read).await;
    body.freeze()
}

/// Each piece has its place in the memory before it is kept.
pub(crate) async fn read_up_to(mut response: Response, limit: usize, memory: &mut Reserved) -> Result<Bytes, Unread> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Unread::Broken)? {
        if body.is_empty() && response.content_length() == Some(chunk.len() as u64) {
            return Ok(chunk);
        }
        if body.len() + chunk.len() > limit {
            return Err(Unread::TooLong);
        }
        memory.grow(chunk.len() * ANSWER_COPIES).map_err(|_| Unread::MemoryFull)?;
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{Stream, StreamExt, stream};
    use std::io;

    fn refusal(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Response {
        http::Response::builder().status(500).body(reqwest::Body::wrap_stream(pieces)).unwrap().into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_is_long_breaks_off_or_does_not_end_says_what_came_of_it() {
        let piece = || Ok(Bytes::from_static(b"no room"));
        let broken = stream::iter([piece(), Err(io::ErrorKind::ConnectionReset.into())]);
        assert_eq!(read_refusal(refusal(broken)).await, "no room");
        let silent = stream::iter([piece()]).chain(stream::pending());
        assert_eq!(read_refusal(refusal(silent)).await, "no room");
        let endless = stream::repeat_with(piece);
        let read = read_refusal(refusal(endless)).await;
        assert_eq!((read.len(), read.starts_with(b"no room")), (REFUSAL_BYTES, true));
    }
}
