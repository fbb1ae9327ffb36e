//! What an operator manages, as people write it and as they are shown it: one closed set of objects, read with every
//! mistake at once. Knows nothing of where they are kept, nor of who may change them.

use crate::UnixMicros;
use crate::alert::Webhook;
use crate::book;
use crate::budget::{Budget, RateLimit, Rates, check_name};
use crate::cache::CacheSettings;
use crate::directory::{AdminSettings, Directory, Project, User, check_patterns};
use crate::key::VirtualKey;
use crate::name::ProjectId;
use crate::network::Networks;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

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

/// What is said to whoever reads a key for a provider as an object.
const NO_OBJECT: &str = "a key for a provider is managed by `penstock providers keys` and /admin/v1/providers alone";

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

/// The most budgets that a key may have of its own.
const BUDGETS: usize = 32;

/// The most networks that a key may be used from.
const NETWORKS: usize = 64;

/// A virtual key, as its owner describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeySettings {
    /// Its public name: 1 to 64 of `a-z 0-9 _ -`. One is made when it is absent.
    #[schemars(regex(pattern = r"^[a-z0-9_-]{1,64}$"))]
    pub id: String,
    /// Who pays.
    #[schemars(regex(pattern = r"^[a-z0-9_-]{1,64}$"))]
    pub project: String,
    /// Who asks, when a request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub name: Option<String>,
    /// The models that it may use, `*` standing for any characters. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1, max = 256)))]
    pub models: Vec<String>,
    /// Tags that every request with it gets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// From when on it is refused.
    #[serde(with = "crate::rfc3339", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::rfc3339::schema")]
    pub expires_at: Option<UnixMicros>,
    /// Whether it is refused until it is enabled again.
    pub disabled: bool,
    /// Budgets of its own; their scope is the key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// Rates of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// What is set for the cache, for what is asked with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSettings>,
    /// The networks that it may be used from: `10.0.0.0/8`, or single addresses. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 2, max = 64)))]
    pub addresses: Vec<String>,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            id: String::new(),
            project: "default".to_owned(),
            user: None,
            name: None,
            models: Vec::new(),
            tags: BTreeMap::new(),
            expires_at: None,
            disabled: false,
            budgets: Vec::new(),
            rates: None,
            cache: None,
            addresses: Vec::new(),
        }
    }
}

impl KeySettings {
    /// Those of a key.
    pub fn of(key: &VirtualKey) -> Self {
        Self {
            id: key.id.to_string(),
            project: key.project.to_string(),
            user: key.user.clone(),
            name: key.name.clone(),
            models: key.models.clone(),
            tags: key.tags.clone(),
            expires_at: key.expires_at,
            disabled: key.disabled,
            budgets: key.budgets.clone(),
            rates: key.rates,
            cache: key.cache.clone(),
            addresses: key.addresses.clone(),
        }
    }

    /// Gives a key these settings, but for its id. The project must be right: see [`KeySettings::mistakes`].
    pub fn put_into(self, key: &mut VirtualKey, now: UnixMicros) {
        book::renew(&mut key.generations, &key.budgets, &self.budgets, now);
        if let Ok(project) = ProjectId::parse(self.project) {
            key.project = project;
        }
        key.user = self.user;
        key.name = self.name;
        key.models = self.models;
        key.tags = self.tags;
        key.expires_at = self.expires_at;
        key.disabled = self.disabled;
        key.budgets = self.budgets;
        key.rates = self.rates;
        key.cache = self.cache;
        key.addresses = self.addresses;
    }

