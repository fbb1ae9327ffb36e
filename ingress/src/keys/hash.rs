//! How the secrets of virtual keys are hashed: with the deployment's own key, so that who has read the bucket can neither
//! use nor guess a secret. Knows nothing of keys.

use penstock_runtime::Secret;
use penstock_schemas::hex;
use penstock_schemas::key::SecretHash;
use ring::digest::{SHA256, digest};
use ring::hmac;

/// Hashes secrets.
#[derive(Clone)]
pub(super) struct Hasher(hmac::Key);

impl Hasher {
    pub(crate) fn new(key: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.reveal().as_bytes()))
    }

    /// How a secret is kept.
    pub(crate) fn hash(&self, secret: &str) -> SecretHash {
        SecretHash::Hmac(hex::write(hmac::sign(&self.0, secret.as_bytes()).as_ref()))
    }

    /// How it was kept by earlier versions.
    pub(crate) fn older(secret: &str) -> SecretHash {
        SecretHash::Sha256(hex::write(digest(&SHA256, secret.as_bytes()).as_ref()))
    }
}
