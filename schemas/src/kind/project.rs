//! A project, as people write it: who pays. Knows nothing of its keys.

use super::{Check, Description, Kind, Managed, check_description, check_patterns};
use crate::budget::check_name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Project {
    /// Its name: 1 to 64 of `a-z 0-9 _ -`.
    #[schemars(regex(pattern = r"^[a-z0-9_-]{1,64}$"))]
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub description: Option<String>,
    /// Whether its keys are good.
    pub enabled: bool,
    /// The models that all its keys may use, `*` standing for any characters. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1, max = 256)))]
    pub models: Vec<String>,
}

impl Default for Project {
    fn default() -> Self {
        Self { name: String::new(), description: None, enabled: true, models: Vec::new() }
    }
}

impl Managed for Project {
    type Shown = Self;

    const DESCRIPTION: Description = Description {
        columns: &["name", "enabled", "models", "description"],
        is_beside_keys: true,
        ..Description::plain(Kind::Project, "Who pays")
    };

    fn name(&self) -> &str {
        &self.name
    }

    fn project(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = check_name(&self.name);
        mistakes.extend(check_description(self.description.as_deref()));
        mistakes.extend(check_patterns(&self.models));
        mistakes
    }

    fn checks(&self) -> Vec<Check<'_>> {
        vec![Check::Models(&self.models)]
    }
}
