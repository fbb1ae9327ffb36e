//! How long a request was in each of its stages. Knows nothing of what happens in them.

use penstock_schemas::UnixMicros;
use penstock_schemas::stage::{Stage, StageTime};

/// The clock of one request, which is in one stage at a time.
#[derive(Debug)]
pub(crate) struct StageClock {
    times: Vec<StageTime>,
    stage: Stage,
    since: UnixMicros,
}

impl StageClock {
    /// A request that was received at `at`, and whose caller was found at `known_at`.
    pub(super) fn begin(at: UnixMicros, known_at: UnixMicros, now: UnixMicros) -> Self {
        let mut clock = Self { times: Vec::with_capacity(Stage::ALL.len()), stage: Stage::Authenticate, since: at };
        clock.enter(Stage::Receive, known_at);
        clock.enter(Stage::Recall, now);
        clock
    }

    /// The stage before is over, and this one begins. A stage that goes on, or comes again, is one.
    pub(super) fn enter(&mut self, stage: Stage, now: UnixMicros) {
        let us = u64::try_from(now.since(self.since).as_micros()).unwrap_or(u64::MAX);
        match self.times.iter_mut().find(|time| time.stage == self.stage) {
            Some(time) => time.us = time.us.saturating_add(us),
            None => self.times.push(StageTime { stage: self.stage, us }),
        }
        (self.stage, self.since) = (stage, now);
    }

    /// All of them, when the request is over.
    pub(super) fn finish(mut self, now: UnixMicros) -> Vec<StageTime> {
        let last = self.stage;
        self.enter(last, now);
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_each_other_and_sum_up_to_the_whole() {
        let mut clock = StageClock::begin(UnixMicros(100), UnixMicros(130), UnixMicros(150));
        clock.enter(Stage::Dispatch, UnixMicros(151));
        clock.enter(Stage::Dispatch, UnixMicros(160));
        clock.enter(Stage::Answer, UnixMicros(400));
        let times = clock.finish(UnixMicros(1000));
        let times: Vec<(Stage, u64)> = times.into_iter().map(|time| (time.stage, time.us)).collect();
        let expected = [
            (Stage::Authenticate, 30),
            (Stage::Receive, 20),
            (Stage::Recall, 1),
            (Stage::Dispatch, 249),
            (Stage::Answer, 600),
        ];
        assert_eq!(times, expected);
    }
}
