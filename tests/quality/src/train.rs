//! Trains the verifier on the half of Quora's pairs that the report does not use, and near-misses of it: writes the weights
//! and the table of common words into `ingress/semantic/src`. Build again before a report.

use crate::data::{Vectors, quora};
use crate::near_miss;
use penstock_semantic::{FEATURES, Wording, compare, features};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Words in the table.
const WORDS: usize = 4_000;

/// The least cosine of pairs that the verifier sees: what a guard forbids, it never sees either.
const LEAST: f32 = 0.6;

/// How much a near-miss counts against a pair of people's.
const NEAR_MISS: f64 = 0.3;

/// Features whose weights stay 0: learnt from hard negatives alone, what is shared in words would count against a pair, which is
/// wrong for a cache, whose other questions mostly share nothing.
const UNUSED: [usize; 13] = [4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18];

/// How strongly weights are held small.
const RIDGE: f64 = 3.0;

pub fn write(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<()> {
    let (train, _) = quora(folder)?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ingress/semantic/src");
    let mut texts: Vec<&str> = train.iter().flat_map(|pair| [pair.a.as_str(), pair.b.as_str()]).collect();
    texts.sort_unstable();
    texts.dedup();
    let table = words(&texts);
    if std::fs::read_to_string(sources.join("words.txt"))? != table {
        std::fs::write(sources.join("words.txt"), table)?;
        println!("The table of words is new: run this again, so that the features are made with it.");
        return vectors.keep();
    }
    let mut rows = Vec::new();
    for pair in &train {
        let cosine = vectors.cosine(&pair.a, &pair.b);
        let (a, b) = (Wording::read(&pair.a), Wording::read(&pair.b));
        if cosine >= LEAST && compare(&a, &b, cosine).veto.is_none() {
            rows.push((features(&a, &b, cosine), pair.is_same, 1.0));
        }
    }
    let questions: BTreeSet<&str> = train.iter().map(|pair| pair.a.as_str()).collect();
    for one in near_miss::make(questions.into_iter()) {
        let cosine = vectors.cosine(&one.asked, &one.kept);
        let (a, b) = (Wording::read(&one.asked), Wording::read(&one.kept));
        if compare(&a, &b, cosine).veto.is_none() {
            rows.push((features(&a, &b, cosine), false, NEAR_MISS));
        }
    }
    vectors.keep()?;
    let weights = fit(&rows);
    let text: Vec<String> = weights.iter().map(|weight| format!("{weight:.3}")).collect();
    std::fs::write(sources.join("weights.in"), format!("[{}]\n", text.join(", ")))?;
    println!("{} pairs: {}", rows.len(), text.join(", "));
    Ok(())
}

/// The commonest words and the logarithm of how rare each is among these texts, in tenths.
fn words(texts: &[&str]) -> String {
    let mut counts: HashMap<String, u32> = HashMap::new();
    for text in texts {
        let lower = text.to_lowercase();
        let words: BTreeSet<&str> =
            lower.split(|c: char| !c.is_alphabetic() && c != '\'').filter(|word| word.len() > 1).collect();
        words.into_iter().for_each(|word| *counts.entry(word.trim_end_matches("'s").to_owned()).or_default() += 1);
    }
    let mut counts: Vec<(String, u32)> = counts.into_iter().filter(|(_, count)| *count > 2).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(WORDS);
    counts.sort();
    let weight = |count: u32| (10.0 * (texts.len() as f64 / f64::from(count)).ln()).round();
    counts.iter().map(|(word, count)| format!("{word} {}\n", weight(*count))).collect()
}

/// Logistic regression by Newton's method.
fn fit(rows: &[([f32; FEATURES], bool, f64)]) -> [f64; FEATURES] {
    let mut weights = [0.0; FEATURES];
    for _ in 0..30 {
        let mut gradient: [f64; FEATURES] = std::array::from_fn(|at| -RIDGE * weights[at]);
        let mut curvature = [[0.0; FEATURES]; FEATURES];
        for (row, is_same, share) in rows {
            let sum: f64 = weights.iter().zip(row).map(|(weight, x)| weight * f64::from(*x)).sum();
            let p = 1.0 / (1.0 + (-sum).exp());
            let error = share * (f64::from(u8::from(*is_same)) - p);
            for i in 0..FEATURES {
                gradient[i] += error * f64::from(row[i]);
                for j in 0..=i {
                    curvature[i][j] += share * p * (1.0 - p) * f64::from(row[i]) * f64::from(row[j]);
                }
            }
        }
        for i in 0..FEATURES {
            curvature[i][i] += if UNUSED.contains(&i) { 1e12 } else { RIDGE };
            for j in 0..i {
                curvature[j][i] = curvature[i][j];
            }
        }
        let step = solve(curvature, gradient);
        weights.iter_mut().zip(step).for_each(|(weight, step)| *weight += step);
    }
    weights
}

/// Gauss's elimination; the matrix is positive definite.
fn solve(mut matrix: [[f64; FEATURES]; FEATURES], mut right: [f64; FEATURES]) -> [f64; FEATURES] {
    for i in 0..FEATURES {
        for row in i + 1..FEATURES {
            let factor = matrix[row][i] / matrix[i][i];
            for column in i..FEATURES {
                matrix[row][column] -= factor * matrix[i][column];
            }
            right[row] -= factor * right[i];
        }
    }
    for i in (0..FEATURES).rev() {
        let known: f64 = (i + 1..FEATURES).map(|column| matrix[i][column] * right[column]).sum();
        right[i] = (right[i] - known) / matrix[i][i];
    }
    right
}
