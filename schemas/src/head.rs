//! Heads: how well each target of a virtual model answers which questions, as it was learnt from scores; rows of weights, which are
//! kept in NATS KV. Knows nothing of what the weights weigh.

use crate::UnixMicros;
use crate::name::Target;
use crate::{hex, place};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most targets of a virtual model that have heads of their own.
pub const MOST_HEADS: usize = 64;

/// What is done with what was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadsAction {
    /// It stays as it is.
    Freeze,
    /// It learns again.
    Thaw,
    /// It is thrown away: scores of requests from before now do not count.
    Reset,
}

/// What is sent to `POST /admin/v1/heads`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadsChange {
    /// The virtual model.
    #[schemars(length(max = 321))]
    pub model: String,
    /// What is done.
    pub action: HeadsAction,
}

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

    /// The key of a virtual model in the bucket: its name may hold what a key may not.
    pub fn key(model: &str) -> String {
        hex::write(&place::hash(&[model.as_bytes()])[..16])
    }

    /// What it is after that.
    pub fn changed(mut self, action: HeadsAction, now: UnixMicros) -> Self {
        (self.version, self.at) = (self.version + 1, now);
        match action {
            HeadsAction::Freeze => self.is_frozen = true,
            HeadsAction::Thaw => self.is_frozen = false,
            HeadsAction::Reset => {
                let Self { model, version, is_frozen, .. } = self;
                return Self { model, version, at: now, since: now, is_frozen, ..Self::default() };
            }
        }
        self
    }

    /// The head of a target.
    pub fn head(&self, target: &Target) -> Option<&TargetHead> {
        self.heads.iter().find(|head| head.target == *target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_thrown_away_is_gone_and_what_is_frozen_stays_so() {
        let head = TargetHead {
            target: Target::parse("a/m").unwrap(),
            labels: 7,
            level: 0.5,
            error_before: 0.5,
            error: 0.4,
            words: vec![0.5],
            whole: vec![0.25],
        };
        let known = ModelHeads { labels: 7, newest: UnixMicros(3), heads: vec![head], ..ModelHeads::new("chat") };
        let frozen = known.clone().changed(HeadsAction::Freeze, UnixMicros(5));
        assert_eq!(frozen, ModelHeads { is_frozen: true, version: 1, at: UnixMicros(5), ..known.clone() });
        let reset = frozen.changed(HeadsAction::Reset, UnixMicros(9));
        assert_eq!((reset.since, reset.labels, reset.heads.len(), reset.version), (UnixMicros(9), 0, 0, 2));
        assert!(reset.is_frozen && !reset.changed(HeadsAction::Thaw, UnixMicros(10)).is_frozen);
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<ModelHeads>(&text).unwrap(), known);
        assert_eq!(serde_json::from_str::<ModelHeads>("{\"model\":\"chat\"}").unwrap(), ModelHeads::new("chat"));
    }
}
