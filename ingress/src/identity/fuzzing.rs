//! Doors to the reading of tokens, for `tests/fuzz`; no other build has them.

use super::IssuerConfig;
use super::token::{Claims, Jwk, Unchecked, looks_like_one};
use penstock_schemas::UnixMicros;

pub(crate) fn token(text: &str, keys: &[u8], now: UnixMicros) -> bool {
    let keys: Vec<Jwk> = serde_json::from_slice(keys).unwrap_or_default();
    let _ = looks_like_one(text);
    let Ok(unchecked) = Unchecked::read(text) else { return false };
    let _ = (unchecked.issuer(), unchecked.key(&keys));
    unchecked.check(&keys, "penstock", now).is_ok()
}

pub(crate) fn claims(issuer: &IssuerConfig, json: &[u8]) -> Option<String> {
    let claims: Claims = serde_json::from_slice(json).ok()?;
    let role = issuer.role(&claims);
    let key = issuer.key(&claims).ok()?;
    Some(format!("{key:?} {role:?}"))
}
