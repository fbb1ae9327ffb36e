//! Who asks and who pays. Knows nothing of what is asked.

use crate::name::{KeyId, ProjectId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who asks: settled once, at the ingress, and written into every row that the request causes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Who pays.
    pub project: ProjectId,
    /// The virtual key that was used.
    pub key_id: KeyId,
    /// Who asks within the project: the key's or the token's user, else the body's, else the header's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user that the body names, as it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_user: Option<String>,
    /// The key's own, and those of `x-penstock-tags` that it has not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}
