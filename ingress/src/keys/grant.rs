//! A caller's right to ask, for as long as the request lasts: work and streams go on only while it holds. Knows nothing of
//! what the request is.

use super::ring::{KeyEnd, KeyRing};
use crate::identity::BadToken;
use crate::refusal::Refusal;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Caller;
use penstock_schemas::key::{SecretHash, VirtualKey};
use std::sync::Arc;
use tokio::select;
use tokio::sync::watch;
use tokio::time::sleep;

/// The right.
#[derive(Clone)]
pub(crate) struct Grant {
    ring: KeyRing,
    ended: watch::Receiver<()>,
    credential: Credential,
    caller: Caller,
    /// The session that what is asked is a part of, once that is known.
    session: Option<Arc<str>>,
}

/// What the caller has shown.
#[derive(Clone)]
pub(crate) enum Credential {
    /// The secret with this hash, of this key.
    Secret(Arc<VirtualKey>, SecretHash),
    /// A token that stands for this key, until it ends.
    Token(Arc<VirtualKey>),
    /// Its id, which the gateway kept with work that the key's holder left here: any of its secrets may change meanwhile.
    Id(Arc<VirtualKey>),
}

impl Grant {
    /// The right of a caller who has shown this.
    ///
    /// # Errors
    /// When it does not hold even now.
    pub(crate) fn new(ring: &KeyRing, credential: Credential, caller: Caller) -> Result<Self, Refusal> {
        // First to listen, then to look: nothing can end unseen between the two.
        let mut grant = Self { ring: ring.clone(), ended: ring.subscribe(), credential, caller, session: None };
        grant.check().map(|()| grant)
    }

    /// The key that the caller asks with.
    pub(crate) fn key(&self) -> &Arc<VirtualKey> {
        match &self.credential {
            Credential::Secret(key, _) | Credential::Token(key) | Credential::Id(key) => key,
        }
    }

    /// The key that the caller's token stands for; `None` where a virtual key asks.
    pub(crate) fn of_token(&self) -> Option<&Arc<VirtualKey>> {
        match &self.credential {
            Credential::Token(key) => Some(key),
            Credential::Secret(..) | Credential::Id(_) => None,
        }
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    fn check(&mut self) -> Result<(), Refusal> {
        match &mut self.credential {
            Credential::Secret(key, hash) => {
                let ended = |why: KeyEnd| Refusal::KeyEnded { key_id: key.id.to_string(), why: why.as_str() };
                *key = self.ring.still(&key.id, hash, clock::now()).map_err(ended)?;
            }
            Credential::Id(key) => *key = self.ring.by_id(&key.id, clock::now())?,
            Credential::Token(key) => {
                if key.expires_at.is_some_and(|until| until <= clock::now()) {
                    return Err(BadToken::Expired.into());
                }
            }
        }
        let Caller { project, user, end_user, .. } = &self.caller;
        self.ring.check(project, user.as_deref())?;
        self.ring.check(project, end_user.as_deref())?;
        self.session.as_deref().map_or(Ok(()), |session| self.ring.check_session(project, session))
    }

    /// The same right for a part of a session: it ends when that is stopped.
    ///
    /// # Errors
    /// When the session is stopped.
    pub(crate) fn of_session(&self, session: &str) -> Result<Self, Refusal> {
        let mut grant = Self { ended: self.ring.subscribe(), session: Some(session.into()), ..self.clone() };
        grant.check().map(|()| grant)
    }

    fn ends_at(&self) -> Option<UnixMicros> {
        match &self.credential {
            Credential::Secret(key, hash) => [key.expires_at, key.holds_until(hash)].into_iter().flatten().min(),
            Credential::Token(key) | Credential::Id(key) => key.expires_at,
        }
    }

    /// Waits until it holds no longer, and says why.
    pub(crate) async fn over(&mut self) -> Refusal {
        loop {
            let until = self.ends_at();
            let past = async {
                match until {
                    Some(until) => sleep(until.since(clock::now())).await,
                    None => std::future::pending().await,
                }
            };
            select! {
                // The ring, which is held here, has the sender.
                _ = self.ended.changed() => {}
                () = past => {}
            }
            if let Err(refusal) = self.check() {
                return refusal;
            }
        }
    }

    /// Does some work, which is pinned where it is, as long as it holds; what is dropped then is cancelled, at the
    /// provider too.
    ///
    /// # Errors
    /// Those of the work; and why it holds no longer.
    pub(crate) async fn hold<T, W>(mut self, work: W) -> Result<T, Refusal>
    where
        W: Future<Output = Result<T, Refusal>> + Unpin,
    {
        select! {
            done = work => done,
            refusal = self.over() => Err(refusal),
        }
    }
}
