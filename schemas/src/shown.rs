//! How much of a budget is used, as the admin API and the command line show it. Knows nothing of who counts it.

use crate::budget::Unit;
use crate::money::Picodollars;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
