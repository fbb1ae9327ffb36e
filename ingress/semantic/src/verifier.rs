//! How probable it is that two questions want the same answer: a logistic regression over what their vectors have in common, of
//! pairs that no guard forbids. Made by `tests/quality train`, which writes the weights.
//!
//! What questions share in words is none of its features: learnt from Quora's pairs, which were chosen for the words that they
//! share, it raises the recall among these and lowers it among paraphrases in other words throughout.

use crate::text::Wording;

/// How many features there are; the last is always 1.
pub const FEATURES: usize = 6;

/// The weights of the features, in their order.
pub const WEIGHTS: [f32; FEATURES] = include!("weights.in");

/// The probability that these features stand for.
pub fn logistic(weights: &[f32; FEATURES], features: &[f32; FEATURES]) -> f32 {
    let sum: f32 = weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
    1.0 / (1.0 + (-sum).exp())
}

/// What two questions whose vectors have this cosine have in common, and what not.
pub fn features(a: &Wording, b: &Wording, cosine: f32) -> [f32; FEATURES] {
    let denies_otherwise = f32::from(u8::from(a.negations != b.negations));
    [cosine, 1.0 - cosine * cosine, (cosine - 0.85).max(0.0), (cosine - 0.93).max(0.0), denies_otherwise, 1.0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearer_questions_more_probably_want_the_same() {
        let question = Wording::read("How do I reset my password?");
        let probability = |cosine| logistic(&WEIGHTS, &features(&question, &question, cosine));
        let rising: Vec<f32> = [0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0].map(probability).to_vec();
        assert!(rising.is_sorted() && rising[0] < 0.5 && rising[6] > 0.85, "{rising:?}");
    }
}
