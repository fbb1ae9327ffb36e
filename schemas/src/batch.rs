//! A batch: a file of requests that are answered in the background, and how far it is. Statuses and counts are
//! OpenAI's. Knows nothing of where files lie or of how a line is answered.
//! Source: <https://platform.openai.com/docs/api-reference/batch/object>.

use crate::UnixMicros;
use crate::envelope::{Caller, Dialect};
use crate::key::VirtualKey;
use crate::money::Picodollars;
use crate::name::{BatchId, ProcessId, ProviderId};
use crate::native_lane::{NativeLane, NativeWish};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Bad lines that a batch names itself; the others stand in its error file.
pub const NAMED_ERRORS: usize = 100;

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// Its file is being read for the first time.
    Validating,
    /// Nothing in its file can be run, or it cannot be paid for.
    Failed,
    /// Its lines are being answered.
    InProgress,
    /// Its results are being written.
    Finalizing,
    /// Its results are there.
    Completed,
    /// Its window passed before every line was answered; what was answered is there.
    Expired,
    /// It is to stop.
    Cancelling,
    /// It has stopped; what was answered is there.
    Cancelled,
}

impl BatchStatus {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Completed | Self::Expired | Self::Cancelled)
    }

    /// OpenAI's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Which batches of a project go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchPriority {
    /// After the others.
    Low,
    /// As they came.
    #[default]
    Normal,
    /// Before the others.
    High,
}

impl BatchPriority {
    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// The priority that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Low, Self::Normal, Self::High].into_iter().find(|priority| priority.as_str() == word)
    }
}

/// How many lines there are, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Lines of the file, bad ones included.
    pub total: u64,
    /// Lines that were answered.
    pub completed: u64,
    /// Lines that were not: bad ones, and those that no provider answered.
    pub failed: u64,
}

/// Tokens of answered lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchUsage {
    /// Of the requests, cached ones included.
    pub input_tokens: u64,
    /// Of those, read from a provider's cache.
    pub cached_tokens: u64,
    /// Of the answers, reasoning included.
    pub output_tokens: u64,
    /// Of those, reasoning.
    pub reasoning_tokens: u64,
}

impl BatchUsage {
    /// Adds another line's.
    pub fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}

/// What the result of one line counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Whether it was answered.
    pub is_answered: bool,
    /// Its tokens.
    #[serde(default)]
    pub usage: BatchUsage,
    /// What its answer costs; absent when it has no price, or there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Picodollars>,
    /// Whether it came from a provider's own batch API.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_native: bool,
}

/// What is wrong with a file or a line of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchError {
    /// A word for it.
    pub code: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// The line, from 1; none where it is the whole file.
    #[serde(default)]
    pub line: Option<u64>,
    /// The field.
    #[serde(default)]
    pub param: Option<String>,
}

/// When a batch came to which status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchTimes {
    /// It was valid.
    pub in_progress: Option<UnixMicros>,
    /// Every line had a result.
    pub finalizing: Option<UnixMicros>,
    /// Its results were there.
    pub completed: Option<UnixMicros>,
    /// It was given up.
    pub failed: Option<UnixMicros>,
    /// Its window had passed.
    pub expired: Option<UnixMicros>,
    /// It was to stop.
    pub cancelling: Option<UnixMicros>,
    /// It had stopped.
    pub cancelled: Option<UnixMicros>,
}

impl BatchTimes {
    /// When it was over.
    pub fn ended(&self) -> Option<UnixMicros> {
        self.completed.or(self.failed).or(self.expired).or(self.cancelled)
    }
}

