//! Access tokens where a provider wants them instead of keys: fetched with the operator's credentials, kept, and renewed
//! ahead of their end, off the request's path. Knows OAuth and no provider. Never logs a token.
//! Sources: <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>,
//! <https://cloud.google.com/docs/authentication/application-default-credentials>, RFC 7523.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use penstock_runtime::schedule::full_jitter;
use penstock_runtime::{Secret, clock};
use penstock_schemas::failure::{Failure, FailureKind};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::json;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

/// How long before its end a token is renewed.
const AHEAD: Duration = Duration::from_secs(300);

/// A token that is as near to its end as this is not used any more.
const MARGIN: Duration = Duration::from_secs(10);

/// How long a signed assertion holds: the longest that is allowed.
const ASSERTION: u64 = 3600;

/// Longest wait for a token.
const EXCHANGE: Duration = Duration::from_secs(10);

/// Waits between tries to renew: the first, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Where tokens come from on a machine of the cloud itself.
const METADATA: &str = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";

/// Credentials, and the token that they were last exchanged for.
#[derive(Debug)]
pub(crate) struct Tokens {
    source: Result<Source, String>,
    current: Mutex<Option<Token>>,
    /// One exchange at a time.
    turnstile: Semaphore,
}

#[derive(Clone, Debug)]
struct Token {
    secret: Secret,
    until: Instant,
}

/// The operator's credentials.
#[derive(Debug)]
enum Source {
    /// A token as it is, which nobody renews.
    Ready(Secret),
    ServiceAccount(ServiceAccount),
    User(User),
    Metadata,
}

#[derive(Debug, Deserialize)]
struct ServiceAccount {
    client_email: String,
    #[serde(deserialize_with = "secret")]
    private_key: Secret,
    private_key_id: Option<String>,
    #[serde(default = "usual_address")]
    token_uri: String,
}

#[derive(Debug, Deserialize)]
struct User {
    client_id: String,
    #[serde(deserialize_with = "secret")]
    client_secret: Secret,
    #[serde(deserialize_with = "secret")]
    refresh_token: Secret,
    #[serde(default = "usual_address")]
    token_uri: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

fn usual_address() -> String {
    "https://oauth2.googleapis.com/token".to_owned()
}

impl Tokens {
    /// Reads credentials: their JSON, the path of a file with it, `metadata` for the machine's own, or else a token.
    pub(crate) fn of(key: &Secret) -> Self {
        let source = Source::read(key.reveal());
        Self { source, current: Mutex::default(), turnstile: Semaphore::new(1) }
    }

    /// A token that holds.
    ///
    /// # Errors
    /// When the credentials cannot be read, or are not taken.
    pub(crate) async fn current(&self, client: &reqwest::Client) -> Result<Secret, Failure> {
        if let Some(token) = self.kept(MARGIN) {
            return Ok(token.secret);
        }
        self.renew(client, MARGIN).await.map(|token| token.secret)
    }

    /// Renews the token ahead of its end, for ever.
    pub(crate) async fn keep_fresh(&self, client: &reqwest::Client) {
        let mut failures = 0;
        loop {
            match self.renew(client, AHEAD).await {
                Ok(token) => {
                    failures = 0;
                    let renew_at = token.until.checked_sub(AHEAD).unwrap_or(token.until);
                    sleep_until(renew_at.max(Instant::now() + WAITS.0)).await;
                }
                Err(failure) => {
                    failures += 1;
                    warn!(failure = %failure, failures, "no access token; trying again");
                    sleep(full_jitter(failures, WAITS.0, WAITS.1)).await;
                }
            }
        }
    }

    fn kept(&self, margin: Duration) -> Option<Token> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clone().filter(|token| token.until > Instant::now() + margin)
    }

    /// The token, or a new one where less than `margin` is left of it.
    async fn renew(&self, client: &reqwest::Client, margin: Duration) -> Result<Token, Failure> {
        let _turn = self.turnstile.acquire().await;
        if let Some(token) = self.kept(margin) {
            return Ok(token); // while we waited, somebody else has renewed it
        }
        let source = self.source.as_ref().map_err(|why| refused(why))?;
        let token = source.exchange(client).await?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }
}

