//! When calls go elsewhere: a circuit over what all workers tell of one target. Pure: takes the time, holds no clock. Every
//! process comes to the same state from the same gossip.

use penstock_schemas::UnixMicros;
use penstock_schemas::failure::FailureKind;
use penstock_schemas::pool::{TargetState, WINDOW_SECONDS};
use penstock_schemas::target::CircuitState;
use std::time::Duration;

/// Calls within the window below which a share of failures says nothing.
const MIN_CALLS: u32 = 10;

/// How long a circuit is open before a few calls try again; doubled with each failed trial, up to the longest.
const COOLDOWN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Between two trials of one process while a circuit is half open.
const TRIAL: Duration = Duration::from_secs(1);

/// When a circuit opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Threshold {
    /// Share of failed calls, in percent; 0: never.
    pub errors: u32,
    /// Time to the first content that 1 of 20 calls exceeds, in milliseconds.
    pub slow_ms: Option<u64>,
}

impl Default for Threshold {
    fn default() -> Self {
        Self { errors: 50, slow_ms: None }
    }
}

/// What all workers together tell of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetOutcomes {
    /// Calls that ended well.
    pub succeeded: u32,
    /// Calls that did not.
    pub failed: u32,
    /// The second of the last success and of the last failure.
    last: (u64, u64),
    /// The largest of the workers' figures.
    pub first_token_p95_ms: Option<u32>,
    /// The last failure.
    pub failure: Option<FailureKind>,
}

impl TargetOutcomes {
    /// Sums up what ended after second `since`.
    pub(super) fn sum<'a>(states: impl Iterator<Item = &'a TargetState>, since: u64, now: UnixMicros) -> Self {
        let mut seen = Self::default();
        let from = since.max((now.0 / 1_000_000).saturating_sub(WINDOW_SECONDS));
        for state in states {
            for (second, succeeded, failed) in state.seconds.iter().filter(|(second, ..)| *second > from) {
                seen.succeeded = seen.succeeded.saturating_add(*succeeded);
                seen.failed = seen.failed.saturating_add(*failed);
                seen.last.0 = seen.last.0.max(if *succeeded > 0 { *second } else { 0 });
                if *failed > 0 && *second >= seen.last.1 {
                    seen.last.1 = *second;
                    seen.failure = state.failure.or(seen.failure);
                }
            }
            seen.first_token_p95_ms = seen.first_token_p95_ms.max(state.first_token_p95_ms);
        }
        seen
    }

    fn calls(&self) -> u32 {
        self.succeeded.saturating_add(self.failed)
    }

    /// Why a circuit with this threshold opens; `None` when it does not.
    fn trouble(&self, threshold: Threshold) -> Option<String> {
        if threshold.errors == 0 || self.calls() < MIN_CALLS {
            return None;
        }
        if u64::from(self.failed) * 100 >= u64::from(self.calls()) * u64::from(threshold.errors) {
            let kind = self.failure.map_or("unknown", FailureKind::as_str);
            return Some(format!("{} of {} calls failed ({kind})", self.failed, self.calls()));
        }
        let slow =
            threshold.slow_ms.filter(|slow| self.first_token_p95_ms.is_some_and(|p95| u64::from(p95) >= *slow))?;
        Some(format!("1 of 20 calls waits longer than {slow} ms for its first token"))
    }
}

/// The circuit of one target.
#[derive(Clone, Debug)]
pub(super) struct Circuit {
    state: CircuitState,
    since: UnixMicros,
    cooldown: Duration,
    reason: Option<String>,
    last_trial: UnixMicros,
}

impl Circuit {
    /// A closed one.
    pub(super) fn new(now: UnixMicros) -> Self {
        let (state, cooldown) = (CircuitState::Closed, COOLDOWN.0);
        Self { state, since: now, cooldown, reason: None, last_trial: UnixMicros(0) }
    }

    /// The second after which outcomes count: those before the last change have had their effect.
    pub(super) fn counts_from(&self) -> u64 {
        match self.state {
            CircuitState::Closed if self.reason.is_none() => 0,
            _ => self.since.0 / 1_000_000,
        }
    }

