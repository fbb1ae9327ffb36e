//! The question "who spent what" and its answer: the same for the command line, the admin API and the bus. Knows nothing
//! of where the numbers are kept.

use crate::UnixMicros;
use crate::money::Picodollars;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What spend can be broken down by; tags as `tag:NAME`.
pub const DIMENSIONS: [&str; 9] =
    ["project", "user", "key_id", "provider", "model", "virtual_model", "operation", "day", "hour"];

/// Who spent what since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendQuery {
    /// What to break down by: any of [`DIMENSIONS`], or `tag:NAME`. Empty: only the total.
    pub by: Vec<String>,
    /// From when on; attempts are counted by their start.
    pub since: UnixMicros,
    /// Until when, exclusive.
    pub until: UnixMicros,
}

/// The numbers of one row, or of the total.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendSums {
    /// Requests that had at least one attempt.
    pub requests: u64,
    /// Calls to providers.
    pub attempts: u64,
    /// Input tokens of all classes.
    pub input_tokens: u64,
    /// Output tokens of all classes.
    pub output_tokens: u64,
    /// Dollars, as an exact decimal.
    pub cost_usd: String,
}

impl SpendSums {
    /// Writes the cost, exactly.
    pub fn with_cost(mut self, cost: Picodollars) -> Self {
        self.cost_usd = cost.to_string();
        self
    }
}

/// One row: the values it is broken down by, and its sums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendRow {
    /// A value for each of the query's `by`, in its order.
    #[serde(flatten)]
    pub by: Map<String, Value>,
    /// The sums.
    #[serde(flatten)]
    pub sums: SpendSums,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendReport {
    /// From when on, RFC 3339.
    pub since: String,
    /// Until when, RFC 3339.
    pub until: String,
    /// What it is broken down by.
    pub by: Vec<String>,
    /// The dearest first.
    pub rows: Vec<SpendRow>,
    /// All rows together; requests that touch several rows count once.
    pub total: SpendSums,
}

/// An answer from the bus to a [`SpendQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpendReply {
    /// The numbers.
    Report(SpendReport),
    /// The query is wrong: what and how to mend it.
    BadQuery(String),
    /// ClickHouse cannot be asked now.
    Unavailable(String),
}
