//! Why a request went where it went: the strategy, the candidates with what was expected of each, what was left out and by
//! which rule, and with which probability the first was chosen. Written into the ledger and shown to callers who ask. Knows
//! nothing of how a strategy decides.

use crate::dialect::Dialect;
use crate::name::Target;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The most candidates and the most filtered targets that one decision tells of.
pub const MOST_TOLD: usize = 16;

/// The longest header that tells of a decision, in bytes: clients and proxies take 8 KB of headers in all, or more.
pub const HEADER: usize = 2048;

/// One decision. Its numbers are finite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RouteDecision {
    /// How the order was found: `fallback`, `weighted`, `cost`, `latency`, …
    pub strategy: String,
    /// Why the first of the plan is the first, in words.
    pub reason: String,
    /// The probability with which the first was chosen, given what was known: 1 where nothing is drawn.
    pub propensity: f64,
    /// What the choice stays the same for: `user`, `session`, `conversation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<String>,
    /// The condition of the virtual model that was met and decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The experiment that the request is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Its arm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// Those that could answer, in the order of the plan.
    pub candidates: Vec<RouteCandidate>,
    /// Those that were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<RouteFilter>,
    /// What the head of `auto` looked at, where it decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<f32>,
}

impl Eq for RouteDecision {}

/// A target that could answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RouteCandidate {
    /// The target: `provider/model`.
    pub target: String,
    /// The probability with which it is chosen first.
    pub propensity: f64,
    /// What the request is expected to cost there, in dollars; absent: no price is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// What the caller is expected to wait there, in milliseconds; absent: nothing was learnt yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
    /// How good its answer is expected to be, from 0 to 1; by `auto`, its answer to this question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
    /// How good its answers are in the mean, where `auto` told this one apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<f64>,
    /// Calls of this ingress that it has not answered yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<u32>,
}

/// A target that was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RouteFilter {
    /// The target.
    pub target: String,
    /// By what: `capability`, `context`, `regions`, `providers`, `max_usd_per_request`, `rule NAME: regions`, …
    pub by: String,
    /// Why, in words.
    pub why: String,
}

/// The dialect of a request whose route is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteDialect {
    /// OpenAI's chat completions.
    #[default]
    Openai,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Google's contents.
    Google,
}

impl From<RouteDialect> for Dialect {
    fn from(dialect: RouteDialect) -> Self {
        match dialect {
            RouteDialect::Openai => Self::Openai,
            RouteDialect::Responses => Self::Responses,
            RouteDialect::Anthropic => Self::Anthropic,
            RouteDialect::Google => Self::Google,
        }
    }
}

/// What is sent to `POST /admin/v1/route`: a request as a client would send it, and who would.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteQuestion {
    /// The dialect of the request.
    #[serde(default)]
    pub dialect: RouteDialect,
    /// The request.
    pub request: Map<String, Value>,
    /// The model, where the dialect has it in the path.
    #[serde(default)]
    pub model: Option<String>,
    /// The project that would pay.
    #[serde(default)]
    pub project: Option<String>,
    /// The virtual key that would ask.
    #[serde(default)]
    pub key: Option<String>,
    /// The user who would ask.
    #[serde(default)]
    pub user: Option<String>,
    /// The session that it would be a part of.
    #[serde(default)]
    pub session: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// The answer: where it would go now, and why.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RoutePlan {
    /// The targets, in the order in which they would be tried.
    pub plan: Vec<String>,
    /// Why.
    #[serde(flatten)]
    pub decision: RouteDecision,
}

/// Where a conversation stays that began there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PinnedTo {
    /// The target.
    pub target: Target,
    /// The probability with which it was chosen.
    pub propensity: f64,
}

impl RouteDecision {
    /// Compact JSON of printable ASCII, at most [`HEADER`] long: what is longer loses its candidates one by one, and then
    /// its filters.
    pub fn header(&self) -> String {
        let mut told = self.clone();
        told.features.clear();
        loop {
            let text = ascii(&serde_json::to_string(&told).unwrap_or_default());
            if text.len() <= HEADER {
                return text;
            }
            if told.filters.pop().is_none() && told.candidates.pop().is_none() {
                let Self { strategy, propensity, .. } = told;
                let short = Self { strategy: strategy.chars().take(64).collect(), propensity, ..Self::default() };
                return ascii(&serde_json::to_string(&short).unwrap_or_default());
            }
        }
    }
}

/// JSON with everything but printable ASCII escaped.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == ' ' || c.is_ascii_graphic() {
            out.push(c);
            continue;
        }
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_ascii_short_and_still_json() {
        let one = |n: usize| RouteCandidate { target: format!("höuse{n}/m\u{1f600}"), ..RouteCandidate::default() };
        let filter =
            |n: usize| RouteFilter { target: format!("p/{n}"), why: "ß".repeat(40), ..RouteFilter::default() };
        let long = RouteDecision {
            strategy: "cost".to_owned(),
            reason: "weil\nüber".to_owned(),
            candidates: (0..MOST_TOLD).map(one).collect(),
            filters: (0..MOST_TOLD).map(filter).collect(),
            features: vec![0.5; 61],
            ..RouteDecision::default()
        };
        let text = long.header();
        assert!(text.len() <= HEADER && text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text}");
        let read: RouteDecision = serde_json::from_str(&text).unwrap();
        assert_eq!((read.reason, read.candidates[0].target.as_str()), (long.reason.clone(), "höuse0/m\u{1f600}"));
        assert!(read.filters.len() < MOST_TOLD && read.features.is_empty());
        let endless = RouteDecision { reason: "ä".repeat(HEADER), ..long };
        let read: RouteDecision = serde_json::from_str(&endless.header()).unwrap();
        assert_eq!((read.strategy.as_str(), read.candidates.len()), ("cost", 0));
    }
}
