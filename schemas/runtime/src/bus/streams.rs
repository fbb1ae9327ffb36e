//! Makes the streams and buckets that a role needs, and refuses to start when one exists with other settings: an older
//! server ignores settings in silence, so the server's own answer is compared with what was wanted.

use super::{Bus, BusError, failed};
use crate::schedule::full_jitter;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{kv, object_store};
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::debug;

/// The most that waits for analytics before publishers are refused, in bytes: some 20 million attempts.
const USAGE_MAX_BYTES: i64 = 16 << 30;

/// How long a second copy of a message is recognized by its `Nats-Msg-Id`. The server keeps every id in memory so long; a
/// copy that comes later makes no second row either, because rows collapse by their own ids.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// How long an answer is kept for those who ask again.
pub(super) const KEPT_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The most that is kept of them, in bytes.
const KEPT_MAX_BYTES: i64 = 4 << 30;

/// How long a stored request lives, if nobody removes it: longer than any call.
const BODY_MAX_AGE: Duration = Duration::from_secs(3600);

/// How long a stream, bucket or consumer that cannot be used yet is tried again: one that another role of a cluster has just
/// made has no leader for a few seconds.
const OPENING: Duration = Duration::from_secs(30);

/// The same in the middle of a request.
const OPENING_SOON: Duration = Duration::from_secs(5);

/// The waits between the tries, the first and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A key that no bucket has: looking for it shows that the bucket answers.
const NO_KEY: &str = "-";

/// Opens what may not be usable yet, within `limit`. Other settings than ours are not waited for.
pub(super) async fn patiently<T, F>(limit: Duration, open: impl Fn() -> F) -> Result<T, BusError>
where
    F: Future<Output = Result<T, BusError>>,
{
    let until = Instant::now() + limit;
    let mut again = 0;
    loop {
        again += 1;
        match Box::pin(open()).await {
            Err(error @ BusError::Failed { .. }) if Instant::now() < until => {
                debug!(%error, again, "not usable yet; trying again");
                sleep(full_jitter(again, AGAIN.0, AGAIN.1)).await;
            }
            done => return done,
        }
    }
}

