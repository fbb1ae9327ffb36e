//! Cached answers on the bus: one stream with one message for each, which every ingress follows, so that each has all of
//! them in its memory, also after a restart. Large contents lie in the same stream under names that nobody follows. Knows
//! nothing of what an answer says, nor of what a key is made of.

use super::{Bus, BusError, Intake, failed};
use crate::clock;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DirectGetErrorKind, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use penstock_schemas::cache::{CacheEntry, CacheMark};
use penstock_schemas::place;
use penstock_schemas::subject::last_token;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{error, warn};

/// The longest content that is kept, in bytes: what fits into a message under a `max_payload` of 8 MB with room to spare.
pub const MOST_CACHED: usize = 4 * 1024 * 1024;

/// The longest content that stands in the entry itself, in bytes. What is longer is fetched when it is used.
const INLINE: usize = 64 * 1024;

/// What a message needs besides its content, in bytes.
const ROOM: usize = 16 * 1024;

/// How long a mark stays: longer than any request that it is about.
const MARK_TTL: Duration = Duration::from_secs(24 * 3600);

/// Wait before following is begun again that broke off.
const AGAIN: Duration = Duration::from_millis(200);

/// How much of the limit is left when the stream was over it, in percent.
const LEFT: u64 = 90;

/// The settings of a copy's recognition by its `Nats-Msg-Id`, which is not used: an entry has one place.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// The stored answers. Cloning shares them.
#[derive(Clone)]
pub struct CacheStore {
    bus: Bus,
    stream: Stream,
}

/// What a follower is told.
#[derive(Debug)]
pub enum CacheUpdate {
    /// This key has this answer; without a content, it is fetched when it is used.
    Entry(String, Box<CacheEntry>, Option<Bytes>),
    /// Answers are not to be used any more.
    Mark(CacheMark),
    /// All that was there when following began has been told.
    Current,
}

impl Bus {
    /// The stored answers. The stream reserves nothing of the disk: see [`CacheStore::bound`].
    ///
    /// # Errors
    /// When JetStream does not answer, or the stream has other settings.
    pub async fn cache_store(&self) -> Result<CacheStore, BusError> {
        let wanted = Config {
            name: self.subjects.cache_stream(),
            subjects: vec![self.subjects.all_cache()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_messages_per_subject: 1,
            max_bytes: -1,
            allow_message_ttl: true,
            allow_direct: true,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: self.replicas,
            ..Config::default()
        };
        Ok(CacheStore { bus: self.clone(), stream: self.work_stream(wanted).await? })
    }
}

impl CacheStore {
    /// Whether there is room on the disk for what is only kept for convenience.
    pub fn has_room(&self) -> bool {
        self.bus.intake() == Intake::Everything
    }

    /// Keeps an answer under a key, in the place of an earlier one.
    ///
    /// # Errors
    /// When JetStream does not confirm it, or the content is longer than a message.
    pub async fn keep(&self, key: &str, entry: &CacheEntry, content: &Bytes) -> Result<(), BusError> {
        if content.len() > MOST_CACHED.min(self.bus.client.max_payload().saturating_sub(ROOM)) {
            return Err(failed("keep an answer")("it is longer than a message"));
        }
        let namespace = place::namespace(&entry.namespace);
        // A server removes a message at a whole second: never before the entry itself says.
        let ttl = entry.expires_at.since(clock::now()) + Duration::from_secs(1);
        let apart = content.len() > INLINE;
        if apart {
            let subject = self.bus.subjects.cache_content(&entry.project, &namespace, key);
            self.put(subject, content.clone(), ttl).await?;
        }
        let entry = CacheEntry { apart, ..entry.clone() };
        let header = serde_json::to_vec(&entry).map_err(failed("write a cached answer"))?;
        let inline = if apart { &[][..] } else { &content[..] };
        let mut message = BytesMut::with_capacity(4 + header.len() + inline.len());
        message.put_u32(u32::try_from(header.len()).map_err(failed("write a cached answer"))?);
        message.put_slice(&header);
        message.put_slice(inline);
        let subject = self.bus.subjects.cache_entry(&entry.project, &namespace, key);
        self.put(subject, message.freeze(), ttl).await
    }

    async fn put(&self, subject: String, payload: Bytes, ttl: Duration) -> Result<(), BusError> {
        let message = PublishMessage::build().payload(payload).ttl(ttl.max(Duration::from_secs(1)));
        let sent = self.bus.jetstream.send_publish(subject, message).await.map_err(failed("keep an answer"))?;
        let kept = self.bus.noted(&self.bus.subjects.cache_stream(), sent.await);
        kept.map(drop).map_err(failed("keep an answer"))
    }

