//! All virtual keys in memory, followed from NATS KV, and whether each is good now. Knows nothing of how a request carries
//! one. A look-up compares no secret: it asks a map for a hash that nobody can make without the deployment's own key, so its
//! time tells nothing.

use super::Keys;
use super::hash::Hasher;
use crate::refusal::Refusal;
use penstock_runtime::Life;
use penstock_runtime::bus::{Change, Directories};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::directory::Directory;
use penstock_schemas::key::{SecretHash, VirtualKey};
use penstock_schemas::name::{KeyId, ProjectId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tokio::sync::watch;

/// Secrets that are no longer good and are remembered, so that their owners are told why.
const GONE: usize = 10_000;

/// All keys. Cloning shares them.
#[derive(Clone)]
pub(crate) struct KeyRing(Arc<Shared>);

struct Shared {
    hasher: Hasher,
    keys: RwLock<Known>,
    is_current: AtomicBool,
    directories: OnceLock<Directories>,
    /// Touched when somebody's right to ask may have ended.
    ended: watch::Sender<()>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<String, Arc<VirtualKey>>,
    by_hash: HashMap<SecretHash, Arc<VirtualKey>>,
    gone: HashMap<SecretHash, (KeyId, KeyEnd)>,
}

/// Why a key is no longer good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyEnd {
    Revoked,
    Disabled,
    Expired,
    Replaced,
}

impl KeyEnd {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "was revoked",
            Self::Disabled => "is disabled",
            Self::Expired => "has expired",
            Self::Replaced => "has a newer secret, and the older one holds no longer",
        }
    }
}

/// What a look-up says.
#[derive(Debug)]
pub(crate) enum LookUp {
    /// This key, by its secret with this hash.
    Found(Arc<VirtualKey>, SecretHash),
    /// The secret was right once.
    Ended(KeyId, KeyEnd),
    /// No such key.
    Unknown,
    /// The keys have not been read yet: nobody can say whether it is good.
    NotReady,
}

