//! A request and its answer, kept to be read later where the operator asks for it: what is kept of them, and what deletes
//! them. Knows nothing of who is asked for that.

use crate::UnixMicros;
use crate::caller::Caller;
use crate::dialect::Dialect;
use crate::name::RequestId;
use crate::spend::ReportReply;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the caller sent and got. Secrets are masked before it leaves the ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBody {
    /// The request.
    pub request_id: RequestId,
    /// When it came.
    pub received_at: UnixMicros,
    /// Whose it is.
    pub caller: Caller,
    /// In whose words both are.
    pub dialect: Dialect,
    /// The model, as the caller named it.
    pub model: String,
    /// What was asked, from its beginning, as far as the limit goes.
    pub request: String,
    /// How long that was, in bytes.
    pub request_bytes: u64,
    /// What was answered, from its beginning, as far as the limit goes.
    pub answer: String,
    /// How long that was, in bytes.
    pub answer_bytes: u64,
    /// What was sent to the provider, where that is not the request: from its beginning, as far as the limit goes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sent: String,
    /// How long that was, in bytes.
    #[serde(default)]
    pub sent_bytes: u64,
}

/// What a worker sent to a provider, where that is not what the caller sent: from its beginning, and unmasked, as the request
/// itself travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentBody {
    /// From its beginning, as far as it was asked for.
    pub text: String,
    /// How long it was, in bytes.
    pub bytes: u64,
}

/// The most that a worker tells of what it sent, in bytes: it goes with the first frame of an answer.
pub const SENT_BYTES: usize = 64 << 10;

/// That it is stored.
pub type KeptReply = ReportReply<bool>;

/// Whose bodies are to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyDeletion {
    /// The user, or the end user, of the requests.
    pub user: String,
    /// In this project; absent: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// What was deleted, and the proof: how many are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BodyDeleted {
    /// Bodies of that user that there were.
    pub deleted: u64,
    /// Bodies of that user that there are now, counted after the deletion.
    pub left: u64,
}

/// Whether a request is one of this share: always the same for the same request, in every process.
pub fn is_sampled(request: RequestId, share: f64) -> bool {
    // The last bits of an id are random. A share of 1 is above every fraction.
    let random = u32::from_be_bytes(request.0.as_bytes()[12..].try_into().unwrap_or_default());
    f64::from(random) / (f64::from(u32::MAX) + 1.0) < share
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_share_takes_as_many_requests_as_it_says() {
        let ids =
            (0..10_000_u64).map(|at| RequestId(Uuid::from_u128(u128::from(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)))));
        let taken = |share: f64| ids.clone().filter(|id| is_sampled(*id, share)).count();
        assert_eq!((taken(0.0), taken(1.0)), (0, 10_000));
        assert!((900..1_100).contains(&taken(0.1)), "{}", taken(0.1));
    }
}
