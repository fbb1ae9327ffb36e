//! A user, as people write it: who asks. Knows nothing of what a user may do.

use super::{Description, Kind, Managed, check_description};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who asks, within whatever project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// The name that requests carry: 1 to 256 bytes.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub description: Option<String>,
    /// Whether requests in this name are served.
    pub enabled: bool,
}

impl Default for User {
    fn default() -> Self {
        Self { name: String::new(), description: None, enabled: true }
    }
}

impl Managed for User {
    type Shown = Self;

    const DESCRIPTION: Description =
        Description { columns: &["name", "enabled", "description"], ..Description::plain(Kind::User, "Who asks") };

    fn name(&self) -> &str {
        &self.name
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = check_description(self.description.as_deref());
        if !(1..=256).contains(&self.name.len()) || self.name.chars().any(char::is_control) {
            mistakes.push(("name", "must be 1 to 256 bytes without control characters".to_owned()));
        }
        mistakes
    }
}
