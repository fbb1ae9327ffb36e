//! Tokens of trusted issuers (OIDC): each works as a key, for as long as it says, and may give a role in the admin API.
//! Knows nothing of requests.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod issuer;
mod jwks;
mod token;

pub use issuer::{IssuerConfig, TokenRole};
use jwks::Jwks;
use penstock_runtime::{Life, clock};
use penstock_schemas::key::VirtualKey;
use std::sync::Arc;
pub(crate) use token::BadToken;
use token::{Claims, Unchecked};
use tracing::warn;

/// Why a token stands for no key now.
#[derive(Debug)]
pub(crate) enum TokenError {
    /// It is not good.
    Bad(BadToken),
    /// The keys of its issuer are not known, so that it cannot be checked.
    NoIssuerKeys,
}

/// The trusted issuers. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Issuers(Arc<[Arc<Jwks>]>);

impl Issuers {
    /// Those that are configured; their keys are kept fresh as long as the role lives.
    pub(crate) fn new(configs: &[IssuerConfig], life: &Life) -> Self {
        if configs.is_empty() {
            return Self(Arc::new([]));
        }
        // A redirect could lead past what the operator trusts.
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION"))).build();
        let client = client.unwrap_or_else(|error| {
            warn!(%error, "the machine's certificates cannot be read");
            reqwest::Client::new()
        });
        let issuers: Vec<Arc<Jwks>> =
            configs.iter().map(|config| Arc::new(Jwks::new(config.clone(), client.clone()))).collect();
        for issuer in &issuers {
            life.service("keys of an issuer", issuer.clone().keep_fresh());
        }
        Self(issuers.into())
    }

    /// Whether a text is one of their tokens, as far as it looks.
    pub(crate) fn may_know(&self, text: &str) -> bool {
        !self.0.is_empty() && token::looks_like_one(text)
    }

    /// The key that a token stands for.
    ///
    /// # Errors
    /// When it is not good; and when the issuer's keys are not known, so that it cannot be checked.
    pub(crate) async fn key_of(&self, text: &str) -> Result<Arc<VirtualKey>, TokenError> {
        let (issuer, claims) = self.check(text).await?;
        Ok(Arc::new(issuer.config.key(&claims)?))
    }

    /// What the bearer of a token may manage; `None` when it gives no role.
    ///
    /// # Errors
    /// As of [`Issuers::key_of`].
    pub(crate) async fn role_of(&self, text: &str) -> Result<Option<TokenRole>, TokenError> {
        let (issuer, claims) = self.check(text).await?;
        Ok(issuer.config.role(&claims)?)
    }

    async fn check(&self, text: &str) -> Result<(&Jwks, Claims), TokenError> {
        let token = Unchecked::read(text)?;
        let issuer = self.0.iter().find(|issuer| issuer.config.issuer == token.issuer()).ok_or(BadToken::Issuer)?;
        let mut keys = issuer.known();
        if keys.as_ref().is_none_or(|keys| token.key(keys).is_none()) {
            keys = Some(issuer.renewed(keys.as_ref()).await.ok_or(TokenError::NoIssuerKeys)?);
        }
        let keys = keys.ok_or(TokenError::NoIssuerKeys)?;
        let claims = token.check(&keys, &issuer.config.audience, clock::now())?;
        Ok((issuer, claims))
    }
}

impl From<BadToken> for TokenError {
    fn from(why: BadToken) -> Self {
        Self::Bad(why)
    }
}