impl KeyRing {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self(Arc::new(Shared {
            hasher,
            keys: RwLock::default(),
            is_current: AtomicBool::new(false),
            directories: OnceLock::new(),
            ended: watch::Sender::new(()),
        }))
    }

    /// What hashes and signs.
    pub(super) fn hasher(&self) -> &Hasher {
        &self.0.hasher
    }

    /// Keeps up with the keys and with what the operator says of projects and users.
    pub(crate) fn follow(&self, keys: &Keys, directories: &Directories, life: &Life) {
        let ring = self.clone();
        keys.bucket().follow(move |change| ring.change(change));
        let ring = self.clone();
        directories.follow(life, move |_| ring.touch());
        // Followed once, at the start of the role.
        let _ = self.0.directories.set(directories.clone());
    }

    /// Whether every key and project that existed when this process started has been read.
    pub(crate) fn is_current(&self) -> bool {
        self.0.is_current.load(Ordering::Acquire) && self.0.directories.get().is_none_or(Directories::is_current)
    }

    /// What the operator says of projects and users.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.0.directories.get().map(Directories::snapshot).unwrap_or_default()
    }

    /// Tells when somebody's right to ask may have ended.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.ended.subscribe()
    }

    fn touch(&self) {
        self.0.ended.send_replace(());
    }

    pub(super) fn change(&self, change: Change<VirtualKey>) {
        let mut known = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        let was_known = match change {
            Change::Put(id, key) => known.put(id, key),
            Change::Deleted(id) => known.forget(&id, KeyEnd::Revoked),
            Change::Current => {
                self.0.is_current.store(true, Ordering::Release);
                false
            }
        };
        drop(known);
        if was_known {
            self.touch();
        }
    }

    /// The key with this secret, if it is good.
    pub(crate) fn find(&self, secret: &str, now: UnixMicros) -> LookUp {
        let known = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.find(self.0.hasher.hash(secret), now);
        let found = found.or_else(|| known.find(Hasher::older(secret), now));
        // Asked while the keys are locked: what is not there is not there because it came too late.
        found.unwrap_or_else(|| if self.is_current() { LookUp::Unknown } else { LookUp::NotReady })
    }

    /// The key as it is now, if its secret that was good still is.
    pub(super) fn still(&self, key: &KeyId, hash: &SecretHash, now: UnixMicros) -> Result<Arc<VirtualKey>, KeyEnd> {
        let known = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        match known.by_hash.get(hash) {
            Some(key) => ended(key, hash, now).map_or_else(|| Ok(key.clone()), Err),
            None => Err(if known.by_id.contains_key(key.as_str()) { KeyEnd::Replaced } else { KeyEnd::Revoked }),
        }
    }

    /// The key with this id as it is now, whichever of its secrets it was used with.
    ///
    /// # Errors
    /// When it is not good any more, or the keys have not been read yet.
    pub(crate) fn by_id(&self, id: &KeyId, now: UnixMicros) -> Result<Arc<VirtualKey>, Refusal> {
        let known = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        let ended = |why: KeyEnd| Refusal::KeyEnded { key_id: id.to_string(), why: why.as_str() };
        let Some(key) = known.by_id.get(id.as_str()) else {
            // Asked while the keys are locked, as in `find`.
            let unread = Refusal::NotReady("the keys have not been read yet");
            return Err(if self.is_current() { ended(KeyEnd::Revoked) } else { unread });
        };
        if key.disabled {
            return Err(ended(KeyEnd::Disabled));
        }
        let is_over = key.expires_at.is_some_and(|until| until <= now);
        if is_over { Err(ended(KeyEnd::Expired)) } else { Ok(key.clone()) }
    }

    /// Refuses who asks for a project, or in a user's name, that the operator has switched off.
    pub(crate) fn check(&self, project: &ProjectId, user: Option<&str>) -> Result<(), Refusal> {
        let directory = self.directory();
        if directory.projects.get(project.as_str()).is_some_and(|project| !project.enabled) {
            return Err(Refusal::CallerDisabled { what: "project", name: project.to_string() });
        }
        match user.filter(|user| directory.users.get(*user).is_some_and(|user| !user.enabled)) {
            Some(user) => Err(Refusal::CallerDisabled { what: "user", name: user.to_owned() }),
            None => Ok(()),
        }
    }

    /// Refuses what is part of a session that was stopped.
    pub(crate) fn check_session(&self, project: &ProjectId, session: &str) -> Result<(), Refusal> {
        match self.directory().stopped_until(project.as_str(), session, clock::now()) {
            Some(_) => Err(Refusal::CallerDisabled { what: "session", name: session.to_owned() }),
            None => Ok(()),
        }
    }
}

/// Why a key whose secret is right is not good.
fn ended(key: &VirtualKey, hash: &SecretHash, now: UnixMicros) -> Option<KeyEnd> {
    let is_over = |until: Option<UnixMicros>| until.is_some_and(|until| until <= now);
    if key.disabled {
        return Some(KeyEnd::Disabled);
    }
    if is_over(key.expires_at) {
        return Some(KeyEnd::Expired);
    }
    is_over(key.holds_until(hash)).then_some(KeyEnd::Replaced)
}

impl Known {
    fn find(&self, hash: SecretHash, now: UnixMicros) -> Option<LookUp> {
        if let Some((id, why)) = self.gone.get(&hash) {
            return Some(LookUp::Ended(id.clone(), *why));
        }
        let key = self.by_hash.get(&hash)?;
        Some(match ended(key, &hash, now) {
            None => LookUp::Found(key.clone(), hash),
            Some(why) => LookUp::Ended(key.id.clone(), why),
        })
    }

    /// Whether the key was known before.
    fn put(&mut self, id: String, key: VirtualKey) -> bool {
        let was_known = self.forget(&id, KeyEnd::Replaced);
        let key = Arc::new(key);
        for secret in key.all_secrets() {
            self.gone.remove(&secret.hash);
            self.by_hash.insert(secret.hash, key.clone());
        }
        self.by_id.insert(id, key);
        was_known
    }

