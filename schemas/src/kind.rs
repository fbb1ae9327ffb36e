//! What a sort of managed object is, said once and in one file for each: its fields, what is wrong with one, what it stands
//! beside, and what people see of it. The configuration, `apply`, the admin API with its document and the command line are
//! made of this. Knows nothing of where objects are kept.
//!
//! A new sort is a file below, a [`Kind`], a field of [`crate::directory::Directory`] and a line of
//! [`crate::managed::Object`].

mod admin;
mod budget;
mod key;
mod limit;
mod project;
mod user;
mod webhook;

pub use admin::{Admin, AdminSettings, AdminShown, Role};
pub use budget::BudgetShown;
pub use key::{KeySettings, KeyShown, SecretShown};
pub use project::Project;
pub use user::User;
pub use webhook::Webhook;

use crate::UnixMicros;
use crate::budget::Scope;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The sorts of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Who pays.
    Project,
    /// Who asks.
    User,
    /// A limit on spending.
    Budget,
    /// A limit on rates.
    Limit,
    /// A virtual key.
    Key,
    /// Who manages.
    Admin,
    /// Where alerts are posted to.
    Webhook,
    /// A key for a provider. It is no [`Managed`] object, since it holds what nobody may see.
    ProviderKey,
    /// A model at a provider, whose pause is lifted. It is no [`Managed`] object: nothing of it is kept.
    Target,
    /// The cached answers of a project, or of one of its namespaces, which are removed. They are no [`Managed`] object either.
    Cache,
    /// A batch, which is cancelled. It is no [`Managed`] object either.
    Batch,
    /// Kept bodies of a user, which are deleted. They are no [`Managed`] object either.
    Body,
    /// A session, which is stopped or may go on. It is no [`Managed`] object either.
    Session,
    /// What was learnt of a virtual model, which is frozen or thrown away. It is no [`Managed`] object either.
    Heads,
}

impl Kind {
    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        self.words().0
    }

    /// The word for several of it, as in addresses and in `penstock.toml`.
    pub fn plural(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Project => ("project", "projects"),
            Self::User => ("user", "users"),
            Self::Budget => ("budget", "budgets"),
            Self::Limit => ("limit", "limits"),
            Self::Key => ("key", "keys"),
            Self::Admin => ("admin", "admins"),
            Self::Webhook => ("webhook", "webhooks"),
            Self::ProviderKey => ("provider_key", "provider_keys"),
            Self::Target => ("target", "targets"),
            Self::Cache => ("cache", "caches"),
            Self::Batch => ("batch", "batches"),
            Self::Body => ("body", "bodies"),
            Self::Session => ("session", "sessions"),
            Self::Heads => ("heads", "heads"),
        }
    }

    /// The field that names an object of it.
    pub fn name_field(self) -> &'static str {
        if self == Self::Key { "id" } else { "name" }
    }
}

/// What holds for all objects of a sort.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The sort.
    pub kind: Kind,
    /// What it is, in a few words.
    pub about: &'static str,
    /// The fields that a table shows.
    pub columns: &'static [&'static str],
    /// Whether an owner of the project that it belongs to may change it.
    pub is_owned: bool,
    /// Whether a configuration file may declare it.
    pub is_declared: bool,
    /// Whether it has a secret, which is shown once and can be made anew.
    pub has_secret: bool,
    /// Whether the virtual keys are looked at when it is changed.
    pub is_beside_keys: bool,
}

impl Description {
    /// Of a plain sort: admins change it, files declare it, it has no secret and stands for itself.
    pub const fn plain(kind: Kind, about: &'static str) -> Self {
        Self {
            kind,
            about,
            columns: &["name"],
            is_owned: false,
            is_declared: true,
            has_secret: false,
            is_beside_keys: false,
        }
    }
}

/// A sort of managed object, as people write one.
pub trait Managed: Clone + Serialize + DeserializeOwned + JsonSchema {
    /// As it is shown: with what is known besides.
    type Shown: JsonSchema;

    /// What holds for all of them.
    const DESCRIPTION: Description;

    /// Its name among those of its sort.
    fn name(&self) -> &str;

    /// The one project that it belongs to, where it does.
    fn project(&self) -> Option<&str> {
        None
    }

    /// Everything that is wrong with it, as (field, reason).
    fn mistakes(&self) -> Vec<(&'static str, String)>;

    /// What has to be looked at beside it, in the order in which it is told.
    fn checks(&self) -> Vec<Check<'_>> {
        Vec::new()
    }
}

/// Something about an object that may be wrong, or of no use, beside everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check<'a> {
    /// A field names a model to downgrade to.
    Downgrade(&'static str, &'a str),
    /// Patterns of models.
    Models(&'a [String]),
    /// Whom and what it is for.
    Scope(&'a Scope),
    /// Patterns of projects.
    Projects(&'a [String]),
    /// Who pays for what is asked with it.
    Payer(&'a str),
    /// When it ends.
    Expiry(UnixMicros),
    /// How much may be spent.
    Limit(u64),
}

/// What is wrong with a text that describes something.
fn check_description(text: Option<&str>) -> Vec<(&'static str, String)> {
    let is_wrong = text.is_some_and(|text| text.len() > 1000);
    if is_wrong { vec![("description", "must be at most 1000 bytes".to_owned())] } else { Vec::new() }
}

/// The most patterns of models that a key or a project may have.
const PATTERNS: usize = 500;

/// What is wrong with patterns of models.
fn check_patterns(models: &[String]) -> Vec<(&'static str, String)> {
    // Each is compared with names while a request waits.
    if models.len() > PATTERNS {
        return vec![("models", format!("at most {PATTERNS} patterns; `*` stands for any characters"))];
    }
    let wrong = models.iter().filter(|model| model.is_empty() || model.len() > 256);
    wrong.map(|model| ("models", format!("`{model}` must be 1 to 256 bytes; `*` stands for any characters"))).collect()
}
