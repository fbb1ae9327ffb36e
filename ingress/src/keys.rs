//! Virtual keys: made and revoked in NATS KV, looked up in memory. Only their hashes are kept.

use crate::config::default_project;
use penstock_runtime::bus::{Bucket, BusError, Change};
use penstock_runtime::{Secret, clock};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::{KeyId, ProjectId};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What every virtual key begins with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "psk_";

/// The fewest characters behind the prefix of a key that an operator chooses.
const SHORTEST: usize = 16;

/// The id of the key that `PENSTOCK_KEY` presets.
const PRESET: &str = "preset";

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
}

/// Makes a key. The secret is given here and never again.
///
/// # Errors
/// When JetStream does not confirm it.
pub async fn create(bucket: &Bucket<VirtualKey>, wish: KeyWish) -> Result<(VirtualKey, Secret), BusError> {
    let secret = Secret::generate(PREFIX);
    let digits = Secret::generate("");
    let id = KeyId::parse(format!("key_{}", &digits.reveal()[..10])).expect("hexadecimal digits are a name");
    let key = describe(id, &secret, wish);
    bucket.put(key.id.as_str(), &key).await?;
    Ok((key, secret))
}

/// Revokes a key: every ingress refuses it in under a second. False when there is no such key.
///
/// # Errors
/// When JetStream does not confirm it.
pub async fn revoke(bucket: &Bucket<VirtualKey>, id: &KeyId) -> Result<bool, BusError> {
    if bucket.get(id.as_str()).await?.is_none() {
        return Ok(false);
    }
    bucket.delete(id.as_str()).await.map(|()| true)
}

/// Sets the key that the operator chose; the one that was chosen before is no longer valid.
///
/// # Errors
/// When JetStream does not confirm it.
pub async fn preset(bucket: &Bucket<VirtualKey>, secret: &Secret) -> Result<(), BusError> {
    let id = KeyId::parse(PRESET).expect("preset is a name");
    let wish = KeyWish { name: Some("PENSTOCK_KEY".to_owned()), ..KeyWish::default() };
    let key = describe(id, secret, wish);
    let current = bucket.get(PRESET).await?;
    if current.is_some_and(|current| current.sha256 == key.sha256) {
        return Ok(());
    }
    bucket.put(PRESET, &key).await
}

/// Whether a text can be a preset key.
///
/// # Errors
/// Says what such a key must look like.
pub fn check_preset(secret: &Secret) -> Result<(), String> {
    let rest = secret.reveal().strip_prefix(PREFIX).unwrap_or_default();
    if rest.len() >= SHORTEST && rest.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(format!("PENSTOCK_KEY: must be {PREFIX} and at least {SHORTEST} further characters without spaces"))
    }
}

/// A new secret for a first key.
pub fn generate() -> Secret {
    Secret::generate(PREFIX)
}

fn describe(id: KeyId, secret: &Secret, wish: KeyWish) -> VirtualKey {
    VirtualKey {
        id,
        sha256: hex(&hash(secret.reveal())),
        prefix: secret.reveal().chars().take(PREFIX.len() + 4).collect(),
        project: wish.project.unwrap_or_else(default_project),
        user: wish.user,
        name: wish.name,
        models: wish.models,
        tags: BTreeMap::new(),
        created_at: clock::now(),
        expires_at: None,
        disabled: false,
        budgets: Vec::new(),
        rates: None,
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// All keys, in memory. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct KeyRing(Arc<Shared>);

#[derive(Default)]
struct Shared {
    by_hash: RwLock<HashMap<String, Arc<VirtualKey>>>,
    current: AtomicBool,
}

/// What a look-up says.
pub(crate) enum LookUp {
    /// This key.
    Found(Arc<VirtualKey>),
    /// No such key, or it has expired.
    Unknown,
    /// The keys have not been read yet: nobody can say whether it is good.
    NotReady,
}

impl KeyRing {
    /// Keeps up with the bucket.
    pub(crate) fn follow(&self, bucket: &Bucket<VirtualKey>) {
        let ring = self.clone();
        bucket.follow(move |change| ring.change(change));
    }

    /// Whether every key that existed when this process started has been read.
    pub(crate) fn is_current(&self) -> bool {
        self.0.current.load(Ordering::Acquire)
    }

    fn change(&self, change: Change<VirtualKey>) {
        let mut keys = self.0.by_hash.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Put(id, key) => {
                keys.retain(|_, old| old.id.as_str() != id);
                keys.insert(key.sha256.clone(), Arc::new(key));
            }
            Change::Deleted(id) => keys.retain(|_, key| key.id.as_str() != id),
            Change::Current => self.0.current.store(true, Ordering::Release),
        }
    }

    /// The key with this secret.
    pub(crate) fn find(&self, secret: &str) -> LookUp {
        let keys = self.0.by_hash.read().unwrap_or_else(PoisonError::into_inner);
        match keys.get(&hex(&hash(secret))) {
            Some(key) if key.expires_at.is_none_or(|until| clock::now() < until) => LookUp::Found(key.clone()),
            Some(_) => LookUp::Unknown,
            None if self.is_current() => LookUp::Unknown,
            None => LookUp::NotReady,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(ring: &KeyRing, id: &str, secret: &str) {
        let key = describe(KeyId::parse(id).unwrap(), &Secret::new(secret), KeyWish::default());
        ring.change(Change::Put(id.to_owned(), key));
    }

    #[test]
    fn a_revoked_key_and_an_older_secret_are_unknown() {
        let ring = KeyRing::default();
        put(&ring, "a", "psk_one");
        assert!(matches!(ring.find("psk_one"), LookUp::Found(key) if key.id.as_str() == "a"));
        assert!(matches!(ring.find("psk_two"), LookUp::NotReady));
        ring.change(Change::Current);
        assert!(matches!(ring.find("psk_two"), LookUp::Unknown));
        put(&ring, "a", "psk_two");
        assert!(matches!(ring.find("psk_one"), LookUp::Unknown));
        ring.change(Change::Deleted("a".to_owned()));
        assert!(matches!(ring.find("psk_two"), LookUp::Unknown));
    }

    #[test]
    fn a_preset_key_must_be_long_and_say_what_it_is() {
        for (text, is_good) in [("psk_0123456789abcdef", true), ("psk_short", false), ("0123456789abcdefghij", false)] {
            assert_eq!(check_preset(&Secret::new(text)).is_ok(), is_good, "{text}");
        }
    }
}
