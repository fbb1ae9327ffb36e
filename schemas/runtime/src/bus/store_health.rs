//! Which streams and buckets do not take what they are given, of all but the ledger: nats-server gives a store up
//! for good when its disk was full, each for itself, while others go on. The ledger's own health is `ledger_health`'s. Pure
//! but for the lock: it is given the time.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// After so long without another, a failure says nothing any more.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What a healthy store says of what it does not take: its revision is another, or it holds as much as it may.
/// Source: `ErrMaxMsgs`, `ErrMaxBytes` and `ErrMaxMsgsPerSubject` in nats-server's `server/store.go`.
const REFUSALS: [&str; 3] = ["wrong last sequence", "wrong last revision", "maximum "];

/// The health of all of them. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreHealth(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Whether there is any failure: what works looks at no more than this.
    is_failing: AtomicBool,
    failing: Mutex<HashMap<String, Failing>>,
}

/// Failures of one, with nothing taken between.
#[derive(Clone, Copy, Debug)]
struct Failing {
    connection: u64,
    first: Instant,
    last: Instant,
}

/// Whether a store that did not take something is well all the same.
pub(super) fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| Error::source(*error))
        .any(|error| REFUSALS.iter().any(|refusal| error.to_string().contains(refusal)))
}

impl StoreHealth {
    fn failing(&self) -> MutexGuard<'_, HashMap<String, Failing>> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has taken something.
    pub(super) fn taken(&self, store: &str) {
        if self.0.is_failing.load(Ordering::Relaxed) {
            let mut failing = self.failing();
            failing.remove(store);
            self.0.is_failing.store(!failing.is_empty(), Ordering::Relaxed);
        }
    }

    /// It has not taken something, over this connection.
    pub(super) fn not_taken(&self, store: &str, connection: u64, now: Instant) {
        let mut failing = self.failing();
        let goes_on =
            |known: &&mut Failing| known.connection == connection && now.duration_since(known.last) < FORGOTTEN;
        match failing.get_mut(store).filter(goes_on) {
            Some(known) => known.last = now,
            None => {
                failing.insert(store.to_owned(), Failing { connection, first: now, last: now });
            }
        }
        self.0.is_failing.store(true, Ordering::Relaxed);
    }

    /// One that has taken nothing for so long, though it was given something again and again over this connection.
    pub(super) fn given_up(&self, for_so_long: Duration, connection: u64) -> Option<String> {
        let failing = self.failing();
        let is_lasting =
            |known: &Failing| known.connection == connection && known.last.duration_since(known.first) >= for_so_long;
        failing.iter().find(|(_, known)| is_lasting(known)).map(|(store, _)| store.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_says_no_is_well_and_one_that_says_nothing_is_not() {
        let says = |why: &str| is_refusal(&std::io::Error::other(why.to_owned()));
        assert!(says("wrong last revision"));
        assert!(says("maximum messages per subject exceeded"));
        assert!(says("maximum bytes exceeded"));
        assert!(!says("timed out: didn't receive ack in time"));
        assert!(!says("write 1.blk: no space left on device"));
    }

    #[test]
    fn a_store_is_given_up_after_failures_that_last_with_nothing_taken_between() {
        let (health, begin) = (StoreHealth::default(), Instant::now());
        let lasting = Duration::from_secs(10);
        let fail = |after| health.not_taken("files", 1, begin + Duration::from_secs(after));
        fail(0);
        fail(9);
        assert_eq!(health.given_up(lasting, 1), None);
        health.taken("files");
        fail(10);
        fail(19);
        assert_eq!(health.given_up(lasting, 1), None, "something was taken between");
        health.taken("others");
        fail(20);
        assert_eq!(health.given_up(lasting, 1).as_deref(), Some("files"));
        assert_eq!(health.given_up(lasting, 2), None, "another connection, perhaps to a server that was started again");
        fail(100);
        assert_eq!(health.given_up(lasting, 1), None, "a failure now and then is none that lasts");
    }
}
