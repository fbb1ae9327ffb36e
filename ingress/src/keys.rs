//! Virtual keys: made, changed and revoked in NATS KV, looked up in memory (`ring`), and watched as long as a request lasts
//! (`grant`). Only keyed hashes of their secrets are kept.

pub(crate) mod grant;
mod hash;
pub(crate) mod ring;
pub(crate) mod ticket;

use hash::Hasher;
use penstock_runtime::bus::{Bucket, Bus, BusError};
use penstock_runtime::{MasterKey, Secret, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::book::{self, Generations};
use penstock_schemas::budget::{Budget, Rates};
use penstock_schemas::key::{KeySecret, Presets, SecretHash, VirtualKey};
use penstock_schemas::name::{KeyId, ProjectId};
use ring::KeyRing;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::warn;

/// What every virtual key begins with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "psk_";

/// The fewest characters behind the prefix of a key that an operator chooses.
const SHORTEST: usize = 16;

/// The id of the key that `PENSTOCK_KEY` presets.
const PRESET: &str = "preset";

/// Where it is remembered which were preset.
const PRESETS: &str = "preset-keys";

/// What a new key is to be.
#[derive(Clone, Debug, Default)]
pub struct KeyWish {
    /// Who pays; the project `default` when absent.
    pub project: Option<ProjectId>,
    /// Who asks, when a request does not say.
    pub user: Option<String>,
    /// What it is for.
    pub name: Option<String>,
    /// The models it may use, `*` standing for any characters. Empty: all.
    pub models: Vec<String>,
    /// Tags that every request with it gets.
    pub tags: BTreeMap<String, String>,
    /// From when on it is refused.
    pub expires_at: Option<UnixMicros>,
    /// Budgets of its own.
    pub budgets: Vec<Budget>,
    /// Rates of its own.
    pub rates: Option<Rates>,
}

/// The virtual keys of a deployment, to be managed. Cloning shares them.
#[derive(Clone)]
pub struct Keys {
    bucket: Bucket<VirtualKey>,
    presets: Bucket<Presets>,
    hasher: Hasher,
}

impl Keys {
    /// Opens them; with a master key, the key that hashes their secrets lies sealed in NATS.
    ///
    /// # Errors
    /// When JetStream does not answer, or that key was sealed with another master key.
    pub async fn open(bus: &Bus, master: Option<&MasterKey>) -> Result<Self, BusError> {
        let hasher = Hasher::new(&bus.hash_key(master).await?);
        Ok(Self { bucket: bus.keys().await?, presets: bus.presets().await?, hasher })
    }

    /// Their entries.
    pub fn bucket(&self) -> &Bucket<VirtualKey> {
        &self.bucket
    }

    pub(crate) fn ring(&self) -> KeyRing {
        KeyRing::new(self.hasher.clone())
    }

    /// Makes a key. The secret is given here and never again.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn create(&self, wish: KeyWish) -> Result<(VirtualKey, Secret), BusError> {
        let secret = generate();
        let key = describe(new_id(), &secret, wish, &self.hasher);
        self.bucket.put(key.id.as_str(), &key).await?;
        Ok((key, secret))
    }

    /// A key with this secret, that is not kept yet.
    pub(crate) fn describe(&self, id: KeyId, secret: &Secret) -> VirtualKey {
        describe(id, secret, KeyWish::default(), &self.hasher)
    }

    /// The key with this as its newest secret, that is not kept yet; those before it hold for `overlap` more.
    pub(crate) fn renewed(&self, mut key: VirtualKey, secret: &Secret, overlap: Duration) -> VirtualKey {
        let now = clock::now();
        key.rotate(seen(secret, now, &self.hasher), now, now.after(overlap));
        key
    }

    /// Whether this is the newest secret of the key.
    pub(crate) fn is_of(&self, key: &VirtualKey, secret: &Secret) -> bool {
        let hashes = [self.hasher.hash(secret.reveal()), Hasher::older(secret.reveal())];
        key.all_secrets().last().is_some_and(|newest| hashes.contains(&newest.hash))
    }

    /// Gives a key a new secret. Those before it hold for `overlap` more; with zero, they are refused in under a second.
    /// `None` when there is no such key.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn rotate(&self, id: &KeyId, overlap: Duration) -> Result<Option<(VirtualKey, Secret)>, BusError> {
        let (secret, now) = (generate(), clock::now());
        let new = seen(&secret, now, &self.hasher);
        let changed = self.change(id, |key| key.rotate(new.clone(), now, now.after(overlap))).await?;
        Ok(changed.map(|key| (key, secret)))
    }

    /// Changes a key as it is now, whoever else changes it. `None` when there is no such key.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn change(&self, id: &KeyId, edit: impl Fn(&mut VirtualKey)) -> Result<Option<VirtualKey>, BusError> {
        loop {
            let Some((mut key, revision)) = self.bucket.get_with_revision(id.as_str()).await? else { return Ok(None) };
            edit(&mut key);
            if self.bucket.update(id.as_str(), &key, revision).await?.is_some() {
                return Ok(Some(key));
            }
        }
    }

    /// Revokes a key: every ingress refuses it in under a second, and ends what is in flight with it. False when there is
    /// no such key.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn revoke(&self, id: &KeyId) -> Result<bool, BusError> {
        if self.bucket.get(id.as_str()).await?.is_none() {
            return Ok(false);
        }
        self.bucket.delete(id.as_str()).await.map(|()| true)
    }

    /// Sets the key that the operator chose; the one that was chosen before is no longer valid. One that was revoked or
    /// rotated stays so, however often the process starts with it.
    pub(crate) async fn preset(&self, secret: &Secret) -> Result<(), BusError> {
        let hash = self.hasher.hash(secret.reveal());
        let current = self.bucket.get(PRESET).await?;
        let now: Vec<SecretHash> = current.iter().flat_map(VirtualKey::all_secrets).map(|secret| secret.hash).collect();
        let known = self.presets.get(PRESETS).await?;
        let mut presets = known.clone().unwrap_or_default();
        if known.is_none() && self.bucket.was_deleted(PRESET).await? {
            // By a version that remembered nothing: most likely it was this one.
            presets.last = Some(hash.clone());
        }
        if presets.admit(&hash, &now) {
            let id = KeyId::parse(PRESET).expect("preset is a name");
            let wish = KeyWish { name: Some("PENSTOCK_KEY".to_owned()), ..KeyWish::default() };
            self.bucket.put(PRESET, &describe(id, secret, wish, &self.hasher)).await?;
        } else if presets.last.is_none() {
            warn!(
                "the preset key was revoked or rotated and stays so: set another PENSTOCK_KEY, or remove `key` in the data folder"
            );
        }
        if known.as_ref() != Some(&presets) {
            self.presets.put(PRESETS, &presets).await?;
        }
        Ok(())
    }
}

