//! How probable it must be that two questions want the same answer, of one namespace, by what was measured there: the lowest
//! probability from which on the rate of false hits is surely below a target. Knows samples; knows no time.

/// The probability that must be reached where nothing was measured.
pub const SAFE: f32 = 0.87;

/// The most samples: then all counts are halved, so that what was true long ago does not count for ever.
const SAMPLES: u32 = 20_000;

/// The probabilities that are tried, from the lowest on.
pub const STEPS: [f32; 10] = [0.5, 0.6, 0.7, 0.75, 0.8, 0.84, 0.87, 0.89, 0.905, 0.92];

/// How sure the bound is.
const CONFIDENCE: f64 = 0.95;

/// A hit that was checked: the model was asked anyway.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckedHit {
    /// What the verifier had said.
    pub probability: f32,
    /// Whether the kept answer was wrong.
    pub is_false: bool,
}

/// A rate that was measured, and between what bounds the true one surely is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The rate; 0 without samples.
    pub rate: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
    /// Of how many samples.
    pub samples: usize,
}

impl Interval {
    /// Clopper and Pearson's bounds for `hits` of `samples`: exact, whatever the true rate is.
    pub fn of(hits: usize, samples: usize) -> Self {
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let rate = if samples == 0 { 0.0 } else { real(hits) / real(samples) };
        let low = if hits == 0 { 0.0 } else { root(|p| at_most(hits - 1, samples, p) - (1.0 - tail)) };
        Self { rate, low, high: upper(hits, samples, tail), samples }
    }
}

/// Of each step, the false hits and all hits from it on.
pub type StepCounts = [(u32, u32); STEPS.len()];

/// The threshold of a namespace.
#[derive(Clone, Debug)]
pub struct AdaptiveThreshold {
    target: f64,
    counts: StepCounts,
    current: f32,
}

impl AdaptiveThreshold {
    /// One that is to keep the rate of false hits below `target`, of 0 to 1, after these samples.
    pub fn new(target: f64, counts: StepCounts) -> Self {
        let mut threshold = Self { target, counts, current: SAFE };
        threshold.current = threshold.decide();
        threshold
    }

    /// The probability from which on an answer is served.
    pub fn current(&self) -> f32 {
        self.current
    }

    /// Its samples.
    pub fn counts(&self) -> &StepCounts {
        &self.counts
    }

    /// Takes a checked hit.
    pub fn learn(&mut self, hit: CheckedHit) {
        if self.counts[0].1 >= SAMPLES {
            self.counts = self.counts.map(|(falsely, all)| (falsely.div_ceil(2), all.div_ceil(2)));
        }
        for ((falsely, all), step) in self.counts.iter_mut().zip(STEPS) {
            if hit.probability >= step {
                *falsely += u32::from(hit.is_false);
                *all += 1;
            }
        }
        self.current = self.decide();
    }

    /// The rate of false hits among the samples that would be served from this probability on.
    pub fn measured(&self, from: f32) -> Interval {
        let (falsely, all) = self.above(from);
        Interval::of(falsely, all)
    }

    /// The lowest step whose bound is below the target. Until one is, the safe one; or, where more false hits were seen
    /// there than the target allows, the lowest above it that is not known to be worse.
    fn decide(&self) -> f32 {
        // Each step is a look at the same samples, so each may be wrong by its share alone.
        let tail = (1.0 - CONFIDENCE) / real(STEPS.len());
        let is_sure = |step: &&f32| {
            let (falsely, all) = self.above(**step);
            // At the target's rate, so few would hardly be seen: the upper bound is below it.
            falsely < all && at_most(falsely, all, self.target) <= tail
        };
        let is_bad = |step: &f32| {
            let (falsely, all) = self.above(*step);
            all > 0 && real(falsely) > self.target * real(all)
        };
        match STEPS.iter().find(is_sure) {
            Some(step) => *step,
            None => STEPS.iter().copied().find(|step| *step >= SAFE && !is_bad(step)).unwrap_or(1.0),
        }
    }

