//! How the role that carries the ledger's events over into its tables gets on, as it tells each second. Knows nothing of the
//! tables.

use crate::name::ProcessId;
use serde::{Deserialize, Serialize};

/// How one process of that role gets on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarryState {
    /// The process.
    pub process: ProcessId,
    /// For how many seconds nothing was taken although there was something; absent: all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_seconds: Option<u64>,
    /// Why, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
