//! The test that says whether an arm differs from the first one. Pure; knows nothing of where the sums come from.
//!
//! The interval of a difference is that of the mixture sequential probability ratio test with a normal mixture: it may be looked
//! at after every request, and is wrong at any time with a probability of at most [`ALPHA`], for samples large enough that means
//! are normal ([`LEAST_UNITS`]). Source: Johari, Pekelis, Walsh, "Always valid inference", <https://arxiv.org/abs/1512.04922>, eq. 11.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often a verdict may be wrong.
pub const ALPHA: f64 = 0.05;

/// Units of each arm below which nothing is said.
pub const LEAST_UNITS: u64 = 50;

/// The difference that the test is sharpest for, in standard deviations of a unit.
const SHARPEST: f64 = 0.1;

/// The 97.5th percentile of the normal distribution: for the intervals of single arms, which are for the eye.
const Z: f64 = 1.96;

/// A figure that arms are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// The part of requests that failed.
    Errors,
    /// Dollars for a request.
    Cost,
    /// Milliseconds for a request.
    Latency,
    /// The score.
    Score,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Errors, Self::Cost, Self::Latency, Self::Score];

    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Cost => "cost",
            Self::Latency => "latency",
            Self::Score => "score",
        }
    }

    /// Whether more of it is better.
    pub fn is_good(self) -> bool {
        self == Self::Score
    }
}

/// The sums of one figure in one arm, over its units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Units that have the figure.
    pub units: u64,
    /// The sum of their means.
    pub sum: f64,
    /// The sum of the squares.
    pub squares: f64,
}

impl Eq for Sums {}

/// A mean, and the interval in which it is, with 95 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// From here.
    pub low: f64,
    /// To here.
    pub high: f64,
}

/// How an arm stands against the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArmVerdict {
    /// It is not known yet, or there is no difference.
    #[default]
    Open,
    /// Better.
    Better,
    /// Worse.
    Worse,
}

/// The difference of one figure between an arm and the first one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The figure.
    pub figure: Figure,
    /// The difference, with an interval that holds at all times together.
    pub estimate: Estimate,
    /// What that means.
    pub verdict: ArmVerdict,
}

