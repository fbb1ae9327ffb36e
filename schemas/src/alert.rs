//! What somebody must be told: budgets that run out, prices that are missing, keys that fail. Knows nothing of who
//! notices it, nor of whom it is told.

use crate::UnixMicros;
use crate::cycle::Cycle;
use crate::name::{AlertId, Target};
use crate::spend::ReportReply;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Display;
use uuid::Builder;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A share of a budget is spent.
    BudgetThreshold,
    /// A budget is spent.
    BudgetExceeded,
    /// A model was called that has no price.
    UnpricedModel,
    /// Something was used that has no price, at a model that has prices.
    UnpricedUsage,
    /// A provider claims usage that cannot be.
    ImpossibleUsage,
    /// A provider refuses one of our keys.
    ProviderKeyFailing,
    /// The counters and the ledger do not say the same.
    ReconciliationDifference,
    /// A budget will be spent long before its cycle ends, if spending goes on like this.
    SpendingSlope,
    /// An event of the ledger cannot be stored: it is among the dead letters.
    LedgerDeadLetter,
    /// The disk of the data folder is nearly full.
    DiskSpace,
    /// A session sends requests without end, or spends more and more.
    SessionRunaway,
    /// Answers are other than they were in the weeks before.
    Drift,
    /// A target answers as another version of its model.
    ModelVersion,
    /// A target's provider runs its model in another way: its system fingerprint is new.
    SystemFingerprint,
    /// An arm of an experiment was worse, and takes no requests any more.
    ArmStopped,
}

impl AlertKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::BudgetThreshold,
        Self::BudgetExceeded,
        Self::UnpricedModel,
        Self::UnpricedUsage,
        Self::ImpossibleUsage,
        Self::ProviderKeyFailing,
        Self::ReconciliationDifference,
        Self::SpendingSlope,
        Self::LedgerDeadLetter,
        Self::DiskSpace,
        Self::SessionRunaway,
        Self::Drift,
        Self::ModelVersion,
        Self::SystemFingerprint,
        Self::ArmStopped,
    ];

    /// The word that stands for it on the wire and in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BudgetThreshold => "budget_threshold",
            Self::BudgetExceeded => "budget_exceeded",
            Self::UnpricedModel => "unpriced_model",
            Self::UnpricedUsage => "unpriced_usage",
            Self::ImpossibleUsage => "impossible_usage",
            Self::ProviderKeyFailing => "provider_key_failing",
            Self::ReconciliationDifference => "reconciliation_difference",
            Self::SpendingSlope => "spending_slope",
            Self::LedgerDeadLetter => "ledger_dead_letter",
            Self::DiskSpace => "disk_space",
            Self::SessionRunaway => "session_runaway",
            Self::Drift => "drift",
            Self::ModelVersion => "model_version",
            Self::SystemFingerprint => "system_fingerprint",
            Self::ArmStopped => "arm_stopped",
        }
    }

    /// The kind that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Something that somebody must be told, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Made of what it is about: whoever notices the same makes the same id, and it is told once.
    pub id: AlertId,
    /// When it was noticed first.
    pub at: UnixMicros,
    /// What has happened.
    pub kind: AlertKind,
    /// To whom or what: a budget's counter, a target, a provider's key.
    pub subject: String,
    /// Within which time it is told once: a budget's window, a day.
    pub window: String,
    /// For people.
    pub message: String,
    /// For programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl Alert {
    /// An alert about `subject`, told once for each `mark` (such as a threshold; may be empty) in each `window`.
    pub fn new(kind: AlertKind, subject: &str, mark: &str, window: &str, at: UnixMicros) -> Self {
        let mut hash = Sha256::new();
        for part in [kind.as_str(), subject, mark, window] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self {
            id: AlertId(Builder::from_custom_bytes(bytes).into_uuid()),
            at,
            kind,
            subject: subject.to_owned(),
            window: window.to_owned(),
            message: String::new(),
            details: BTreeMap::new(),
        }
    }

    /// A model was called that has no price: told once a day.
    pub fn unpriced_model(target: &Target, at: UnixMicros) -> Self {
        let message = format!("{target} was called and has no price: its cost is not known. Set one in [[prices]]");
        Self::new(AlertKind::UnpricedModel, &target.to_string(), "", &day(at), at).saying(message)
    }

    /// A class of usage has no price at a model that has others: told once a day for each class.
    pub fn unpriced_usage(target: &Target, class: &str, count: u64, at: UnixMicros) -> Self {
        let message = format!("{target} has no price for {class}, of which {count} were used. Set one in [[prices]]");
        let alert = Self::new(AlertKind::UnpricedUsage, &target.to_string(), class, &day(at), at).saying(message);
        alert.with("class", class).with("count", count.to_string())
    }

    /// A provider claims what cannot be: told once a day.
    pub fn impossible_usage(target: &Target, claimed: &str, at: UnixMicros) -> Self {
        let message = format!("{target} claims usage that cannot be: {claimed}. What was counted is charged instead");
        let alert = Self::new(AlertKind::ImpossibleUsage, &target.to_string(), "", &day(at), at).saying(message);
        alert.with("claimed", claimed)
    }

    /// The share that an ingress holds of a counter, whose name for people is `label`, is not what the ledger says that was
    /// spent under it: told once a day.
    pub fn reconciliation_difference(book: &str, label: &str, counter: &str, ledger: &str, at: UnixMicros) -> Self {
        let message = format!("{label}: the counter says that {counter} is spent, and the ledger {ledger}");
        let alert = Self::new(AlertKind::ReconciliationDifference, book, "", &day(at), at).saying(message);
        alert.about(label).with("book", book).with("counter", counter).with("ledger", ledger)
    }

    /// An event of the ledger cannot be stored, for this reason: told once a day.
    pub fn ledger_dead_letter(reason: &str, why: &str, at: UnixMicros) -> Self {
        let why: String = why.chars().take(300).collect(); // a store may quote what it was given
        let message = format!("usage events cannot be stored ({reason}): {why}. See `penstock ledger dead`");
        Self::new(AlertKind::LedgerDeadLetter, "ledger", reason, &day(at), at).saying(message).with("reason", reason)
    }

    /// Less than `percent` of the disk of a folder is free: told once a day for each share.
    pub fn disk_space(folder: &str, percent: u64, free: u64, at: UnixMicros) -> Self {
        let message = format!("less than {percent} % of the disk of {folder} is free: {} MB", free >> 20);
        let alert = Self::new(AlertKind::DiskSpace, folder, &percent.to_string(), &day(at), at).saying(message);
        alert.with("percent", percent).with("free_bytes", free)
    }

    /// The guard has stopped an arm of an experiment: told once a day.
    pub fn arm_stopped(experiment: &str, arm: &str, reason: &str, at: UnixMicros) -> Self {
        let message = format!(
            "the arm {arm} of the experiment {experiment} is worse and takes no requests any more: {reason}. \
             `penstock experiments {experiment} --resume {arm}` gives it some again"
        );
        let alert = Self::new(AlertKind::ArmStopped, &format!("{experiment}/{arm}"), "", &day(at), at).saying(message);
        alert.with("experiment", experiment).with("arm", arm).with("reason", reason)
    }

    /// With this name for its subject in front of people; the id stays what it is.
    #[must_use]
    pub fn about(mut self, label: &str) -> Self {
        label.clone_into(&mut self.subject);
        self
    }

    /// With this message for people.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// With one more detail for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.details.insert(name.to_owned(), value.to_string());
        self
    }
}

