//! What an operator limits: money and tokens over a cycle, and rates over a minute or a day, each for a scope. Knows
//! nothing of how much has been used: that is `book`.

mod scope;

pub use scope::{Dimension, Scope};

use crate::cycle::{self, Cycle};
use crate::money::Picodollars;
use schemars::JsonSchema;
use scope::check_scope;
use serde::{Deserialize, Serialize};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Money, in picodollars.
    Usd,
    /// Tokens, of input and output together.
    Tokens,
    /// Requests.
    Requests,
}

impl Unit {
    /// An amount for people: `0.15 USD`, `1200 tokens`.
    pub fn write(self, amount: u64) -> String {
        match self {
            Self::Usd => format!("{} USD", Picodollars(i64::try_from(amount).unwrap_or(i64::MAX))),
            Self::Tokens => format!("{amount} tokens"),
            Self::Requests => format!("{amount} requests"),
        }
    }

    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Tokens => "tokens",
            Self::Requests => "requests",
        }
    }
}

/// How much is set aside for a request before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The most that it can cost: the limit is never passed.
    #[default]
    Strict,
    /// What it will probably cost: more requests fit beside each other near the limit, and the last of them may pass it.
    Expected,
}

/// What happens to a request that does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExceed {
    /// It is refused: 429.
    #[default]
    Reject,
    /// It is made all the same; only the alerts tell.
    Alert,
    /// It is sent to this model instead, under the budgets of that.
    Downgrade(String),
}

/// The shares of the limit, in percent, at which somebody is told, unless the budget names others.
pub const THRESHOLDS: [u32; 3] = [80, 90, 100];

/// A limit on what is spent over a cycle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Its name: 1 to 64 of `a-z 0-9 _ -`.
    #[schemars(regex(pattern = r"^[a-z0-9_-]{1,64}$"))]
    pub name: String,
    /// For whom and what.
    #[serde(rename = "match")]
    pub scope: Scope,
    /// Each value of these has the whole limit for itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub per: Vec<Dimension>,
    /// The limit in dollars, such as `50.00`. Either this or `limit_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\d{1,6}(\.\d{1,12})?$"))]
    pub limit_usd: Option<String>,
    /// The limit in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000_000_000_u64))]
    pub limit_tokens: Option<u64>,
    /// When it begins anew.
    pub cycle: Cycle,
    /// The zone of its midnights; absent: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How much is set aside.
    pub mode: Mode,
    /// What happens to what does not fit.
    pub on_exceed: OnExceed,
    /// The shares of the limit at which somebody is told, in percent; absent: [`THRESHOLDS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 1, max = 100)))]
    pub alert_at: Option<Vec<u32>>,
}

/// The largest limit in dollars: beyond it, sums of picodollars would no longer fit.
const MOST_USD: Picodollars = Picodollars(1_000_000_000_000_000_000);

impl Budget {
    /// The limit and what it is counted in. Zero when the budget is not valid.
    pub fn limit(&self) -> (Unit, u64) {
        match (self.limit_tokens, &self.limit_usd) {
            (Some(tokens), _) => (Unit::Tokens, tokens),
            (None, text) => {
                let limit = text.as_ref().and_then(|text| Picodollars::parse(text).ok()).unwrap_or_default();
                (Unit::Usd, u64::try_from(limit.0).unwrap_or_default())
            }
        }
    }

    /// The model that is called instead, where the budget has one.
    pub fn downgrade(&self) -> Option<&str> {
        match &self.on_exceed {
            OnExceed::Downgrade(model) => Some(model),
            OnExceed::Reject | OnExceed::Alert => None,
        }
    }

    /// The name of its time zone.
    pub fn zone(&self) -> &str {
        self.time_zone.as_deref().unwrap_or("UTC")
    }

    /// The shares of the limit at which somebody is told, in percent.
    pub fn thresholds(&self) -> &[u32] {
        self.alert_at.as_deref().unwrap_or(&THRESHOLDS)
    }

