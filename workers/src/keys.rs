//! A provider's keys: those of the configuration and those that are managed while everything runs. One that the provider
//! refuses is set aside for a while, and then tried by one call. Pure but for its locks; holds no clock.

use crate::token::Tokens;
use penstock_runtime::Secret;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::provider_key::{ProviderKey, hint, mistake, usual_weight};
use penstock_schemas::{UnixMicros, hex};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a key is set aside when it is refused for the first time, and at the longest.
const ASIDE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

/// How long the one call may take that tries it again, before another may.
const TRIAL: Duration = Duration::from_secs(60);

/// What OpenAI and its copies say of a key whose money is spent.
/// Source: <https://platform.openai.com/docs/guides/error-codes>.
const EXHAUSTED: &str = penstock_dialects::account::EXHAUSTED;

/// A key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredKey {
    /// Where it comes from: `env:NAME`, `file:PATH`.
    pub id: String,
    /// The key itself.
    pub secret: Secret,
    /// Its share of the calls.
    pub weight: u32,
}

impl ConfiguredKey {
    /// One of the usual weight.
    pub fn new(id: impl Into<String>, secret: Secret) -> Self {
        Self { id: id.into(), secret, weight: usual_weight() }
    }

    /// The same key; where it stands in a file, as it stands there now. A file that cannot be read, or holds what no key can
    /// be, keeps the key it had.
    pub fn read_again(&self) -> Self {
        let is_file = ["file:", "credential:"].iter().any(|kind| self.id.starts_with(kind));
        let read = is_file.then(|| Secret::resolve(&self.id).ok()).flatten();
        let secret = read.filter(|secret| mistake(secret.reveal()).is_none());
        Self { secret: secret.unwrap_or_else(|| self.secret.clone()), ..self.clone() }
    }
}

/// One key and how it stands.
pub(crate) struct Key {
    /// Its name, for people.
    pub id: String,
    /// The key itself.
    pub secret: Secret,
    /// What stands for it in the gossip.
    pub digest: String,
    /// Its share of the calls.
    pub weight: u32,
    /// What it is exchanged for, where keys are not sent themselves.
    pub tokens: Option<Tokens>,
    aside: Mutex<Aside>,
}

#[derive(Debug)]
struct Aside {
    /// How often in a row it was refused.
    count: u32,
    until: UnixMicros,
    /// Whether a call tries it now.
    is_tried: bool,
}

/// What a provider has against a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// It does not take it.
    Refused,
    /// Its money is spent.
    Exhausted,
}

impl KeyFault {
    /// What a failure says against the key that was used; `None`: nothing.
    pub(crate) fn of(failure: &Failure) -> Option<Self> {
        match (failure.kind, failure.provider_code.as_deref()) {
            (_, Some(EXHAUSTED)) => Some(Self::Exhausted),
            (FailureKind::ProviderAuth, _) => Some(Self::Refused),
            _ => None,
        }
    }

    /// The word that stands for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Exhausted => "exhausted",
        }
    }
}

impl Key {
    /// A key that nothing is known against.
    pub(crate) fn new(key: ConfiguredKey, takes_tokens: bool) -> Self {
        Self {
            digest: digest(key.secret.reveal()),
            tokens: takes_tokens.then(|| Tokens::of(&key.secret)),
            id: key.id,
            secret: key.secret,
            weight: key.weight,
            aside: Mutex::new(Aside { count: 0, until: UnixMicros(0), is_tried: false }),
        }
    }

    /// Its last four characters: what tells an operator which one it is.
    pub(crate) fn hint(&self) -> String {
        hint(self.secret.reveal()).map_or_else(String::new, |last| format!("…{last}"))
    }

    fn aside(&self) -> MutexGuard<'_, Aside> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls may use it.
    pub(crate) fn is_open(&self, now: UnixMicros) -> bool {
        let aside = self.aside();
        aside.count == 0 || aside.until <= now
    }

    /// Notes that a call uses it: while it is in doubt, no other does.
    pub(crate) fn take(&self, now: UnixMicros) {
        let mut aside = self.aside();
        if aside.count > 0 && aside.until <= now {
            (aside.until, aside.is_tried) = (now.after(TRIAL), true);
        }
    }

    /// Notes that the provider took it.
    pub(crate) fn is_good(&self) {
        self.aside().count = 0;
    }

    /// Sets it aside; says for how long. `None` when it was already: calls that began before are over now too.
    pub(crate) fn set_aside(&self, now: UnixMicros) -> Option<Duration> {
        let mut aside = self.aside();
        if aside.count > 0 && aside.until > now && !aside.is_tried {
            return None;
        }
        let wait = ASIDE.0.saturating_mul(2u32.saturating_pow(aside.count)).min(ASIDE.1);
        *aside = Aside { count: aside.count.saturating_add(1), until: now.after(wait), is_tried: false };
        Some(wait)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("weight", &self.weight).finish_non_exhaustive()
    }
}

