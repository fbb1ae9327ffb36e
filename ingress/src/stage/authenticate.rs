//! Stage 2: who asks and who pays? Looks in memory only, never over the network.

use super::receive::{Received, header};
use crate::keys::{KeyRing, LookUp};
use crate::refusal::Refusal;
use axum::http::HeaderMap;
use penstock_schemas::envelope::Caller;
use penstock_schemas::key::VirtualKey;
use std::borrow::Cow;
use std::sync::Arc;

/// A request of a known caller.
pub(crate) struct Known {
    pub(crate) received: Received,
    pub(crate) key: Arc<VirtualKey>,
    pub(crate) caller: Caller,
    /// Whether the answer is kept, for a caller who asks again.
    pub(crate) is_kept: bool,
}

/// Finds the caller by the request's key.
pub(crate) fn authenticate(received: Received, keys: &KeyRing) -> Result<Known, Refusal> {
    let key = find_key(&received.headers, received.query.as_deref(), keys)?;
    let user = received.asked.user.clone();
    let user = user.or_else(|| header(&received.headers, "x-penstock-user").map(ToOwned::to_owned));
    let mut tags = key.tags.clone();
    tags.extend(received.tags.clone());
    let caller =
        Caller { project: key.project.clone(), key_id: key.id.clone(), user: user.or_else(|| key.user.clone()), tags };
    Ok(Known { received, key, caller, is_kept: false })
}

/// The key that a request carries, in any of the ways that clients send one.
pub(crate) fn find_key(headers: &HeaderMap, query: Option<&str>, keys: &KeyRing) -> Result<Arc<VirtualKey>, Refusal> {
    let bearer = header(headers, "authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let secret = bearer.or_else(|| header(headers, "x-api-key")).or_else(|| header(headers, "x-goog-api-key"));
    // Google's clients may write it into the address.
    let in_query = || form_urlencoded::parse(query?.as_bytes()).find(|(name, _)| name == "key").map(|(_, key)| key);
    let secret = secret.map(Cow::Borrowed).or_else(in_query);
    match keys.find(&secret.filter(|secret| !secret.is_empty()).ok_or(Refusal::NoKey)?) {
        LookUp::Found(key) => Ok(key),
        LookUp::Unknown => Err(Refusal::WrongKey),
        LookUp::NotReady => Err(Refusal::NotReady("the keys have not been read yet")),
    }
}
