//! How the targets of a cluster are, as operators see it: `penstock targets`, `GET /admin/v1/targets`.

use crate::UnixMicros;
use crate::failure::FailureKind;
use crate::name::Target;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether calls go to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// They do.
    Closed,
    /// A few do, to see whether it works again.
    HalfOpen,
    /// They go elsewhere, if there is an elsewhere.
    Open,
}

impl CircuitState {
    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Which target is called again though its provider asked for a pause: `POST /admin/v1/targets/resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeTarget {
    /// `provider/model`.
    pub target: String,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetReport {
    /// The target.
    pub target: Target,
    /// Whether calls go to it.
    pub circuit: CircuitState,
    /// Since when.
    pub since: UnixMicros,
    /// Why, unless it is closed: `12 of 20 calls failed (overloaded)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Calls that ended well within the last 30 seconds.
    pub succeeded: u32,
    /// Calls that did not, by a fault of the provider's.
    pub failed: u32,
    /// The last such fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureKind>,
    /// The time to the first content that 19 of 20 calls kept, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_p95_ms: Option<u32>,
    /// When the provider takes calls again, as it said itself, of all keys that it has limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<UnixMicros>,
    /// Workers that serve it.
    pub workers: u32,
    /// Calls that they take at once.
    pub slots: u32,
    /// Those that are not taken now.
    pub free: u32,
}
