//! What is asked of the ledger about single requests and sessions, by operators and owners of projects: `penstock show`,
//! `penstock sessions`, and their routes of the admin API. Knows none of the answers.

use crate::UnixMicros;
use crate::name::RequestId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most rows that a [`RowReport`] holds.
pub const MOST_LISTED: u32 = 1000;

/// The rows of a [`RowReport`] where the question does not say how many.
pub const LISTED: u32 = 100;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowQuestion {
    /// One request, its attempts and scores: `{"request", "attempts", "scores"}`.
    Request(RequestId),
    /// The latest requests, newest first.
    Requests(RequestFilter),
    /// One session of any project, and its requests in their order: `{"session", "requests"}`.
    Session(String),
    /// The same of one project.
    ProjectSession {
        /// The project.
        project: String,
        /// The session.
        id: String,
    },
    /// The sessions that had a request since then, the latest first: what older processes ask.
    Sessions(UnixMicros),
    /// The sessions that had such a request, the latest first.
    SessionList(RequestFilter),
    /// What answers were worth over time, by the filter's times, project and model: `{"step_seconds", "scores", "checks"}`.
    Quality(RequestFilter),
    /// Whether the answers of a day are other than those of the weeks before: `{"day", "false_alarms", "tests", "versions"}`.
    Drift {
        /// Its number since 1970, in UTC.
        day: u32,
        /// Only of this project.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<String>,
    },
    /// Nothing; answered when what was under way into ClickHouse has arrived there.
    CatchUp,
    /// The means of the scores of this name, target by target: `{"target", "scores", "mean"}`.
    Ratings(String),
    /// How long the answers of each target to each project were, those with the most answers first:
    /// `{"target", "project", "answers", "tokens"}`.
    Lengths,
    /// How many scored answers of `auto` there are, and the latest score: `{"labels", "newest"}`.
    LabelCount(LabelPage),
    /// The latest of them: `{"target", "score", "unit", "at", "features", "propensity"}`.
    Labels(LabelPage),
    /// The sums of an experiment, arm by arm: `{"arm", "requests", "units", "errors_units", "errors_sum", …}`.
    Experiment {
        /// Its name.
        name: String,
        /// The name of its scores.
        score: String,
    },
}

/// Which scored answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelPage {
    /// Of this virtual model.
    pub model: String,
    /// By the scores of this name.
    pub score: String,
    /// Of requests from when on.
    pub since: UnixMicros,
    /// And before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<UnixMicros>,
}

/// Which requests; what is absent does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFilter {
    /// From when on.
    pub since: UnixMicros,
    /// Until when, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMicros>,
    /// Of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Of this user, or for this end user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With this virtual key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Of this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// For this model, as the caller named it, or answered by this target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Answered by this target, or tried there last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// That failed so; `any`: in any way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// With these HTTP statuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusRange>,
    /// Behind this row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<RowCursor>,
    /// So many, at most [`MOST_LISTED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// HTTP statuses from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRange {
    /// The lowest.
    pub low: u16,
    /// The highest.
    pub high: u16,
}

/// The place of a row in a list: the time by which the list is ordered, and what names the row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCursor {
    /// The row's time.
    pub at: UnixMicros,
    /// Its id: a request's, or `project/session`.
    pub id: String,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowReport {
    /// The rows, at most [`MOST_LISTED`]; none when there is nothing that the asker may see.
    pub data: Vec<Value>,
    /// Whether there are more that are not told.
    pub has_more: bool,
    /// What `after` has to be for the rows behind these; absent: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl RequestFilter {
    /// All requests since then.
    pub fn since(since: UnixMicros) -> Self {
        Self {
            since,
            until: None,
            project: None,
            user: None,
            key_id: None,
            session: None,
            model: None,
            target: None,
            failure: None,
            status: None,
            after: None,
            limit: None,
        }
    }

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

    /// How many rows are wanted.
    pub fn most(&self) -> u32 {
        self.limit.unwrap_or(LISTED).clamp(1, MOST_LISTED)
    }
}

impl StatusRange {
    /// Reads `429`, or `5xx`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
            return Some(Self { low: class * 100, high: class * 100 + 99 });
        }
        let status = text.parse().ok().filter(|status| text.len() == 3 && (100..600).contains(status))?;
        Some(Self { low: status, high: status })
    }
}

impl RowCursor {
    /// The longest text of one, in bytes: a time, a project and a session.
    pub const LONGEST: usize = 400;

    /// Reads what [`RowCursor`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (at, id) = text.split_once('.').filter(|_| text.len() <= Self::LONGEST)?;
        let at = u64::from_str_radix(at, 16).ok().filter(|at| i64::try_from(*at).is_ok())?;
        Some(Self { at: UnixMicros(at), id: id.to_owned() })
    }
}

impl std::fmt::Display for RowCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{}", self.at.0, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_one() {
        let cursor = RowCursor { at: UnixMicros(1_795_374_000_000_000), id: "search/run.7".to_owned() };
        assert_eq!(RowCursor::parse(&cursor.to_string()), Some(cursor));
        for wrong in ["", "x", "x.y", "ffffffffffffffff.y", &format!("1.{}", "y".repeat(RowCursor::LONGEST))] {
            assert_eq!(RowCursor::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn statuses_are_one_or_a_class_of_them() {
        assert_eq!(StatusRange::parse("429"), Some(StatusRange { low: 429, high: 429 }));
        assert_eq!(StatusRange::parse("5xx"), Some(StatusRange { low: 500, high: 599 }));
        for wrong in ["", "xx", "6xx", "0xx", "99", "600", "+42", "4x", "5xxx"] {
            assert_eq!(StatusRange::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_question_of_an_older_process_is_read() {
        let text = r#"{"what": {"requests": {"since": 7, "project": "search"}}}"#;
        let query: RowQuery = serde_json::from_str(text).unwrap();
        let RowQuestion::Requests(filter) = query.what else { panic!("{query:?}") };
        assert_eq!((filter.since, filter.most()), (UnixMicros(7), LISTED));
        assert!(serde_json::from_str::<RowQuery>(r#"{"what": {"sessions": 7}}"#).is_ok());
    }
}
