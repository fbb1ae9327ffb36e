//! When each piece of a simulated answer comes: as uneven as a real one, and the same each time for the same request.
//! Knows no clock: it says how long to wait.

use super::model::{Faults, Model, Tempo};
use super::script::{DemoAnswer, tokens};
use std::time::Duration;

/// The waits of one answer.
#[derive(Debug)]
pub(super) struct Pace {
    tempo: Tempo,
    latency: Option<Duration>,
    delay: Option<Duration>,
    seed: u64,
}

impl Pace {
    /// The waits that a model's tempo and faults ask for, varied by `seed`.
    pub(super) fn new(model: &Model, seed: u64) -> Self {
        let Faults { latency, delay, .. } = model.faults;
        Self { tempo: model.tempo, latency, delay, seed }
    }

    /// How long before the first piece.
    pub(super) fn before_first(&self) -> Duration {
        let (least, most) = self.tempo.first_token_ms;
        self.latency.unwrap_or_else(|| Duration::from_millis(least + self.dice(0) % (most - least)))
    }

    /// How long before piece `number` (from 1), which is `text`: half to one and a half of the tempo.
    pub(super) fn before(&self, number: usize, text: &str) -> Duration {
        self.delay.unwrap_or_else(|| {
            let usual = tokens(text) * 1_000_000 / self.tempo.tokens_per_second;
            Duration::from_micros(usual / 2 + self.dice(number as u64) % usual.max(1))
        })
    }

    /// How long until the whole answer is there.
    pub(super) fn whole(&self, script: &DemoAnswer) -> Duration {
        let longest = script.choices.iter().max_by_key(|choice| choice.pieces().len());
        let pieces = longest.map(super::script::Choice::pieces).unwrap_or_default();
        let waits = pieces.iter().enumerate().map(|(number, piece)| self.before(number + 1, piece.text()));
        self.before_first() + waits.sum::<Duration>()
    }

    /// A number that looks random (splitmix64).
    fn dice(&self, number: u64) -> u64 {
        let mut x = self.seed.wrapping_add((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tempo_is_kept_on_average_and_repeats_for_the_same_request() {
        let model = Model::parse("fast").unwrap();
        let pace = Pace::new(&model, 7);
        let total: Duration = (1..=600).map(|number| pace.before(number, "word")).sum();
        assert!((9.5..10.5).contains(&total.as_secs_f64()), "600 tokens at 60 a second took {total:?}");
        let first = pace.before_first();
        assert!((120..400).contains(&first.as_millis()), "{first:?}");
        assert_eq!(Pace::new(&model, 7).before_first(), first);
        assert_ne!(Pace::new(&model, 8).before_first(), first);
    }
}
