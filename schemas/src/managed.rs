//! What an operator manages, as people write it and as they are shown it: one closed set of objects, read with every
//! mistake at once. Knows nothing of where they are kept, nor of who may change them.

mod key_settings;
mod parse;

pub use key_settings::KeySettings;
pub use parse::whole;

use crate::alert::Webhook;
use crate::budget::{Budget, RateLimit};
use crate::directory::{AdminSettings, Directory, Project, User};
use parse::parsed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// A key for a provider. It is no [`Object`], since it holds what nobody may see.
    ProviderKey,
    /// A model at a provider, whose pause is lifted. It is no [`Object`]: nothing of it is kept.
    Target,
    /// The cached answers of a project, or of one of its namespaces, which are removed. They are no [`Object`] either.
    Cache,
    /// A batch, which is cancelled. It is no [`Object`] either.
    Batch,
    /// Kept bodies of a user, which are deleted. They are no [`Object`] either.
    Body,
    /// A session, which is stopped or may go on. It is no [`Object`] either.
    Session,
    /// What was learnt of a virtual model, which is frozen or thrown away. It is no [`Object`] either.
    Heads,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Project, Self::User, Self::Budget, Self::Limit, Self::Key, Self::Admin, Self::Webhook];

    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::User => "user",
            Self::Budget => "budget",
            Self::Limit => "limit",
            Self::Key => "key",
            Self::Admin => "admin",
            Self::Webhook => "webhook",
            Self::ProviderKey => "provider_key",
            Self::Target => "target",
            Self::Cache => "cache",
            Self::Batch => "batch",
            Self::Body => "body",
            Self::Session => "session",
            Self::Heads => "heads",
        }
    }

    /// The word for several of it, as in addresses and in `penstock.toml`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Project => "projects",
            Self::User => "users",
            Self::Budget => "budgets",
            Self::Limit => "limits",
            Self::Key => "keys",
            Self::Admin => "admins",
            Self::Webhook => "webhooks",
            Self::ProviderKey => "provider_keys",
            Self::Target => "targets",
            Self::Cache => "caches",
            Self::Batch => "batches",
            Self::Body => "bodies",
            Self::Session => "sessions",
            Self::Heads => "heads",
        }
    }

    /// The field that names an object of it.
    pub fn name_field(self) -> &'static str {
        if self == Self::Key { "id" } else { "name" }
    }
}

/// What is wrong with an object, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mistake {
    /// The field, such as `match.project`; empty for the whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// Whether it has the right form, and breaks a rule.
    #[serde(skip)]
    pub is_rule: bool,
}

/// An object of any sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// Who pays.
    Project(Project),
    /// Who asks.
    User(User),
    /// A limit on spending.
    Budget(Budget),
    /// A limit on rates.
    Limit(RateLimit),
    /// A virtual key.
    Key(Box<KeySettings>),
    /// Who manages.
    Admin(AdminSettings),
    /// Where alerts are posted to.
    Webhook(Webhook),
}

