//! The parameters of the admin API, as the table of routes and its document have them.

use super::Parameter;
pub(super) const IF_MATCH: Parameter = Parameter {
    name: "If-Match",
    is_in_query: false,
    pattern: r#"{"type": "string", "pattern": "^(\"?[0-9]{1,15}\"?|[*])$"}"#,
    about: "Only if it still has this ETag",
};

pub(super) const FORCE: Parameter = Parameter {
    name: "force",
    is_in_query: true,
    pattern: r#"{"type": "boolean"}"#,
    about: "Also if keys still belong to it",
};

pub(super) const OVERLAP: Parameter = Parameter {
    name: "overlap",
    is_in_query: true,
    pattern: r#"{"type": "string", "pattern": "^[0-9]{1,4}(ms|s|m|h)$"}"#,
    about: "How long the older secret holds: 30m, 24h; default 24h",
};

pub(super) const fn time(name: &'static str, about: &'static str) -> Parameter {
    let pattern = r#"{"type": "string", "pattern": "^([1-9][0-9]{0,3}[mhd]|20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8]))$"}"#;
    Parameter { name, is_in_query: true, pattern, about }
}

pub(super) const BY: Parameter = Parameter {
    name: "by",
    is_in_query: true,
    pattern: r#"{"type": "array", "uniqueItems": true, "maxItems": 5, "items": {"type": "string",
        "pattern": "^(project|user|key_id|provider|model|virtual_model|operation|budget|day|hour|tag:[a-z]{1,20})$"}}"#,
    about: "What to break it down by, separated by commas",
};

pub(super) const FORECAST: Parameter = Parameter {
    name: "forecast",
    is_in_query: true,
    pattern: r#"{"type": "boolean"}"#,
    about: "Where spending leads to: this month's, or with `by=budget` each budget's; without the other parameters",
};

pub(super) const KIND: Parameter = Parameter {
    name: "kind",
    is_in_query: true,
    pattern: r#"{"enum": ["budget_threshold", "budget_exceeded", "unpriced_model", "unpriced_usage", "impossible_usage", "provider_key_failing", "reconciliation_difference", "spending_slope", "ledger_dead_letter", "disk_space", "session_runaway", "drift", "model_version", "system_fingerprint", "arm_stopped"]}"#,
    about: "Only alerts of this kind",
};

pub(super) const OBJECT: Parameter = Parameter {
    name: "object",
    is_in_query: true,
    pattern: r#"{"type": "string", "maxLength": 320}"#,
    about: "Only such objects: `budget`, or `budget/search-monthly`",
};

/// A text of a caller's or an operator's, as a parameter.
const TEXT: &str = r#"{"type": "string", "maxLength": 256}"#;

pub(super) const ACTOR: Parameter = Parameter {
    name: "actor",
    is_in_query: true,
    pattern: r#"{"type": "string", "maxLength": 300}"#,
    about: "Only changes by this one",
};

pub(super) const PROJECT: Parameter = Parameter {
    name: "project",
    is_in_query: true,
    pattern: r#"{"type": "string", "pattern": "^[a-z0-9_-]{1,64}$"}"#,
    about: "Those of this project",
};

pub(super) const NAMESPACE: Parameter = Parameter {
    name: "namespace",
    is_in_query: true,
    pattern: r#"{"type": "string", "maxLength": 256}"#,
    about: "Those of this namespace; empty: those without one",
};

/// What lists of requests and sessions are filtered by.
pub(super) fn filters(more: &[Parameter]) -> Vec<Parameter> {
    let text = |name, about| Parameter { name, is_in_query: true, pattern: TEXT, about };
    let mut filters = vec![
        time("since", "From when on: 7d, or a day"),
        time("until", "Until when, exclusive"),
        text("project", "Only of this project"),
        text("user", "Only of this user, or for this end user"),
        text("key_id", "Only with this virtual key"),
        text("session", "Only of this session"),
        text("model", "Only for this model, as the caller named it, or answered by this target"),
        text("target", "Only answered by this target, or tried there last"),
        text("failure", "Only those that failed so; any: in any way"),
        LIMIT,
    ];
    filters.extend_from_slice(more);
    filters
}

/// What a report about answers is of.
pub(super) fn quality() -> Vec<Parameter> {
    let is_of_it = |one: &Parameter| ["since", "until", "project", "model"].contains(&one.name);
    filters(&[]).into_iter().filter(is_of_it).collect()
}

const LIMIT: Parameter = Parameter {
    name: "limit",
    is_in_query: true,
    pattern: r#"{"type": "integer", "minimum": 1, "maximum": 1000}"#,
    about: "So many at most; 100 where it is not said",
};

pub(super) const STATUS: Parameter = Parameter {
    name: "status",
    is_in_query: true,
    pattern: r#"{"type": "string", "pattern": "^([1-5]xx|[1-5][0-9][0-9])$"}"#,
    about: "Only with this HTTP status, such as 429, or of this class, such as 5xx",
};

pub(super) const AFTER_REQUEST: Parameter = Parameter {
    name: "after",
    is_in_query: true,
    pattern: r#"{"type": "string", "pattern": "^[0-9a-f]{1,13}[.][0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"}"#,
    about: "Those behind this place: the `next` of an earlier answer",
};

pub(super) const AFTER_SESSION: Parameter = Parameter {
    name: "after",
    is_in_query: true,
    pattern: r#"{"type": "string", "pattern": "^[0-9a-f]{1,13}[.][a-z0-9_-]{1,64}/[ -~]{1,256}$"}"#,
    about: "Those behind this place: the `next` of an earlier answer",
};

pub(super) const AFTER_BATCH: Parameter = Parameter {
    name: "after",
    is_in_query: true,
    pattern: r#"{"type": "string", "pattern": "^batch_[a-z0-9]{1,58}$"}"#,
    about: "Those older than this batch: the `next` of an earlier answer",
};

pub(super) const STATUS_OF_BATCH: Parameter = Parameter {
    name: "status",
    is_in_query: true,
    pattern: r#"{"enum": ["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]}"#,
    about: "Only with this status",
};

pub(super) const PAGE_OF_BATCHES: Parameter = Parameter {
    name: "limit",
    is_in_query: true,
    pattern: r#"{"type": "integer", "minimum": 1, "maximum": 100}"#,
    about: "So many at most; 20 where it is not said",
};

pub(super) const USER: Parameter = Parameter {
    name: "user",
    is_in_query: true,
    pattern: TEXT,
    about: "Whose: the user or the end user of the requests",
};
