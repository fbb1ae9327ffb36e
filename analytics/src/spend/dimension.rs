//! What spend can be broken down by, in SQL. Knows the columns of `attempts`, `spend_by_hour` and `spend_by_day`, and no query.

/// The names of the budgets are in the first part of their books' keys, as `schemas::book::Counter` writes them: a row for
/// each, or one for none. A budget that was deleted and made again is one here.
const BUDGETS: &str = "arrayJoin(if(empty(books), [NULL], arrayDistinct(arrayMap(
    counter -> toNullable(multiIf(startsWith(counter, 'B='), splitByChar('=', counter)[2],
        startsWith(counter, 'K='), concat(splitByChar('=', counter)[2], '/', splitByChar('=', counter)[3]), counter)),
    arrayMap(book -> splitByChar('.', toString(book))[1], books)))))";

/// What to break down by.
pub(super) enum Dimension<'a> {
    /// SQL for it, on `attempts` and, where it is known there, on `spend_by_hour` and `spend_by_day`.
    Column { attempts: &'static str, counted: Option<&'static str> },
    /// The day.
    Day,
    /// The hour.
    Hour,
    /// The budgets that the attempt counts in, each.
    Budget,
    /// A tag of the caller's, bound by name.
    Tag(&'a str),
}

impl<'a> Dimension<'a> {
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let same = |column| Self::Column { attempts: column, counted: Some(column) };
        Some(match name {
            "project" => same("project"),
            "key_id" => same("key_id"),
            "provider" => same("provider"),
            "model" => same("model"),
            "operation" => same("operation"),
            "virtual_model" => Self::Column { attempts: "virtual_model", counted: Some("nullIf(virtual_model, '')") },
            "user" => Self::Column { attempts: "user", counted: None },
            "end_user" => Self::Column { attempts: "end_user", counted: None },
            "batch" => Self::Column { attempts: "nullIf(batch_id, '')", counted: None },
            "day" => Self::Day,
            "hour" => Self::Hour,
            "budget" => Self::Budget,
            _ => Self::Tag(name.strip_prefix("tag:").filter(|tag| !tag.is_empty())?),
        })
    }

    pub(super) fn attempts(&self) -> &'static str {
        match self {
            Self::Column { attempts, .. } => attempts,
            Self::Day => "toDate(started_at)",
            Self::Hour => "toStartOfHour(started_at)",
            Self::Budget => BUDGETS,
            Self::Tag(_) => "if(mapContains(tags, ?), tags[?], NULL)",
        }
    }

    pub(super) fn hours(&self) -> Option<&'static str> {
        match self {
            Self::Column { counted, .. } => *counted,
            Self::Day => Some("toDate(hour)"),
            Self::Hour => Some("hour"),
            Self::Budget | Self::Tag(_) => None,
        }
    }

    pub(super) fn days(&self) -> Option<&'static str> {
        match self {
            Self::Column { counted, .. } => *counted,
            Self::Day => Some("day"),
            Self::Hour | Self::Budget | Self::Tag(_) => None,
        }
    }

    /// Whether an attempt can be in several rows.
    pub(super) fn is_plural(&self) -> bool {
        matches!(self, Self::Budget)
    }

    pub(super) fn text(&self, key: &str) -> String {
        match self {
            Self::Hour => format!("CAST(formatDateTime({key}, '%Y-%m-%dT%H:00:00Z', 'UTC'), 'Nullable(String)')"),
            Self::Column { .. } | Self::Day | Self::Budget | Self::Tag(_) => format!("CAST({key}, 'Nullable(String)')"),
        }
    }
}
