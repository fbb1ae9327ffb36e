//! A bucket of NATS KV as a typed map that every process follows: changes arrive in well under a second, and no request
//! waits for a look-up. Knows nothing of what the values mean.

use super::{Bus, BusError, failed};
use async_nats::jetstream::kv::{Entry, Operation, PurgeErrorKind, Store, UpdateErrorKind};
use futures_util::{StreamExt, TryStreamExt, stream};
use penstock_schemas::UnixMicros;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::time::Duration;
use tracing::{error, warn};

/// Wait before a watch that broke off is begun again.
const AGAIN: Duration = Duration::from_millis(200);

/// Values of a list that are asked for at once.
const AT_ONCE: usize = 64;

/// How long a login to the dashboard stays, at the most.
const SESSIONS: Duration = Duration::from_secs(24 * 3_600);

/// How long a conversation stays where it began, after its last turn, at the least half of it.
pub const PINS: Duration = Duration::from_secs(2 * 3_600);

/// How long measures of the semantic cache stay that do not change: whoever asked so has gone, or asks otherwise.
const THRESHOLDS: Duration = Duration::from_secs(90 * 24 * 3_600);

/// A bucket whose values are `V`.
#[derive(Clone)]
pub struct Bucket<V> {
    store: Store,
    bus: Bus,
    values: PhantomData<fn() -> V>,
    /// A key whose value is no `V`, so that it is not listed and not told.
    besides: Option<&'static str>,
}

/// What a watcher is told.
#[derive(Debug)]
pub enum Change<V> {
    /// This key has this value now.
    Put(String, V),
    /// This key is gone.
    Deleted(String),
    /// All that was there when the watch began has been told.
    Current,
}

/// What has become of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketPast {
    /// It holds something.
    InUse,
    /// Somebody has emptied it: it has held something, and not even a trace of what was removed is left.
    Emptied,
    /// It has never held anything.
    New {
        /// When it was made.
        since: UnixMicros,
    },
}

fn micros(nanos: i128) -> UnixMicros {
    UnixMicros(u64::try_from(nanos / 1_000).unwrap_or_default())
}

