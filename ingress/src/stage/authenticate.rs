//! Stage 2: who asks and who pays? Looks in memory only; over the network only for a token whose issuer has a new key.

use super::allow;
use super::receive::{Received, RequestHead, header};
use crate::keys::grant::{Grant, Proof};
use crate::keys::ring::LookUp;
use crate::refusal::Refusal;
use crate::role::Shared;
use crate::strangers::Peer;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use penstock_runtime::clock;
use penstock_schemas::directory::Directory;
use penstock_schemas::envelope::Caller;
use penstock_schemas::key::VirtualKey;
use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

/// The headers that a key may come in besides `Authorization`: Anthropic's clients', Google's, Azure's.
const KEY_HEADERS: [&str; 3] = ["x-api-key", "x-goog-api-key", "api-key"];

/// A request of a known caller.
pub(crate) struct Known {
    pub(crate) received: Received,
    pub(crate) key: Arc<VirtualKey>,
    pub(crate) caller: Caller,
    /// What the request goes on by.
    pub(crate) grant: Grant,
    /// Whether the answer is kept, for a caller who asks again.
    pub(crate) is_kept: bool,
}

/// Who asks, before it is known what.
pub(crate) struct Found {
    pub(crate) key: Arc<VirtualKey>,
    proof: Proof,
    directory: Arc<Directory>,
}

impl Found {
    /// Whether the key and its project may use the model, which is a target in full.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        allow::check(&self.key, &self.directory, model, &[]).is_ok()
    }

    /// The same of any other name, which is allowed too where all that it stands for is.
    pub(crate) fn may_use_name(&self, name: &str, ingress: &Shared) -> bool {
        allow::check_name(&self.key, name, ingress).is_ok()
    }
}

/// Finds the caller by the request's head, before its body is read: a stranger's is not.
pub(crate) async fn find(head: &RequestHead, ingress: &Shared) -> Result<Found, Refusal> {
    let found = look_up(&head.headers, head.query.as_deref(), &head.peer, ingress).await?;
    ingress.keys.check(&found.key.project, found.key.user.as_deref())?;
    Ok(found)
}

/// Settles who asks, now that the request is here whole.
pub(crate) fn know(received: Received, found: Found, ingress: &Shared) -> Result<Known, Refusal> {
    let Found { key, proof, .. } = found;
    // What the key or the token says stands: a request can only add to it.
    let end_user = received.asked.user.clone();
    let in_header = || header(&received.headers, "x-penstock-user").map(ToOwned::to_owned);
    let user = key.user.clone().or_else(|| end_user.clone()).or_else(in_header);
    let mut tags = received.tags.clone();
    tags.extend(key.tags.clone());
    let caller = Caller { project: key.project.clone(), key_id: key.id.clone(), user, end_user, tags };
    let grant = Grant::new(&ingress.keys, proof, caller.clone())?;
    Ok(Known { received, key, caller, grant, is_kept: false })
}

/// Where a request that is none for a model shows its key.
pub(crate) struct Credentials {
    pub(crate) headers: HeaderMap,
    pub(crate) query: Option<String>,
    peer: Peer,
}

impl FromRequestParts<Shared> for Credentials {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Infallible> {
        let query = parts.uri.query().map(ToOwned::to_owned);
        Ok(Self { headers: parts.headers.clone(), query, peer: Peer::of(parts) })
    }
}

impl Credentials {
    /// Takes note of what came of a key that is none for models.
    pub(crate) fn judge<T>(&self, shown: Result<T, Refusal>) -> Result<T, Refusal> {
        self.peer.judge(shown)
    }

    /// Who asks.
    pub(crate) async fn find_key(&self, ingress: &Shared) -> Result<Found, Refusal> {
        let found = look_up(&self.headers, self.query.as_deref(), &self.peer, ingress).await?;
        ingress.keys.check(&found.key.project, found.key.user.as_deref())?;
        Ok(found)
    }
}

async fn look_up(headers: &HeaderMap, query: Option<&str>, peer: &Peer, ingress: &Shared) -> Result<Found, Refusal> {
    peer.judge(read_key(headers, query, ingress).await)
}

/// The key that a request carries, in any of the ways that clients send one.
async fn read_key(headers: &HeaderMap, query: Option<&str>, ingress: &Shared) -> Result<Found, Refusal> {
    let bearer = header(headers, "authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let secret = bearer.or_else(|| KEY_HEADERS.iter().find_map(|name| header(headers, name)));
    // Google's clients may write it into the address.
    let in_query = || form_urlencoded::parse(query?.as_bytes()).find(|(name, _)| name == "key").map(|(_, key)| key);
    let secret = secret.map(Cow::Borrowed).or_else(in_query);
    let secret = secret.filter(|secret| !secret.is_empty()).ok_or(Refusal::NoKey)?;
    let keys = &ingress.keys;
    if ingress.issuers.may_know(&secret) {
        // Boxed: most requests come with a key.
        let key = Box::pin(ingress.issuers.key_of(&secret)).await?;
        return Ok(Found { proof: Proof::Token(key.clone()), key, directory: keys.directory() });
    }
    match keys.find(&secret, clock::now()) {
        LookUp::Found(key, hash) => {
            Ok(Found { proof: Proof::Secret(key.clone(), hash), key, directory: keys.directory() })
        }
        LookUp::Ended(key_id, why) => Err(Refusal::KeyEnded { key_id: key_id.to_string(), why: why.as_str() }),
        LookUp::Unknown => Err(Refusal::WrongKey),
        LookUp::NotReady => Err(Refusal::NotReady("the keys have not been read yet")),
    }
}
