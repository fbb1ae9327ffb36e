//! A virtual key, as its owner describes it and as it is shown. Knows no secret. As it is kept it stands in [`crate::key`].

use super::{Check, Description, Kind, Managed, check_patterns};
use crate::UnixMicros;
use crate::book;
use crate::budget::{Budget, Rates, check_name};
use crate::cache::CacheSettings;
use crate::key::{KeySecret, VirtualKey};
use crate::name::ProjectId;
use crate::network::Networks;
use crate::rfc3339;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

    /// Gives a key these settings, but for its id. The project must be right: see [`Managed::mistakes`].
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
}

impl Managed for KeySettings {
    type Shown = KeyShown;

    const DESCRIPTION: Description = Description {
        columns: &["id"],
        is_owned: true,
        has_secret: true,
        ..Description::plain(Kind::Key, "Create, list and revoke virtual keys")
    };

    fn name(&self) -> &str {
        &self.id
    }

    fn project(&self) -> Option<&str> {
        Some(&self.project)
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
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

    fn checks(&self) -> Vec<Check<'_>> {
        let downgrades = self.budgets.iter().filter_map(Budget::downgrade);
        let mut checks: Vec<_> = downgrades.map(|model| Check::Downgrade("budgets", model)).collect();
        checks.push(Check::Models(&self.models));
        checks.extend(self.expires_at.map(Check::Expiry));
        checks.push(Check::Payer(&self.project));
        checks
    }
}

/// A virtual key without its secret, which nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeyShown {
    /// As it was written.
    #[serde(flatten)]
    pub settings: KeySettings,
    /// The first characters of its newest secret.
    pub prefix: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Its secrets that are good or will be: the newest, and those before it for as long as they hold.
    pub secrets: Vec<SecretShown>,
}

/// One secret of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SecretShown {
    /// Its first characters.
    pub prefix: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// From when on it is refused; null: it is the newest.
    pub until: Option<String>,
}

impl KeyShown {
    /// A key as it is shown.
    pub fn of(key: &VirtualKey) -> Self {
        Self {
            settings: KeySettings::of(key),
            prefix: key.prefix.clone(),
            created_at: rfc3339::write(key.created_at),
            secrets: key.all_secrets().into_iter().map(SecretShown::of).collect(),
        }
    }
}

impl SecretShown {
    fn of(secret: KeySecret) -> Self {
        Self {
            prefix: secret.prefix,
            created_at: rfc3339::write(secret.created_at),
            until: secret.until.map(rfc3339::write),
        }
    }
}
