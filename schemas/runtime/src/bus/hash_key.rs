//! The key that hashes the secrets of virtual keys: random, one for the deployment, made by whichever process comes first
//! and read by all others. Knows nothing of virtual keys.

use super::{Bucket, Bus, BusError};
use crate::Secret;
use crate::seal::MasterKey;
use penstock_schemas::key::Presets;
use serde::{Deserialize, Serialize};

/// Its place in the bucket; and what it is sealed for.
const KEY: &str = "virtual-keys";

/// How often it is looked for again, when another process was quicker.
const ATTEMPTS: usize = 10;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HashKey {
    Plain(String),
    Sealed(String),
}

impl HashKey {
    fn of(secret: &Secret, master: Option<&MasterKey>) -> Self {
        match master {
            None => Self::Plain(secret.reveal().to_owned()),
            Some(master) => Self::Sealed(master.seal(secret, KEY)),
        }
    }
}

impl Bus {
    /// What is remembered of preset keys, under a name of its own in the same bucket.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn presets(&self) -> Result<Bucket<Presets>, BusError> {
        Bucket::open(self, &self.subjects.secrets_bucket()).await
    }

    /// The deployment's hash key. With a master key it lies sealed in NATS from now on, and who has none cannot read it.
    ///
    /// # Errors
    /// When JetStream does not answer, or it is sealed with another master key.
    pub async fn hash_key(&self, master: Option<&MasterKey>) -> Result<Secret, BusError> {
        let bucket: Bucket<HashKey> = Bucket::open(self, &self.subjects.secrets_bucket()).await?;
        for _ in 0..ATTEMPTS {
            let (secret, written) = match bucket.get_with_revision(KEY).await? {
                None => {
                    let secret = Secret::generate("");
                    let written = bucket.create(KEY, &HashKey::of(&secret, master)).await?;
                    (secret, written)
                }
                Some((HashKey::Plain(text), revision)) if master.is_some() => {
                    let secret = Secret::new(text);
                    let written = bucket.update(KEY, &HashKey::of(&secret, master), revision).await?;
                    (secret, written)
                }
                Some((HashKey::Plain(text), revision)) => (Secret::new(text), Some(revision)),
                Some((HashKey::Sealed(text), revision)) => (open(&text, master)?, Some(revision)),
            };
            if written.is_some() {
                return Ok(secret);
            }
        }
        Err(cannot("others change it all the time".to_owned()))
    }
}

fn open(sealed: &str, master: Option<&MasterKey>) -> Result<Secret, BusError> {
    let Some(master) = master else {
        return Err(cannot("it is sealed: set the PENSTOCK_MASTER_KEY of this deployment".to_owned()));
    };
    master.open(sealed, KEY).map_err(|why| cannot(format!("PENSTOCK_MASTER_KEY does not open it: {why}")))
}

fn cannot(reason: String) -> BusError {
    BusError::Failed { what: "read the key that hashes virtual keys", reason }
}
