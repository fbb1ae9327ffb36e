//! The stages of a request that can take time, and how long it spent in each. Knows nothing of what happens in them.

use serde::{Deserialize, Serialize};

/// A stage of a request, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its head was read, and its caller is found.
    Authenticate,
    /// Its body is read.
    Receive,
    /// Whether it repeats an earlier one is found out, and what the conversation was.
    Recall,
    /// The files that it names are read.
    Refer,
    /// Its rates and its place among the requests at once are taken.
    Admit,
    /// The cache is looked into.
    Cache,
    /// Its targets are chosen, and money is set aside for it.
    Reserve,
    /// It waits for a worker, and for the first content of its answer.
    Dispatch,
    /// Its answer is written.
    Answer,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Authenticate,
        Self::Receive,
        Self::Recall,
        Self::Refer,
        Self::Admit,
        Self::Cache,
        Self::Reserve,
        Self::Dispatch,
        Self::Answer,
    ];

    /// The word that stands for it on the wire, in SQL, in metrics and in spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Receive => "receive",
            Self::Recall => "recall",
            Self::Refer => "refer",
            Self::Admit => "admit",
            Self::Cache => "cache",
            Self::Reserve => "reserve",
            Self::Dispatch => "dispatch",
            Self::Answer => "answer",
        }
    }
}

/// How long a request spent in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// In microseconds.
    pub us: u64,
}