impl Sums {
    /// Takes a unit's mean.
    pub fn take(&mut self, mean: f64) {
        self.units += 1;
        self.sum += mean;
        self.squares += mean * mean;
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn moments(&self) -> Option<(f64, f64, f64)> {
        let count = self.units as f64;
        if self.units < 2 {
            return None;
        }
        let mean = self.sum / count;
        let variance = ((self.squares - count * mean * mean) / (count - 1.0)).max(0.0);
        Some((count, mean, variance))
    }

    /// The mean, with an interval for one look.
    pub fn estimate(&self) -> Option<Estimate> {
        let (count, mean, variance) = self.moments()?;
        let half = Z * (variance / count).sqrt();
        Some(Estimate { mean, low: mean - half, high: mean + half })
    }
}

/// The difference of `arm` to `control`, with an interval of which all looks together are wrong with a probability of `alpha` at the
/// most. `None` while there is too little.
pub fn difference(figure: Figure, control: &Sums, arm: &Sums, alpha: f64) -> Option<Difference> {
    if control.units < LEAST_UNITS || arm.units < LEAST_UNITS {
        return None;
    }
    let ((n, control, of_control), (m, arm, of_arm)) = (control.moments()?, arm.moments()?);
    let mean = arm - control;
    // Without any spread at all, a part that failed never or always, a unit more of the other kind is what is not excluded.
    let spread = of_control / n + of_arm / m;
    let variance = spread.max(if mean == 0.0 { 0.0 } else { mean * mean / (n + m) });
    if variance <= 0.0 {
        return Some(Difference { figure, estimate: Estimate::default(), verdict: ArmVerdict::Open });
    }
    // Of one unit. Where there is no spread, it follows from that of the difference.
    let of_unit = ((of_control + of_arm) / 2.0).max(variance * n * m / (n + m));
    let mixture = SHARPEST * SHARPEST * of_unit;
    let wide = variance + mixture;
    let half = (variance * wide / mixture * (wide / (variance * alpha * alpha)).ln()).sqrt();
    let (low, high) = (mean - half, mean + half);
    let verdict = match (low > 0.0, high < 0.0) {
        (true, _) if figure.is_good() => ArmVerdict::Better,
        (true, _) => ArmVerdict::Worse,
        (_, true) if figure.is_good() => ArmVerdict::Worse,
        (_, true) => ArmVerdict::Better,
        _ => ArmVerdict::Open,
    };
    Some(Difference { figure, estimate: Estimate { mean, low, high }, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to 1, the same in every run: SplitMix64.
    struct Dice(u64);

    impl Dice {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        fn throw(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    /// The unit at which the verdict came, of an experiment that is looked at after each pair of units.
    fn run(
        dice: &mut Dice,
        units: u64,
        figure: Figure,
        draw: impl Fn(&mut Dice, bool) -> f64,
    ) -> Option<(u64, ArmVerdict)> {
        let (mut control, mut arm) = (Sums::default(), Sums::default());
        for unit in 0..units {
            control.take(draw(dice, false));
            arm.take(draw(dice, true));
            let verdict = difference(figure, &control, &arm, ALPHA).map_or(ArmVerdict::Open, |found| found.verdict);
            if verdict != ArmVerdict::Open {
                return Some((unit, verdict));
            }
        }
        None
    }

    #[test]
    fn of_a_thousand_experiments_without_a_difference_at_most_five_percent_are_stopped() {
        let mut dice = Dice(7);
        // One of 20 fails; and waits with a long tail.
        let fails = |dice: &mut Dice, _: bool| f64::from(u8::from(dice.throw() < 0.05));
        let waits = |dice: &mut Dice, _: bool| (-dice.throw().max(1e-9).ln()).powi(2) * 500.0;
        let errors = (0..1000).filter(|_| run(&mut dice, 2000, Figure::Errors, fails).is_some()).count();
        let latency = (0..1000).filter(|_| run(&mut dice, 2000, Figure::Latency, waits).is_some()).count();
        assert!(errors <= 50 && latency <= 50, "{errors} and {latency} of 1000 were stopped");
    }

    #[test]
    fn a_difference_is_found_and_an_interval_tells_how_large_it_is() {
        let mut dice = Dice(11);
        let fails =
            |dice: &mut Dice, is_arm: bool| f64::from(u8::from(dice.throw() < if is_arm { 0.15 } else { 0.05 }));
        let mut found = 0;
        for _ in 0..100 {
            let stopped = run(&mut dice, 3000, Figure::Errors, fails);
            assert!(stopped.is_none_or(|(_, verdict)| verdict == ArmVerdict::Worse));
            found += u32::from(stopped.is_some());
        }
        assert!(found >= 98, "{found} of 100");
        let (mut control, mut arm) = (Sums::default(), Sums::default());
        for _ in 0..3000 {
            control.take(fails(&mut dice, false));
            arm.take(fails(&mut dice, true));
        }
        let told = difference(Figure::Errors, &control, &arm, ALPHA).unwrap().estimate;
        assert!(told.low > 0.05 && told.high < 0.15 && told.low < 0.1 && told.high > 0.1, "{told:?}");
    }

    #[test]
    fn a_little_says_nothing_and_more_of_a_score_is_better() {
        let sums = |units: u64, mean: f64| {
            let mut sums = Sums::default();
            for unit in 0..units {
                sums.take(mean + if unit % 2 == 0 { 0.1 } else { -0.1 });
            }
            sums
        };
        let verdict = |figure: Figure, control: (u64, f64), arm: (u64, f64)| {
            difference(figure, &sums(control.0, control.1), &sums(arm.0, arm.1), ALPHA).map(|found| found.verdict)
        };
        assert_eq!(verdict(Figure::Score, (49, 0.5), (500, 0.9)), None);
        assert_eq!(verdict(Figure::Score, (500, 0.5), (500, 0.9)), Some(ArmVerdict::Better));
        assert_eq!(verdict(Figure::Score, (500, 0.9), (500, 0.5)), Some(ArmVerdict::Worse));
        assert_eq!(verdict(Figure::Cost, (500, 0.5), (500, 0.9)), Some(ArmVerdict::Worse));
        assert_eq!(verdict(Figure::Cost, (500, 0.5), (500, 0.5)), Some(ArmVerdict::Open));
        let constant = |units: u64, mean: f64| Sums { units, sum: mean * 500.0, squares: mean * mean * 500.0 };
        let never = difference(Figure::Errors, &constant(500, 0.0), &constant(500, 0.0), ALPHA).unwrap();
        assert_eq!(never.verdict, ArmVerdict::Open);
        let always = difference(Figure::Errors, &constant(500, 0.0), &constant(500, 1.0), ALPHA).unwrap();
        assert_eq!(always.verdict, ArmVerdict::Worse);
        let few = |mean: f64| Sums { units: 64, sum: mean * 64.0, squares: mean * 64.0 };
        let always = difference(Figure::Errors, &few(0.0), &few(1.0), ALPHA / 4.0).unwrap();
        assert_eq!(always.verdict, ArmVerdict::Worse, "{always:?}");
    }
}
