//! An outage of ClickHouse as it is told in the log: one line when it begins, one when it is over. Knows no cause.

use crate::trouble::Trouble;
use penstock_runtime::schedule::full_jitter;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// The first wait, and the longest: events that wait should not wait long once ClickHouse is back.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Whether ClickHouse takes events now.
#[derive(Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    tries: u32,
}

impl Outage {
    /// Notes that it did not, and says after which time to try again.
    pub(crate) fn goes_on(&mut self, trouble: &Trouble) -> Duration {
        if self.since.is_none() {
            warn!(reason = %trouble, "ClickHouse takes no usage events: they wait in the ledger, and calls go on");
            self.since = Some(Instant::now());
        }
        self.tries = self.tries.saturating_add(1);
        full_jitter(self.tries, AGAIN.0, AGAIN.1)
    }

    /// Notes that it did.
    pub(crate) fn is_over(&mut self) {
        if let Some(since) = self.since.take() {
            info!(seconds = since.elapsed().as_secs(), tries = self.tries, "ClickHouse takes usage events again");
        }
        self.tries = 0;
    }

    /// Whether one is going on.
    pub(crate) fn is_on(&self) -> bool {
        self.since.is_some()
    }
}
