//! Trains the verifier on the half of Quora's pairs that the report does not use, their neighbours and near-misses of them:
//! writes the weights into `ingress/semantic/src`. Build again before a report.

use crate::data::{Vectors, components, quora};
use crate::near_miss;
use penstock_semantic::{FEATURES, Neighbour, VectorIndex, Wording, compare, features};
use std::collections::BTreeSet;
use std::path::Path;

/// The least cosine of pairs that the verifier sees: what a guard forbids, it never sees either.
const LEAST: f32 = 0.6;

/// How much a near-miss counts against a pair of people's.
const NEAR_MISS: f64 = 0.3;

/// How much a question's nearest neighbour of another component counts.
const NEIGHBOUR: f64 = 0.3;

/// The greatest cosine of such neighbours: nearer ones are often the same, and not labelled.
const NEAREST: f32 = 0.8;

/// How strongly weights are held small.
const RIDGE: f64 = 0.3;

/// What the verifier is to say of a pair of questions, and how much that counts.
type Row = ([f32; FEATURES], bool, f64);

pub fn write(folder: &Path, vectors: &mut Vectors) -> anyhow::Result<()> {
    let (train, _) = quora(folder)?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ingress/semantic/src");
    let mut rows: Vec<Row> = Vec::new();
    for pair in &train {
        let cosine = vectors.cosine(&pair.a, &pair.b);
        rows.extend(row((&pair.a, &pair.b), cosine, pair.is_same, 1.0));
    }
    // Hard negatives alone would teach that shared words count against a pair: the other questions of a cache mostly share
    // less.
    let components = components(&train);
    let questions: Vec<&str> = components.keys().copied().collect();
    let mut index = VectorIndex::new(384, questions.len());
    for (at, question) in questions.iter().enumerate() {
        index.insert(at, &vectors.of(question));
    }
    for question in &questions {
        let near = index.nearest(&vectors.of(question), LEAST);
        let is_other =
            |near: &&Neighbour<usize>| near.cosine < NEAREST && components[questions[near.id]] != components[question];
        if let Some(near) = near.iter().find(is_other) {
            rows.extend(row((question, questions[near.id]), near.cosine, false, NEIGHBOUR));
        }
    }
    let questions: BTreeSet<&str> = train.iter().map(|pair| pair.a.as_str()).collect();
    for one in near_miss::make(questions.into_iter()) {
        let cosine = vectors.cosine(&one.asked, &one.kept);
        rows.extend(row((&one.asked, &one.kept), cosine, false, NEAR_MISS));
    }
    vectors.keep()?;
    let weights = fit(&rows);
    let text: Vec<String> = weights.iter().map(|weight| format!("{weight:.3}")).collect();
    std::fs::write(sources.join("weights.in"), format!("[{}]\n", text.join(", ")))?;
    println!("{} pairs: {}", rows.len(), text.join(", "));
    Ok(())
}

/// `None` for what the verifier never sees.
fn row((a, b): (&str, &str), cosine: f32, is_same: bool, weight: f64) -> Option<Row> {
    let (a, b) = (Wording::read(a), Wording::read(b));
    let is_seen = cosine >= LEAST && compare(&a, &b, cosine).veto.is_none();
    is_seen.then(|| (features(&a, &b, cosine), is_same, weight))
}

/// Logistic regression by Newton's method.
fn fit(rows: &[Row]) -> [f64; FEATURES] {
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
            curvature[i][i] += RIDGE;
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