impl Object {
    /// Reads one as people write it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(kind: Kind, value: &Value) -> Result<Self, Vec<Mistake>> {
        let (object, mut mistakes) = parsed(kind, value);
        let broken: Vec<String> = mistakes.iter().map(|mistake| mistake.field.clone()).collect();
        for (field, message) in object.iter().flat_map(Self::mistakes) {
            // What could not be read looks as if it were absent.
            let hides = |broken: &String| {
                broken.split('.').next() == Some(field) || (field == "limit_usd" && broken == "limit_tokens")
            };
            if !broken.iter().any(hides) {
                mistakes.push(Mistake { field: field.to_owned(), message, is_rule: true });
            }
        }
        match object {
            Some(object) if mistakes.is_empty() => Ok(object),
            _ => Err(mistakes),
        }
    }

    /// Whether these fields have the right form, whatever they say.
    pub fn fits(kind: Kind, value: &Value) -> bool {
        parsed(kind, value).1.is_empty()
    }

    /// As people write it.
    pub fn value(&self) -> Value {
        let value = match self {
            Self::Project(project) => serde_json::to_value(project),
            Self::User(user) => serde_json::to_value(user),
            Self::Budget(budget) => serde_json::to_value(budget),
            Self::Limit(limit) => serde_json::to_value(limit),
            Self::Key(settings) => serde_json::to_value(settings),
            Self::Admin(settings) => serde_json::to_value(settings),
            Self::Webhook(webhook) => serde_json::to_value(webhook),
        };
        value.expect("objects have a JSON form")
    }

    /// Its sort.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Project(_) => Kind::Project,
            Self::User(_) => Kind::User,
            Self::Budget(_) => Kind::Budget,
            Self::Limit(_) => Kind::Limit,
            Self::Key(_) => Kind::Key,
            Self::Admin(_) => Kind::Admin,
            Self::Webhook(_) => Kind::Webhook,
        }
    }

    /// Its name among those of its sort.
    pub fn name(&self) -> &str {
        match self {
            Self::Project(project) => &project.name,
            Self::User(user) => &user.name,
            Self::Budget(budget) => &budget.name,
            Self::Limit(limit) => &limit.name,
            Self::Key(settings) => &settings.id,
            Self::Admin(settings) => &settings.name,
            Self::Webhook(webhook) => &webhook.name,
        }
    }

    /// The one project that it belongs to, where it does.
    pub fn project(&self) -> Option<&str> {
        match self {
            Self::Project(project) => Some(&project.name),
            Self::Key(settings) => Some(&settings.project),
            Self::Budget(Budget { scope, .. }) | Self::Limit(RateLimit { scope, .. }) => {
                scope.project.as_deref().filter(|project| !project.contains('*'))
            }
            Self::User(_) | Self::Admin(_) | Self::Webhook(_) => None,
        }
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Project(project) => project.mistakes(),
            Self::User(user) => user.mistakes(),
            Self::Budget(budget) => budget.mistakes(),
            Self::Limit(limit) => limit.mistakes(),
            Self::Key(settings) => settings.mistakes(),
            Self::Admin(settings) => settings.mistakes(),
            Self::Webhook(webhook) => webhook.mistakes(),
        }
    }

    /// The one of this name in the directory, which holds no keys.
    pub fn find(directory: &Directory, kind: Kind, name: &str) -> Option<Self> {
        match kind {
            Kind::Project => directory.projects.get(name).cloned().map(Self::Project),
            Kind::User => directory.users.get(name).cloned().map(Self::User),
            Kind::Budget => directory.budgets.get(name).cloned().map(Self::Budget),
            Kind::Limit => directory.limits.get(name).cloned().map(Self::Limit),
            Kind::Admin => directory.admins.get(name).map(|admin| Self::Admin(admin.settings.clone())),
            Kind::Webhook => directory.webhooks.get(name).cloned().map(Self::Webhook),
            Kind::Key
            | Kind::ProviderKey
            | Kind::Target
            | Kind::Cache
            | Kind::Batch
            | Kind::Body
            | Kind::Session
            | Kind::Heads => None,
        }
    }

    /// All of a sort in the directory, which holds no keys.
    pub fn all(directory: &Directory, kind: Kind) -> Vec<Self> {
        let names: Vec<&String> = match kind {
            Kind::Project => directory.projects.keys().collect(),
            Kind::User => directory.users.keys().collect(),
            Kind::Budget => directory.budgets.keys().collect(),
            Kind::Limit => directory.limits.keys().collect(),
            Kind::Admin => directory.admins.keys().collect(),
            Kind::Webhook => directory.webhooks.keys().collect(),
            Kind::Key
            | Kind::ProviderKey
            | Kind::Target
            | Kind::Cache
            | Kind::Batch
            | Kind::Body
            | Kind::Session
            | Kind::Heads => Vec::new(),
        };
        names.into_iter().filter_map(|name| Self::find(directory, kind, name)).collect()
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_mistake_of_an_object_is_told_with_its_field() {
        for (kind, json, expected) in [
            (Kind::Budget, r#"{"name":"a","limit_usd":"5","cycle":"daily"}"#, &[][..]),
            (
                Kind::Budget,
                r#"{"name":"A","limit_usd":5,"cycle":"hourly","time_zone":"Berlin","match":{"projct":"x"},"colour":1}"#,
                &["limit_usd", "cycle", "match.projct", "colour", "name", "time_zone"],
            ),
            (Kind::Budget, r#"{"name":"a","limit_usd":"-5"}"#, &["limit_usd"]),
            (Kind::Limit, r#"{"name":"a","rates":{"requests_per_minute":-1}}"#, &["rates.requests_per_minute"]),
            (Kind::Limit, r#"{"name":"a","rates":{"requests_per_minute":0}}"#, &["requests_per_minute"]),
            (Kind::Project, r#"{"name":"a","models":["x",""]}"#, &["models"]),
            (Kind::Key, r#"{"id":"k","project":"P","expires_at":"soon"}"#, &["expires_at", "project"]),
            (Kind::Key, r#"{"id":"k","budgets":[{"name":"b"}],"rates":{"tokens_per_day":0}}"#, &["budgets", "rates"]),
            (Kind::Admin, r#"{"name":"a","role":"owner"}"#, &["projects"]),
            (Kind::Admin, r#"{"name":"a","hash":"x"}"#, &["hash"]),
            (Kind::User, "[]", &[""]),
            (Kind::Limit, r#"{"name":"a","rates":[5]}"#, &["rates"]),
            (Kind::Budget, r#"{"name":"a","limit_tokens":5.0,"on_exceed":{"reject":null}}"#, &["on_exceed"]),
            (Kind::Budget, r#"{"name":"a","limit_tokens":5.5}"#, &["limit_tokens"]),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            let mistakes = Object::read(kind, &value).err().unwrap_or_default();
            let found: Vec<&str> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
            assert_eq!(found, expected, "{json}: {mistakes:?}");
        }
    }

    #[test]
    fn lists_of_an_object_have_an_end() {
        let models = vec!["openai/*"; 501];
        let budgets: Vec<Value> = (0..33).map(|at| json!({"name": format!("b{at}"), "limit_usd": "1"})).collect();
        for (kind, value, field) in [
            (Kind::Key, json!({"id": "k", "project": "p", "models": models}), "models"),
            (Kind::Project, json!({"name": "p", "models": models}), "models"),
            (Kind::Key, json!({"id": "k", "project": "p", "budgets": budgets}), "budgets"),
        ] {
            let mistakes = Object::read(kind, &value).err().unwrap_or_default();
            let found: Vec<&str> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
            assert_eq!(found, [field]);
        }
    }

    #[test]
    fn an_object_reads_as_it_was_written() {
        for (kind, json) in [
            (Kind::Project, r#"{"name":"a","enabled":false,"models":["openai/*"]}"#),
            (Kind::Admin, r#"{"name":"a","role":"owner","projects":["p"],"expires_at":"2027-01-01T00:00:00Z"}"#),
            (Kind::Key, r#"{"id":"k","project":"p","tags":{"a":"b"},"rates":{"requests_per_minute":5}}"#),
        ] {
            let object = Object::read(kind, &serde_json::from_str(json).unwrap()).unwrap();
            assert_eq!(Object::read(kind, &object.value()).unwrap(), object);
        }
    }
}