/// The keys of a provider: those of the configuration, but for those that a managed one of the same name stands for; and
/// those that are managed and enabled. `open` gives a managed key's secret; what it says against one is in the second list.
pub(crate) fn merged(
    configured: &[ConfiguredKey],
    managed: &[ProviderKey],
    open: impl Fn(&ProviderKey) -> Result<Secret, String>,
) -> (Vec<ConfiguredKey>, Vec<(String, String)>) {
    let is_managed = |id: &str| managed.iter().any(|key| key.id == id);
    let mut keys: Vec<_> = configured.iter().filter(|key| !is_managed(&key.id)).cloned().collect();
    let mut closed = Vec::new();
    for key in managed.iter().filter(|key| key.enabled) {
        match open(key) {
            Ok(secret) => keys.push(ConfiguredKey { id: key.id.clone(), secret, weight: key.weight.max(1) }),
            Err(why) => closed.push((key.id.clone(), why)),
        }
    }
    (keys, closed)
}

/// The new keys; those that were there before keep what is known of them.
pub(crate) fn renewed(old: &[Arc<Key>], new: Vec<ConfiguredKey>, takes_tokens: bool) -> Vec<Arc<Key>> {
    let kept = |key: &ConfiguredKey| {
        let same = |old: &&Arc<Key>| old.id == key.id && old.weight == key.weight && old.secret == key.secret;
        old.iter().find(same).cloned()
    };
    new.into_iter().map(|key| kept(&key).unwrap_or_else(|| Arc::new(Key::new(key, takes_tokens)))).collect()
}

fn digest(key: &str) -> String {
    hex::write(&Sha256::digest(key.as_bytes())[..4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::provider_key::KeySource;

    fn configured(id: &str) -> ConfiguredKey {
        ConfiguredKey::new(id, Secret::new(format!("secret of {id}")))
    }

    fn managed(id: &str, enabled: bool) -> ProviderKey {
        let source = KeySource::Sealed(id.to_owned());
        ProviderKey { id: id.to_owned(), source, weight: 2, enabled, hint: None, created_at: UnixMicros(0) }
    }

    fn at(second: u64) -> UnixMicros {
        UnixMicros(second * 1_000_000)
    }

    #[test]
    fn a_managed_key_stands_for_the_configured_one_of_its_name() {
        let open = |key: &ProviderKey| match key.id.as_str() {
            "broken" => Err("it cannot be opened".to_owned()),
            id => Ok(Secret::new(format!("managed {id}"))),
        };
        let managed = [managed("a", true), managed("b", false), managed("c", true), managed("broken", true)];
        let (keys, closed) = merged(&[configured("a"), configured("b"), configured("d")], &managed, open);
        let found: Vec<_> = keys.iter().map(|key| (key.id.as_str(), key.secret.reveal(), key.weight)).collect();
        assert_eq!(found, [("d", "secret of d", 1), ("a", "managed a", 2), ("c", "managed c", 2)]);
        assert_eq!(closed, [("broken".to_owned(), "it cannot be opened".to_owned())]);
    }

    #[test]
    fn a_key_that_stays_keeps_what_is_known_of_it() {
        let old = renewed(&[], vec![configured("a"), configured("b")], false);
        old[0].set_aside(at(1));
        let new = renewed(&old, vec![configured("b"), configured("a")], false);
        assert!(new[0].is_open(at(2)) && !new[1].is_open(at(2)));
        let changed = ConfiguredKey::new("a", Secret::new("another"));
        assert!(renewed(&old, vec![changed], false)[0].is_open(at(2)), "a new secret under the old name is a new key");
    }

    #[test]
    fn a_refused_key_is_set_aside_longer_each_time_and_then_tried_by_one_call() {
        let key = Key::new(configured("a"), false);
        assert_eq!(key.set_aside(at(0)), Some(Duration::from_secs(30)));
        assert_eq!(key.set_aside(at(1)), None, "calls that were under way");
        assert!(!key.is_open(at(29)) && key.is_open(at(30)));
        key.take(at(30));
        assert!(!key.is_open(at(31)), "one call tries it");
        assert_eq!(key.set_aside(at(32)), Some(Duration::from_secs(60)));
        assert!(!key.is_open(at(91)) && key.is_open(at(92)));
        key.take(at(92));
        key.is_good();
        assert!(key.is_open(at(93)));
        assert_eq!(key.set_aside(at(94)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn what_speaks_against_a_key_is_told_by_kind_and_code() {
        let coded = |kind, code: &str| Failure { provider_code: Some(code.to_owned()), ..Failure::provider(kind, "") };
        for (failure, fault) in [
            (Failure::provider(FailureKind::ProviderAuth, ""), Some(KeyFault::Refused)),
            (coded(FailureKind::RateLimited, "insufficient_quota"), Some(KeyFault::Exhausted)),
            (coded(FailureKind::RateLimited, "rate_limit_exceeded"), None),
            (Failure::provider(FailureKind::Overloaded, ""), None),
        ] {
            assert_eq!(KeyFault::of(&failure), fault, "{failure:?}");
        }
    }
}
