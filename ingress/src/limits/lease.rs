//! Says that this ingress lives, again and again. While that is known, calls may begin with what it sets aside; when it has
//! not been for a while, others may take what it holds, so it begins anew under another lease.

use super::counters::Counters;
use super::keeper::Keeper;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::book::Book;
use penstock_schemas::reservation::{Lease, LeaseId};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio::{select, try_join};
use tracing::warn;

/// Between two renewals.
const RENEW: Duration = Duration::from_secs(2);

/// Before one that failed is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// How long calls may begin after a renewal. Shorter than the silence after which a lease is given up, by more than the
/// clocks of two machines may differ.
const STARTS: Duration = Duration::from_secs(8);

/// After so long without a renewal this ingress takes itself for dead: before anybody else does.
const LOST: Duration = Duration::from_secs(10);

/// The key under which it is tried whether a bucket of rates takes something: no counter's.
const PROBE: &str = "probe";

/// Longest wait for that. With the pause it is shorter than calls may begin after a renewal.
const PROBING: Duration = Duration::from_secs(2);

impl Keeper {
    /// Renews the lease, for ever.
    pub(super) async fn renew(&self) {
        let (mut renewed, mut last) = (Instant::now(), clock::now());
        loop {
            let at = clock::now();
            let why = match () {
                () if renewed.elapsed() > LOST => Some("this ingress could not say that it lives"),
                // The ledger looks for nothing that was spent under a lease before that was made.
                () if at < last => Some("the common time was set back"),
                () => None,
            };
            if let Some(why) = why {
                let lease = self.state().lease;
                warn!(why, "this ingress begins under a new lease");
                self.begin_lease(lease);
                renewed = Instant::now();
            }
            last = at;
            let lease = self.state().lease;
            let record = Lease { ingress: self.counters().bus.process().clone(), at };
            let pause = match self.taken(self.counters().leases.put(&lease.to_string(), &record).await) {
                Ok(()) if renewed.elapsed() <= LOST => {
                    if self.may_start(lease, at.after(STARTS)) {
                        renewed = Instant::now();
                    }
                    self.try_books().await;
                    RENEW
                }
                Ok(()) => Duration::ZERO,
                Err(error) => {
                    warn!(%error, "the lease on budgets could not be renewed");
                    AGAIN
                }
            };
            self.counters().changed.notify_waiters();
            select! {
                () = sleep(pause) => {}
                () = self.counters().new_lease.notified() => {}
            }
        }
    }

    /// Until then calls may begin under the lease. False where it is another by now.
    fn may_start(&self, lease: LeaseId, start_by: UnixMicros) -> bool {
        let mut state = self.state();
        let is_same = state.lease == lease;
        if is_same {
            state.start_by = start_by;
        }
        is_same
    }

    /// Where NATS did not take something, looks whether it takes it again: there may be no request that would show it, since an
    /// ingress that is not ready gets none.
    async fn try_books(&self) {
        let Counters { rates, day_rates, .. } = self.counters();
        if self.counters().refused().is_none() {
            return;
        }
        let book = Book::default();
        let tried = async { try_join!(self.try_budgets(), rates.put(PROBE, &book), day_rates.put(PROBE, &book)) };
        if timeout(PROBING, tried).await.is_ok_and(|tried| tried.is_ok()) {
            *self.counters().refused() = None;
        }
    }
}
