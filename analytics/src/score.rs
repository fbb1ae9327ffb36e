//! What was thought of answers: the rows of `scores`. Knows nothing of when they are inserted.

use crate::row_key::{RowKey, micros};
use clickhouse::Row;
use penstock_schemas::score::{Score, ScoreValue};
use serde::Serialize;
use uuid::Uuid;

/// A row of `score_log`.
#[derive(Clone, Debug, Row, Serialize)]
pub(crate) struct ScoreRow {
    #[serde(with = "clickhouse::serde::uuid")]
    id: Uuid,
    at: i64,
    #[serde(with = "clickhouse::serde::uuid")]
    request_id: Uuid,
    project: String,
    name: String,
    number: Option<f64>,
    text: Option<String>,
    comment: String,
    by: String,
    source: &'static str,
}

impl ScoreRow {
    /// The row of an event.
    pub(crate) fn of(score: &Score) -> Self {
        let (number, text) = match &score.value {
            ScoreValue::Boolean(is) => (Some(f64::from(u8::from(*is))), None),
            ScoreValue::Number(number) => (Some(*number), None),
            ScoreValue::Text(text) => (None, Some(text.clone())),
        };
        Self {
            id: score.id,
            at: micros(score.at),
            request_id: score.request_id.0,
            project: score.project.to_string(),
            name: score.name.clone(),
            number,
            text,
            comment: score.comment.clone().unwrap_or_default(),
            by: score.by.clone(),
            source: score.source.as_str(),
        }
    }

    /// What names it.
    pub(crate) fn key(&self) -> RowKey {
        (self.id, 0)
    }
}