    /// Everything that is wrong with them, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        mistakes.extend(check_name(&self.id).into_iter().map(|(_, why)| ("id", why)));
        mistakes.extend(check_name(&self.project).into_iter().map(|(_, why)| ("project", why)));
        if self.user.as_ref().is_some_and(|user| user.is_empty() || user.len() > 256) {
            mistakes.push(("user", "must be 1 to 256 bytes".to_owned()));
        }
        if self.name.as_ref().is_some_and(|name| name.len() > 1000) {
            mistakes.push(("name", "must be at most 1000 bytes".to_owned()));
        }
        mistakes.extend(check_patterns(&self.models));
        let is_long = |(name, value): (&String, &String)| name.is_empty() || name.len() > 256 || value.len() > 256;
        if self.tags.len() > 32 || self.tags.iter().any(is_long) {
            mistakes.push(("tags", "at most 32, with names of 1 to 256 bytes and values of at most 256".to_owned()));
        }
        if self.budgets.len() > BUDGETS {
            mistakes
                .push(("budgets", format!("at most {BUDGETS} in a key: one in the directory can be for many keys")));
            return mistakes;
        }
        let wrong = self.budgets.iter().flat_map(Budget::mistakes);
        mistakes.extend(wrong.map(|(field, why)| ("budgets", format!("{field}: {why}"))));
        let names = self.budgets.iter().enumerate();
        let mut twice = names.filter(|(at, budget)| self.budgets[..*at].iter().any(|other| other.name == budget.name));
        if let Some((_, budget)) = twice.next() {
            mistakes.push(("budgets", format!("`{}` is there twice", budget.name)));
        }
        mistakes.extend(Networks::parse(&self.addresses).err().map(|why| ("addresses", why)));
        if self.addresses.len() > NETWORKS {
            mistakes.push(("addresses", format!("at most {NETWORKS}")));
        }
        let wrong = self.cache.iter().flat_map(CacheSettings::mistakes);
        mistakes.extend(wrong.map(|(field, why)| ("cache", format!("{field}: {why}"))));
        mistakes.extend(
            self.rates.iter().flat_map(Rates::mistakes).map(|(field, why)| ("rates", format!("{field}: {why}"))),
        );
        mistakes
    }
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

/// What fits of a value, and what does not, by its form alone.
fn parsed(kind: Kind, value: &Value) -> (Option<Object>, Vec<Mistake>) {
    let value = &whole(value.clone());
    match kind {
        Kind::Project => fields(value, Object::Project),
        Kind::User => fields(value, Object::User),
        Kind::Budget => fields(value, Object::Budget),
        Kind::Limit => fields(value, Object::Limit),
        Kind::Key => fields(value, |settings| Object::Key(Box::new(settings))),
        Kind::Admin => fields(value, Object::Admin),
        Kind::Webhook => fields(value, Object::Webhook),
        Kind::ProviderKey | Kind::Target | Kind::Cache | Kind::Batch | Kind::Body | Kind::Session | Kind::Heads => {
            (None, vec![Mistake { field: String::new(), message: NO_OBJECT.to_owned(), is_rule: true }])
        }
    }
}

/// The value with `5` in the place of `5.0`: JSON knows no difference.
pub fn whole(value: Value) -> Value {
    /// Up to here, every whole number is one.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float.fract() == 0.0 && float.abs() <= EXACT => {
                format!("{float:.0}").parse::<i64>().map_or(Value::Number(number), Value::from)
            }
            _ => Value::Number(number),
        },
        Value::Array(values) => values.into_iter().map(whole).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, whole(value))).collect(),
        other => other,
    }
}

/// Whether a value was read as what it is: a type with fields can be read from a list too, and nobody means that.
fn is_same_form(given: &Value, read: &Value) -> bool {
    match (given, read) {
        (Value::Array(given), Value::Array(read)) => {
            given.iter().zip(read).all(|(given, read)| is_same_form(given, read))
        }
        (Value::Object(given), Value::Object(read)) => {
            let both = given.iter().filter_map(|(name, given)| Some((given, read.get(name)?)));
            both.into_iter().all(|(given, read)| is_same_form(given, read))
        }
        _ => std::mem::discriminant(given) == std::mem::discriminant(read),
    }
}

/// A mistake for each field that does not fit; what fits, as an object.
fn fields<T: DeserializeOwned + Serialize>(
    value: &Value,
    object: impl Fn(T) -> Object,
) -> (Option<Object>, Vec<Mistake>) {
    let wrong = |field: &str, message: String| Mistake { field: field.to_owned(), message, is_rule: false };
    let Value::Object(map) = value else {
        return (None, vec![wrong("", "must be a JSON object".to_owned())]);
    };
    let (mut fit, mut mistakes) = (Map::new(), Vec::new());
    for (field, value) in map {
        let alone = Value::Object(Map::from_iter([(field.clone(), value.clone())]));
        match serde_path_to_error::deserialize::<_, T>(&alone) {
            Ok(read) => {
                let read = serde_json::to_value(&read).unwrap_or_default();
                if read.get(field).is_none_or(|read| is_same_form(value, read)) {
                    fit.insert(field.clone(), value.clone());
                } else {
                    mistakes.push(wrong(field, "has the wrong form".to_owned()));
                }
            }
            Err(error) => {
                let path = error.path().to_string();
                let path = if path.starts_with(field.as_str()) { path } else { field.clone() };
                mistakes.push(wrong(&path, error.inner().to_string()));
            }
        }
    }
    (serde_json::from_value(Value::Object(fit)).ok().map(object), mistakes)
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