    /// Takes in what is seen now; `seen` holds what ended after [`Circuit::counts_from`].
    pub(super) fn update(&mut self, seen: &TargetOutcomes, threshold: Threshold, now: UnixMicros) {
        match self.state {
            CircuitState::Closed => {
                if let Some(reason) = seen.trouble(threshold) {
                    self.turn(CircuitState::Open, now);
                    self.reason = Some(reason);
                }
            }
            CircuitState::Open => {
                if now.since(self.since) >= self.cooldown {
                    self.turn(CircuitState::HalfOpen, now);
                }
            }
            CircuitState::HalfOpen if seen.last.0 > seen.last.1 => {
                self.turn(CircuitState::Closed, now);
                self.cooldown = COOLDOWN.0;
            }
            CircuitState::HalfOpen if seen.failed > 0 && seen.succeeded == 0 => {
                self.turn(CircuitState::Open, now);
                self.cooldown = (self.cooldown * 2).min(COOLDOWN.1);
            }
            CircuitState::HalfOpen => {}
        }
    }

    fn turn(&mut self, state: CircuitState, now: UnixMicros) {
        self.state = state;
        self.since = now;
    }

    /// Whether a call may go there: always when closed, once in a while when half open.
    pub(super) fn admits(&mut self, now: UnixMicros) -> bool {
        match self.state {
            CircuitState::Closed => true,
            CircuitState::Open => false,
            CircuitState::HalfOpen => {
                let is_due = now.since(self.last_trial) >= TRIAL;
                if is_due {
                    self.last_trial = now;
                }
                is_due
            }
        }
    }

    /// Its state, since when, and why.
    pub(super) fn report(&self) -> (CircuitState, UnixMicros, Option<&str>) {
        let reason = self.reason.as_deref().filter(|_| self.state != CircuitState::Closed);
        (self.state, self.since, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::name::ModelId;

    fn state(seconds: &[(u64, u32, u32)]) -> TargetState {
        TargetState {
            model: ModelId::parse("m").unwrap(),
            seconds: seconds.to_vec(),
            first_token_p95_ms: Some(900),
            failure: Some(FailureKind::Overloaded),
        }
    }

    fn at(second: u64) -> UnixMicros {
        UnixMicros(second * 1_000_000)
    }

    /// When, and what is told then.
    type Moment<'a> = (u64, &'a [(u64, u32, u32)]);

    /// Runs a circuit over what is seen at each second.
    fn states(threshold: Threshold, seen: &[Moment<'_>]) -> Vec<&'static str> {
        let mut circuit = Circuit::new(at(0));
        let mut step = |(now, seconds): &Moment<'_>| {
            let state = state(seconds);
            let seen = TargetOutcomes::sum(std::iter::once(&state), circuit.counts_from(), at(*now));
            circuit.update(&seen, threshold, at(*now));
            circuit.report().0.as_str()
        };
        seen.iter().map(&mut step).collect()
    }

    #[test]
    fn a_circuit_opens_on_a_share_of_failures_and_never_on_few_calls() {
        let half = Threshold::default();
        assert_eq!(states(half, &[(100, &[(99, 0, 9)]), (100, &[(99, 5, 5)])]), ["closed", "open"]);
        assert_eq!(states(half, &[(100, &[(99, 6, 5)]), (131, &[(99, 0, 50), (100, 0, 50)])]), ["closed", "closed"]);
        assert_eq!(states(Threshold { errors: 0, slow_ms: None }, &[(100, &[(99, 0, 50)])]), ["closed"]);
        assert_eq!(states(Threshold { errors: 50, slow_ms: Some(900) }, &[(100, &[(99, 50, 0)])]), ["open"]);
    }

    #[test]
    fn it_half_opens_after_a_while_and_closes_on_a_success_alone() {
        let old = (99, 0, 20);
        let course: &[Moment<'_>] = &[
            (100, &[old]),
            (104, &[old]),
            (105, &[old]),
            (107, &[old, (106, 0, 1)]), // the trial failed: twice as long
            (116, &[old, (106, 0, 1)]),
            (117, &[old, (106, 0, 1)]),
            (119, &[old, (118, 1, 0)]),
            (120, &[old, (118, 1, 0), (119, 0, 5)]), // what failed before it closed counts no more
        ];
        let expected = ["open", "open", "half_open", "open", "open", "half_open", "closed", "closed"];
        assert_eq!(states(Threshold::default(), course), expected);
    }

    #[test]
    fn a_half_open_circuit_admits_one_call_a_second() {
        let mut circuit = Circuit::new(at(0));
        circuit.turn(CircuitState::HalfOpen, at(100));
        assert_eq!([circuit.admits(at(100)), circuit.admits(at(100)), circuit.admits(at(101))], [true, false, true]);
    }
}
