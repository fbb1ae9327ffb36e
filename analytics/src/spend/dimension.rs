//! What spend can be broken down by, in SQL. Knows the columns of `attempts` and `spend_by_hour`, and no query.

/// What to break down by.
pub(super) enum Dimension<'a> {
    /// SQL for it, on `attempts` and, where it is known there, on `spend_by_hour`.
    Column { attempts: &'static str, hours: Option<&'static str> },
    /// The hour.
    Hour,
    /// A tag of the caller's, bound by name.
    Tag(&'a str),
}

impl<'a> Dimension<'a> {
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let same = |column| Self::Column { attempts: column, hours: Some(column) };
        Some(match name {
            "project" => same("project"),
            "key_id" => same("key_id"),
            "provider" => same("provider"),
            "model" => same("model"),
            "operation" => same("operation"),
            "virtual_model" => Self::Column { attempts: "virtual_model", hours: Some("nullIf(virtual_model, '')") },
            "user" => Self::Column { attempts: "user", hours: None },
            "day" => Self::Column { attempts: "toDate(started_at)", hours: Some("toDate(hour)") },
            "hour" => Self::Hour,
            _ => Self::Tag(name.strip_prefix("tag:").filter(|tag| !tag.is_empty())?),
        })
    }

    pub(super) fn attempts(&self) -> &'static str {
        match self {
            Self::Column { attempts, .. } => attempts,
            Self::Hour => "toStartOfHour(started_at)",
            Self::Tag(_) => "if(mapContains(tags, ?), tags[?], NULL)",
        }
    }

    pub(super) fn hours(&self) -> Option<&'static str> {
        match self {
            Self::Column { hours, .. } => *hours,
            Self::Hour => Some("hour"),
            Self::Tag(_) => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> String {
        match self {
            Self::Hour => format!("CAST(formatDateTime({key}, '%Y-%m-%dT%H:00:00Z', 'UTC'), 'Nullable(String)')"),
            Self::Column { .. } | Self::Tag(_) => format!("CAST({key}, 'Nullable(String)')"),
        }
    }
}
