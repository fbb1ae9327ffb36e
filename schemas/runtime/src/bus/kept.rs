//! What is kept of conversations, by project and name: bytes of any size up to a limit, gone after a month. A value that
//! is larger than a message lies in pieces beside its entry. Knows nothing of what the bytes mean.

use super::stored::Stored;
use super::{Bus, BusError, Intake, failed};
use crate::memory::{Memory, Reserved};
use async_nats::jetstream::kv::{Operation, Store, UpdateErrorKind};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use penstock_schemas::name::ProjectId;
use penstock_schemas::place;
use std::time::Duration;
use tracing::debug;

/// How long a value lives: as long as OpenAI keeps a response.
/// Source: <https://platform.openai.com/docs/guides/your-data>.
pub(super) const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The largest value, in bytes.
const LONGEST: usize = 64 * 1024 * 1024;

/// What a message needs besides its payload, in bytes.
const ROOM: usize = 4 * 1024;

/// How often what was found may be held at once: as it came, in a request or an answer, and on its way back.
const COPIES: usize = 3;

/// Pieces that are under way at once.
const AT_ONCE: usize = 4;

/// How often a value is read again whose pieces went while they were read, because another took its place.
const READS: usize = 8;

/// The first byte of an entry: all of the value follows.
const WHOLE: u8 = 0;

/// The first byte of an entry: how many pieces, and what they are called, follow.
const PIECES: u8 = 1;

/// A value's place among the writes of its bucket: a later write can insist on being the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u64);

/// A value that is kept, as it was found.
#[derive(Debug)]
pub struct KeptValue {
    /// What it is.
    pub bytes: Bytes,
    /// Which one.
    pub version: Version,
    /// The memory for it, to be held as long as it is, or what was read of it.
    pub memory: Reserved,
}

/// The bucket of conversations.
#[derive(Clone)]
pub struct Kept {
    store: Store,
    piece: usize,
    bus: Bus,
    stored: Stored,
    /// The most that one project may keep, in bytes; beyond it its own oldest values go.
    quota: u64,
}

impl Bus {
    /// What is kept of conversations: of each project so many bytes.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn kept(&self, quota: u64) -> Result<Kept, BusError> {
        let store = self.key_value_for(&self.subjects.responses_bucket(), MAX_AGE).await?;
        let piece = self.client.max_payload().saturating_sub(ROOM).max(ROOM);
        let stored = Stored::follow(self, &store, |_, size| size);
        Ok(Kept { store, piece, bus: self.clone(), stored, quota })
    }
}

