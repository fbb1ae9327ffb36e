//! What is asked of the ledger about single requests and sessions, by operators and owners of projects: `penstock show`,
//! `penstock sessions`, and their routes of the admin API. Knows none of the answers.

use crate::UnixMicros;
use crate::name::RequestId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most rows that a [`RowReport`] holds.
pub const MOST_LISTED: u32 = 1000;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowQuestion {
    /// One request, its attempts and scores: `{"request", "attempts", "scores"}`.
    Request(RequestId),
    /// The latest requests, newest first.
    Requests(RequestFilter),
    /// One session, and its requests in their order: `{"session", "requests"}`.
    Session(String),
    /// The sessions that had a request since then, the latest first.
    Sessions(UnixMicros),
    /// Nothing; answered when what was under way into ClickHouse has arrived there.
    CatchUp,
}

/// Which requests; what is absent does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFilter {
    /// From when on.
    pub since: UnixMicros,
    /// Of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// For this model, as the caller named it, or answered by this target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// That failed so; `any`: in any way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The same, by somebody who may see some projects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowQuery {
    /// What.
    pub what: RowQuestion,
    /// Only of these projects; absent: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<Vec<String>>,
}

/// The answer: rows as SQL has them, column by column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowReport {
    /// The rows, at most [`MOST_LISTED`]; none when there is nothing that the asker may see.
    pub data: Vec<Value>,
    /// Whether there are more that are not told.
    pub has_more: bool,
}

impl RequestFilter {
    /// Whether a request is one of these.
    pub fn admits(&self, request: &crate::event::RequestEvent) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let target = request.target.as_ref().map(ToString::to_string).unwrap_or_default();
        let failure = match (&self.failure, request.outcome) {
            (None, _) => true,
            (Some(_), crate::event::Outcome::Served) => false,
            (Some(wanted), _) => wanted == "any" || request.failure.is_some_and(|failure| failure.as_str() == wanted),
        };
        is(&self.project, request.caller.project.as_str())
            && (is(&self.model, &request.model) || is(&self.model, &target))
            && failure
    }
}
