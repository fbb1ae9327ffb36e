//! Authenticate: who asks and who pays? Looks in memory only; over the network only for a token whose issuer has a new key.

use crate::allow;
use crate::http::body::header;
use crate::keys::grant::{Credential, Grant};
use crate::keys::ring::LookUp;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::strangers::Peer;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use penstock_dialects::client::ClientRequest;
use penstock_runtime::clock;
use penstock_schemas::directory::Directory;
use penstock_schemas::envelope::Caller;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::KeyId;
use penstock_schemas::network::Networks;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

/// The headers that a key may come in besides `Authorization`: Anthropic's clients', Google's, Azure's.
const KEY_HEADERS: [&str; 3] = ["x-api-key", "x-goog-api-key", "api-key"];

/// What a request says of its sender besides the key and the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sender {
    /// Whom it names, where neither the key nor the body does.
    pub(crate) user: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// Who asks, before it is known what.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) key: Arc<VirtualKey>,
    credential: Credential,
    directory: Arc<Directory>,
}

impl Found {
    /// Whether the key and its project may use the model, which is a target in full.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        allow::check(&self.key, &self.directory, model, &[]).is_ok()
    }

    /// The right to ask this, for the user that the request names and with its tags. What the key or the token says stands: a
    /// request can only add to it.
    ///
    /// # Errors
    /// When the caller may not ask any more, or not for that user.
    pub(crate) fn grant(self, asked: &ClientRequest, from: Sender, ingress: &Shared) -> Result<Grant, Refusal> {
        let Self { key, credential, .. } = self;
        let end_user = asked.user.clone();
        let user = key.user.clone().or_else(|| end_user.clone()).or(from.user);
        let mut tags = from.tags;
        tags.extend(key.tags.clone());
        let caller = Caller { project: key.project.clone(), key_id: key.id.clone(), user, end_user, tags };
        Grant::new(&ingress.keys, credential, caller)
    }

    /// Who leaves work here, and the key that their token stands for, if it was a token.
    pub(crate) fn owner(&self, from: Sender) -> (Caller, Option<Box<VirtualKey>>) {
        let key = &self.key;
        let mut tags = from.tags;
        tags.extend(key.tags.clone());
        let user = key.user.clone().or(from.user);
        let caller = Caller { project: key.project.clone(), key_id: key.id.clone(), user, end_user: None, tags };
        (caller, self.of_token())
    }

    /// The right to send a file, or to read one.
    ///
    /// # Errors
    /// When the caller may not any more.
    pub(crate) fn plain_grant(&self, ingress: &Shared) -> Result<Grant, Refusal> {
        let VirtualKey { project, id, user, tags, .. } = &*self.key;
        let (project, key_id) = (project.clone(), id.clone());
        let caller = Caller { project, key_id, user: user.clone(), end_user: None, tags: tags.clone() };
        Grant::new(&ingress.keys, self.credential.clone(), caller)
    }

    /// The key that a token stands for, if the caller has shown one.
    pub(crate) fn of_token(&self) -> Option<Box<VirtualKey>> {
        matches!(self.credential, Credential::Token(_)).then(|| Box::new((*self.key).clone()))
    }

    /// The same of any other name, which is allowed too where all that it stands for is.
    pub(crate) fn may_use_name(&self, name: &str, ingress: &Shared) -> bool {
        allow::check_name(&self.key, name, ingress).is_ok()
    }
}

/// Finds the caller of work that was left here, by the id of the key that it was left with.
pub(crate) fn find_by_id(id: &KeyId, ingress: &Shared) -> Result<Found, Refusal> {
    let key = ingress.keys.by_id(id, clock::now())?;
    ingress.keys.check(&key.project, key.user.as_deref())?;
    Ok(Found { credential: Credential::Id(key.clone()), key, directory: ingress.keys.directory() })
}

/// Finds the caller of work that was left here with a token, which held then and need not hold any more.
pub(crate) fn find_by_token(key: &VirtualKey, ingress: &Shared) -> Result<Found, Refusal> {
    let key = Arc::new(VirtualKey { expires_at: None, ..key.clone() });
    ingress.keys.check(&key.project, key.user.as_deref())?;
    Ok(Found { credential: Credential::Token(key.clone()), key, directory: ingress.keys.directory() })
}

/// Where a request shows its key.
pub(crate) struct Credentials {
    pub(crate) headers: HeaderMap,
    pub(crate) query: Option<String>,
    peer: Peer,
}

impl FromRequestParts<Shared> for Credentials {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Infallible> {
        Ok(Self { headers: parts.headers.clone(), query: query_of(parts), peer: Peer::of(parts) })
    }
}

impl Credentials {
    pub(crate) fn of(parts: Parts) -> Self {
        Self { query: query_of(&parts), peer: Peer::of(&parts), headers: parts.headers }
    }

    /// Takes note of what came of a key that is none for models.
    pub(crate) fn judge<T>(&self, shown: Result<T, Refusal>) -> Result<T, Refusal> {
        self.peer.judge(shown)
    }

    /// Who asks: found before a body is read, so that a stranger's is not.
    pub(crate) async fn find_key(&self, ingress: &Shared) -> Result<Found, Refusal> {
        let shown = read_key(&self.headers, self.query.as_deref(), ingress).await;
        let shown = match (shown, self.peer.certified()) {
            (Err(Refusal::NoKey), Some(key)) => Ok(certified(key, ingress)),
            (shown, _) => shown,
        };
        self.admit(shown, ingress)
    }

    /// Who has shown something that stands for a key: they may ask from where they are, and as long as their project may.
    pub(crate) fn admit(&self, shown: Result<Found, Refusal>, ingress: &Shared) -> Result<Found, Refusal> {
        let found = self.peer.judge(shown)?;
        self.check_address(&found.key)?;
        ingress.keys.check(&found.key.project, found.key.user.as_deref())?;
        Ok(found)
    }

    /// Whether the key may be used from where the request comes.
    fn check_address(&self, key: &VirtualKey) -> Result<(), Refusal> {
        if key.addresses.is_empty() {
            return Ok(());
        }
        let address = self.peer.client();
        // What cannot be read, which an older process wrote, lets nobody in.
        let is_in = Networks::parse(&key.addresses).is_ok_and(|networks| networks.contain(address));
        let address = address.to_canonical();
        if is_in { Ok(()) } else { Err(Refusal::WrongAddress { key_id: key.id.to_string(), address }) }
    }
}

/// Who asks by the certificate of their connection, and with no key.
fn certified(key: &Arc<VirtualKey>, ingress: &Shared) -> Found {
    Found { credential: Credential::Token(key.clone()), key: key.clone(), directory: ingress.keys.directory() }
}

fn query_of(parts: &Parts) -> Option<String> {
    parts.uri.query().map(ToOwned::to_owned)
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
        return Ok(Found { credential: Credential::Token(key.clone()), key, directory: keys.directory() });
    }
    match keys.find(&secret, clock::now()) {
        LookUp::Found(key, hash) => {
            Ok(Found { credential: Credential::Secret(key.clone(), hash), key, directory: keys.directory() })
        }
        LookUp::Ended(key_id, why) => Err(Refusal::KeyEnded { key_id: key_id.to_string(), why: why.as_str() }),
        LookUp::Unknown => Err(Refusal::WrongKey),
        LookUp::NotReady => Err(Refusal::NotReady("the keys have not been read yet")),
    }
}
