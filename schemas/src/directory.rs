//! Everything that an operator manages besides virtual keys, as one document: it is changed as a whole and against the
//! revision that was read, so that a change is there in full or not at all, and every process sees the same. Knows nothing
//! of where it is kept, nor of who may change it.

use crate::UnixMicros;
use crate::alert::Webhook;
use crate::book::{self, Generations};
use crate::budget::{Budget, RateLimit, check_name};
use crate::provider_key::ProviderKey;
use schemars::JsonSchema;
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
    /// The generations of those.
    #[serde(skip_serializing_if = "Generations::is_empty")]
    pub generations: Generations,
    /// Limits on rates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, RateLimit>,
    /// Keys for providers, by provider.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub provider_keys: BTreeMap<String, Vec<ProviderKey>>,
    /// Where alerts are posted to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub webhooks: BTreeMap<String, Webhook>,
    /// Who manages all this, besides the root key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub admins: BTreeMap<String, Admin>,
    /// Sessions that were stopped, by project and name, and until when.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stopped_sessions: BTreeMap<String, BTreeMap<String, UnixMicros>>,
}

/// Sessions of a project that are stopped at once. The one that would end first gives way to another.
pub const MOST_STOPPED: usize = 1_000;

impl Directory {
    /// Until when a session is stopped.
    pub fn stopped_until(&self, project: &str, session: &str, now: UnixMicros) -> Option<UnixMicros> {
        self.stopped_sessions.get(project)?.get(session).copied().filter(|until| now < *until)
    }

    /// Stops a session until then; forgets those whose time is over.
    pub fn stop_session(&mut self, project: &str, session: &str, (now, until): (UnixMicros, UnixMicros)) {
        self.stopped_sessions.values_mut().for_each(|sessions| sessions.retain(|_, until| now < *until));
        self.stopped_sessions.retain(|_, sessions| !sessions.is_empty());
        let sessions = self.stopped_sessions.entry(project.to_owned()).or_default();
        if sessions.len() >= MOST_STOPPED
            && let Some(first) = sessions.iter().min_by_key(|(_, until)| **until).map(|(name, _)| name.clone())
        {
            sessions.remove(&first);
        }
        sessions.insert(session.to_owned(), until);
    }

    /// A session may go on. Whether it was stopped.
    pub fn resume_session(&mut self, project: &str, session: &str) -> bool {
        let Some(sessions) = self.stopped_sessions.get_mut(project) else { return false };
        let was_stopped = sessions.remove(session).is_some();
        self.stopped_sessions.retain(|_, sessions| !sessions.is_empty());
        was_stopped
    }

    /// Brings the generations to what has become of the budgets since they were `before`.
    pub fn renew_generations(&mut self, before: &BTreeMap<String, Budget>, now: UnixMicros) {
        let [before, after] = [before, &self.budgets].map(|all| all.values().cloned().collect::<Vec<_>>());
        book::renew(&mut self.generations, &before, &after, now);
    }
}

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
        let mut mistakes = check_name(&self.name);
        mistakes.extend(check_description(self.description.as_deref()));
        mistakes.extend(check_patterns(&self.models));
        mistakes
    }
}

impl User {
    /// Everything that is wrong with it, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = check_description(self.description.as_deref());
        if !(1..=256).contains(&self.name.len()) || self.name.chars().any(char::is_control) {
            mistakes.push(("name", "must be 1 to 256 bytes without control characters".to_owned()));
        }
        mistakes
    }
}

impl AdminSettings {
    /// Everything that is wrong with it, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
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
}

/// What is wrong with a text that describes something.
pub(crate) fn check_description(text: Option<&str>) -> Vec<(&'static str, String)> {
    let is_wrong = text.is_some_and(|text| text.len() > 1000);
    if is_wrong { vec![("description", "must be at most 1000 bytes".to_owned())] } else { Vec::new() }
}

/// The most patterns of models that a key or a project may have.
const PATTERNS: usize = 500;

/// What is wrong with patterns of models.
pub(crate) fn check_patterns(models: &[String]) -> Vec<(&'static str, String)> {
    // Each is compared with names while a request waits.
    if models.len() > PATTERNS {
        return vec![("models", format!("at most {PATTERNS} patterns; `*` stands for any characters"))];
    }
    let wrong = models.iter().filter(|model| model.is_empty() || model.len() > 256);
    wrong.map(|model| ("models", format!("`{model}` must be 1 to 256 bytes; `*` stands for any characters"))).collect()
}
