//! What is managed as the admin API and the command line show it: what people wrote, and what is known besides.

use crate::budget::{Budget, Unit};
use crate::directory::{Admin, AdminSettings};
use crate::key::{KeySecret, VirtualKey};
use crate::managed::KeySettings;
use crate::money::Picodollars;
use crate::rfc3339;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A budget and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BudgetShown {
    /// As it was written.
    #[serde(flatten)]
    pub budget: Budget,
    /// Its counters in the cycle that runs now: one, or one for each value of `per` that was seen.
    pub windows: Vec<BudgetWindow>,
}

/// One counter of a budget in one turn of its cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetWindow {
    /// The counter.
    pub book: String,
    /// Whom it is for, where the budget has several.
    pub part: Option<String>,
    /// When it began, RFC 3339.
    pub from: String,
    /// When the next one begins; null: never.
    pub until: Option<String>,
    /// The limit.
    pub limit: Amount,
    /// What is spent.
    pub settled: Amount,
    /// What is set aside for requests in flight, and held by ingresses for those that come next.
    pub reserved: Amount,
    /// What is left for all others.
    pub left: Amount,
}

/// Dollars as an exact decimal, or a number of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Amount {
    /// Dollars.
    Usd(String),
    /// Tokens or requests.
    Count(u64),
}

impl Amount {
    /// An amount in a counter's own unit.
    pub fn new(unit: Unit, amount: u64) -> Self {
        match unit {
            Unit::Usd => Self::Usd(Picodollars(i64::try_from(amount).unwrap_or(i64::MAX)).to_string()),
            Unit::Tokens | Unit::Requests => Self::Count(amount),
        }
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usd(usd) => f.write_str(usd),
            Self::Count(count) => count.fmt(f),
        }
    }
}

/// A virtual key without its secret, which nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeyShown {
    /// As it was written.
    #[serde(flatten)]
    pub settings: KeySettings,
    /// The first characters of its newest secret.
    pub prefix: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Its secrets that are good or will be: the newest, and those before it for as long as they hold.
    pub secrets: Vec<SecretShown>,
}

/// One secret of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SecretShown {
    /// Its first characters.
    pub prefix: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// From when on it is refused; null: it is the newest.
    pub until: Option<String>,
}

impl KeyShown {
    /// A key as it is shown.
    pub fn of(key: &VirtualKey) -> Self {
        Self {
            settings: KeySettings::of(key),
            prefix: key.prefix.clone(),
            created_at: rfc3339::write(key.created_at),
            secrets: key.all_secrets().into_iter().map(SecretShown::of).collect(),
        }
    }
}

impl SecretShown {
    fn of(secret: KeySecret) -> Self {
        Self {
            prefix: secret.prefix,
            created_at: rfc3339::write(secret.created_at),
            until: secret.until.map(rfc3339::write),
        }
    }
}

/// Somebody who manages, without the token, which nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AdminShown {
    /// As it was written.
    #[serde(flatten)]
    pub settings: AdminSettings,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

impl AdminShown {
    /// Somebody as they are shown.
    pub fn of(admin: &Admin) -> Self {
        Self { settings: admin.settings.clone(), created_at: rfc3339::write(admin.created_at) }
    }
}
