//! The operator's master key: seals what may lie in NATS only unreadable. Knows nothing of what it seals.

use crate::Secret;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, Generate, Key, KeyInit, Nonce, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::fmt;

/// The bytes of a key.
const LENGTH: usize = 32;

/// The bytes of a nonce: long enough to be drawn at random for every sealing.
const NONCE: usize = 24;

/// 32 bytes that whoever opens a sealed text must have.
#[derive(Clone)]
pub struct MasterKey(Key<XChaCha20Poly1305>);

/// Why a sealed text cannot be opened. It does not tell more, since nobody can know more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed with another master key, or for something else, or was changed since")]
pub struct CannotOpen;

impl MasterKey {
    /// Reads 32 bytes, written as 64 hexadecimal digits or in base64.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &Secret) -> Result<Self, &'static str> {
        let text = text.reveal().trim();
        let found = match from_hex(text) {
            Some(bytes) => Some(bytes),
            None => {
                [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|form| form.decode(text).ok())
            }
        };
        let bytes: Option<[u8; LENGTH]> = found.and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Self(bytes.into())).ok_or("must be 32 bytes, as 64 hexadecimal digits or in base64")
    }

    /// A new one as text, which [`MasterKey::parse`] reads.
    pub fn generate() -> Secret {
        Secret::new(STANDARD.encode(Key::<XChaCha20Poly1305>::generate()))
    }

    /// Seals a secret for one use: it opens only with the same `about`.
    pub fn seal(&self, secret: &Secret, about: &str) -> String {
        let nonce = Nonce::<XChaCha20Poly1305>::generate();
        let plain = Payload { msg: secret.reveal().as_bytes(), aad: about.as_bytes() };
        let sealed = XChaCha20Poly1305::new(&self.0).encrypt(&nonce, plain);
        let sealed = sealed.expect("a secret is shorter than the cipher's limit of 256 GiB");
        STANDARD.encode([&nonce[..], &sealed].concat())
    }

    /// The secret in a sealed text.
    ///
    /// # Errors
    /// When it was not sealed so.
    pub fn open(&self, sealed: &str, about: &str) -> Result<Secret, CannotOpen> {
        let bytes = STANDARD.decode(sealed).map_err(|_| CannotOpen)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE).ok_or(CannotOpen)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| CannotOpen)?;
        let sealed = Payload { msg: sealed, aad: about.as_bytes() };
        let plain = XChaCha20Poly1305::new(&self.0).decrypt(&nonce, sealed).map_err(|_| CannotOpen)?;
        String::from_utf8(plain).map(Secret::new).map_err(|_| CannotOpen)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * LENGTH || !text.is_ascii() {
        return None;
    }
    (0..LENGTH).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_the_same_key_for_the_same_use_only() {
        let key = MasterKey::parse(&MasterKey::generate()).unwrap();
        let sealed = key.seal(&Secret::new("sk-secret"), "openai a");
        assert!(!sealed.contains("secret"));
        assert_ne!(sealed, key.seal(&Secret::new("sk-secret"), "openai a"), "every sealing has a nonce of its own");
        assert_eq!(key.open(&sealed, "openai a").unwrap().reveal(), "sk-secret");
        assert_eq!(key.open(&sealed, "openai b"), Err(CannotOpen));
        let other = MasterKey::parse(&MasterKey::generate()).unwrap();
        assert_eq!(other.open(&sealed, "openai a"), Err(CannotOpen));
        assert_eq!(key.open(&format!("A{}", &sealed[1..]), "openai a"), Err(CannotOpen));
        assert_eq!(key.open("", "openai a"), Err(CannotOpen));
    }

    #[test]
    fn a_master_key_is_32_bytes_in_hexadecimal_or_base64() {
        let hex = "00".repeat(31) + "ff";
        let base64 = STANDARD.encode(from_hex(&hex).unwrap());
        let sealed = MasterKey::parse(&Secret::new(&*hex)).unwrap().seal(&Secret::new("x"), "");
        for same in [base64.clone(), base64.trim_end_matches('=').to_owned(), hex.to_uppercase(), format!("{hex}\n")] {
            assert!(MasterKey::parse(&Secret::new(same)).unwrap().open(&sealed, "").is_ok());
        }
        for wrong in ["", "short", &hex[1..], &"g".repeat(64), &"A".repeat(42)] {
            assert!(MasterKey::parse(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }
}