impl Kept {
    /// Keeps a value; false when it is too large for that, or the disk is nearly full.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn put(&self, project: &ProjectId, name: &str, value: &Bytes) -> Result<bool, BusError> {
        let key = place::response(project, name);
        let Some(entry) = self.place((project, None), &key, value).await? else { return Ok(false) };
        let bytes = entry.len();
        let put = self.bus.noted(&self.store.name, self.store.put(&key, entry).await);
        self.stored.add(&key, put.map_err(failed("keep a response"))?, bytes);
        Ok(true)
    }

    /// Keeps a value instead of the one that was read or written last; `None` when somebody else was faster, or it is too
    /// large.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn replace(
        &self,
        (project, name): (&ProjectId, &str),
        value: &Bytes,
        last: Option<Version>,
    ) -> Result<Option<Version>, BusError> {
        let key = place::response(project, name);
        let old = match last {
            None => Vec::new(),
            Some(Version(last)) => {
                let old = self.store.entry(key.as_str()).await.map_err(failed("keep a response"))?;
                let Some(old) = old.filter(|old| old.revision == last) else { return Ok(None) };
                names(&old.value)
            }
        };
        let replaced = last.map(|_| key.as_str());
        let Some(entry) = self.place((project, replaced), &key, value).await? else { return Ok(None) };
        let (bytes, new) = (entry.len(), names(&entry));
        let updated = self.store.update(&key, entry, last.map_or(0, |Version(last)| last)).await;
        match self.bus.noted(&self.store.name, updated) {
            Ok(revision) => {
                self.stored.add(&key, revision, bytes);
                self.clear(old).await;
                Ok(Some(Version(revision)))
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                self.clear(new).await;
                Ok(None)
            }
            Err(error) => Err(failed("keep a response")(error)),
        }
    }

    /// Takes away pieces that nothing names any more. What cannot be taken away goes with its age.
    async fn clear(&self, pieces: Vec<String>) {
        for piece in pieces {
            if let Err(error) = self.store.delete(&piece).await {
                debug!(%error, piece, "a piece that nothing names stays");
            }
        }
    }

    /// The names of a project's values that are such, as far as this process has heard.
    pub fn names(&self, project: &ProjectId, is_one: impl Fn(&str) -> bool) -> Vec<String> {
        let own = place::response(project, "");
        let keys = self.stored.keys(project.as_str()).into_iter();
        keys.filter_map(|key| key.strip_prefix(&own).map(ToOwned::to_owned)).filter(|name| is_one(name)).collect()
    }

    /// A value that is kept, for which there must be room before its pieces are fetched.
    ///
    /// # Errors
    /// When JetStream does not answer, a piece is missing, or there is no memory for it now.
    pub async fn get(&self, place: (&ProjectId, &str), memory: &Memory) -> Result<Option<KeptValue>, BusError> {
        let (project, name) = place;
        let reserve = |bytes: usize| memory.reserve(bytes.saturating_mul(COPIES));
        let key = place::response(project, name);
        for _ in 0..READS {
            let entry = self.store.entry(key.as_str()).await.map_err(failed("read a kept response"))?;
            let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
            let version = Version(entry.revision);
            match entry.value.first() {
                Some(&WHOLE) => {
                    let memory = reserve(entry.value.len())?;
                    return Ok(Some(KeptValue { bytes: entry.value.slice(1..), version, memory }));
                }
                Some(&PIECES) => {
                    let names = names(&entry.value);
                    let memory = reserve(names.len().saturating_mul(self.piece).min(LONGEST))?;
                    if let Some(bytes) = self.gather(&names).await? {
                        return Ok(Some(KeptValue { bytes, version, memory }));
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Forgets a value.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn forget(&self, project: &ProjectId, name: &str) -> Result<(), BusError> {
        let key = place::response(project, name);
        let entry = self.store.get(key.as_str()).await.map_err(failed("forget a response"))?;
        for piece in entry.map(|entry| names(&entry)).unwrap_or_default() {
            self.store.delete(piece).await.map_err(failed("forget a response"))?;
        }
        self.store.delete(key).await.map_err(failed("forget a response"))
    }

    /// The entry for a value; its pieces are there before it is. `None` when it is too large to be kept.
    async fn place(
        &self,
        (project, replaced): (&ProjectId, Option<&str>),
        key: &str,
        value: &Bytes,
    ) -> Result<Option<Bytes>, BusError> {
        if value.len() > LONGEST || self.bus.intake() != Intake::Everything {
            return Ok(None);
        }
        let Some(oldest) = self.stored.too_old((project.as_str(), replaced), value.len(), self.quota, MAX_AGE) else {
            return Ok(None);
        };
        for key in oldest {
            self.store.delete(key).await.map_err(failed("forget an old response"))?;
        }
        if value.len() < self.piece {
            return Ok(Some([&[WHOLE], &value[..]].concat().into()));
        }
        let name = place::version(key, crate::clock::id());
        let pieces: Vec<Bytes> = value.chunks(self.piece).map(|piece| value.slice_ref(piece)).collect();
        let count = pieces.len();
        let put = async |(at, piece): (usize, Bytes)| {
            let (key, bytes) = (place::piece(&name, at), piece.len());
            let put = self.bus.noted(&self.store.name, self.store.put(&key, piece).await);
            self.stored.add(&key, put.map_err(failed("keep a response"))?, bytes);
            Ok::<(), BusError>(())
        };
        let done = stream::iter(pieces.into_iter().enumerate()).map(put).buffer_unordered(AT_ONCE);
        done.try_for_each(|()| async { Ok(()) }).await?;
        Ok(Some([&[PIECES], format!("{count} {name}").as_bytes()].concat().into()))
    }

    async fn gather(&self, names: &[String]) -> Result<Option<Bytes>, BusError> {
        let get = |name: &String| self.store.get(name.clone());
        let pieces = stream::iter(names.iter().map(get)).buffered(AT_ONCE);
        let pieces: Vec<Option<Bytes>> = pieces.try_collect().await.map_err(failed("read a kept response"))?;
        let whole: Option<Vec<Bytes>> = pieces.into_iter().collect();
        Ok(whole.map(|pieces| pieces.concat().into()))
    }
}

/// The keys of an entry's pieces; none when the entry is the value.
fn names(entry: &[u8]) -> Vec<String> {
    let Some((&PIECES, rest)) = entry.split_first() else { return Vec::new() };
    let text = String::from_utf8_lossy(rest);
    let Some((count, name)) = text.split_once(' ') else { return Vec::new() };
    let count: usize = count.parse().unwrap_or(0);
    (0..count.min(LONGEST)).map(|at| place::piece(name, at)).collect()
}
