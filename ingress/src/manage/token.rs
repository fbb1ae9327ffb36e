//! The tokens of those who manage: made, hashed, and compared without telling by the time it takes.

use super::{Actor, Objects};
use penstock_runtime::{Secret, clock};
use penstock_schemas::audit::Way;
use penstock_schemas::hex;
use sha2::{Digest, Sha256};

/// What every token begins with.
const PREFIX: &str = "pak_";

/// Whose a token is.
pub(crate) enum Holder {
    /// This one's.
    Known(Actor),
    /// Nobody's.
    Unknown,
    /// Nobody can say yet.
    NotReady,
    /// There is neither a root key nor anybody else.
    Closed,
}

pub(super) fn generate() -> Secret {
    Secret::generate(PREFIX)
}

/// 64 hexadecimal digits.
pub(crate) fn hash(token: &str) -> String {
    hex::write(&Sha256::digest(token))
}

fn is_same(one: &str, other: &str) -> bool {
    let differences = one.bytes().zip(other.bytes()).fold(0, |sum, (one, other)| sum | (one ^ other));
    one.len() == other.len() && differences == 0
}

impl Objects {
    /// Whose token this is; `root` is the root key.
    pub(crate) fn holder(&self, token: &str, root: Option<&Secret>) -> Holder {
        self.holder_of_hash(&hash(token), root)
    }

    /// The same, for a token of which only the [`hash`] is known.
    pub(crate) fn holder_of_hash(&self, given: &str, root: Option<&Secret>) -> Holder {
        if root.is_some_and(|root| is_same(given, &hash(root.reveal()))) {
            return Holder::Known(Actor::admin("root", Way::Api));
        }
        let (directory, now) = (self.directories.snapshot(), clock::now());
        let is_good = |expires_at: Option<_>| expires_at.is_none_or(|until| now < until);
        // All are compared, so that the time does not tell which one is near.
        let holder = directory
            .admins
            .values()
            .fold(None, |found, admin| if is_same(given, &admin.sha256) { Some(admin) } else { found });
        match holder {
            Some(admin) if admin.settings.enabled && is_good(admin.settings.expires_at) => {
                let settings = &admin.settings;
                let (name, projects) = (settings.name.clone(), settings.projects.clone());
                Holder::Known(Actor { role: settings.role, projects, ..Actor::admin(name, Way::Api) })
            }
            Some(_) => Holder::Unknown,
            None if !self.directories.is_current() => Holder::NotReady,
            None if root.is_none() && directory.admins.is_empty() => Holder::Closed,
            None => Holder::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_same_in_full_or_not_at_all() {
        assert!(is_same(&hash("a"), &hash("a")));
        assert!(!is_same(&hash("a"), &hash("b")));
        assert!(!is_same(&hash("a"), ""));
        assert!(!is_same("", &hash("a")));
    }
}
