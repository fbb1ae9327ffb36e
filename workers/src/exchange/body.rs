//! The body of a provider's answer in one piece, within bounds. Knows nothing of what the answer says.

use super::MEMORY_FULL;
use ::bytes::{Bytes, BytesMut};
use penstock_runtime::memory::Reserved;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::ProviderId;
use reqwest::Response;

/// How often a whole answer may be held at once: as it came, in the agnostic form, and on its way to the bus.
const ANSWER_COPIES: usize = 3;

/// The innermost reason, which says most; never the URL, which may hold what the operator keeps for himself.
pub fn describe(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// Why a whole answer could not be read.
pub enum Unread {
    Broken,
    TooLong,
    /// Paid for and not held: there is no memory for it.
    MemoryFull,
}

impl Unread {
    pub fn into_failure(self, provider: &ProviderId) -> Failure {
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

/// Each piece has its place in the memory before it is kept.
pub async fn read_up_to(mut response: Response, limit: usize, memory: &mut Reserved) -> Result<Bytes, Unread> {
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
