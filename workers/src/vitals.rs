//! What became of a pool's last calls, by model and second, for the gossip. Pure: takes the time. Concludes nothing.

use penstock_schemas::UnixMicros;
use penstock_schemas::failure::FailureKind;
use penstock_schemas::name::ModelId;
use penstock_schemas::pool::{TargetState, WINDOW_SECONDS};
use std::collections::{HashMap, VecDeque};

/// Models that are watched at once; names come from callers, so they must be bounded.
const MODELS: usize = 256;

/// Times to the first content that are kept per model: enough for the 95th of a hundred.
const TIMES: usize = 200;

/// The last calls of one pool.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    models: HashMap<ModelId, Model>,
    /// Calls that ended in this second and in the one before.
    ended: [(u64, u32); 2],
}

#[derive(Debug, Default)]
struct Model {
    seconds: VecDeque<(u64, u32, u32)>,
    /// When, and how many milliseconds.
    first_tokens: VecDeque<(u64, u32)>,
    failure: Option<FailureKind>,
}

/// Whether a failure says that the provider is not well. What it says of a request or of a limit does not.
pub(crate) fn speaks_against(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Overloaded
        | FailureKind::ServerError
        | FailureKind::Connect
        | FailureKind::Timeout
        | FailureKind::Broken
        | FailureKind::ProviderAuth => true,
        FailureKind::RateLimited
        | FailureKind::ContextTooLong
        | FailureKind::ContentRefused
        | FailureKind::BadRequest
        | FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::TooLarge
        | FailureKind::Unprocessable
        | FailureKind::Unsupported
        | FailureKind::NoPool
        | FailureKind::Busy
        | FailureKind::Ledger
        | FailureKind::Budget
        | FailureKind::Deadline
        | FailureKind::Lost
        | FailureKind::Revoked
        | FailureKind::Hedge
        | FailureKind::Cancelled
        | FailureKind::Internal => false,
    }
}

impl Vitals {
    /// Notes how a call ended, and the milliseconds to its first content. True when it speaks against the provider.
    pub(crate) fn note(
        &mut self,
        model: &ModelId,
        failure: Option<FailureKind>,
        first_token_ms: Option<u32>,
        now: UnixMicros,
    ) -> bool {
        let second = now.0 / 1_000_000;
        self.count(second);
        let is_fault = failure.is_some_and(speaks_against);
        if failure.is_some() && !is_fault {
            return false;
        }
        if self.models.len() >= MODELS && !self.models.contains_key(model) {
            self.forget(second);
        }
        if self.models.len() >= MODELS && !self.models.contains_key(model) {
            return is_fault;
        }
        let entry = self.models.entry(model.clone()).or_default();
        match entry.seconds.back_mut() {
            Some((last, succeeded, failed)) if *last == second => {
                *(if is_fault { failed } else { succeeded }) += 1;
            }
            _ => entry.seconds.push_back((second, u32::from(!is_fault), u32::from(is_fault))),
        }
        if is_fault {
            entry.failure = failure;
        }
        if let Some(millis) = first_token_ms {
            entry.first_tokens.push_back((second, millis));
            if entry.first_tokens.len() > TIMES {
                entry.first_tokens.pop_front();
            }
        }
        is_fault
    }

    fn count(&mut self, second: u64) {
        if self.ended[0].0 != second {
            self.ended = [(second, 0), self.ended[0]];
        }
        self.ended[0].1 += 1;
    }

    /// Drops what is older than the window.
    fn forget(&mut self, second: u64) {
        let from = second.saturating_sub(WINDOW_SECONDS);
        for model in self.models.values_mut() {
            model.seconds.retain(|(at, ..)| *at > from);
            model.first_tokens.retain(|(at, _)| *at > from);
        }
        self.models.retain(|_, model| !model.seconds.is_empty());
    }

    /// Calls that ended within the last second, about.
    pub(crate) fn ended_per_second(&self, now: UnixMicros) -> u32 {
        let second = now.0 / 1_000_000;
        let recent = self.ended.iter().filter(|(at, _)| second.saturating_sub(*at) <= 1);
        recent.map(|(_, count)| *count).max().unwrap_or(0)
    }

    /// What is told of the models that were called within the window.
    pub(crate) fn tell(&mut self, now: UnixMicros) -> Vec<TargetState> {
        self.forget(now.0 / 1_000_000);
        let tell = |(model, entry): (&ModelId, &Model)| TargetState {
            model: model.clone(),
            seconds: entry.seconds.iter().copied().collect(),
            first_token_p95_ms: p95(entry.first_tokens.iter().map(|(_, millis)| *millis).collect()),
            failure: entry.failure,
        };
        self.models.iter().map(tell).collect()
    }
}

fn p95(mut times: Vec<u32>) -> Option<u32> {
    times.sort_unstable();
    times.get((times.len() * 95 / 100).min(times.len().checked_sub(1)?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> UnixMicros {
        UnixMicros(second * 1_000_000)
    }

    #[test]
    fn outcomes_are_counted_by_second_and_forgotten_after_the_window() {
        let (mut vitals, model) = (Vitals::default(), ModelId::parse("m").unwrap());
        vitals.note(&model, None, Some(10), at(100));
        vitals.note(&model, Some(FailureKind::Overloaded), None, at(100));
        vitals.note(&model, Some(FailureKind::BadRequest), None, at(100)); // the caller's fault says nothing
        vitals.note(&model, None, Some(30), at(101));
        let told = vitals.tell(at(101));
        assert_eq!(told[0].seconds, [(100, 1, 1), (101, 1, 0)]);
        assert_eq!((told[0].first_token_p95_ms, told[0].failure), (Some(30), Some(FailureKind::Overloaded)));
        assert_eq!(vitals.ended_per_second(at(101)), 3);
        assert_eq!(vitals.tell(at(132)), []);
    }

    #[test]
    fn models_are_bounded() {
        let mut vitals = Vitals::default();
        for number in 0..2 * MODELS {
            vitals.note(&ModelId::parse(format!("m{number}")).unwrap(), None, None, at(100));
        }
        assert_eq!(vitals.tell(at(100)).len(), MODELS);
    }
}