    fn forget(&mut self, id: &str, why: KeyEnd) -> bool {
        let Some(old) = self.by_id.remove(id) else { return false };
        if self.gone.len() >= GONE {
            self.gone.clear();
        }
        for secret in old.all_secrets() {
            self.by_hash.remove(&secret.hash);
            self.gone.insert(secret.hash, (old.id.clone(), why));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeyWish, describe};
    use penstock_runtime::Secret;
    use penstock_schemas::key::KeySecret;

    const NOW: UnixMicros = UnixMicros(1_000);

    fn key(id: &str, secret: &str) -> VirtualKey {
        describe(KeyId::parse(id).unwrap(), &Secret::new(secret), KeyWish::default(), &hasher())
    }

    fn hasher() -> Hasher {
        Hasher::new(&Secret::new("of the test"))
    }

    fn put(ring: &KeyRing, key: VirtualKey) {
        ring.change(Change::Put(key.id.to_string(), key));
    }

    fn found(ring: &KeyRing, secret: &str, now: UnixMicros) -> String {
        match ring.find(secret, now) {
            LookUp::Found(key, _) => key.id.to_string(),
            LookUp::Ended(id, why) => format!("{id} {why:?}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_found_by_its_secret_and_who_has_lost_it_is_told_why() {
        let ring = KeyRing::new(hasher());
        put(&ring, key("a", "psk_one"));
        assert_eq!(found(&ring, "psk_one", NOW), "a");
        assert_eq!(found(&ring, "psk_two", NOW), "NotReady");
        ring.change(Change::Current);
        assert_eq!(found(&ring, "psk_two", NOW), "Unknown");
        put(&ring, key("a", "psk_two"));
        assert_eq!([found(&ring, "psk_one", NOW), found(&ring, "psk_two", NOW)], ["a Replaced", "a"]);
        ring.change(Change::Deleted("a".to_owned()));
        assert_eq!([found(&ring, "psk_one", NOW), found(&ring, "psk_two", NOW)], ["a Replaced", "a Revoked"]);
    }

    #[test]
    fn a_key_is_refused_when_it_is_disabled_expired_or_replaced() {
        let ring = KeyRing::new(hasher());
        put(&ring, VirtualKey { expires_at: Some(UnixMicros(2_000)), ..key("a", "psk_one") });
        put(&ring, VirtualKey { disabled: true, ..key("b", "psk_two") });
        assert_eq!([found(&ring, "psk_one", NOW), found(&ring, "psk_one", UnixMicros(2_000))], ["a", "a Expired"]);
        assert_eq!(found(&ring, "psk_two", NOW), "b Disabled");
        let mut rotated = key("c", "psk_old");
        let hash = hasher().hash("psk_new");
        let new = KeySecret { hash, prefix: "psk_new".to_owned(), created_at: NOW, until: None };
        rotated.rotate(new, NOW, UnixMicros(5_000));
        put(&ring, rotated);
        assert_eq!([found(&ring, "psk_old", NOW), found(&ring, "psk_old", UnixMicros(5_000))], ["c", "c Replaced"]);
        assert_eq!(found(&ring, "psk_new", UnixMicros(5_000)), "c");
    }

    #[test]
    fn a_key_is_found_by_its_id_as_long_as_it_is_good_and_refused_only_when_all_are_read() {
        let ring = KeyRing::new(hasher());
        let by_id = |id: &str, now| match ring.by_id(&KeyId::parse(id).unwrap(), now) {
            Ok(key) => key.id.to_string(),
            Err(refusal) => refusal.to_string(),
        };
        assert!(by_id("a", NOW).contains("not been read yet"));
        put(&ring, VirtualKey { expires_at: Some(UnixMicros(2_000)), ..key("a", "psk_one") });
        put(&ring, VirtualKey { disabled: true, ..key("b", "psk_two") });
        ring.change(Change::Current);
        assert_eq!([by_id("a", NOW), by_id("a", UnixMicros(2_000))], ["a", "the key a has expired"]);
        assert_eq!([by_id("b", NOW), by_id("c", NOW)], ["the key b is disabled", "the key c was revoked"]);
        ring.change(Change::Deleted("a".to_owned()));
        assert_eq!(by_id("a", NOW), "the key a was revoked");
    }

    #[test]
    fn a_key_of_an_earlier_version_still_works() {
        let ring = KeyRing::new(hasher());
        let SecretHash::Sha256(sha256) = Hasher::older("psk_older") else { unreachable!("it is what it says") };
        put(&ring, VirtualKey { sha256, secrets: Vec::new(), ..key("a", "psk_other") });
        assert_eq!([found(&ring, "psk_older", NOW), found(&ring, "psk_other", NOW)], ["a", "NotReady"]);
    }
}
