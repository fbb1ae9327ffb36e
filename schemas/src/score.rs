//! What somebody thinks of an answer: a name, and a number, a yes or no, or a text. Knows nothing of the answer.

use crate::UnixMicros;
use crate::name::{ProjectId, RequestId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest name of a score, in bytes: `[A-Za-z0-9_.-]`, so that it can be a column of a report.
pub const NAME: usize = 64;

/// The longest text as a value, in bytes.
pub const TEXT: usize = 256;

/// The longest comment, in bytes.
pub const COMMENT: usize = 4096;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ScoreValue {
    /// Yes or no.
    Boolean(bool),
    /// How much.
    Number(f64),
    /// Which of several words.
    Text(String),
}

// A number that is read is finite: JSON has no others.
impl Eq for ScoreValue {}

/// One score in the ledger. The last one of a name counts, for each of those who score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Its id.
    pub id: Uuid,
    /// When it was given.
    pub at: UnixMicros,
    /// Of which request.
    pub request_id: RequestId,
    /// The project of that request.
    pub project: ProjectId,
    /// What is scored.
    pub name: String,
    /// How.
    pub value: ScoreValue,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who says so: the id of a virtual key, the name of an admin, the model that judges, or `penstock` for a check.
    pub by: String,
    /// In which role that was.
    pub source: ScoreSource,
}

/// Who gives scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreSource {
    /// A virtual key of the request's project.
    Key,
    /// Somebody of the admin API.
    Admin,
    /// A model, by a rubric of the operator's.
    Judge,
    /// A check without a model.
    Check,
}

impl ScoreSource {
    /// The word that stands for it in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Admin => "admin",
            Self::Judge => "judge",
            Self::Check => "check",
        }
    }
}

/// What is sent to `POST /v1/feedback`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// `x-penstock-request-id` of the answer.
    pub request_id: String,
    /// What is scored.
    pub name: String,
    /// How.
    pub value: ScoreValue,
    /// Why.
    #[serde(default)]
    pub comment: Option<String>,
}

/// What is wrong with the name of a score, if anything.
pub fn mistake_of_name(name: &str) -> Option<String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let is_wrong = name.is_empty() || name.len() > NAME || !name.bytes().all(is_name);
    is_wrong.then(|| format!("it must be 1 to {NAME} of A-Z, a-z, 0-9, `_`, `.` and `-`"))
}

impl Feedback {
    /// What is wrong with it, and in which field.
    pub fn mistake(&self) -> Option<(&'static str, String)> {
        if let Some(why) = mistake_of_name(&self.name) {
            return Some(("name", why));
        }
        match &self.value {
            ScoreValue::Text(text) if text.len() > TEXT => {
                return Some(("value", format!("a text is at most {TEXT} bytes long; write more into `comment`")));
            }
            ScoreValue::Number(number) if !number.is_finite() => {
                return Some(("value", "it must be finite".to_owned()));
            }
            ScoreValue::Boolean(_) | ScoreValue::Number(_) | ScoreValue::Text(_) => {}
        }
        let is_long = self.comment.as_ref().is_some_and(|comment| comment.len() > COMMENT);
        is_long.then(|| ("comment", format!("it must be at most {COMMENT} bytes long")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_score_is_a_number_a_yes_or_no_or_a_text_under_a_name() {
        let mistake = |name: &str, value: serde_json::Value, comment: &str| {
            let feedback = json!({ "request_id": "r", "name": name, "value": value, "comment": comment });
            serde_json::from_value::<Feedback>(feedback).map(|feedback| feedback.mistake().map(|(field, _)| field))
        };
        for value in [json!(1), json!(-0.5), json!(true), json!("good")] {
            assert_eq!(mistake("thumbs_up", value, "why").unwrap(), None);
        }
        assert_eq!(mistake("", json!(1), "").unwrap(), Some("name"));
        assert_eq!(mistake("a b", json!(1), "").unwrap(), Some("name"));
        assert_eq!(mistake(&"a".repeat(65), json!(1), "").unwrap(), Some("name"));
        assert_eq!(mistake("a", json!("x".repeat(257)), "").unwrap(), Some("value"));
        assert_eq!(mistake("a", json!(1), &"x".repeat(4097)).unwrap(), Some("comment"));
        mistake("a", json!(null), "").unwrap_err();
        mistake("a", json!([1]), "").unwrap_err();
    }
}
