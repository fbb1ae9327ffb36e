//! Which lines of a batch go through their provider's own batch API, why, and how far they are: what the leader of a batch
//! keeps in it, so that another one goes on from there. Knows nothing of how a provider is asked.

use crate::name::Target;
use crate::native_batch::NativeGroup;
use serde::{Deserialize, Serialize};

/// What the request for a batch says of providers' own batch APIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NativeWish {
    /// Where they save money and there is time.
    #[default]
    Auto,
    /// Wherever a provider has one.
    Always,
    /// Nowhere.
    Never,
}

impl NativeWish {
    /// Reads its word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Auto, Self::Always, Self::Never].into_iter().find(|wish| wish.as_str() == word)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// The lines of a batch that name one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeLane {
    /// The model, as the lines name it.
    pub model: String,
    /// Who is to answer.
    pub target: Target,
    /// How many lines can be run.
    pub lines: u64,
    /// Whether they go through the provider's own batch API. Those of a lane that does not are queued like any other.
    pub is_native: bool,
    /// Why they do, or do not.
    pub why: String,
    /// The lines of the file up to this one were read: they are in groups, in the queue, or have a result.
    #[serde(default)]
    pub read: u64,
    /// Where in the file the next line begins, in bytes.
    #[serde(default)]
    pub offset: u64,
    /// Whether all lines were read.
    #[serde(default)]
    pub is_read: bool,
    /// The groups that are under way.
    #[serde(default)]
    pub groups: Vec<LaneGroup>,
    /// Lines that were answered, or refused for good, by the provider's own batch API.
    #[serde(default)]
    pub done: u64,
    /// Lines that were queued after all.
    #[serde(default)]
    pub queued: u64,
    /// Why no further group is made at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// A group, and where its lines stand in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneGroup {
    /// The group.
    pub group: NativeGroup,
    /// Its lines come behind this one.
    pub after: u64,
    /// Its lines come up to this one.
    pub to: u64,
    /// Where in the file the line behind `after` begins, in bytes.
    pub offset: u64,
}
