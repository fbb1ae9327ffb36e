//! Where conversations stay that a changing strategy began: kept in NATS KV before their first call goes out, so that no crash
//! moves one, and followed by every ingress, so that none asks for it. Decides nothing.

use super::lot;
use penstock_runtime::bus::{Bucket, Change, PINS};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::route::PinnedTo;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// Conversations that are known here at once; of those beyond it, the strategy decides anew.
const MOST: usize = 65_536;

/// Longest wait until a pin is written: a request goes on without it.
const WRITE: Duration = Duration::from_millis(250);

/// A conversation, and where it stays.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pin {
    pub(crate) number: u64,
    pub(crate) to: PinnedTo,
}

/// All that are known. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Pins {
    known: Arc<Mutex<HashMap<u64, (PinnedTo, UnixMicros)>>>,
    bucket: Option<Bucket<PinnedTo>>,
}

impl Pins {
    /// Follows the pins of all ingresses.
    pub(super) fn follow(bucket: &Bucket<PinnedTo>) -> Self {
        let pins = Self { known: Arc::default(), bucket: Some(bucket.clone()) };
        let known = pins.clone();
        bucket.follow(move |change| known.change(change));
        pins
    }

    /// The number of a virtual model's conversation.
    pub(crate) fn number(model: &str, key: &str) -> u64 {
        lot::number(&["pin", model, key])
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, (PinnedTo, UnixMicros)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change<PinnedTo>) {
        let number = |key: &str| u64::from_str_radix(key, 16).ok();
        match change {
            Change::Put(key, to) => {
                if let Some(number) = number(&key) {
                    self.learn(number, to);
                }
            }
            Change::Deleted(key) => {
                if let Some(number) = number(&key) {
                    self.known().remove(&number);
                }
            }
            Change::Current => {}
        }
    }

    fn learn(&self, number: u64, to: PinnedTo) {
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(&number) {
            known.clear();
        }
        known.insert(number, (to, clock::now()));
    }

    /// Where a conversation stays, and whether that is to be written again, so that it holds longer.
    pub(crate) fn find(&self, number: u64, now: UnixMicros) -> Option<(PinnedTo, bool)> {
        let known = self.known();
        let (to, at) = known.get(&number)?;
        let age = now.since(*at);
        (age < PINS).then(|| (to.clone(), age > PINS / 2))
    }

    /// Keeps a pin, before the call goes out.
    pub(crate) async fn keep(&self, pin: Pin) {
        self.learn(pin.number, pin.to.clone());
        let Some(bucket) = &self.bucket else { return };
        let key = format!("{:016x}", pin.number);
        match timeout(WRITE, bucket.put(&key, &pin.to)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "where a conversation stays is known to this process alone"),
            Err(_) => warn!("where a conversation stays is known to this process alone: NATS KV is slow"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::name::Target;

    #[test]
    fn pins_of_other_processes_are_known_until_they_are_gone() {
        let pins = Pins::default();
        let number = Pins::number("chat", "p session s");
        let key = format!("{number:016x}");
        let to = PinnedTo { target: Target::parse("a/m").unwrap(), propensity: 0.5 };
        pins.change(Change::Put(key.clone(), to.clone()));
        let now = clock::now();
        assert_eq!(pins.find(number, now), Some((to.clone(), false)));
        assert_eq!(pins.find(number, now.after(PINS * 2 / 3)), Some((to.clone(), true)), "it is written again");
        assert_eq!(pins.find(number, now.after(PINS * 2)), None);
        pins.change(Change::Put("no number".to_owned(), to));
        pins.change(Change::Deleted(key));
        assert_eq!(pins.find(number, now), None);
    }
}
