//! Who changed what: an event for every change of what an operator manages, and the question for them. Knows nothing of
//! where they are kept. Secrets and their hashes are never among what is told.

use crate::UnixMicros;
use crate::kind::{Kind, Role};
use crate::name::RequestId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Made.
    Create,
    /// Changed.
    Update,
    /// Removed.
    Delete,
    /// Given a new secret.
    Rotate,
}

impl Action {
    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Rotate => "rotate",
        }
    }
}

/// By which way a change came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The admin API.
    Api,
    /// The command line.
    Cli,
    /// A configuration file.
    Apply,
}

impl Way {
    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Apply => "apply",
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Names it: UUIDv7.
    pub id: Uuid,
    /// When it was made.
    pub at: UnixMicros,
    /// Who made it.
    pub actor: String,
    /// In which role.
    pub role: Role,
    /// What was done.
    pub action: Action,
    /// To which sort of object.
    pub kind: Kind,
    /// To which one.
    pub name: String,
    /// The project that it belongs to, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// How it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// How it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// The request that asked for it, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// By which way it came.
    pub way: Way,
}

/// The most rows that an [`AuditReport`] holds.
pub const MOST_ROWS: u32 = 1000;

/// Who changed what since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// From when on.
    pub since: UnixMicros,
    /// Only changes of such objects: `budget`, or `budget/search-monthly`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Only changes by this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// A change as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRow {
    /// When it was made, RFC 3339.
    pub at: String,
    /// Who made it.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// What was done.
    pub action: String,
    /// To which object, such as `budget/search-monthly`.
    pub object: String,
    /// The project that the object belongs to, where it does.
    pub project: Option<String>,
    /// How it was.
    pub before: Option<Value>,
    /// How it was from then on.
    pub after: Option<Value>,
    /// The request that asked for it, where it was one.
    pub request_id: Option<String>,
    /// By which way it came: `api`, `cli`, `apply`.
    pub source: String,
}

/// The answer, the latest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// The changes, at most [`MOST_ROWS`].
    pub data: Vec<AuditRow>,
    /// Whether there are older ones that are not told.
    pub has_more: bool,
}

/// An answer from the bus to an [`AuditQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditReply {
    /// The changes.
    Report(AuditReport),
    /// ClickHouse cannot be asked now.
    Unavailable(String),
}
