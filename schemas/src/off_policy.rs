//! What another policy would have come to, estimated from decisions that were made and logged with their probabilities. Pure;
//! knows nothing of where the decisions come from.
//!
//! The estimate is doubly robust: what the figure usually is at the target that the other policy chooses, corrected by what was
//! seen where the logged choice and the other one agree, weighted by how much likelier the other policy makes it. It is right when
//! either the logged probabilities or the usual figures are. Source: Dudik, Langford, Li, "Doubly robust policy evaluation and
//! learning", <https://arxiv.org/abs/1103.4601>.

use crate::experiment::{Estimate, Figure};
use serde::Serialize;
use std::collections::HashMap;

/// Decisions that count for the other policy below which nothing is said of a figure.
pub const LEAST_EFFECTIVE: f64 = 50.0;

/// The part of the other policy's choices that the logged one never made, above which nothing is said.
pub const MOST_UNSEEN: f64 = 0.05;

/// A weight is never more than this: a few decisions would count for all.
const MOST_WEIGHT: f64 = 50.0;

/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.96;

/// One decision, and what came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logged {
    /// The target that was chosen to be first.
    pub chosen: String,
    /// With which probability.
    pub propensity: f64,
    /// The probability of each target, by the logged policy.
    pub before: Vec<(String, f64)>,
    /// The probability of each target, by the other one.
    pub after: Vec<(String, f64)>,
    /// What came of it, in the order of [`Figure::ALL`]; `None`: that is not known.
    pub figures: [Option<f64>; 4],
}

/// What both policies come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyEstimate {
    /// The figure.
    pub figure: Figure,
    /// Decisions that have it.
    pub decisions: u64,
    /// As many decisions of the other policy they are worth.
    pub effective: f64,
    /// The part of the other policy's choices that were never made.
    pub unseen: f64,
    /// The mean of what was.
    pub before: Estimate,
    /// The mean of what would have been; `None`: the overlap is too small to tell.
    pub after: Option<Estimate>,
}