impl Bus {
    /// The bucket of virtual keys, by their ids.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn keys(&self) -> Result<Bucket<penstock_schemas::key::VirtualKey>, BusError> {
        Bucket::open(self, &self.subjects.keys_bucket()).await
    }

    /// The bucket of served models, by provider.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn models(&self) -> Result<Bucket<penstock_schemas::model::ProviderCard>, BusError> {
        Bucket::open(self, &self.subjects.models_bucket()).await
    }

    /// The bucket of logins to the dashboard, by the SHA-256 of what the browser shows.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn dashboard_sessions(&self) -> Result<Bucket<penstock_schemas::dashboard::DashboardSession>, BusError> {
        let name = self.subjects.sessions_bucket();
        Ok(Bucket::of(self, self.key_value_for(&name, SESSIONS).await?))
    }

    /// The bucket of arms of experiments that were stopped, by the numbers of their names.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn arm_stops(&self) -> Result<Bucket<penstock_schemas::experiment::ArmStop>, BusError> {
        Bucket::open(self, &self.subjects.arm_stops_bucket()).await
    }

    /// The bucket of conversations that stay where they began, by their numbers.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn pins(&self) -> Result<Bucket<penstock_schemas::route::PinnedTo>, BusError> {
        Ok(Bucket::of(self, self.key_value_for(&self.subjects.pins_bucket(), PINS).await?))
    }

    /// The bucket of what was measured of the semantic cache, by set of questions. What did not change for 90 days is gone.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn thresholds(&self) -> Result<Bucket<penstock_schemas::cache::ThresholdRecord>, BusError> {
        let name = self.subjects.thresholds_bucket();
        Ok(Bucket::of(self, self.key_value_for(&name, THRESHOLDS).await?))
    }

    /// The bucket of budgets' books, by `book::key`.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn books(&self) -> Result<Bucket<penstock_schemas::book::Book>, BusError> {
        let books = Bucket::open(self, &self.subjects.books_bucket()).await?;
        Ok(Bucket { besides: Some(penstock_schemas::book::EMPTIED), ..books })
    }

    /// The same bucket, for what it says of itself.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn books_emptied(&self) -> Result<Bucket<penstock_schemas::book::Emptied>, BusError> {
        Bucket::open(self, &self.subjects.books_bucket()).await
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> Bucket<V> {
    pub(super) async fn open(bus: &Bus, name: &str) -> Result<Self, BusError> {
        Ok(Self::of(bus, bus.key_value(name).await?))
    }

    pub(super) fn of(bus: &Bus, store: Store) -> Self {
        Self { store, bus: bus.clone(), values: PhantomData, besides: None }
    }

    /// Sets a value.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn put(&self, key: &str, value: &V) -> Result<(), BusError> {
        let bytes = serde_json::to_vec(value).map_err(failed("write a value"))?;
        let put = self.bus.noted(&self.store.name, self.store.put(key, bytes.into()).await);
        put.map(drop).map_err(failed("write to a bucket"))
    }

    /// Removes a value; absent ones too.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn delete(&self, key: &str) -> Result<(), BusError> {
        self.store.delete(key).await.map_err(failed("delete from a bucket"))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When JetStream does not answer, or the value cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<V>, BusError> {
        let bytes = self.store.get(key).await.map_err(failed("read from a bucket"))?;
        bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(failed("read a value"))
    }

    /// The value of a key, and the revision that a change of it is made against.
    ///
    /// # Errors
    /// When JetStream does not answer, or the value cannot be read.
    pub async fn get_with_revision(&self, key: &str) -> Result<Option<(V, u64)>, BusError> {
        let Some(entry) = self.entry(key).await? else { return Ok(None) };
        if entry.operation != Operation::Put {
            return Ok(None);
        }
        let value = serde_json::from_slice(&entry.value).map_err(failed("read a value"))?;
        Ok(Some((value, entry.revision)))
    }

    /// Whether there was a value that was removed.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn was_deleted(&self, key: &str) -> Result<bool, BusError> {
        Ok(self.entry(key).await?.is_some_and(|entry| entry.operation != Operation::Put))
    }

    /// When the value of this key was removed; `None` where there is one, or where there was never one that is known.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn removed_at(&self, key: &str) -> Result<Option<UnixMicros>, BusError> {
        let removed = self.entry(key).await?.filter(|entry| entry.operation != Operation::Put);
        Ok(removed.map(|entry| micros(entry.created.unix_timestamp_nanos())))
    }

    /// What has become of it.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn past(&self) -> Result<BucketPast, BusError> {
        let info = self.store.stream.get_info().await.map_err(failed("ask for a bucket's state"))?;
        Ok(match (info.state.messages, info.state.last_sequence) {
            (0, 0) => BucketPast::New { since: micros(info.created.unix_timestamp_nanos()) },
            (0, _) => BucketPast::Emptied,
            _ => BucketPast::InUse,
        })
    }

    /// Sets a value where there is none: its revision. `None` when there is one.
    ///
    /// # Errors
    /// When JetStream does not confirm it; then it may have been set all the same.
    pub async fn create(&self, key: &str, value: &V) -> Result<Option<u64>, BusError> {
        if let Some(revision) = self.update(key, value, 0).await? {
            return Ok(Some(revision));
        }
        // One that was deleted has a revision too.
        match self.entry(key).await? {
            Some(entry) if entry.operation != Operation::Put => self.update(key, value, entry.revision).await,
            Some(_) | None => Ok(None),
        }
    }

    /// Replaces the value that has this revision: its new one. `None` when it has another by now.
    ///
    /// # Errors
    /// When JetStream does not confirm it; then it may have been replaced all the same.
    pub async fn update(&self, key: &str, value: &V, revision: u64) -> Result<Option<u64>, BusError> {
        let bytes = serde_json::to_vec(value).map_err(failed("write a value"))?;
        match self.bus.noted(&self.store.name, self.store.update(key, bytes.into(), revision).await) {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(failed("write to a bucket")(error)),
        }
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, BusError> {
        self.store.entry(key).await.map_err(failed("read from a bucket"))
    }

    /// All values, in the order of their keys.
    ///
    /// # Errors
    /// When JetStream does not answer, or a value cannot be read.
    pub async fn list(&self) -> Result<Vec<V>, BusError> {
        Ok(self.list_where(|_| true).await?.into_iter().map(|(_, value)| value).collect())
    }

    /// The values whose keys are wanted, with these, in their order.
    ///
    /// # Errors
    /// When JetStream does not answer, or a value cannot be read.
    pub async fn list_where(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, V)>, BusError> {
        let mut keys = self.keys_like(">").await?;
        keys.retain(|key| self.besides != Some(key) && is_wanted(key));
        let mut values = Vec::with_capacity(keys.len());
        let mut coming = stream::iter(keys.into_iter().map(|key| self.with_key(key))).buffered(AT_ONCE);
        while let Some(value) = coming.next().await {
            values.extend(value?);
        }
        Ok(values)
    }

    /// The keys that have this form, with `*` for any token and `>` for any rest, in their order; those of values that were
    /// removed may be among them.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub(super) async fn keys_like(&self, form: &str) -> Result<Vec<String>, BusError> {
        // Not by a consumer: each would live on for a while, and their number is limited.
        let wanted = format!("{}{form}", self.store.prefix);
        let subjects = self.store.stream.info_with_subjects(wanted).await.map_err(failed("list a bucket"))?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(failed("list a bucket"))?;
        let keys = subjects.iter().filter_map(|(subject, _)| subject.strip_prefix(&self.store.prefix));
        let mut keys: Vec<String> = keys.map(ToOwned::to_owned).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Removes the value that has this revision, and all trace of it after `trace`. One that has another by now stays.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub(super) async fn forget(&self, key: &str, revision: u64, trace: Duration) -> Result<(), BusError> {
        match self.store.purge_expect_revision_with_ttl(key, revision, trace).await {
            Err(error) if error.kind() != PurgeErrorKind::WrongLastRevision => {
                Err(failed("delete from a bucket")(error))
            }
            _ => Ok(()),
        }
    }

    async fn with_key(&self, key: String) -> Result<Option<(String, V)>, BusError> {
        Ok(self.get(&key).await?.map(|value| (key, value)))
    }

    /// Follows the bucket as long as the role lives: first what is there, then every change.
    pub fn follow(&self, tell: impl Fn(Change<V>) + Send + Sync + 'static) {
        let bucket = self.clone_without_values();
        self.bus.life.service("bucket watch", async move {
            loop {
                if let Err(error) = bucket.watch(&tell).await {
                    warn!(bucket = bucket.store.name, %error, "the watch of a bucket broke off; beginning again");
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    fn clone_without_values(&self) -> Self {
        Self { store: self.store.clone(), bus: self.bus.clone(), values: PhantomData, besides: self.besides }
    }

    async fn watch(&self, tell: &(impl Fn(Change<V>) + Sync)) -> Result<(), BusError> {
        // The store's own `status` tells how it was when the bucket was opened.
        let info = self.store.stream.get_info().await.map_err(failed("ask for a bucket's state"))?;
        let mut is_current = info.state.messages == 0;
        if is_current {
            tell(Change::Current);
        }
        let mut entries = self.store.watch_with_history(">").await.map_err(failed("watch a bucket"))?;
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(failed("watch a bucket"))?;
            match entry.operation {
                Operation::Delete | Operation::Purge => tell(Change::Deleted(entry.key)),
                Operation::Put if self.besides == Some(&entry.key) => {}
                Operation::Put => match serde_json::from_slice(&entry.value) {
                    Ok(value) => tell(Change::Put(entry.key, value)),
                    Err(error) => error!(bucket = entry.bucket, key = entry.key, %error, "a value cannot be read"),
                },
            }
            if entry.delta == 0 && !is_current {
                is_current = true;
                tell(Change::Current);
            }
        }
        Ok(())
    }
}