impl Source {
    fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "metadata" {
            return Ok(Self::Metadata);
        }
        if text.starts_with('{') {
            return Self::of_json(text);
        }
        // GOOGLE_APPLICATION_CREDENTIALS holds a path.
        match std::fs::read_to_string(text) {
            Ok(json) => Self::of_json(json.trim()),
            Err(error) if text.contains('/') => Err(format!("the file of the credentials cannot be read: {error}")),
            Err(_) => Ok(Self::Ready(Secret::new(text))),
        }
    }

    fn of_json(json: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Kind {
            r#type: String,
        }
        // The parser's own words may quote a secret.
        let wrong = |what: &str| format!("the credentials are no JSON of {what}");
        let kind: Kind = serde_json::from_str(json).map_err(|_| wrong("any kind that is known"))?;
        match kind.r#type.as_str() {
            "service_account" => {
                serde_json::from_str(json).map(Self::ServiceAccount).map_err(|_| wrong("a service account"))
            }
            "authorized_user" => serde_json::from_str(json).map(Self::User).map_err(|_| wrong("an authorized user")),
            other => Err(format!("credentials of the kind `{other}` are not supported: use a service account's")),
        }
    }

    async fn exchange(&self, client: &reqwest::Client) -> Result<Token, Failure> {
        let request = match self {
            Self::Ready(token) => {
                let forever = Instant::now() + Duration::from_secs(365 * 24 * 3600);
                return Ok(Token { secret: token.clone(), until: forever });
            }
            Self::ServiceAccount(account) => {
                let assertion = account.assertion(clock::now().0 / 1_000_000)?;
                form(
                    client.post(&account.token_uri),
                    &[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)],
                )
            }
            Self::User(user) => form(
                client.post(&user.token_uri),
                &[
                    ("grant_type", "refresh_token"),
                    ("client_id", &user.client_id),
                    ("client_secret", user.client_secret.reveal()),
                    ("refresh_token", user.refresh_token.reveal()),
                ],
            ),
            Self::Metadata => client.get(METADATA).header("metadata-flavor", "Google"),
        };
        let response = request.timeout(EXCHANGE).send().await;
        let response = response.map_err(|error| {
            let kind = if error.is_timeout() { FailureKind::Timeout } else { FailureKind::Connect };
            Failure::provider(kind, "the server of access tokens could not be reached")
        })?;
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap_or_default();
        let granted: Granted = match serde_json::from_slice(&body) {
            Ok(granted) if status == 200 => granted,
            _ if status >= 500 => {
                let why = format!("the server of access tokens failed ({status})");
                return Err(Failure::provider(FailureKind::ServerError, why));
            }
            _ => return Err(Failure { provider_status: Some(status), ..refused(&declined(status, &body)) }),
        };
        let lasts = Duration::from_secs(granted.expires_in.unwrap_or(ASSERTION).min(24 * 3600));
        Ok(Token { secret: Secret::new(granted.access_token), until: Instant::now() + lasts })
    }
}

/// A form, by hand: the client is built without that feature.
fn form(request: reqwest::RequestBuilder, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

impl ServiceAccount {
    /// A claim to be this account, signed with its key.
    fn assertion(&self, now: u64) -> Result<String, Failure> {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.private_key_id });
        let claims = json!({
            "iss": self.client_email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + ASSERTION,
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let key = self.key().ok_or_else(|| refused("the private key of the service account cannot be read"))?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| refused("the private key of the service account cannot sign"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn key(&self) -> Option<RsaKeyPair> {
        let pem: String = self.private_key.reveal().lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(pem.trim()).ok()?;
        RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)).ok()
    }
}

/// That the credentials are not taken: the operator must act, not the caller.
/// A door for `tests/fuzz`.
#[cfg(fuzzing)]
pub(crate) fn check(json: &str) -> Result<(), String> {
    Source::of_json(json).map(drop)
}

fn refused(why: &str) -> Failure {
    Failure::gateway(FailureKind::ProviderAuth, why)
}

/// Only the code that OAuth has for it: a description may quote what was sent.
fn declined(status: u16, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Said {
        error: String,
    }
    let code = serde_json::from_slice(body).map(|Said { error }| error).unwrap_or_default();
    let code: String = code.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(64).collect();
    format!("the credentials were not taken for an access token ({status} {code})").replace(" )", ")")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    #[test]
    fn each_kind_of_credentials_is_told_apart() {
        let account = r#"{"type":"service_account","client_email":"a@b","private_key":"x","token_uri":"http://t"}"#;
        assert!(matches!(Source::read(account), Ok(Source::ServiceAccount(_))));
        let user = r#"{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}"#;
        assert!(matches!(Source::read(user), Ok(Source::User(_))));
        assert!(matches!(Source::read("metadata"), Ok(Source::Metadata)));
        assert!(matches!(Source::read("ya29.token"), Ok(Source::Ready(_))));
        for (text, why) in [
            ("{}", "the credentials are no JSON of any kind that is known"),
            (r#"{"type":"service_account","client_email":"a"}"#, "the credentials are no JSON of a service account"),
            (r#"{"type":"alien"}"#, "credentials of the kind `alien` are not supported: use a service account's"),
        ] {
            assert_eq!(Source::read(text).unwrap_err(), why);
        }
        assert!(Source::read("/nowhere/at/all.json").unwrap_err().starts_with("the file of the credentials"));
    }

    #[test]
    fn an_assertion_is_signed_by_the_account() {
        let Ok(Source::ServiceAccount(account)) = Source::read(include_str!("../tests/service_account.json")) else {
            panic!("the account is read");
        };
        let assertion = account.assertion(1_000).unwrap();
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let key = account.key().unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(
            (&claims["iss"], &claims["iat"], &claims["exp"]),
            (&json!("penstock@acme.test"), &json!(1000), &json!(4600))
        );
        assert!(!format!("{account:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_refusal_tells_the_code_alone() {
        let body = br#"{"error":"invalid_grant","error_description":"Bad refresh token 1//secret"}"#;
        assert_eq!(declined(400, body), "the credentials were not taken for an access token (400 invalid_grant)");
        assert_eq!(declined(401, b"<html>"), "the credentials were not taken for an access token (401)");
    }
}