/// Compares them, figure by figure.
pub fn compare(decisions: &[Logged]) -> Vec<PolicyEstimate> {
    (0..Figure::ALL.len()).filter_map(|at| one(decisions, at)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn one(decisions: &[Logged], at: usize) -> Option<PolicyEstimate> {
    let known: Vec<(&Logged, f64)> = decisions
        .iter()
        .filter_map(|one| Some((one, one.figures[at]?)))
        .filter(|(one, _)| one.propensity > 0.0)
        .collect();
    if known.len() < 2 {
        return None;
    }
    let usual = usual(&known);
    let all = known.iter().map(|(_, figure)| *figure).sum::<f64>() / known.len() as f64;
    let chance =
        |of: &[(String, f64)], target: &str| of.iter().find(|(name, _)| name == target).map_or(0.0, |one| one.1);
    let (mut robust, mut weights, mut squares, mut unseen) = (Vec::new(), 0.0, 0.0, 0.0);
    for (decision, figure) in &known {
        let expected = |target: &str| usual.get(target).copied().unwrap_or(all);
        let direct: f64 = decision.after.iter().map(|(target, chance)| chance * expected(target)).sum();
        let weight = (chance(&decision.after, &decision.chosen) / decision.propensity).min(MOST_WEIGHT);
        robust.push(direct + weight * (figure - expected(&decision.chosen)));
        (weights, squares) = (weights + weight, squares + weight * weight);
        let never = decision.after.iter().filter(|(target, _)| chance(&decision.before, target) <= 0.0);
        unseen += never.map(|(_, chance)| chance).sum::<f64>();
    }
    let effective = if squares > 0.0 { weights * weights / squares } else { 0.0 };
    let unseen = unseen / known.len() as f64;
    let is_told = effective >= LEAST_EFFECTIVE && unseen <= MOST_UNSEEN;
    Some(PolicyEstimate {
        figure: Figure::ALL[at],
        decisions: known.len() as u64,
        effective,
        unseen,
        before: mean(&known.iter().map(|(_, figure)| *figure).collect::<Vec<_>>()),
        after: is_told.then(|| mean(&robust)),
    })
}

/// What the figure usually is at each target.
fn usual(known: &[(&Logged, f64)]) -> HashMap<String, f64> {
    let mut sums: HashMap<String, (f64, f64)> = HashMap::new();
    for (decision, figure) in known {
        let (sum, count) = sums.entry(decision.chosen.clone()).or_default();
        (*sum, *count) = (*sum + figure, *count + 1.0);
    }
    sums.into_iter().map(|(target, (sum, count))| (target, sum / count)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn mean(values: &[f64]) -> Estimate {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let half = Z * (variance / count).sqrt();
    Estimate { mean, low: mean - half, high: mean + half }
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

    /// Decisions of a policy that chooses the dear target for hard requests more often than for easy ones.
    fn logged(dice: &mut Dice, count: usize, after: impl Fn(bool) -> f64) -> Vec<Logged> {
        let one = |_: usize| {
            let is_hard = dice.throw() < 0.3;
            let chance = if is_hard { 0.8 } else { 0.2 };
            let is_dear = dice.throw() < chance;
            let cost = if is_dear { 10.0 } else { 1.0 } + if is_hard { 5.0 } else { 0.0 } + dice.throw();
            let word = |is_dear: bool| if is_dear { "dear" } else { "cheap" }.to_owned();
            let both = |chance: f64| vec![(word(true), chance), (word(false), 1.0 - chance)];
            Logged {
                chosen: word(is_dear),
                propensity: if is_dear { chance } else { 1.0 - chance },
                before: both(chance),
                after: both(after(is_hard)),
                figures: [None, Some(cost), None, None],
            }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn another_policy_is_estimated_without_bias_though_the_logged_one_looked_at_the_request() {
        let mut dice = Dice(5);
        let (mut inside, mut naive) = (0, 0);
        for _ in 0..200 {
            // All to the cheap one: 1 + 0.3 * 5 + 0.5 on average.
            let decisions = logged(&mut dice, 1000, |_| 0.0);
            let cost = compare(&decisions).pop().unwrap();
            let after = cost.after.unwrap();
            inside += u32::from(after.low <= 3.0 && 3.0 <= after.high);
            let cheap: Vec<f64> =
                decisions.iter().filter(|one| one.chosen == "cheap").filter_map(|one| one.figures[1]).collect();
            naive += u32::from((mean(&cheap).mean - 3.0).abs() < 0.5);
        }
        assert!(inside >= 180, "the truth is inside {inside} of 200 intervals of 95 %");
        assert!(naive <= 10, "who only averages what went there is wrong: {naive}");
    }

    #[test]
    fn too_little_overlap_is_said() {
        let mut dice = Dice(5);
        let few = compare(&logged(&mut dice, 60, |_| 0.0)).pop().unwrap();
        assert!(few.after.is_none() && few.effective < LEAST_EFFECTIVE, "{few:?}");
        let mut unseen = logged(&mut dice, 1000, |_| 0.5);
        for one in &mut unseen {
            one.after = vec![("cheap".to_owned(), 0.9), ("new".to_owned(), 0.1)];
        }
        let cost = compare(&unseen).pop().unwrap();
        assert!(cost.after.is_none() && (cost.unseen - 0.1).abs() < 1e-9, "{cost:?}");
        let same = logged(&mut dice, 1000, |is_hard| if is_hard { 0.8 } else { 0.2 });
        let cost = compare(&same).pop().unwrap();
        let after = cost.after.unwrap();
        assert!((after.mean - cost.before.mean).abs() < 0.2 && (cost.effective - 1000.0).abs() < 1e-6, "{cost:?}");
        assert_eq!(compare(&[]), []);
    }
}
