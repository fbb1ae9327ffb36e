//! Somebody who manages: as people write one, as one is kept, and as one is shown. Knows no token, only its hash.

use super::{Check, Description, Kind, Managed};
use crate::budget::check_name;
use crate::{UnixMicros, rfc3339};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What somebody may do with what is managed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads: its projects, or everything when it names none.
    #[default]
    Viewer,
    /// Reads and changes keys, budgets and limits of its projects, and reads their spend.
    Owner,
    /// Everything.
    Admin,
}

impl Role {
    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Owner => "owner",
            Self::Admin => "admin",
        }
    }
}

/// Somebody who manages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// The name that the audit shows: 1 to 64 of `a-z 0-9 _ -`.
    #[schemars(regex(pattern = r"^[a-z0-9_-]{1,64}$"))]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// With which projects. An owner has at least one; an admin has all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = r"^[a-z0-9_-]{1,64}$")))]
    pub projects: Vec<String>,
    /// From when on its token is refused.
    #[serde(with = "crate::rfc3339", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::rfc3339::schema")]
    pub expires_at: Option<UnixMicros>,
    /// Whether its token is good.
    pub enabled: bool,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { name: String::new(), role: Role::Viewer, projects: Vec::new(), expires_at: None, enabled: true }
    }
}

impl Managed for AdminSettings {
    type Shown = AdminShown;

    const DESCRIPTION: Description = Description {
        columns: &["name", "role", "projects", "enabled", "expires_at", "created_at"],
        // A token is shown once, and files are not.
        is_declared: false,
        has_secret: true,
        is_beside_keys: true,
        ..Description::plain(Kind::Admin, "Who manages: tokens of the admin API")
    };

    fn name(&self) -> &str {
        &self.name
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = check_name(&self.name);
        for project in &self.projects {
            mistakes.extend(check_name(project).into_iter().map(|(_, why)| ("projects", why)));
        }
        match self.role {
            Role::Owner if self.projects.is_empty() => {
                mistakes.push(("projects", "is missing: an owner has at least one".to_owned()));
            }
            Role::Admin if !self.projects.is_empty() => {
                mistakes.push(("projects", "an admin has all projects: name none, or make it an owner".to_owned()));
            }
            Role::Owner | Role::Admin | Role::Viewer => {}
        }
        mistakes
    }

    fn checks(&self) -> Vec<Check<'_>> {
        vec![Check::Projects(&self.projects)]
    }
}

/// Somebody who manages, as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// What its owner says about it.
    pub settings: AdminSettings,
    /// SHA-256 of its token, as 64 hexadecimal digits.
    pub sha256: String,
    /// When it was made.
    pub created_at: UnixMicros,
}

/// Somebody who manages, without the token, which nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AdminShown {
    /// As it was written.
    #[serde(flatten)]
    pub settings: AdminSettings,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

impl AdminShown {
    /// Somebody as they are shown.
    pub fn of(admin: &Admin) -> Self {
        Self { settings: admin.settings.clone(), created_at: rfc3339::write(admin.created_at) }
    }
}
