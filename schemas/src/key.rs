//! A virtual key as it is kept: who it stands for and what it may do. Knows the hash of the secret, never the secret.

use crate::UnixMicros;
use crate::budget::{Budget, Rates};
use crate::name::{KeyId, ProjectId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A virtual key, kept in NATS KV under its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualKey {
    /// Its public name, for logs and reports.
    pub id: KeyId,
    /// SHA-256 of the secret, as 64 hexadecimal digits.
    pub sha256: String,
    /// The first characters of the secret, so that its owner can tell it apart: `psk_a1b2`.
    pub prefix: String,
    /// Who pays for what is asked with it.
    pub project: ProjectId,
    /// Who asks, when the request itself does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it is for, in its owner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The models it may use, `*` standing for any characters: `openai/*`, `chat`. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Tags that every request with it gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: UnixMicros,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMicros>,
    /// Whether it is refused until it is enabled again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Budgets of its own; their scope is the key, whatever else it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// Rates of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
}

impl VirtualKey {
    /// Whether one of the key's patterns matches one of the names that a request's model goes by.
    pub fn may_use<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        self.models.is_empty() || names.into_iter().any(|name| self.models.iter().any(|pattern| matches(pattern, name)))
    }
}

/// Whether `name` is spelt as `pattern`, in which `*` stands for any characters, also none.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, is_match) in [
            ("chat", "chat", true),
            ("chat", "chat2", false),
            ("openai/*", "openai/gpt-4o", true),
            ("openai/*", "azure/gpt-4o", false),
            ("*", "", true),
            ("*/gpt-*-mini", "openai/gpt-4o-mini", true),
            ("*/gpt-*-mini", "openai/gpt-mini", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }
}
