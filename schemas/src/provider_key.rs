//! A key for a provider that the operator manages while everything runs: where its secret is, or the secret sealed. Knows no
//! secret in the clear.

use crate::{UnixMicros, rfc3339};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest weight.
pub const HEAVIEST: u32 = 1000;

/// A key, as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderKey {
    /// Its name among the provider's keys, for logs, alerts and reports. One of the configuration with the same name gives
    /// way to it.
    pub id: String,
    /// Where its secret is.
    pub source: KeySource,
    /// Its share of the calls, beside the weights of the provider's other keys.
    #[serde(default = "usual_weight", skip_serializing_if = "is_usual")]
    pub weight: u32,
    /// Whether it is used.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// The last four characters of the secret: what tells an operator which one it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When it was added.
    pub created_at: UnixMicros,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// In this variable of the workers' environment.
    Env(String),
    /// In this file of the workers' machines.
    File(String),
    /// Here, sealed with the deployment's master key.
    Sealed(String),
}

/// What is wrong with the text of a key, if anything: it goes into a header. Credentials that are JSON do not.
pub fn mistake(key: &str) -> Option<String> {
    if key.starts_with('{') {
        return None;
    }
    let at = key.chars().position(|c| !matches!(c, ' '..='~'))?;
    let what = if key.chars().nth(at).is_some_and(char::is_control) { "a line break or another control" } else { "a" };
    Some(format!("its character {} is {what} character that no HTTP header can hold: was it copied whole?", at + 1))
}

impl KeySource {
    /// Reads `env:NAME` or `file:PATH`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Some(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Some(Self::File(path.to_owned())),
            _ => None,
        }
    }

    /// How it is shown: never with what is sealed.
    pub fn shown(&self) -> String {
        match self {
            Self::Env(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{path}"),
            Self::Sealed(_) => "sealed".to_owned(),
        }
    }
}

impl ProviderKey {
    /// What its secret is sealed for: this place alone.
    pub fn place(provider: &str, id: &str) -> String {
        format!("provider key {provider} {id}")
    }

    /// Everything that is wrong with it, as (field, reason).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        let is_name = |c: char| c.is_ascii_graphic();
        if !(1..=128).contains(&self.id.len()) || !self.id.chars().all(is_name) {
            mistakes.push(("id", "must be 1 to 128 printable characters without spaces".to_owned()));
        }
        if !(1..=HEAVIEST).contains(&self.weight) {
            mistakes.push(("weight", format!("must be 1 to {HEAVIEST}")));
        }
        mistakes
    }
}

/// A new key, as it is asked for: itself, or where workers find it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewProviderKey {
    /// Its name; one is made when it is absent.
    #[schemars(regex(pattern = r"^[!-~]{1,128}$"))]
    pub id: Option<String>,
    /// The key itself: it is sealed at once, and never shown again.
    #[schemars(length(min = 1, max = 65_536))]
    pub key: Option<String>,
    /// Or where workers read it: `env:NAME`, `file:PATH`.
    #[schemars(regex(pattern = r"^(env|file):.+$"))]
    pub source: Option<String>,
    /// Its share of the calls, beside the weights of the provider's other keys.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

impl Default for NewProviderKey {
    fn default() -> Self {
        Self { id: None, key: None, source: None, weight: usual_weight() }
    }
}

/// What is to be otherwise about a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderKeyChange {
    /// Its share of the calls.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<u32>,
    /// Whether it is used.
    pub enabled: Option<bool>,
}

/// A key as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProviderKeyShown {
    /// Whose it is.
    pub provider: String,
    /// Its name.
    pub id: String,
    /// `env:NAME`, `file:PATH` or `sealed`.
    pub source: String,
    /// Its last four characters, where it is known here.
    pub hint: Option<String>,
    /// Its share of the calls.
    pub weight: u32,
    /// Whether it is used.
    pub enabled: bool,
    /// When it was added, RFC 3339.
    pub created_at: String,
}

impl ProviderKeyShown {
    /// What may be seen of a key.
    pub fn of(provider: &str, key: &ProviderKey) -> Self {
        Self {
            provider: provider.to_owned(),
            id: key.id.clone(),
            source: key.source.shown(),
            hint: key.hint.clone(),
            weight: key.weight,
            enabled: key.enabled,
            created_at: rfc3339::write(key.created_at),
        }
    }
}

/// The last four characters of a secret that is long enough to have secret ones besides.
pub fn hint(secret: &str) -> Option<String> {
    (secret.len() >= 12 && secret.is_ascii()).then(|| secret[secret.len() - 4..].to_owned())
}

/// The weight of a key that says nothing of it.
pub fn usual_weight() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_usual(weight: &u32) -> bool {
    *weight == usual_weight()
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_yes(enabled: &bool) -> bool {
    *enabled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_short_as_it_is_and_shown_without_what_is_sealed() {
        let text = r#"{"id":"new","source":{"sealed":"AAAA"},"created_at":1}"#;
        let key: ProviderKey = serde_json::from_str(text).unwrap();
        assert_eq!((key.weight, key.enabled, key.source.shown().as_str()), (1, true, "sealed"));
        assert_eq!(serde_json::to_string(&key).unwrap(), text);
        assert_eq!(KeySource::parse("env:A"), Some(KeySource::Env("A".to_owned())));
        for bad in ["env:", "sk-secret", "sealed:x", ""] {
            assert_eq!(KeySource::parse(bad), None, "{bad}");
        }
        assert_eq!((hint("sk-0123456789"), hint("short")), (Some("6789".to_owned()), None));
    }

    #[test]
    fn names_and_weights_are_checked() {
        let key = |id: &str, weight| ProviderKey {
            id: id.to_owned(),
            source: KeySource::Env("A".to_owned()),
            weight,
            enabled: true,
            hint: None,
            created_at: UnixMicros(0),
        };
        for (key, wrong) in
            [(key("env:A", 1), 0), (key("file:/a/b", 1), 0), (key("", 1), 1), (key("a b", 0), 2), (key("a/b", 1001), 1)]
        {
            assert_eq!(key.mistakes().len(), wrong, "{}", key.id);
        }
    }
}
