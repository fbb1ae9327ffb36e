//! A request whose answer is kept, so that asking again gives the same answer: what is remembered of it under its
//! caller's key. Knows nothing of the answer.

use crate::UnixMicros;
use crate::name::{ProcessId, RequestId};
use serde::{Deserialize, Serialize};

/// The request that was first to use a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The request.
    pub request_id: RequestId,
    /// The ingress that took it: its frames are kept under both names.
    pub ingress: ProcessId,
    /// What was asked, as a digest: the same key with something else is a mistake.
    pub digest: String,
    /// When.
    pub at: UnixMicros,
}