    /// Everything that is wrong with it, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = check_name(&self.name);
        match (&self.limit_usd, self.limit_tokens) {
            (Some(text), None) => match Picodollars::parse(text) {
                Ok(limit) if limit > MOST_USD => {
                    mistakes.push(("limit_usd", format!("must be at most {MOST_USD} dollars")));
                }
                Ok(_) => {}
                Err(error) => mistakes.push(("limit_usd", error.to_string())),
            },
            (None, Some(tokens)) if tokens > MOST_COUNT => {
                mistakes.push(("limit_tokens", format!("must be at most {MOST_COUNT}")));
            }
            (None, Some(_)) => {}
            (Some(_), Some(_)) => mistakes.push(("limit_tokens", "a budget has one limit: leave one out".to_owned())),
            (None, None) => mistakes.push(("limit_usd", "is missing: write limit_usd or limit_tokens".to_owned())),
        }
        if let Err(error) = cycle::zone(self.zone()) {
            mistakes.push(("time_zone", error.to_string()));
        }
        for threshold in self.thresholds() {
            if !(1..=100).contains(threshold) {
                mistakes.push(("alert_at", format!("{threshold} is not a percentage from 1 to 100")));
            }
        }
        mistakes.extend(check_scope(&self.scope, &self.per));
        mistakes
    }
}

/// The largest number of anything that can be counted.
const MOST_COUNT: u64 = 1_000_000_000_000_000;

/// Rates that hold for the whole cluster. What is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Requests in each minute of the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_u64))]
    pub requests_per_minute: Option<u64>,
    /// Tokens of input and output in each minute of the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_u64))]
    pub tokens_per_minute: Option<u64>,
    /// Requests in each day, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_u64))]
    pub requests_per_day: Option<u64>,
    /// Tokens of input and output in each day, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_u64))]
    pub tokens_per_day: Option<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_u64))]
    pub concurrent_requests: Option<u64>,
}

impl Rates {
    /// Everything that is wrong with them, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("requests_per_day", self.requests_per_day),
            ("tokens_per_day", self.tokens_per_day),
            ("concurrent_requests", self.concurrent_requests),
        ];
        let is_absurd = |count: u64| count == 0 || count > MOST_COUNT;
        let absurd = all.iter().filter(|(_, count)| count.is_some_and(is_absurd));
        absurd.map(|(field, _)| (*field, format!("must be 1 to {MOST_COUNT}; to refuse all, disable it"))).collect()
    }
}

/// Rates for a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Its name: 1 to 64 of `a-z 0-9 _ -`.
    #[schemars(regex(pattern = r"^[a-z0-9_-]{1,64}$"))]
    pub name: String,
    /// For whom and what.
    #[serde(rename = "match")]
    pub scope: Scope,
    /// Each value of these has the whole rate for itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub per: Vec<Dimension>,
    /// The rates.
    pub rates: Rates,
}

impl RateLimit {
    /// Everything that is wrong with it, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = check_name(&self.name);
        mistakes.extend(self.rates.mistakes());
        if self.rates == Rates::default() {
            mistakes.push(("rates", "limits nothing: write at least one rate".to_owned()));
        }
        mistakes.extend(check_scope(&self.scope, &self.per));
        mistakes
    }
}

/// What is wrong with a name that becomes part of a NATS KV key.
pub fn check_name(name: &str) -> Vec<(&'static str, String)> {
    match crate::name::ProjectId::parse(name) {
        Ok(_) => Vec::new(),
        Err(_) => vec![("name", format!("`{name}` is not valid: use 1 to 64 of a-z, 0-9, _ and -"))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_budget_says_all_that_is_wrong() {
        for (json, fields) in [
            (r#"{"name":"a","limit_usd":"50.00"}"#, &[][..]),
            (r#"{"name":"A b","limit_usd":"-1"}"#, &["name", "limit_usd"]),
            (r#"{"name":"a"}"#, &["limit_usd"]),
            (r#"{"name":"a","limit_usd":"1","limit_tokens":1}"#, &["limit_tokens"]),
            (r#"{"name":"a","limit_usd":"99999999999"}"#, &["limit_usd"]),
            (r#"{"name":"a","limit_usd":"2000000"}"#, &["limit_usd"]),
            (r#"{"name":"a","limit_tokens":9000000000000000}"#, &["limit_tokens"]),
            (r#"{"name":"a","limit_usd":"1","time_zone":"Mars/Base"}"#, &["time_zone"]),
            (r#"{"name":"a","limit_usd":"1","alert_at":[0,80,101]}"#, &["alert_at", "alert_at"]),
            (r#"{"name":"a","limit_usd":"1","match":{"model":""},"per":["user","user"]}"#, &["match", "per"]),
        ] {
            let budget: Budget = serde_json::from_str(json).unwrap();
            let found: Vec<_> = budget.mistakes().into_iter().map(|(field, _)| field).collect();
            assert_eq!(found, fields, "{json}");
        }
        assert!(serde_json::from_str::<Budget>(r#"{"name":"a","limit":5}"#).is_err());
    }
}
