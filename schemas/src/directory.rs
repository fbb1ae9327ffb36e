//! Everything that an operator manages besides virtual keys, as one document: it is changed as a whole and against the
//! revision that was read, so that a change is there in full or not at all, and every process sees the same. Knows nothing
//! of where it is kept, nor of who may change it.

use crate::alert::Webhook;
use crate::budget::{Budget, RateLimit, check_name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The document. Every map is by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Directory {
    /// Who pays. A project that is not listed is one without settings, unless `closed` says otherwise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub projects: BTreeMap<String, Project>,
    /// Who asks. Like projects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, User>,
    /// Limits on spending.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, Budget>,
    /// Limits on rates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, RateLimit>,
    /// Where alerts are posted to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub webhooks: BTreeMap<String, Webhook>,
}

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Project {
    /// Its name: 1 to 64 of `a-z 0-9 _ -`.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether its keys are good.
    pub enabled: bool,
    /// The models that all its keys may use, `*` standing for any characters. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

/// Who asks, within whatever project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// The name that requests carry: 1 to 256 bytes.
    pub name: String,
    /// Who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether requests in this name are served.
    pub enabled: bool,
}

impl Default for Project {
    fn default() -> Self {
        Self { name: String::new(), description: None, enabled: true, models: Vec::new() }
    }
}

impl Default for User {
    fn default() -> Self {
        Self { name: String::new(), description: None, enabled: true }
    }
}

impl Project {
    /// Everything that is wrong with it, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        check_name(&self.name)
    }
}

impl User {
    /// Everything that is wrong with it, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        if (1..=256).contains(&self.name.len()) && !self.name.chars().any(char::is_control) {
            return Vec::new();
        }
        vec![("name", "must be 1 to 256 bytes without control characters".to_owned())]
    }
}
