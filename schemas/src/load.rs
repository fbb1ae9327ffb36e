//! Who serves what, and how busy they are, as operators and what scales workers see it: `penstock workers`,
//! `GET /admin/v1/workers`.

use crate::UnixMicros;
use crate::name::{ProcessId, ProviderId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All pools of a cluster, as one ingress has heard of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetReport {
    /// Each worker's pool of each provider.
    pub workers: Vec<WorkerReport>,
    /// Each provider, over all workers and ingresses.
    pub providers: Vec<ProviderLoad>,
    /// By provider, the calls that are under way and those that wait: divided by the calls that a worker is to have at once,
    /// this is how many workers are needed.
    pub demand: BTreeMap<String, u64>,
}

/// One worker's pool of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerReport {
    /// The worker.
    pub worker: ProcessId,
    /// The provider.
    pub provider: ProviderId,
    /// The machine that it runs on, as that calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its version; a worker that does not tell it is older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<UnixMicros>,
    /// When it was heard of last.
    pub heard_at: UnixMicros,
    /// Calls that it takes at once.
    pub slots: u32,
    /// Slots that are not free: its calls, and one more where it waits for the next.
    pub busy: u32,
    /// Calls that ended within the last second.
    pub ended_per_second: u32,
}

/// One provider's pools together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderLoad {
    /// The provider.
    pub provider: ProviderId,
    /// Workers that serve it.
    pub workers: u32,
    /// Calls that they take at once.
    pub slots: u32,
    /// Calls that they have.
    pub busy: u32,
    /// The share of the slots that is taken, 0 to 1.
    pub busy_share: f64,
    /// Calls that wait for them at all ingresses.
    pub waiting: u32,
    /// How long the one has waited that waits longest, in milliseconds.
    pub wait_ms: u32,
}

/// What waits at one ingress for the workers of providers; told each second while anything does, and once when nothing
/// does any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// The ingress.
    pub ingress: ProcessId,
    /// For which providers.
    pub waiting: Vec<WaitingCalls>,
}

/// The calls that wait for one provider's workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingCalls {
    /// The provider.
    pub provider: ProviderId,
    /// How many.
    pub calls: u32,
    /// How long the one has waited that waits longest, in milliseconds.
    pub longest_ms: u32,
}
