//! Heads: how well each target of a virtual model answers which questions, as it was learnt from scores; rows of weights, which are
//! kept in NATS KV. Knows nothing of what the weights weigh.

use crate::UnixMicros;
use crate::name::Target;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most targets of a virtual model that have heads of their own.
pub const MOST_HEADS: usize = 64;

/// What was learnt of a virtual model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ModelHeads {
    /// Its name.
    pub model: String,
    /// How often it was learnt, frozen, thawed and reset.
    pub version: u64,
    /// When that was, last.
    pub at: UnixMicros,
    /// Whether it learns no more.
    pub is_frozen: bool,
    /// Scores from before then do not count: it was reset.
    pub since: UnixMicros,
    /// The scores that it has learnt from.
    pub labels: u64,
    /// The latest of them.
    pub newest: UnixMicros,
    /// The heads, at most [`MOST_HEADS`].
    pub heads: Vec<TargetHead>,
}

/// The head of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetHead {
    /// The target.
    pub target: Target,
    /// The scores that it has learnt from.
    pub labels: u64,
    /// Its level: the mean quality of its answers.
    pub level: f32,
    /// The root of the mean square error of what it began as.
    pub error_before: f32,
    /// Of it, each score foretold by the others.
    pub error: f32,
    /// The weights by which it judges a question by its words alone.
    pub words: Vec<f32>,
    /// The weights by which it judges a question with its vector.
    pub whole: Vec<f32>,
}

impl ModelHeads {
    /// What is known of a virtual model of which nothing was learnt.
    pub fn new(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::default() }
    }

    /// The head of a target.
    pub fn head(&self, target: &Target) -> Option<&TargetHead> {
        self.heads.iter().find(|head| head.target == *target)
    }
}
