//! Figures of routing between a weaker and a stronger model. Knows no head.

use super::RoutedQuestion;

pub(super) fn mean(numbers: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = numbers.fold((0.0_f64, 0_u32), |(sum, count), number| (sum + f64::from(number), count + 1));
    (sum / f64::from(count.max(1))) as f32
}

/// The area under the curve of the gap that is made up over the share of calls of the stronger, by the questions of the greatest gain
/// first: 0.5 by chance. At eleven shares, as RouteLLM's `evaluate.py` has it.
pub(super) fn apgr(all: &[&RoutedQuestion], gains: &[f32]) -> f64 {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]));
    let right = |stronger: usize| {
        let strong = order[..stronger].iter().map(|at| f64::from(all[*at].strong)).sum::<f64>();
        strong + order[stronger..].iter().map(|at| f64::from(all[*at].weak)).sum::<f64>()
    };
    let (none, every) = (right(0), right(all.len()));
    let made_up = |tenth: usize| (right((all.len() * tenth + 5) / 10) - none) / (every - none);
    (0..10).map(|tenth| (made_up(tenth) + made_up(tenth + 1)) / 20.0).sum()
}

/// A mean, and how far draws are from it.
pub(super) fn spread(figures: &[f64]) -> String {
    let mean = figures.iter().sum::<f64>() / figures.len() as f64;
    let spread = (figures.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / figures.len() as f64).sqrt();
    format!("{mean:.3} ± {spread:.3}")
}
