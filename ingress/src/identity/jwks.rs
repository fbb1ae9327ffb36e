//! The public keys of an issuer: fetched when the process starts, again ahead of time, and when a token names one that is
//! not known; kept as long as the issuer cannot be reached. Knows nothing of tokens.

use super::issuer::{IssuerConfig, is_safe};
use super::token::Jwk;
use penstock_runtime::schedule::full_jitter;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// How often the keys are fetched when nothing is wrong.
const EVERY: Duration = Duration::from_secs(300);

/// Between two fetches because of unknown keys: who sends such tokens must not be able to make us ask all the time.
const SELDOM: Duration = Duration::from_secs(10);

/// Longest wait for the issuer's answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Waits after a fetch that failed: the first, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The longest answer, in bytes, and the most keys in it.
const LONGEST: (usize, usize) = (1 << 20, 200);

/// One issuer and its keys.
pub(super) struct Jwks {
    pub(super) config: IssuerConfig,
    keys: Mutex<Option<Arc<[Jwk]>>>,
    /// When the last fetch began that a request asked for.
    asked: Mutex<Option<Instant>>,
    /// One fetch at a time.
    turnstile: Semaphore,
    client: reqwest::Client,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl Jwks {
    pub(super) fn new(config: IssuerConfig, client: reqwest::Client) -> Self {
        Self { config, keys: Mutex::default(), asked: Mutex::default(), turnstile: Semaphore::new(1), client }
    }

    /// The keys that are known; `None` when none ever were.
    pub(super) fn known(&self) -> Option<Arc<[Jwk]>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys as they are now, for a token whose key is not among `seen`. `None` when the issuer does not tell.
    pub(super) async fn renewed(&self, seen: Option<&Arc<[Jwk]>>) -> Option<Arc<[Jwk]>> {
        let _turn = timeout(ANSWER, self.turnstile.acquire()).await.ok()?;
        let known = self.known();
        let is_same = match (&known, seen) {
            (Some(known), Some(seen)) => Arc::ptr_eq(known, seen),
            (known, seen) => known.is_some() == seen.is_some(),
        };
        if !is_same {
            return known; // while we waited, somebody else has asked
        }
        if !self.may_ask() {
            return known;
        }
        self.fetch().await.ok()
    }

    /// Whether the last request that made us ask was long ago; if so, this one is the last.
    fn may_ask(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let may = asked.is_none_or(|at| at.elapsed() >= SELDOM);
        if may {
            *asked = Some(Instant::now());
        }
        may
    }

    /// Fetches the keys ahead of time, for ever.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let fetched = {
                let _turn = self.turnstile.acquire().await;
                self.fetch().await
            };
            match fetched {
                Ok(keys) => {
                    if failures > 0 || self.known().is_none() {
                        info!(issuer = self.config.issuer, keys = keys.len(), "the issuer's keys are known");
                    }
                    failures = 0;
                    sleep(EVERY).await;
                }
                Err(why) => {
                    failures += 1;
                    warn!(
                        issuer = self.config.issuer,
                        why, failures, "the issuer's keys cannot be fetched; trying again"
                    );
                    sleep(full_jitter(failures, WAITS.0, WAITS.1).max(WAITS.0)).await;
                }
            }
        }
    }

    async fn fetch(&self) -> Result<Arc<[Jwk]>, String> {
        let url = match &self.config.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let Set { keys } = self.get(&url).await?;
        // Keys of other kinds may stand among them: RFC 7517, 5.
        let keys = keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).take(LONGEST.1);
        let keys: Arc<[Jwk]> = keys.collect();
        if keys.is_empty() {
            return Err("it has no keys".to_owned());
        }
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys.clone());
        Ok(keys)
    }

    /// Source: OpenID Connect Discovery 1.0, 4.
    async fn discover(&self) -> Result<String, String> {
        let issuer = &self.config.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let found: Discovery = self.get(&url).await?;
        if found.issuer != *issuer {
            return Err(format!("it calls itself `{}`: write that as the issuer", found.issuer));
        }
        if !is_safe(&found.jwks_uri) {
            return Err(format!("its keys stand at `{}`, which is neither https:// nor this machine", found.jwks_uri));
        }
        Ok(found.jwks_uri)
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let read = async {
            let mut response = self.client.get(url).send().await.map_err(|error| error.without_url().to_string())?;
            if !response.status().is_success() {
                return Err(format!("it answered {}", response.status()));
            }
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| error.without_url().to_string())? {
                if body.len() + chunk.len() > LONGEST.0 {
                    return Err("its answer is too long".to_owned());
                }
                body.extend_from_slice(&chunk);
            }
            serde_json::from_slice(&body).map_err(|error| format!("its answer cannot be read: {error}"))
        };
        timeout(ANSWER, read).await.unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
    }
}
