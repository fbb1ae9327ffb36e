//! What each project keeps in a bucket, by the server's own word: followed by the headers of its messages alone, so that
//! every process knows the same, also after a restart. Knows nothing of what is kept.

use super::{Bus, BusError, failed};
use crate::clock;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::kv::Store;
use futures_util::StreamExt;
use penstock_schemas::UnixMicros;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;
use tracing::warn;

/// What an entry takes besides its value, in bytes.
const ENTRY: u64 = 1024;

/// Wait before a follower that broke off is begun again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a follower of one bucket knows. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Stored(Arc<Mutex<Tally>>);

/// Sizes by project and age.
#[derive(Default)]
struct Tally {
    /// Of each key, the number of its last message in the stream.
    last: HashMap<String, u64>,
    /// By project and by that number, so the oldest of a project come first.
    entries: BTreeMap<(String, u64), Entry>,
    by_project: HashMap<String, u64>,
}

struct Entry {
    key: String,
    bytes: u64,
    at: UnixMicros,
}

impl Stored {
    /// Follows a bucket from now on. `size` gives what an entry stands for, by its key and the size of its value.
    pub(super) fn follow(bus: &Bus, store: &Store, size: fn(&str, u64) -> u64) -> Self {
        let stored = Self::default();
        let (follower, store, life) = (stored.clone(), store.clone(), bus.life().clone());
        bus.life().service("sizes of what is kept", async move {
            while !life.is_stopping() {
                if let Err(error) = follower.read(&store, size).await {
                    warn!(%error, "the sizes of what is kept cannot be followed; trying again");
                }
                sleep(AGAIN).await;
            }
            // A service ends with the role, not before it.
            std::future::pending::<()>().await;
        });
        stored
    }

    async fn read(&self, store: &Store, size: fn(&str, u64) -> u64) -> Result<(), BusError> {
        let config = OrderedConfig {
            headers_only: true,
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subject: format!("{}>", store.prefix),
            ..OrderedConfig::default()
        };
        let consumer = store.stream.create_consumer(config).await.map_err(failed("follow what is kept"))?;
        let mut messages = consumer.messages().await.map_err(failed("follow what is kept"))?;
        while let Some(message) = messages.next().await {
            self.note(&store.prefix, &message.map_err(failed("follow what is kept"))?, size);
        }
        Ok(())
    }

    fn note(&self, prefix: &str, message: &Message, size: fn(&str, u64) -> u64) {
        let Some(key) = message.subject.strip_prefix(prefix) else { return };
        let Ok(info) = message.info() else { return };
        let header =
            |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
        let is_gone = header("KV-Operation").is_some();
        let bytes = header("Nats-Msg-Size").and_then(|size| size.parse().ok()).unwrap_or(0);
        let bytes = size(key, bytes);
        let at = UnixMicros(u64::try_from(info.published.unix_timestamp_nanos() / 1_000).unwrap_or_default());
        self.tally().set(key, info.stream_sequence, (!is_gone).then_some((bytes, at)));
    }

    /// Notes a value that was just written.
    pub(super) fn add(&self, key: &str, sequence: u64, bytes: usize) {
        self.tally().set(key, sequence, Some((bytes as u64, clock::now())));
    }

    /// The oldest keys of a project that must go, so that it keeps no more than `most` bytes with so many more; `None` when
    /// these alone are too many. What is `replaced` by them, an entry and its pieces, does not count and does not go.
    pub(super) fn too_old(
        &self,
        (project, replaced): (&str, Option<&str>),
        more: usize,
        most: u64,
        max_age: Duration,
    ) -> Option<Vec<String>> {
        let mut tally = self.tally();
        tally.expire(project, max_age);
        let more = more as u64 + ENTRY;
        let of_project = (project.to_owned(), 0)..=(project.to_owned(), u64::MAX);
        let entries = || tally.entries.range(of_project.clone()).map(|(_, entry)| entry);
        let is_replaced = |entry: &&Entry| replaced.is_some_and(|key| is_part(&entry.key, key));
        let mut kept = tally.by_project.get(project).copied().unwrap_or(0);
        if replaced.is_some() {
            kept = kept.saturating_sub(entries().filter(is_replaced).map(|entry| entry.bytes).sum());
        }
        let mut keys = Vec::new();
        for entry in entries().filter(|entry| !is_replaced(entry)) {
            if kept + more <= most {
                break;
            }
            kept -= entry.bytes;
            keys.push(entry.key.clone());
        }
        (kept + more <= most).then_some(keys)
    }

