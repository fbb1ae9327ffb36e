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
    pattern: r#"{"enum": ["budget_threshold", "budget_exceeded", "unpriced_model", "unpriced_usage", "impossible_usage", "provider_key_failing", "reconciliation_difference", "spending_slope"]}"#,
    about: "Only alerts of this kind",
};

pub(super) const OBJECT: Parameter = Parameter {
    name: "object",
    is_in_query: true,
    pattern: r#"{"type": "string", "maxLength": 320}"#,
    about: "Only such objects: `budget`, or `budget/search-monthly`",
};

/// A text of a caller's or an operator's, as a parameter.
pub(super) const TEXT: &str = r#"{"type": "string", "maxLength": 256}"#;

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
