//! How the ledger's events get into its tables, as the role that carries them over tells. Concludes one thing: whether they
//! are taken now.

use penstock_runtime::bus::{Bus, BusError};
use penstock_schemas::carry::CarryState;
use penstock_schemas::name::ProcessId;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Silence after which a process of that role is gone.
const SILENT: Duration = Duration::from_secs(5);

/// What is known of it. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Carry(Arc<Mutex<HashMap<ProcessId, (CarryState, Instant)>>>);

impl Carry {
    /// Listens as long as the role lives.
    pub(crate) async fn follow(bus: &Bus) -> Result<Self, BusError> {
        let carry = Self::default();
        let told = carry.clone();
        bus.hear_carry(move |state| told.take(state, Instant::now())).await?;
        Ok(carry)
    }

    fn take(&self, state: CarryState, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| now.duration_since(*at) < SILENT);
        known.insert(state.process.clone(), (state, now));
    }

    /// As `/health` tells it: `taken`, `stalled`, or `unknown` when nobody carries anything over. Several take turns, so one
    /// that gets on is enough.
    pub(crate) fn report(&self, now: Instant) -> Value {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = known.values().filter(|(_, at)| now.duration_since(*at) < SILENT).map(|(state, _)| state);
        let Some(best) = heard.min_by_key(|state| state.stalled_seconds) else { return json!({ "state": "unknown" }) };
        match best.stalled_seconds {
            None => json!({ "state": "taken" }),
            Some(seconds) => json!({ "state": "stalled", "stalled_seconds": seconds, "reason": best.reason }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(process: &str, stalled_seconds: Option<u64>) -> CarryState {
        let reason = stalled_seconds.map(|_| "away".to_owned());
        CarryState { process: ProcessId::parse(process).unwrap(), stalled_seconds, reason }
    }

    #[test]
    fn rows_are_taken_while_one_process_gets_on_and_unknown_when_all_are_silent() {
        let (carry, now) = (Carry::default(), Instant::now());
        assert_eq!(carry.report(now)["state"], "unknown");
        carry.take(state("one", Some(7)), now);
        assert_eq!(carry.report(now), json!({ "state": "stalled", "stalled_seconds": 7, "reason": "away" }));
        carry.take(state("two", None), now);
        assert_eq!(carry.report(now), json!({ "state": "taken" }));
        assert_eq!(carry.report(now + SILENT)["state"], "unknown");
    }
}