/// The process that leads a batch, and until when the others believe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// The process.
    pub process: ProcessId,
    /// Without a word until then, another one leads.
    pub until: UnixMicros,
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// Who asked and who pays.
    pub caller: Caller,
    /// The key that a token stands for; absent where a virtual key asked, which is looked up as it is when a line is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_token: Option<Box<VirtualKey>>,
    /// The path that every line is for: `/v1/chat/completions`.
    pub endpoint: String,
    /// The file with the lines.
    pub input_file: String,
    /// The window as it was asked for: `24h`.
    pub window: String,
    /// When it was asked for.
    pub created_at: UnixMicros,
    /// When its window passes.
    pub expires_at: UnixMicros,
    /// Before when nothing of it is looked at or sent; absent: it begins when it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<UnixMicros>,
    /// Whether it goes before or after others of its project.
    #[serde(default)]
    pub priority: BatchPriority,
    /// Where it is.
    pub status: BatchStatus,
    /// Where it ends, once that is settled: its files are written first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<BatchStatus>,
    /// When it came there.
    #[serde(default)]
    pub times: BatchTimes,
    /// How far it is.
    #[serde(default)]
    pub counts: RequestCounts,
    /// What is wrong with it: at most [`NAMED_ERRORS`].
    #[serde(default)]
    pub errors: Vec<BatchError>,
    /// Its tokens so far.
    #[serde(default)]
    pub usage: BatchUsage,
    /// What its answers cost so far, as far as they have prices.
    #[serde(default)]
    pub cost: Picodollars,
    /// Lines that were put into the queue or have a result, from the first one on.
    #[serde(default)]
    pub fed: u64,
    /// Whose queues they were put into.
    #[serde(default)]
    pub providers: BTreeSet<ProviderId>,
    /// Why no further line is started at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The models that its lines name: who reads its files must be allowed to use them.
    #[serde(default)]
    pub models: BTreeSet<String>,
    /// What the request says of providers' own batch APIs.
    #[serde(default)]
    pub native_wish: NativeWish,
    /// What becomes of its lines there, by the models that they name.
    #[serde(default)]
    pub native: Vec<NativeLane>,
    /// The file with the answers.
    #[serde(default)]
    pub output_file: Option<String>,
    /// The file with what was not answered.
    #[serde(default)]
    pub error_file: Option<String>,
    /// How long the two files are kept, in seconds; absent: until somebody deletes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_expires_after: Option<u64>,
    /// The caller's own pairs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Whose batches API it was made through: the others do not show it.
    #[serde(default = "openai")]
    pub api: Dialect,
    /// Lines that were given up before they had an answer.
    #[serde(default)]
    pub given_up: u64,
    /// Who leads it.
    #[serde(default)]
    pub leader: Option<Leader>,
}

fn openai() -> Dialect {
    Dialect::Openai
}

impl Batch {
    /// One that has just been asked for: by whom, for what path, with the lines of which file, and in which window.
    pub fn asked_for(
        id: BatchId,
        (caller, of_token): (Caller, Option<Box<VirtualKey>>),
        endpoint: String,
        input_file: String,
        (window, created_at, expires_at): (String, UnixMicros, UnixMicros),
    ) -> Self {
        Self {
            id,
            caller,
            of_token,
            endpoint,
            input_file,
            window,
            created_at,
            expires_at,
            run_at: None,
            priority: BatchPriority::default(),
            status: BatchStatus::Validating,
            outcome: None,
            times: BatchTimes::default(),
            counts: RequestCounts::default(),
            errors: Vec::new(),
            usage: BatchUsage::default(),
            cost: Picodollars::default(),
            fed: 0,
            providers: BTreeSet::new(),
            paused: None,
            models: BTreeSet::new(),
            native_wish: NativeWish::default(),
            native: Vec::new(),
            output_file: None,
            error_file: None,
            output_expires_after: None,
            metadata: BTreeMap::new(),
            api: openai(),
            given_up: 0,
            leader: None,
        }
    }

    /// When its window begins.
    pub fn begins_at(&self) -> UnixMicros {
        self.run_at.unwrap_or(self.created_at)
    }

    /// Whether it is to begin later.
    pub fn is_waiting(&self, now: UnixMicros) -> bool {
        self.status == BatchStatus::Validating && self.run_at.is_some_and(|at| at > now)
    }

    /// Counts the result of a line.
    pub fn count(&mut self, tally: &Tally) {
        if tally.is_answered {
            self.counts.completed += 1;
        } else {
            self.counts.failed += 1;
        }
        self.usage.add(&tally.usage);
        self.cost = self.cost + tally.cost.unwrap_or_default();
    }

    /// Whether a line got its result when the file was first read, because it cannot be run. `None`: too many did, and its
    /// result has to be looked for.
    pub fn is_bad(&self, line: u64) -> Option<bool> {
        let is_named = self.errors.iter().any(|error| error.line == Some(line));
        (is_named || self.errors.len() < NAMED_ERRORS).then_some(is_named)
    }

    /// Forgets what was counted, to count anew.
    pub fn uncount(&mut self) {
        self.counts = RequestCounts { total: self.counts.total, ..RequestCounts::default() };
        (self.usage, self.cost) = (BatchUsage::default(), Picodollars::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_add_up_without_ever_wrapping() {
        let mut sum = BatchUsage { input_tokens: u64::MAX, output_tokens: 1, ..BatchUsage::default() };
        sum.add(&BatchUsage { input_tokens: 2, output_tokens: 3, cached_tokens: 4, reasoning_tokens: 5 });
        let expected = BatchUsage { input_tokens: u64::MAX, output_tokens: 4, cached_tokens: 4, reasoning_tokens: 5 };
        assert_eq!(sum, expected);
    }

    #[test]
    fn a_batch_is_final_when_nothing_more_comes_of_it() {
        use BatchStatus::*;
        for status in [Validating, InProgress, Finalizing, Cancelling] {
            assert!(!status.is_final(), "{}", status.as_str());
        }
        for status in [Failed, Completed, Expired, Cancelled] {
            assert!(status.is_final(), "{}", status.as_str());
        }
    }
}
