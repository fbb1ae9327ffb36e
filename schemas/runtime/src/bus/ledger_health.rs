//! Whether the ledger takes what this process writes: what its journal learns from each message, for those who must know
//! before they call a provider. Pure but for the lock: it is given the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long after the last trouble each start still waits for its own acknowledgement: a nearly full disk takes small
/// messages and refuses others. It costs a call a tenth of a millisecond.
const CAREFUL: Duration = Duration::from_secs(10);

/// How long an acknowledgement proves that the ledger is well. Under load one comes every millisecond; a call that comes
/// alone waits for its own.
const PROVES: Duration = Duration::from_secs(1);

/// How the ledger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerState {
    /// Nothing is wrong, as far as is known.
    Healthy,
    /// Nothing is wrong now, but something was lately: a provider is called when its attempt's start is acknowledged.
    Careful,
    /// Nothing was acknowledged since the last failure: no provider is called.
    Failing,
}

impl LedgerState {
    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Careful => "careful",
            Self::Failing => "failing",
        }
    }
}

/// Why and since when nothing is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerFailure {
    /// Since when.
    pub since: Instant,
    /// What NATS says, or that it says nothing.
    pub reason: String,
}

/// The ledger's health. Cloning shares it.
#[derive(Clone, Default)]
pub struct LedgerHealth(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    failure: Option<LedgerFailure>,
    trouble: Option<Instant>,
    /// Counts failures: an acknowledgement of what was sent before one says nothing of the time after it.
    failures: u64,
    /// When something was acknowledged last, and over which connection.
    proven: Option<(u64, Instant)>,
}

/// A message that is on its way: over which connection, and behind how many failures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    connection: u64,
    failures: u64,
}

impl LedgerHealth {
    /// How the ledger is.
    pub fn state(&self, now: Instant) -> LedgerState {
        let known = self.known();
        match (&known.failure, known.trouble) {
            (Some(_), _) => LedgerState::Failing,
            (None, Some(trouble)) if now.duration_since(trouble) < CAREFUL => LedgerState::Careful,
            (None, _) => LedgerState::Healthy,
        }
    }

    /// Whether a provider may be called as soon as its attempt's start has left this process over this connection: what was
    /// written just before was acknowledged.
    pub(super) fn is_proven(&self, connection: u64, now: Instant) -> bool {
        let is_fresh = |(over, at): (u64, Instant)| over == connection && now.duration_since(at) < PROVES;
        self.state(now) == LedgerState::Healthy && self.known().proven.is_some_and(is_fresh)
    }

    /// Why nothing is acknowledged, if so.
    pub fn failure(&self) -> Option<LedgerFailure> {
        self.known().failure.clone()
    }

    /// How often something was not acknowledged so far.
    pub fn failures(&self) -> u64 {
        self.known().failures
    }

    /// A message goes out.
    pub(super) fn sending(&self, connection: u64) -> Sent {
        Sent { connection, failures: self.known().failures }
    }

    /// It was acknowledged.
    pub(super) fn acknowledged(&self, sent: Sent, now: Instant) {
        let mut known = self.known();
        known.proven = Some((sent.connection, now));
        if sent.failures == known.failures {
            known.failure = None;
        }
    }

    /// An acknowledgement is late, or a connection broke: nothing has failed yet.
    pub(super) fn doubt(&self, now: Instant) {
        self.known().trouble = Some(now);
    }

    /// A message was refused, or not acknowledged in time.
    pub(super) fn failed(&self, reason: &str, now: Instant) {
        let mut known = self.known();
        known.failures += 1;
        known.trouble = Some(now);
        let since = known.failure.as_ref().map_or(now, |failure| failure.since);
        known.failure = Some(LedgerFailure { since, reason: reason.to_owned() });
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_called_ahead_of_the_acknowledgement_only_while_others_come() {
        let (health, begin) = (LedgerHealth::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert!(!health.is_proven(1, begin));
        health.acknowledged(health.sending(1), begin);
        assert!(health.is_proven(1, begin) && !health.is_proven(2, begin) && !health.is_proven(1, after(1)));
        health.doubt(begin);
        assert_eq!(health.state(begin), LedgerState::Careful);
        health.acknowledged(health.sending(1), after(9));
        assert!(!health.is_proven(1, after(9)));
        health.acknowledged(health.sending(1), after(10));
        assert!(health.is_proven(1, after(10)));
    }

    #[test]
    fn what_was_sent_before_a_failure_proves_nothing() {
        let (health, begin) = (LedgerHealth::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        let before = health.sending(1);
        health.failed("full", after(1));
        assert_eq!(health.state(after(1)), LedgerState::Failing);
        health.acknowledged(before, after(1));
        assert_eq!(health.failure().map(|failure| failure.reason), Some("full".to_owned()));
        let behind = health.sending(1);
        health.failed("still full", after(60));
        health.acknowledged(behind, after(60));
        assert_eq!(health.failure().map(|failure| failure.since), Some(after(1)));
        health.acknowledged(health.sending(1), after(61));
        assert_eq!((health.state(after(61)), health.is_proven(1, after(61))), (LedgerState::Careful, false));
        assert_eq!((health.state(after(70)), health.failures()), (LedgerState::Healthy, 2));
    }
}
