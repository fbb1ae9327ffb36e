//! The basis of features: what is usual of questions, the axes in which their vectors differ most, and the centres that they gather
//! around; and a head that begins with nothing. Knows no file.

use super::{RoutedQuestion, features, weight};
use crate::data::hash;
use penstock_semantic::heads::{AXES, Basis, CENTRES, Label, TEXT_FEATURES, text_features};

/// Steps in which an axis, and the centres, are found.
const STEPS: usize = 30;

/// What the first axis weighs is three times what all weigh in the mean, and so on: between their spread and none.
const SCALE: f64 = 3.0;

pub(super) fn make_basis(all: &[&RoutedQuestion]) -> Basis {
    let texts: Vec<[f32; TEXT_FEATURES]> = all.iter().map(|one| text_features(&one.text)).collect();
    let words = (0..TEXT_FEATURES).map(|at| mean_and_spread(texts.iter().map(|text| text[at]))).collect();
    let vectors: Vec<&[f32]> = all.iter().map(|one| &one.vector[..]).collect();
    let middle = sum(vectors.iter().copied()).into_iter().map(|x| x / vectors.len() as f32).collect();
    let axes = axes(&vectors, &middle);
    let usual = vec![0.0; CENTRES];
    let mut basis = Basis { words, middle, axes, centres: centres(all), usual, covariance: Vec::new() };
    let shares: Vec<Vec<f32>> = vectors.iter().map(|vector| basis.shares(vector)).collect();
    let usual = sum(shares.iter().map(|shares| &shares[..]));
    basis.usual = usual.into_iter().map(|x| x / vectors.len() as f32).collect();
    basis.covariance = covariance(&basis, all);
    basis
}

/// The covariance of all features behind the constant, each question counted as in training: the lower triangle.
fn covariance(basis: &Basis, all: &[&RoutedQuestion]) -> Vec<Vec<f32>> {
    let rows: Vec<(Vec<f32>, f64)> =
        all.iter().map(|one| (features(basis, one, true), f64::from(weight(one)))).collect();
    let total: f64 = rows.iter().map(|(_, weight)| weight).sum();
    let count = rows[0].0.len();
    let mut sums = vec![vec![0.0_f64; count]; count];
    for (row, weight) in &rows {
        for (at, x) in row.iter().enumerate() {
            let weighted = weight * f64::from(*x);
            sums[at][..=at].iter_mut().zip(row).for_each(|(sum, y)| *sum += weighted * f64::from(*y));
        }
    }
    // The first feature is 1: its products with the others are their sums.
    let mean = |at: usize| sums[at][0] / total;
    let row = |at: usize| (1..=at).map(|other| (sums[at][other] / total - mean(at) * mean(other)) as f32).collect();
    (1..count).map(row).collect()
}

fn sum<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut sums: Vec<f32> = Vec::new();
    for row in rows {
        sums.resize(row.len(), 0.0);
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    sums
}

fn mean_and_spread(numbers: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let mean = super::mean(numbers.clone());
    (mean, super::mean(numbers.map(|number| (number - mean).powi(2))).sqrt())
}

/// The first axes, each by repeated products with what differs, without those before; scaled by the root of their spread.
fn axes(vectors: &[&[f32]], middle: &Vec<f32>) -> Vec<Vec<f32>> {
    let count = middle.len();
    let mut products = vec![vec![0.0_f64; count]; count];
    for vector in vectors {
        let moved: Vec<f64> = vector.iter().zip(middle).map(|(x, m)| f64::from(x - m)).collect();
        for (row, x) in products.iter_mut().zip(&moved) {
            row.iter_mut().zip(&moved).for_each(|(product, y)| *product += x * y / vectors.len() as f64);
        }
    }
    let mut found: Vec<(Vec<f64>, f64)> = Vec::new();
    for number in 0..AXES {
        let mut axis: Vec<f64> = (0..count).map(|at| (hash(&format!("{number} {at}")) % 1000) as f64 - 500.0).collect();
        let mut spread = 0.0;
        for _ in 0..STEPS * 4 {
            axis = products.iter().map(|row| row.iter().zip(&axis).map(|(x, y)| x * y).sum()).collect();
            for (other, _) in &found {
                let along: f64 = axis.iter().zip(other).map(|(x, y)| x * y).sum();
                axis.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
            spread = axis.iter().map(|x| x * x).sum::<f64>().sqrt();
            axis.iter_mut().for_each(|x| *x /= spread);
        }
        found.push((axis, spread.sqrt()));
    }
    let usual = found.iter().map(|(_, spread)| spread.sqrt()).sum::<f64>() / AXES as f64;
    let scaled = |(axis, spread): (Vec<f64>, f64)| {
        let scale = SCALE * usual / spread.sqrt();
        axis.into_iter().map(|x| (x * scale) as f32).collect()
    };
    found.into_iter().map(scaled).collect()
}

/// Centres, each the middle of the questions that it is nearest to.
fn centres(all: &[&RoutedQuestion]) -> Vec<Vec<f32>> {
    let mut drawn = all.to_vec();
    drawn.sort_by_key(|one| hash(&one.text));
    let drawn = &drawn[..drawn.len().min(4000)];
    let mut centres: Vec<Vec<f32>> = drawn[..CENTRES].iter().map(|one| one.vector.clone()).collect();
    for _ in 0..STEPS / 2 {
        let mut sums = vec![vec![0.0_f32; centres[0].len()]; CENTRES];
        for one in drawn {
            let near = |centre: &[f32]| centre.iter().zip(&one.vector).map(|(x, y)| x * y).sum::<f32>();
            let nearest = (0..CENTRES).max_by(|a, b| near(&centres[*a]).total_cmp(&near(&centres[*b]))).unwrap_or(0);
            sums[nearest].iter_mut().zip(&one.vector).for_each(|(sum, x)| *sum += x);
        }
        for (centre, sum) in centres.iter_mut().zip(sums) {
            let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
            if length > 0.0 {
                *centre = sum.into_iter().map(|x| x / length).collect();
            }
        }
    }
    centres
}

/// The weights that explain the scores, as small as the strength has them; the constant is free. By descent along conjugates.
pub(super) fn ridge(labels: &[Label], strength: f64) -> Vec<f32> {
    let count = labels[0].features.len();
    let mut products = vec![vec![0.0_f64; count]; count];
    let mut scores = vec![0.0_f64; count];
    for label in labels {
        for (at, x) in label.features.iter().enumerate() {
            let weighted = f64::from(label.weight) * f64::from(*x);
            scores[at] += weighted * f64::from(label.score);
            products[at].iter_mut().zip(&label.features).for_each(|(product, y)| *product += weighted * f64::from(*y));
        }
    }
    (0..count).for_each(|at| products[at][at] += if at == 0 { 0.01 } else { strength });
    let mut weights = vec![0.0_f64; count];
    let (mut rest, mut along) = (scores.clone(), scores);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    for _ in 0..10 * count {
        let square = dot(&rest, &rest);
        if square < 1e-18 {
            break;
        }
        let product: Vec<f64> = products.iter().map(|row| dot(row, &along)).collect();
        let step = square / dot(&along, &product);
        weights.iter_mut().zip(&along).for_each(|(weight, x)| *weight += step * x);
        rest.iter_mut().zip(&product).for_each(|(rest, x)| *rest -= step * x);
        let turn = dot(&rest, &rest) / square;
        along.iter_mut().zip(&rest).for_each(|(x, rest)| *x = rest + turn * *x);
    }
    weights.into_iter().map(|weight| weight as f32).collect()
}
