//! The question "who spent what" and its answer: the same for the command line, the admin API and the bus. Knows nothing
//! of where the numbers are kept.

use crate::UnixMicros;
use crate::money::Picodollars;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What spend can be broken down by; tags as `tag:NAME`.
pub const DIMENSIONS: [&str; 12] = [
    "project",
    "user",
    "end_user",
    "key_id",
    "provider",
    "model",
    "virtual_model",
    "operation",
    "budget",
    "batch",
    "day",
    "hour",
];

/// Who spent what since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendQuery {
    /// What to break down by: any of [`DIMENSIONS`], or `tag:NAME`. Empty: only the total.
    pub by: Vec<String>,
    /// From when on; attempts are counted by their start.
    pub since: UnixMicros,
    /// Until when, exclusive.
    pub until: UnixMicros,
    /// Only of these projects; empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
}

impl SpendQuery {
    /// Reads the question as people write it: `by` separated by commas, times as `7d`, `24h`, `90m`, as a day
    /// (`2026-11-01`, UTC) or as RFC 3339. Without them: no breakdown, the last 30 days, until now.
    ///
    /// # Errors
    /// Says which part is wrong and what it may be.
    pub fn parse(by: Option<&str>, since: Option<&str>, until: Option<&str>, now: UnixMicros) -> Result<Self, String> {
        let mut dimensions = Vec::new();
        for name in by.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !DIMENSIONS.contains(&name) && name.strip_prefix("tag:").is_none_or(str::is_empty) {
                return Err(format!("`{name}` is no dimension: use any of {}, or tag:NAME", DIMENSIONS.join(", ")));
            }
            dimensions.push(name.to_owned());
        }
        let since = parse_time("since", since.unwrap_or("30d"), now)?;
        let until = until.map_or(Ok(now), |text| parse_time("until", text, now))?;
        if since >= until {
            return Err("`since` must be before `until`".to_owned());
        }
        Ok(Self { by: dimensions, since, until, projects: Vec::new() })
    }
}

/// Reads a time as people write it, for the question's part `name`: `7d`, a day, or RFC 3339.
///
/// # Errors
/// Says what it may be.
pub fn parse_time(name: &str, text: &str, now: UnixMicros) -> Result<UnixMicros, String> {
    parse_ago(text, now).or_else(|| parse_moment(text)).ok_or_else(|| {
        format!("`{text}` is no time for `{name}`: write 7d, 24h, 90m, a day such as 2026-11-01, or RFC 3339")
    })
}

fn parse_ago(text: &str, now: UnixMicros) -> Option<UnixMicros> {
    let unit = text.chars().last()?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    Some(UnixMicros(now.0.saturating_sub(number.saturating_mul(seconds).saturating_mul(1_000_000))))
}

fn parse_moment(text: &str) -> Option<UnixMicros> {
    let text = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let moment: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_microsecond()).ok().map(UnixMicros)
}

/// The numbers of one row, or of the total.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpendSums {
    /// Requests that had at least one attempt.
    pub requests: u64,
    /// Calls to providers.
    pub attempts: u64,
    /// Input tokens of all classes.
    pub input_tokens: u64,
    /// Output tokens of all classes.
    pub output_tokens: u64,
    /// Dollars, as an exact decimal; `unknown` when nothing of it is known.
    pub cost_usd: String,
    /// Attempts whose cost is not known, or not all of it: `cost_usd` is without that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: u64,
}

/// What stands for a cost of which nothing is known.
pub const UNKNOWN: &str = "unknown";

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl SpendSums {
    /// Writes the cost, exactly.
    pub fn with_cost(mut self, cost: Picodollars) -> Self {
        self.cost_usd = cost.to_string();
        self
    }
}

/// One row: the values it is broken down by, and its sums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Map<String, Value>")]
#[schemars(!try_from)]
pub struct SpendRow {
    /// A value for each of the query's `by`, in its order.
    #[serde(flatten)]
    pub by: Map<String, Value>,
    /// The sums.
    #[serde(flatten)]
    pub sums: SpendSums,
}

