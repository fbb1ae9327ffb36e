//! What a worker tells of a pool of its own, each second and at once when something changes: so all processes see the same
//! capacity, the same failures and the same limits. Knows nothing of what anybody concludes from it.

use crate::UnixMicros;
use crate::failure::FailureKind;
use crate::name::{ModelId, ProcessId, ProviderId, Target};
use serde::{Deserialize, Serialize};

/// How far back outcomes are told, in seconds.
pub const WINDOW_SECONDS: u64 = 30;

/// One worker's pool of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolState {
    /// The worker.
    pub worker: ProcessId,
    /// The provider.
    pub provider: ProviderId,
    /// When this was true.
    pub at: UnixMicros,
    /// Calls that it takes at once.
    pub slots: u32,
    /// Those that are not taken now.
    pub free: u32,
    /// Of the slots, those that calls of batches may have.
    #[serde(default)]
    pub batch_slots: u32,
    /// Of those that are free, the ones that calls of batches may have now.
    #[serde(default)]
    pub batch_free: u32,
    /// Calls that have ended within the last second.
    #[serde(default)]
    pub ended_per_second: u32,
    /// Whether it stops, and takes no more calls.
    #[serde(default)]
    pub leaving: bool,
    /// When the worker began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<UnixMicros>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The machine that it runs on, as that calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What became of the calls of the last [`WINDOW_SECONDS`], by model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetState>,
    /// What is known of the provider's limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<Quota>,
    /// The pauses that an operator has lifted: what was known of those limits before is forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Resumed>,
}

/// That a model's pauses are lifted, as workers tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The model.
    pub model: ModelId,
    /// What a provider said later holds.
    pub at: UnixMicros,
}

/// That a target's pauses are to be lifted, as all workers are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The target.
    pub target: Target,
}

/// What became of the last calls of one model at one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetState {
    /// The model.
    pub model: ModelId,
    /// The seconds in which something ended: second since 1970, successes, failures that speak against the provider.
    pub seconds: Vec<(u64, u32, u32)>,
    /// The time to the first content that 19 of 20 calls kept, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_p95_ms: Option<u32>,
    /// The last failure of those counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
}

/// What is left of one key's limits at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Which key: a short digest of it.
    pub key: String,
    /// The model that the limits are for.
    pub model: ModelId,
    /// When the provider said so.
    pub at: UnixMicros,
    /// No call before then: the provider has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<UnixMicros>,
    /// Requests that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Allowance>,
    /// Tokens that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Allowance>,
}

/// What is left of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// How much.
    pub remaining: u64,
    /// Of how much; 0 when the provider does not say.
    #[serde(default)]
    pub limit: u64,
    /// When it is whole again.
    pub resets_at: UnixMicros,
}