/// A key as people and programs are shown it: without the hashes of its secrets.
pub fn shown(key: &VirtualKey) -> Value {
    let mut value = serde_json::to_value(VirtualKey { secrets: key.all_secrets(), ..key.clone() })
        .expect("a key is made of texts, numbers and lists");
    if let Some(fields) = value.as_object_mut() {
        fields.remove("sha256");
        fields.remove("generations");
        for secret in fields.get_mut("secrets").and_then(Value::as_array_mut).into_iter().flatten() {
            secret
                .as_object_mut()
                .into_iter()
                .for_each(|secret| secret.retain(|name, _| name != "hmac" && name != "sha256"));
        }
    }
    value
}

/// Whether this is the key that `PENSTOCK_KEY` presets.
pub(crate) fn is_preset(id: &KeyId) -> bool {
    id.as_str() == PRESET
}

/// A new public name.
pub(crate) fn new_id() -> KeyId {
    let digits = Secret::generate("");
    KeyId::parse(format!("key_{}", &digits.reveal()[..10])).expect("hexadecimal digits are a name")
}

/// Whether a text can be a preset key.
///
/// # Errors
/// Says what such a key must look like.
pub fn check_preset(secret: &Secret) -> Result<(), String> {
    check_secret(secret).map_err(|why| format!("PENSTOCK_KEY: {why}"))
}

/// Whether a text can be a key that an operator chooses.
pub(crate) fn check_secret(secret: &Secret) -> Result<(), String> {
    let rest = secret.reveal().strip_prefix(PREFIX).unwrap_or_default();
    if rest.len() >= SHORTEST && rest.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(format!("must be {PREFIX} and at least {SHORTEST} further characters without spaces"))
    }
}

/// A new secret for a first key.
pub fn generate() -> Secret {
    Secret::generate(PREFIX)
}

fn describe(id: KeyId, secret: &Secret, wish: KeyWish, hasher: &Hasher) -> VirtualKey {
    let created_at = clock::now();
    let secret = seen(secret, created_at, hasher);
    let mut generations = Generations::new();
    book::renew(&mut generations, &[], &wish.budgets, created_at);
    VirtualKey {
        id,
        sha256: String::new(),
        prefix: secret.prefix.clone(),
        secrets: vec![secret],
        project: wish.project.unwrap_or_else(ProjectId::default_project),
        user: wish.user,
        name: wish.name,
        models: wish.models,
        tags: wish.tags,
        created_at,
        expires_at: wish.expires_at,
        disabled: false,
        budgets: wish.budgets,
        generations,
        rates: wish.rates,
        cache: None,
        addresses: Vec::new(),
    }
}

/// What is kept of a new secret.
fn seen(secret: &Secret, created_at: UnixMicros, hasher: &Hasher) -> KeySecret {
    let prefix = secret.reveal().chars().take(PREFIX.len() + 4).collect();
    KeySecret { hash: hasher.hash(secret.reveal()), prefix, created_at, until: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_without_its_hashes() {
        let hasher = Hasher::new(&Secret::new("of the test"));
        let key = describe(KeyId::parse("a").unwrap(), &Secret::new("psk_abcdefgh"), KeyWish::default(), &hasher);
        let shown = shown(&key);
        assert_eq!((&shown["id"], &shown["secrets"][0]["prefix"]), (&"a".into(), &"psk_abcd".into()));
        assert!(!shown.to_string().contains("hmac") && !shown.to_string().contains("efgh"), "{shown}");
    }

    #[test]
    fn a_preset_key_must_be_long_and_say_what_it_is() {
        for (text, is_good) in [("psk_0123456789abcdef", true), ("psk_short", false), ("0123456789abcdefghij", false)] {
            assert_eq!(check_preset(&Secret::new(text)).is_ok(), is_good, "{text}");
        }
    }
}