    /// The content of an entry that is kept apart; `None` when it is gone.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn content(&self, key: &str, entry: &CacheEntry) -> Result<Option<Bytes>, BusError> {
        let namespace = place::namespace(&entry.namespace);
        let subject = self.bus.subjects.cache_content(&entry.project, &namespace, key);
        match self.stream.direct_get_last_for_subject(subject).await {
            // Another answer may have taken its place, whose entry is on its way.
            Ok(message) => Ok(Some(message.payload).filter(|content| content.len() as u64 == entry.bytes)),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read a cached answer")(error)),
        }
    }

    /// Tells every ingress that answers are not to be used any more, and removes them.
    ///
    /// # Errors
    /// When JetStream does not confirm it. When it was told and not removed, the ingresses obey for a day.
    pub async fn mark(&self, mark: &CacheMark) -> Result<(), BusError> {
        let payload = serde_json::to_vec(mark).map_err(failed("write a mark"))?;
        // Each has a subject of its own: one does not take another's place.
        let name = place::digest(&[&payload]);
        let subject = self.bus.subjects.cache_mark(&mark.project, &name);
        self.put(subject, payload.into(), MARK_TTL).await?;
        let namespace = mark.namespace.as_deref().map(place::namespace);
        for what in ["entry", "content"] {
            let key = mark.key.as_deref();
            let subject = self.bus.subjects.cache_of(what, &mark.project, (namespace.as_deref(), key));
            self.stream.purge().filter(subject).await.map_err(failed("remove cached answers"))?;
        }
        Ok(())
    }

    /// Removes the oldest while all of them take more than this of the disk.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn bound(&self, bytes: u64) -> Result<(), BusError> {
        let state = self.stream.get_info().await.map_err(failed("ask for the cache's state"))?.state;
        if state.bytes <= bytes {
            return Ok(());
        }
        // Answers lie in the order in which they came: so many of the numbers stand for about so many of the bytes.
        let over = state.bytes - bytes / 100 * LEFT;
        let numbers = (state.last_sequence + 1).saturating_sub(state.first_sequence);
        let first = state.first_sequence
            + u64::try_from(u128::from(numbers) * u128::from(over) / u128::from(state.bytes)).unwrap_or(numbers);
        self.stream.purge().sequence(first + 1).await.map(drop).map_err(failed("remove cached answers"))
    }

    /// Follows the answers as long as the role lives: first what is there, then every change.
    pub fn follow(&self, tell: impl Fn(CacheUpdate) + Send + Sync + 'static) {
        let store = self.clone();
        self.bus.life.service("cache", async move {
            loop {
                if let Err(error) = store.watch(&tell).await {
                    warn!(%error, "following the cache broke off; beginning again");
                }
                sleep(AGAIN).await;
            }
        });
    }

    async fn watch(&self, tell: &(impl Fn(CacheUpdate) + Sync)) -> Result<(), BusError> {
        let config = OrderedConfig {
            filter_subjects: self.bus.subjects.cache_followed().into(),
            deliver_policy: DeliverPolicy::All,
            ..OrderedConfig::default()
        };
        let consumer = self.stream.create_consumer(config).await.map_err(failed("follow the cache"))?;
        let mut is_current = consumer.cached_info().num_pending == 0;
        if is_current {
            tell(CacheUpdate::Current);
        }
        let mut messages = consumer.messages().await.map_err(failed("follow the cache"))?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(failed("follow the cache"))?;
            match read(&message.subject, &message.payload) {
                Some(update) => tell(update),
                None => error!(subject = %message.subject, "what is cached cannot be read: is one process older?"),
            }
            if !is_current && message.info().is_ok_and(|info| info.pending == 0) {
                is_current = true;
                tell(CacheUpdate::Current);
            }
        }
        Ok(())
    }
}

fn read(subject: &str, payload: &Bytes) -> Option<CacheUpdate> {
    if subject.split('.').nth(2) == Some("mark") {
        return serde_json::from_slice(payload).ok().map(CacheUpdate::Mark);
    }
    let (length, rest) = payload.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let entry: CacheEntry = serde_json::from_slice(rest.get(..length)?).ok()?;
    let content = payload.slice(4 + length..);
    let content = (!entry.apart).then(|| Bytes::copy_from_slice(&content));
    Some(CacheUpdate::Entry(last_token(subject).to_owned(), Box::new(entry), content))
}