    /// The false hits and all hits among the samples from this probability on.
    pub fn above(&self, from: f32) -> (usize, usize) {
        let (falsely, all) = STEPS.iter().position(|one| *one >= from).map_or((0, 0), |at| self.counts[at]);
        (falsely as usize, all as usize)
    }
}

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The rate above which so few hits would be seen with the probability `tail` at most.
fn upper(hits: usize, samples: usize, tail: f64) -> f64 {
    if hits >= samples { 1.0 } else { root(|p| at_most(hits, samples, p) - tail) }
}

/// The chance of at most `hits` among `samples`, each with the chance `p`.
fn at_most(hits: usize, samples: usize, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return if hits >= samples { 1.0 } else { 0.0 };
    }
    let odds = (p / (1.0 - p)).ln();
    let mut log = real(samples) * (1.0 - p).ln();
    let mut sum = log.exp();
    for hit in 0..hits {
        log += (real(samples - hit) / real(hit + 1)).ln() + odds;
        sum += log.exp();
    }
    sum.min(1.0)
}

/// Where a falling function of 0 to 1 is zero.
fn root(of: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if of(middle) > 0.0 { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bounds_are_those_of_the_tables() {
        // The rule of three, and Clopper and Pearson's intervals as R's binom.test gives them.
        for (hits, samples, low, high) in [
            (0, 100, 0.0, 0.036_217),
            (1, 100, 0.000_253, 0.054_459),
            (10, 100, 0.049_005, 0.176_223),
            (5, 5, 0.478_176, 1.0),
        ] {
            let found = Interval::of(hits, samples);
            let is_near = |a: f64, b: f64| (a - b).abs() < 1e-5;
            assert!(is_near(found.low, low) && is_near(found.high, high), "{hits} of {samples}: {found:?}");
        }
    }

    #[test]
    fn without_evidence_it_is_safe_and_with_enough_it_falls() {
        let mut threshold = AdaptiveThreshold::new(0.005, StepCounts::default());
        for _ in 0..1_000 {
            threshold.learn(CheckedHit { probability: 0.95, is_false: false });
            assert!(threshold.current() >= SAFE || threshold.above(threshold.current()).1 > 900);
        }
        for _ in 0..2_000 {
            threshold.learn(CheckedHit { probability: 0.72, is_false: false });
        }
        assert!(threshold.current() <= 0.7, "{}", threshold.current());
        assert!(threshold.measured(threshold.current()).high < 0.005);
    }

    #[test]
    fn false_hits_raise_it_at_once() {
        let mut threshold = AdaptiveThreshold::new(0.005, StepCounts::default());
        threshold.learn(CheckedHit { probability: 0.88, is_false: true });
        assert!(threshold.current() > 0.88, "{}", threshold.current());
        threshold.learn(CheckedHit { probability: 0.995, is_false: true });
        assert!(threshold.current() >= 1.0, "nothing is served: {}", threshold.current());
    }

    #[test]
    fn old_samples_count_less_and_are_never_forgotten_in_favour_of_it() {
        let mut threshold = AdaptiveThreshold::new(0.005, StepCounts::default());
        threshold.learn(CheckedHit { probability: 0.9, is_false: true });
        for _ in 0..100_000 {
            threshold.learn(CheckedHit { probability: 0.9, is_false: false });
        }
        let (falsely, all) = threshold.above(0.89);
        assert!(falsely == 1 && (10_000..=20_000).contains(&all), "{falsely} of {all}");
        let again = AdaptiveThreshold::new(0.005, *threshold.counts());
        assert!((again.current() - threshold.current()).abs() < f32::EPSILON);
    }

    proptest! {
        #[test]
        fn a_threshold_below_the_safe_one_has_its_evidence(
            samples in prop::collection::vec((0.4_f32..1.0, 0_u16..400), 0..3_000),
        ) {
            let mut threshold = AdaptiveThreshold::new(0.005, StepCounts::default());
            for (probability, dice) in samples {
                threshold.learn(CheckedHit { probability, is_false: dice == 0 });
            }
            if threshold.current() < SAFE {
                let (falsely, all) = threshold.above(threshold.current());
                prop_assert!(Interval::of(falsely, all).high <= 0.005);
            }
        }
    }
}