fn day(at: UnixMicros) -> String {
    Cycle::Daily.window(at, &TimeZone::UTC).name
}

/// Which alerts are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertQuery {
    /// From when on.
    pub since: UnixMicros,
    /// Until when, exclusive.
    pub until: UnixMicros,
    /// Of which kind; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AlertKind>,
}

impl AlertQuery {
    /// Reads the question as people write it; times as in `SpendQuery`, the last 30 days when they are absent.
    ///
    /// # Errors
    /// Says which part is wrong and what it may be.
    pub fn parse(
        kind: Option<&str>,
        since: Option<&str>,
        until: Option<&str>,
        now: UnixMicros,
    ) -> Result<Self, String> {
        let known = || AlertKind::ALL.map(AlertKind::as_str).join(", ");
        let parse =
            |word| AlertKind::parse(word).ok_or_else(|| format!("`{word}` is no kind of alert: use {}", known()));
        let kind = kind.map(parse).transpose()?;
        let times = crate::spend::SpendQuery::parse(None, since, until, now)?;
        Ok(Self { since: times.since, until: times.until, kind })
    }
}

/// An alert, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertRow {
    /// Its id.
    #[schemars(with = "String")]
    pub id: AlertId,
    /// When it was noticed first, RFC 3339.
    pub at: String,
    /// What has happened: a word of [`AlertKind`].
    pub kind: String,
    /// To whom or what.
    pub subject: String,
    /// Within which time it is told once.
    pub window: String,
    /// For people.
    pub message: String,
    /// For programs.
    pub details: BTreeMap<String, String>,
}

impl AlertRow {
    /// As it is shown.
    pub fn of(alert: &Alert) -> Self {
        let Alert { id, at, kind, subject, window, message, details } = alert.clone();
        Self { id, at: crate::rfc3339::write(at), kind: kind.as_str().to_owned(), subject, window, message, details }
    }
}

/// The answer: the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertReport {
    /// At most [`MOST_ALERTS`].
    pub alerts: Vec<AlertRow>,
}

/// More alerts are not shown at once.
pub const MOST_ALERTS: usize = 1_000;

/// An answer from the bus to an [`AlertQuery`].
pub type AlertReply = ReportReply<AlertReport>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_the_same_alert_and_nothing_else_is() {
        let alert = |kind, subject, mark, window| Alert::new(kind, subject, mark, window, UnixMicros(1)).id;
        let first = alert(AlertKind::BudgetThreshold, "team", "80", "2026-11");
        let later = Alert::new(AlertKind::BudgetThreshold, "team", "80", "2026-11", UnixMicros(2)).saying("again");
        assert_eq!(first, later.id);
        let others = [
            alert(AlertKind::BudgetExceeded, "team", "80", "2026-11"),
            alert(AlertKind::BudgetThreshold, "team8", "0", "2026-11"),
            alert(AlertKind::BudgetThreshold, "team", "90", "2026-11"),
            alert(AlertKind::BudgetThreshold, "team", "80", "2026-12"),
        ];
        assert!(!others.contains(&first));
    }

    #[test]
    fn the_word_of_a_kind_is_the_same_everywhere() {
        for kind in AlertKind::ALL {
            assert_eq!(AlertKind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.as_str()));
        }
    }
}
