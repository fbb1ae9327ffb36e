//! Whether ClickHouse takes what it is given, and since when it does not: told to all processes each second, so that who asks
//! an ingress how it is learns of it. Knows nothing of events.

use crate::metrics::AnalyticsMetrics;
use penstock_runtime::bus::Bus;
use penstock_schemas::carry::CarryState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::debug;

/// Between two messages.
const BEAT: Duration = Duration::from_secs(1);

/// An insert that takes longer is worth telling. On a busy machine one takes a second.
const SLOW: Duration = Duration::from_secs(3);

/// The longest reason in an answer, in characters.
const REASON: usize = 500;

/// The standing. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Standing(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// Since when something is given to ClickHouse that it has not taken.
    since: Option<Instant>,
    reason: Option<String>,
}

impl Standing {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is given to it.
    pub(crate) fn gives(&self) {
        self.known().since.get_or_insert_with(Instant::now);
    }

    /// It was not taken.
    pub(crate) fn fails(&self, why: &str) {
        let mut known = self.known();
        known.since.get_or_insert_with(Instant::now);
        known.reason = Some(why.chars().take(REASON).collect());
    }

    /// It was.
    pub(crate) fn taken(&self) {
        *self.known() = Known::default();
    }

    fn state(&self, bus: &Bus) -> CarryState {
        let known = self.known();
        let stalled = known.since.map(|since| since.elapsed()).filter(|since| *since >= SLOW);
        let slow = || "an insert takes long".to_owned();
        CarryState {
            process: bus.process().clone(),
            stalled_seconds: stalled.map(|since| since.as_secs()),
            reason: stalled.map(|_| known.reason.clone().unwrap_or_else(slow)),
        }
    }

    /// Tells it for ever.
    pub(crate) async fn tell(self, bus: Bus, metrics: AnalyticsMetrics) {
        loop {
            metrics.stalls(self.known().since.map(|since| since.elapsed()));
            let state = self.state(&bus);
            if let Err(error) = bus.tell_carry(&state).await {
                debug!(%error, "it could not be told how the ledger is carried over");
            }
            sleep(BEAT).await;
        }
    }
}