impl Bus {
    /// The stream of usage events: a work queue, so that an event is gone once ClickHouse has it; when it is full,
    /// publishing is refused, and nothing is dropped.
    pub(super) async fn usage_stream(&self) -> Result<(), BusError> {
        let wanted = Config {
            name: self.subjects.usage_stream(),
            subjects: vec![self.subjects.usage()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_bytes: USAGE_MAX_BYTES,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: self.replicas,
            ..Config::default()
        };
        self.stream(&wanted).await.map(drop)
    }

    /// A stream of these settings, made if need be.
    async fn stream(&self, wanted: &Config) -> Result<Stream, BusError> {
        let stream = patiently(OPENING, || async {
            let stream = self.jetstream.get_or_create_stream(wanted.clone()).await;
            stream.map_err(failed("set up a stream"))
        });
        let stream = stream.await?;
        compare(&stream.cached_info().config, wanted)?;
        self.opened.add(&wanted.name);
        Ok(stream)
    }

    /// A stream of these settings.
    pub(super) async fn work_stream(&self, wanted: Config) -> Result<Stream, BusError> {
        self.stream(&wanted).await
    }

    /// A stream of these settings, into which one that an earlier version made with `former` subjects is turned.
    pub(super) async fn renewed_stream(&self, wanted: Config, former: &[&str]) -> Result<Stream, BusError> {
        let have = patiently(OPENING, || async {
            let stream = self.jetstream.get_or_create_stream(wanted.clone()).await;
            stream.map_err(failed("set up a stream"))
        });
        let have = have.await?;
        let earlier = Config {
            subjects: former.iter().map(|subject| (*subject).to_owned()).collect(),
            max_messages_per_subject: 0,
            ..wanted.clone()
        };
        if compare(&have.cached_info().config, &earlier).is_ok() {
            self.jetstream.update_stream(&wanted).await.map_err(failed("change a stream"))?;
        }
        self.stream(&wanted).await
    }

    pub(super) async fn key_value(&self, bucket: &str) -> Result<kv::Store, BusError> {
        self.key_value_for(bucket, Duration::ZERO).await
    }

    /// A bucket whose values are gone at this age; with zero, never.
    pub(super) async fn key_value_for(&self, bucket: &str, max_age: Duration) -> Result<kv::Store, BusError> {
        let config = kv::Config { bucket: bucket.to_owned(), max_age, ..kv::Config::default() };
        Box::pin(self.key_value_like(config)).await
    }

    /// A bucket in which the trace of a value that was removed goes too, after so long.
    pub(super) async fn key_value_with_traces(&self, bucket: &str, trace: Duration) -> Result<kv::Store, BusError> {
        let limit_markers = Some(trace);
        let config = kv::Config { bucket: bucket.to_owned(), limit_markers, ..kv::Config::default() };
        Box::pin(self.key_value_like(config)).await
    }

    async fn key_value_like(&self, config: kv::Config) -> Result<kv::Store, BusError> {
        let bucket = config.bucket.as_str();
        let config =
            kv::Config { history: 1, storage: StorageType::File, num_replicas: self.replicas, ..config.clone() };
        let store = patiently(OPENING, || async {
            let store = match self.jetstream.get_key_value(bucket).await {
                Ok(store) => store,
                Err(_) => self.jetstream.create_key_value(config.clone()).await.map_err(failed("set up a bucket"))?,
            };
            store.entry(NO_KEY).await.map_err(failed("read from a bucket"))?;
            Ok(store)
        });
        let store = store.await?;
        let have = &store.stream.cached_info().config;
        let wanted = Config {
            max_messages_per_subject: 1,
            storage: StorageType::File,
            num_replicas: self.replicas,
            max_bytes: have.max_bytes,
            discard: DiscardPolicy::New,
            subjects: vec![format!("$KV.{bucket}.>")],
            duplicate_window: have.duplicate_window,
            name: have.name.clone(),
            ..Config::default()
        };
        compare(have, &wanted)?;
        self.opened.add(&have.name);
        Ok(store)
    }

    /// The stream of answers that are kept: the oldest go when it is full.
    pub(super) async fn kept_stream(&self) -> Result<Stream, BusError> {
        let wanted = Config {
            name: self.subjects.kept_stream(),
            subjects: vec![self.subjects.all_kept_replies()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_bytes: KEPT_MAX_BYTES,
            max_age: KEPT_MAX_AGE,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: self.replicas,
            ..Config::default()
        };
        self.stream(&wanted).await
    }

    /// The stream of the contents of files: one message under each subject. It reserves nothing of the disk; projects have
    /// quotas, and a disk that is nearly full takes no files.
    pub(super) async fn pieces_stream(&self) -> Result<Stream, BusError> {
        let wanted = Config {
            name: self.subjects.pieces_stream(),
            subjects: vec![self.subjects.all_pieces()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_messages_per_subject: 1,
            max_bytes: -1,
            allow_direct: true,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: self.replicas,
            ..Config::default()
        };
        self.stream(&wanted).await
    }

    /// The store of requests that are larger than a message.
    pub(super) async fn object_store(&self, bucket: &str) -> Result<object_store::ObjectStore, BusError> {
        self.object_store_for(bucket, BODY_MAX_AGE).await
    }

    /// A store whose objects are gone at this age.
    pub(super) async fn object_store_for(
        &self,
        bucket: &str,
        max_age: Duration,
    ) -> Result<object_store::ObjectStore, BusError> {
        let store = patiently(OPENING_SOON, || async {
            if let Ok(store) = self.jetstream.get_object_store(bucket).await {
                return Ok(store);
            }
            let config = object_store::Config {
                bucket: bucket.to_owned(),
                max_age,
                storage: StorageType::File,
                num_replicas: self.replicas,
                ..object_store::Config::default()
            };
            self.jetstream.create_object_store(config).await.map_err(failed("set up an object store"))
        });
        let store = store.await?;
        self.opened.add(&format!("OBJ_{bucket}"));
        Ok(store)
    }

    /// A consumer of a stream, made if need be.
    pub(super) async fn consumer(
        &self,
        stream: &str,
        durable: &str,
        config: pull::Config,
    ) -> Result<PullConsumer, BusError> {
        patiently(OPENING, || async {
            let stream = self.jetstream.get_stream(stream).await.map_err(failed("open a stream"))?;
            stream.get_or_create_consumer(durable, config.clone()).await.map_err(failed("open a stream for reading"))
        })
        .await
    }
}

/// Whether the server has what we want in every setting that something depends on.
fn compare(have: &Config, wanted: &Config) -> Result<(), BusError> {
    let mut differences = Vec::new();
    let mut check = |name: &str, have: &dyn Debug, wanted: &dyn Debug| {
        let (have, wanted) = (format!("{have:?}"), format!("{wanted:?}"));
        if have != wanted {
            differences.push(format!("{name} is {have}, must be {wanted}"));
        }
    };
    check("subjects", &have.subjects, &wanted.subjects);
    check("retention", &have.retention, &wanted.retention);
    check("storage", &have.storage, &wanted.storage);
    check("discard", &have.discard, &wanted.discard);
    check("max_bytes", &have.max_bytes, &wanted.max_bytes);
    check("duplicate_window", &have.duplicate_window, &wanted.duplicate_window);
    check("num_replicas", &have.num_replicas, &wanted.num_replicas);
    if wanted.max_messages_per_subject > 0 {
        check("max_msgs_per_subject", &have.max_messages_per_subject, &wanted.max_messages_per_subject);
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(BusError::OtherSettings { name: have.name.clone(), differences: differences.join("; ") })
    }
}
