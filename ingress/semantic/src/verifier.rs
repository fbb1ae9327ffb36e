//! How probable it is that two questions want the same answer: a logistic regression over what their words and vectors have
//! in common. Knows words; made by `tests/quality train`, which prints the weights below.

use crate::lexicon;
use crate::text::{WordKind, WordRead, Wording};
use std::collections::BTreeSet;

/// How many features there are; the last is always 1.
pub const FEATURES: usize = 20;

/// The weights of the features, in their order.
pub const WEIGHTS: [f32; FEATURES] = include!("weights.in");

/// The probability that these features stand for.
pub fn logistic(weights: &[f32; FEATURES], features: &[f32; FEATURES]) -> f32 {
    let sum: f32 = weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
    1.0 / (1.0 + (-sum).exp())
}

/// What two questions whose vectors have this cosine have in common, and what not.
pub fn features(a: &Wording, b: &Wording, cosine: f32) -> [f32; FEATURES] {
    let (only_a, only_b) = (a.lacking(b), b.lacking(a));
    let shared: f32 = says(a).filter(|word| b.stems.contains(&word.stem)).map(|word| word.weight).sum();
    let (lost_a, lost_b) = (total(&only_a), total(&only_b));
    let all = (shared + lost_a + lost_b).max(1.0);
    let most = |words: &[&WordRead]| words.iter().map(|word| word.weight).fold(0.0, f32::max);
    let (words_a, words_b) = (count(a.words.len()), count(b.words.len()));
    let name =
        |words: &[&WordRead]| words.iter().any(|word| word.kind == WordKind::Name || word.weight >= lexicon::RARE);
    [
        cosine,
        1.0 - cosine * cosine,
        (cosine - 0.85).max(0.0),
        (cosine - 0.93).max(0.0),
        shared / all,
        most(&only_a).min(most(&only_b)) / 10.0,
        most(&only_a).max(most(&only_b)) / 10.0,
        (lost_a.min(lost_b) / 10.0).min(3.0),
        (lost_a.max(lost_b) / 10.0).min(5.0),
        words_a.min(words_b) / words_a.max(words_b).max(1.0),
        (words_a - words_b).abs().min(20.0) / 10.0,
        (words_a.min(words_b) / 10.0).min(3.0),
        flag(a.negations != b.negations),
        flag(first(a) != first(b)),
        flag(name(&only_a) && name(&only_b)),
        flag(name(&only_a) != name(&only_b)),
        order(a, b),
        overlap(&trigrams(a), &trigrams(b)),
        flag(only_a.is_empty() && only_b.is_empty()),
        1.0,
    ]
}

fn says(question: &Wording) -> impl Iterator<Item = &WordRead> {
    question.words.iter().filter(|word| word.kind != WordKind::Filler)
}

fn total(words: &[&WordRead]) -> f32 {
    words.iter().map(|word| word.weight).sum()
}

fn flag(is_so: bool) -> f32 {
    f32::from(u8::from(is_so))
}

fn count(words: usize) -> f32 {
    f32::from(u16::try_from(words).unwrap_or(u16::MAX))
}

/// The first word that asks.
fn first(question: &Wording) -> Option<&str> {
    const ASKING: [&str; 8] = ["what", "how", "why", "when", "where", "who", "which", "can"];
    question.words.iter().map(|word| word.text.as_str()).find(|word| ASKING.contains(word))
}

/// What part of the words that both have stands in another order.
fn order(a: &Wording, b: &Wording) -> f32 {
    let of_a: Vec<&str> = says(a).map(|word| word.stem.as_str()).filter(|stem| b.stems.contains(*stem)).collect();
    let of_b: Vec<&str> = says(b).map(|word| word.stem.as_str()).filter(|stem| a.stems.contains(*stem)).collect();
    let places: Vec<usize> =
        of_a.iter().take(64).filter_map(|stem| of_b.iter().position(|other| other == stem)).collect();
    let turned = places.windows(2).filter(|pair| pair[0] > pair[1]).count();
    count(turned) / count(places.len()).max(1.0)
}

fn trigrams(question: &Wording) -> BTreeSet<[char; 3]> {
    let text: Vec<char> = says(question).flat_map(|word| word.stem.chars().chain([' '])).take(1024).collect();
    text.windows(3).map(|three| [three[0], three[1], three[2]]).collect()
}

fn overlap(a: &BTreeSet<[char; 3]>, b: &BTreeSet<[char; 3]>) -> f32 {
    let both = a.intersection(b).count();
    count(both) / count(a.len() + b.len() - both).max(1.0)
}
