//! A virtual key as it is kept: who it stands for and what it may do. Knows the hashes of its secrets, never a secret.

use crate::UnixMicros;
use crate::book::Generations;
use crate::budget::{Budget, Rates};
use crate::cache::CacheSettings;
use crate::name::{KeyId, ProjectId};
use crate::pattern::matches;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A virtual key, kept in NATS KV under its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualKey {
    /// Its public name, for logs and reports.
    pub id: KeyId,
    /// SHA-256 of the only secret, as 64 hexadecimal digits: of a key that was made before a key could have several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// The first characters of the newest secret, so that its owner can tell it apart: `psk_a1b2`.
    pub prefix: String,
    /// Its secrets, the newest last. Empty: see `sha256`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<KeySecret>,
    /// Who pays for what is asked with it.
    pub project: ProjectId,
    /// Who asks, when the request itself does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it is for, in its owner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The models it may use, `*` standing for any characters: `openai/*`, `chat`. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Tags that every request with it gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: UnixMicros,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMicros>,
    /// Whether it is refused until it is enabled again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Budgets of its own; their scope is the key, whatever else it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// The generations of those.
    #[serde(default, skip_serializing_if = "Generations::is_empty")]
    pub generations: Generations,
    /// Rates of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// What is set for the cache, for what is asked with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSettings>,
    /// The networks that it may be used from. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// One secret of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySecret {
    /// What is known of it.
    #[serde(flatten)]
    pub hash: SecretHash,
    /// Its first characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: UnixMicros,
    /// From when on it is refused, because a newer one has taken its place. `None`: it is the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMicros>,
}

/// The keys that operators have preset, by the hashes of their secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Presets {
    /// The last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<SecretHash>,
    /// Those that were revoked or rotated after they had been preset, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<SecretHash>,
}

/// Ended ones that are remembered.
const MOST_ENDED: usize = 1000;

impl Presets {
    /// Whether a preset key with this hash is to be made, when these hashes are the preset key's now.
    pub fn admit(&mut self, hash: &SecretHash, now: &[SecretHash]) -> bool {
        if let Some(last) = self.last.take().filter(|last| !now.contains(last) && !self.ended.contains(last)) {
            self.ended.push(last);
            let over = self.ended.len().saturating_sub(MOST_ENDED);
            self.ended.drain(..over);
        }
        let is_admitted = !self.ended.contains(hash);
        self.last = is_admitted.then(|| hash.clone());
        is_admitted && !now.contains(hash)
    }
}

/// The hash of a secret, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretHash {
    /// HMAC-SHA256 with the deployment's own key.
    Hmac(String),
    /// SHA-256, of older keys.
    Sha256(String),
}

impl VirtualKey {
    /// Its secrets, the newest last, however old the entry is.
    pub fn all_secrets(&self) -> Vec<KeySecret> {
        let mut secrets = self.secrets.clone();
        if secrets.is_empty() && !self.sha256.is_empty() {
            let hash = SecretHash::Sha256(self.sha256.clone());
            secrets.push(KeySecret { hash, prefix: self.prefix.clone(), created_at: self.created_at, until: None });
        }
        secrets
    }

    /// Takes a new secret. The ones before it hold until `until`, or as long as they were to hold if that is sooner.
    pub fn rotate(&mut self, secret: KeySecret, now: UnixMicros, until: UnixMicros) {
        self.secrets = self.all_secrets();
        self.sha256.clear();
        self.secrets.retain(|old| old.until.is_none_or(|until| now < until));
        self.secrets.iter_mut().for_each(|old| old.until = Some(old.until.map_or(until, |own| own.min(until))));
        self.secrets.retain(|old| old.until.is_some_and(|until| now < until));
        self.prefix.clone_from(&secret.prefix);
        self.secrets.push(secret);
    }

    /// How long the secret with this hash holds; `None` when a newer one has not taken its place.
    pub fn holds_until(&self, hash: &SecretHash) -> Option<UnixMicros> {
        self.secrets.iter().find(|secret| secret.hash == *hash).and_then(|secret| secret.until)
    }
}

/// Whether one of the patterns matches the name of a model. No patterns: all names.
pub fn may_use(patterns: &[String], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_key_is_made_once_and_one_that_was_revoked_or_rotated_is_not_made_again() {
        let hash = |text: &str| SecretHash::Hmac(text.to_owned());
        let mut presets = Presets::default();
        for (preset, now, is_made) in [
            ("a", &[][..], true),
            ("a", &["a"], false),
            // Another takes its place, and back.
            ("b", &["a"], true),
            ("a", &["b"], true),
            // It is rotated: both hold for a while.
            ("a", &["a", "c"], false),
            ("a", &["c"], false),
            // Another is preset, and revoked.
            ("d", &["c"], true),
            ("d", &[], false),
            ("e", &[], true),
            ("d", &["e"], false),
            ("a", &["e"], false),
            ("f", &["e"], true),
        ] {
            let now: Vec<SecretHash> = now.iter().map(|text| hash(text)).collect();
            assert_eq!(presets.admit(&hash(preset), &now), is_made, "{preset} when there is {now:?}");
        }
    }

    fn secret(text: &str) -> KeySecret {
        let hash = SecretHash::Hmac(text.to_owned());
        KeySecret { hash, prefix: text.to_owned(), created_at: UnixMicros(0), until: None }
    }

    #[test]
    fn a_rotation_keeps_the_older_secrets_for_the_overlap_and_no_longer() {
        let old = r#"{"id":"k","sha256":"aa","prefix":"psk_","project":"p","created_at":1}"#;
        let mut key: VirtualKey = serde_json::from_str(old).unwrap();
        key.rotate(secret("one"), UnixMicros(10), UnixMicros(20));
        let of = |key: &VirtualKey| -> Vec<_> {
            key.all_secrets().iter().map(|secret| (secret.hash.clone(), secret.until)).collect()
        };
        let hmac = |text: &str| SecretHash::Hmac(text.to_owned());
        assert_eq!(of(&key), [(SecretHash::Sha256("aa".into()), Some(UnixMicros(20))), (hmac("one"), None)]);
        assert_eq!(key, serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap());
        key.rotate(secret("two"), UnixMicros(15), UnixMicros(30));
        assert_eq!(
            of(&key).iter().map(|(_, until)| *until).collect::<Vec<_>>(),
            [Some(UnixMicros(20)), Some(UnixMicros(30)), None]
        );
        key.rotate(secret("three"), UnixMicros(20), UnixMicros(20));
        assert_eq!(of(&key), [(hmac("three"), None)], "an overlap of nothing ends all others");
        assert_eq!(key.prefix, "three");
    }
}