impl TryFrom<Map<String, Value>> for SpendRow {
    type Error = serde_json::Error;

    /// What is not a sum is a value that the row is broken down by.
    fn try_from(mut by: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let names = ["requests", "attempts", "input_tokens", "output_tokens", "cost_usd"];
        let sums = names.into_iter().filter_map(|name| Some((name.to_owned(), by.shift_remove(name)?))).collect();
        Ok(Self { by, sums: serde_json::from_value(Value::Object(sums))? })
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// What would it have cost at other prices?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepriceQuery {
    /// Whose spending.
    #[serde(flatten)]
    pub spend: SpendQuery,
    /// At the prices that were in force then.
    pub at: UnixMicros,
}

impl RepriceQuery {
    /// Reads the date as people write it: a day (`2026-11-01`, UTC), `7d`, or RFC 3339.
    ///
    /// # Errors
    /// Says what it may be.
    pub fn parse(spend: SpendQuery, at: &str, now: UnixMicros) -> Result<Self, String> {
        Ok(Self { spend, at: parse_time("reprice", at, now)? })
    }
}

/// What was paid, and what it would have been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepricedSums {
    /// Calls to providers.
    pub attempts: u64,
    /// Dollars that were charged, as an exact decimal.
    pub cost_usd: String,
    /// Dollars at the other prices. Attempts whose usage is not known, or that cost nothing because they were refused, cost
    /// what they did.
    pub repriced_usd: String,
    /// By how much that is more; negative when it is less.
    pub difference_usd: String,
    /// Attempts at models that have no price at that date: their new cost is not known, and counts as 0.
    pub unpriced: u64,
}

/// One row of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepricedRow {
    /// What the row is for: a value for each of the query's `by`.
    #[serde(rename = "for")]
    pub by: Map<String, Value>,
    /// The sums.
    #[serde(flatten)]
    pub sums: RepricedSums,
}

/// A model without a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unpriced {
    /// `provider/model`.
    pub target: String,
    /// Attempts at it.
    pub attempts: u64,
    /// What they were charged.
    pub cost_usd: String,
}

/// The answer to a [`RepriceQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepriceReport {
    /// From when on, RFC 3339.
    pub since: String,
    /// Until when, RFC 3339.
    pub until: String,
    /// The date of the prices, RFC 3339.
    pub prices_of: String,
    /// What it is broken down by.
    pub by: Vec<String>,
    /// The dearest first.
    pub rows: Vec<RepricedRow>,
    /// All attempts together.
    pub total: RepricedSums,
    /// The models that have no price at that date.
    pub unpriced: Vec<Unpriced>,
}

/// An answer from the bus to a [`SpendQuery`].
pub type SpendReply = ReportReply<SpendReport>;

/// An answer from the bus to a question for numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportReply<T> {
    /// The numbers.
    Report(T),
    /// The query is wrong: what and how to mend it.
    BadQuery(String),
    /// ClickHouse cannot be asked now.
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = UnixMicros(1_763_769_600_000_000);
        let since = |text| SpendQuery::parse(None, Some(text), None, now).map(|query| query.since.0);
        assert_eq!(since("1d"), Ok(now.0 - 86_400_000_000));
        assert_eq!(since("2025-11-01"), Ok(1_761_955_200_000_000));
        assert_eq!(since("2025-11-01T00:00:00+01:00"), Ok(1_761_951_600_000_000));
        for bad in ["", "7", "7w", "yesterday", "2025-13-01"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_dimension_is_named_with_those_that_exist() {
        let error = SpendQuery::parse(Some("model,colour"), None, None, UnixMicros(u64::MAX)).unwrap_err();
        assert!(error.starts_with("`colour` is no dimension: use any of project,"), "{error}");
        assert!(SpendQuery::parse(Some("model,tag:feature"), None, None, UnixMicros(u64::MAX)).is_ok());
    }
}
