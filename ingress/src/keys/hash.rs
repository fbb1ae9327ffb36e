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

    /// The signature of something that is no secret. It is the hash of none either: a secret begins otherwise.
    pub(crate) fn sign(&self, text: &str) -> String {
        hex::write(hmac::sign(&self.0, signed(text).as_bytes()).as_ref())
    }

    /// Whether this is the signature of a text.
    pub(crate) fn is_signed(&self, text: &str, signature: &str) -> bool {
        let signature = hex::read(signature).unwrap_or_default();
        hmac::verify(&self.0, signed(text).as_bytes(), &signature).is_ok()
    }

    /// How it was kept by earlier versions.
    pub(crate) fn older(secret: &str) -> SecretHash {
        SecretHash::Sha256(hex::write(digest(&SHA256, secret.as_bytes()).as_ref()))
    }
}

/// What is signed in the place of a text.
fn signed(text: &str) -> String {
    format!("signed {text}")
}