    /// The keys of a project.
    pub(super) fn keys(&self, project: &str) -> Vec<String> {
        let of_project = (project.to_owned(), 0)..=(project.to_owned(), u64::MAX);
        self.tally().entries.range(of_project).map(|(_, entry)| entry.key.clone()).collect()
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a key is that of an entry, or of a piece of it: `<key>.<version>.<number>`.
fn is_part(key: &str, of: &str) -> bool {
    key.strip_prefix(of).is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('.').is_some_and(|piece| piece.matches('.').count() == 1)
    })
}

impl Tally {
    /// The last message of a key: a value of this size, or that it is gone.
    fn set(&mut self, key: &str, sequence: u64, value: Option<(u64, UnixMicros)>) {
        let project = key.split('.').next().unwrap_or_default();
        if let Some(last) = self.last.get(key).copied() {
            if last > sequence {
                return;
            }
            self.remove(project, last);
        }
        let Some((bytes, at)) = value else {
            self.last.remove(key);
            return;
        };
        let bytes = bytes + ENTRY;
        self.last.insert(key.to_owned(), sequence);
        self.entries.insert((project.to_owned(), sequence), Entry { key: key.to_owned(), bytes, at });
        *self.by_project.entry(project.to_owned()).or_default() += bytes;
    }

    fn remove(&mut self, project: &str, sequence: u64) {
        let Some(entry) = self.entries.remove(&(project.to_owned(), sequence)) else { return };
        self.last.remove(&entry.key);
        if let Some(bytes) = self.by_project.get_mut(project) {
            *bytes -= entry.bytes;
            if *bytes == 0 {
                self.by_project.remove(project);
            }
        }
    }

    /// The server says nothing when a value has reached its age.
    fn expire(&mut self, project: &str, max_age: Duration) {
        let now = clock::now();
        loop {
            let oldest = self.entries.range((project.to_owned(), 0)..).next();
            let Some(((of, sequence), entry)) = oldest else { return };
            if of != project || now.since(entry.at) < max_age {
                return;
            }
            let sequence = *sequence;
            self.remove(project, sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn the_oldest_of_the_same_project_go_first_and_no_others() {
        let stored = Stored::default();
        for (sequence, key) in ["a.1", "b.1", "a.2", "a.3"].into_iter().enumerate() {
            stored.add(key, sequence as u64, 9 * 1024);
        }
        let most = 40 * 1024;
        assert_eq!(stored.too_old(("a", None), 1024, most, DAY), Some(vec![]));
        assert_eq!(stored.too_old(("a", None), 9 * 1024, 30 * 1024, DAY), Some(vec!["a.1".to_owned()]));
        assert_eq!(
            stored.too_old(("a", None), 19 * 1024, 30 * 1024, DAY),
            Some(vec!["a.1".to_owned(), "a.2".to_owned()])
        );
        assert_eq!(stored.too_old(("a", None), 40 * 1024, most, DAY), None);
        assert_eq!(stored.too_old(("c", None), 1024, most, DAY), Some(vec![]));
    }

    #[test]
    fn what_is_replaced_does_not_go_and_does_not_count() {
        let stored = Stored::default();
        for (sequence, key) in ["a.1", "a.1.v.0", "a.1.input", "a.2", "a.11"].into_iter().enumerate() {
            stored.add(key, sequence as u64, 9 * 1024);
        }
        let gone = |more: usize, most: u64| stored.too_old(("a", Some("a.1")), more * 1024, most * 1024, DAY);
        assert_eq!(gone(19, 50), Some(vec![]));
        assert_eq!(gone(19, 49), Some(vec!["a.1.input".to_owned()]));
        assert_eq!(gone(19, 20), Some(["a.1.input", "a.2", "a.11"].map(str::to_owned).to_vec()));
        assert_eq!(gone(20, 20), None);
    }

    #[test]
    fn what_is_written_again_deleted_or_too_old_counts_once_or_not_at_all() {
        let stored = Stored::default();
        let now = clock::now();
        let sizes = |stored: &Stored| stored.tally().by_project.get("a").copied().unwrap_or(0);
        stored.tally().set("a.1", 1, Some((1000, now)));
        stored.tally().set("a.1", 2, Some((3000, now)));
        stored.tally().set("a.1", 1, Some((1000, now))); // stale: ignore
        assert_eq!(sizes(&stored), 3000 + ENTRY);
        stored.tally().set("a.2", 3, Some((500, UnixMicros(now.0 - 2 * DAY.as_secs() * 1_000_000))));
        stored.tally().set("a.1", 4, None);
        assert_eq!(sizes(&stored), 500 + ENTRY);
        assert_eq!(stored.too_old(("a", None), 0, 10_000, DAY), Some(vec![]));
        assert!(stored.tally().by_project.is_empty() && stored.tally().last.is_empty());
    }
}
