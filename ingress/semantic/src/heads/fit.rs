//! A head from scores: the weights that explain them best, as near to those it began with as the scores do not say otherwise. Knows
//! nothing of where scores come from.
//!
//! The beginning counts as what it is, weights that were learnt from questions: where the features of those questions varied
//! much, a weight was learnt surely, and scores move it slowly; where they hardly varied, it is little more than a guess, and scores
//! move it soon. So the head is the one that these questions and the scores together would have made.

/// What differing from the beginning costs each weight, in scores, however little its feature varied: what the heads that are shipped
/// were trained with.
const STRENGTH: f64 = 60.0;

/// So many questions stand behind the beginning. Measured from 360 to 10,000 on nine fields of MMLU: more is better in a field that
/// the beginning knows, less in one that it does not.
const BEGINNING: f64 = 3600.0;

/// The same of the constant: so many scores move the level of a head half the way.
const OF_LEVEL: f64 = 10.0;

/// One score.
#[derive(Clone, Debug)]
pub struct Label {
    /// The question's features.
    pub features: Vec<f32>,
    /// How good the answer was, from 0 to 1.
    pub score: f32,
    /// What the score counts.
    pub weight: f32,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The head.
    pub weights: Vec<f32>,
    /// The mean square error of the head that it began with.
    pub before: f64,
    /// Of this one, each score foretold by the others.
    pub after: f64,
}

/// The head; `None` without a label whose features belong to it. `covariance` is that of the features behind the constant, among the
/// questions that the beginning was learnt from: a lower triangle by rows, of as many features or more, or empty where it was
/// learnt from none.
pub fn fit(start: &[f32], covariance: &[Vec<f32>], labels: &[Label]) -> Option<Fitted> {
    let usable = |label: &&Label| label.features.len() == start.len() && label.weight > 0.0 && label.score.is_finite();
    let labels: Vec<&Label> = labels.iter().filter(usable).collect();
    let total: f64 = labels.iter().map(|label| f64::from(label.weight)).sum();
    if total <= 0.0 {
        return None;
    }
    // What the beginning does not explain.
    let left = |label: &Label| {
        let said: f32 = start.iter().zip(&label.features).map(|(weight, feature)| weight * feature).sum();
        f64::from(label.score) - f64::from(said)
    };
    let rows: Vec<(Vec<f64>, f64, f64)> = labels
        .iter()
        .map(|label| (label.features.iter().map(|x| f64::from(*x)).collect(), left(label), f64::from(label.weight)))
        .collect();
    let before = rows.iter().map(|(_, left, weight)| weight * left * left).sum::<f64>() / total;
    let sums = Sums::of(&rows, beginning(start.len(), covariance));
    let (moves, after) = sums.solve(&rows, total)?;
    #[expect(clippy::cast_possible_truncation, reason = "weights need no more digits")]
    let weights = start.iter().zip(&moves).map(|(start, moved)| start + *moved as f32).collect();
    Some(Fitted { weights, before, after })
}

/// What the weights are held by, as a matrix: the lower triangle.
fn beginning(count: usize, covariance: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let mut held = vec![vec![0.0; count]; count];
    for (row, own) in held.iter_mut().skip(1).zip(covariance) {
        row[1..].iter_mut().zip(own).for_each(|(held, own)| *held = BEGINNING * f64::from(*own));
    }
    for (at, row) in held.iter_mut().enumerate() {
        row[at] += if at == 0 { OF_LEVEL } else { STRENGTH };
    }
    held
}

/// Sums over the labels, on top of what the weights are held by: of products of features, a matrix by rows; and what the features
/// have to do with the scores.
struct Sums {
    products: Vec<Vec<f64>>,
    scores: Vec<f64>,
}

impl Sums {
    fn of(rows: &[(Vec<f64>, f64, f64)], held: Vec<Vec<f64>>) -> Self {
        let mut sums = Self { scores: vec![0.0; held.len()], products: held };
        for (features, left, weight) in rows {
            for (at, feature) in features.iter().enumerate() {
                let weighted = weight * feature;
                sums.scores[at] += weighted * left;
                for (product, other) in sums.products[at][..=at].iter_mut().zip(features) {
                    *product += weighted * other;
                }
            }
        }
        sums
    }

    /// The moves of the weights, and the error with each score foretold by the others: what a score moves its own
    /// foretelling by is known without leaving it out.
    fn solve(&self, rows: &[(Vec<f64>, f64, f64)], total: f64) -> Option<(Vec<f64>, f64)> {
        let lower = cholesky(&self.products)?;
        let moves = backward(&lower, forward(&lower, &self.scores));
        let mut error = 0.0;
        for (features, left, weight) in rows {
            let said: f64 = moves.iter().zip(features).map(|(moved, feature)| moved * feature).sum();
            let own = weight * forward(&lower, features).iter().map(|x| x * x).sum::<f64>();
            let off = (left - said) / (1.0 - own).max(1e-6);
            error += weight * off * off;
        }
        let error = error / total;
        (error.is_finite() && moves.iter().all(|moved| moved.is_finite())).then_some((moves, error))
    }
}

/// The lower triangle whose product with itself is the matrix.
fn cholesky(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let mut lower: Vec<Vec<f64>> = Vec::with_capacity(matrix.len());
    for (at, row) in matrix.iter().enumerate() {
        let mut own = Vec::with_capacity(at + 1);
        for (column, above) in lower.iter().enumerate() {
            let sum: f64 = own.iter().zip(above).map(|(x, y): (&f64, &f64)| x * y).sum();
            own.push((row[column] - sum) / above[column]);
        }
        let rest = row[at] - own.iter().map(|x| x * x).sum::<f64>();
        if rest <= 0.0 || !rest.is_finite() {
            return None;
        }
        own.push(rest.sqrt());
        lower.push(own);
    }
    Some(lower)
}

fn forward(lower: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let mut found: Vec<f64> = Vec::with_capacity(lower.len());
    for (at, row) in lower.iter().enumerate() {
        let sum: f64 = row[..at].iter().zip(&found).map(|(x, y)| x * y).sum();
        found.push((right[at] - sum) / row[at]);
    }
    found
}

fn backward(lower: &[Vec<f64>], mut right: Vec<f64>) -> Vec<f64> {
    for at in (0..lower.len()).rev() {
        right[at] /= lower[at][at];
        let found = right[at];
        for (value, factor) in right[..at].iter_mut().zip(&lower[at]) {
            *value -= factor * found;
        }
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels of a line: 0.5 + 0.3 x, with a feature that says nothing.
    fn labels(count: u32) -> Vec<Label> {
        let each = |number: u32| {
            let x = (f64::from(number) * 0.7).sin();
            let noise = (f64::from(number) * 12.9).sin() * 0.1;
            #[expect(clippy::cast_possible_truncation, reason = "a test")]
            let [x, score, idle] = [x, 0.5 + 0.3 * x + noise, (f64::from(number) * 3.1).cos()].map(|x| x as f32);
            Label { features: vec![1.0, x, idle], score, weight: 1.0 }
        };
        (0..count).map(each).collect()
    }

    #[test]
    fn a_head_moves_from_where_it_began_to_what_scores_say() {
        let start = [0.9, 0.0, 0.0];
        assert_eq!(fit(&start, &[], &[]), None);
        let few = fit(&start, &[], &labels(10)).unwrap();
        assert!(few.weights[0] > 0.65 && few.weights[0] < 0.75, "ten scores move the level half the way: {few:?}");
        let many = fit(&start, &[], &labels(4000)).unwrap();
        let near = |at: usize, wanted: f32| (many.weights[at] - wanted).abs() < 0.02;
        assert!(near(0, 0.5) && near(1, 0.29) && near(2, 0.0), "{many:?}");
        assert!(many.after < 0.02 && many.before > 0.15, "{many:?}");
    }

    #[test]
    fn a_weight_that_was_learnt_from_much_moves_slowly_and_one_that_was_learnt_from_nothing_soon() {
        let labels = labels(400);
        let start = [0.5, 0.0, 0.0];
        let weight = |covariance: &[Vec<f32>]| fit(&start, covariance, &labels).unwrap().weights[1];
        let [free, other, held] =
            [weight(&[]), weight(&[vec![0.0], vec![0.0, 1.0]]), weight(&[vec![0.5], vec![0.0, 0.0]])];
        assert!(free > 0.2 && (free - other).abs() < 0.01, "only the other feature is held: {free} {other}");
        assert!(held < 0.05, "1,800 questions stand against 200 scores: {held}");
        // Of two features that always rose together the sum of the weights is known, of two that parted the difference: not each.
        for other in [0.5, -0.5] {
            let one = weight(&[vec![0.5], vec![other, 0.5]]);
            assert!(one > held + 0.05 && one < free, "{one} {held} {free}");
        }
    }

    #[test]
    fn the_error_is_that_of_leaving_each_score_out() {
        let labels = labels(40);
        let start = [0.5, 0.0, 0.0];
        let fitted = fit(&start, &[], &labels).unwrap();
        // By hand: the same data without one label each time.
        let rows = |labels: &[Label]| -> Vec<(Vec<f64>, f64, f64)> {
            let row = |label: &Label| {
                let features = label.features.iter().map(|x| f64::from(*x)).collect();
                (features, f64::from(label.score) - 0.5, 1.0)
            };
            labels.iter().map(row).collect()
        };
        let mut error = 0.0;
        for left_out in 0..labels.len() {
            let mut others = labels.clone();
            let one = others.remove(left_out);
            let others = rows(&others);
            let (moves, _) = Sums::of(&others, beginning(3, &[])).solve(&others, 39.0).unwrap();
            let said: f64 = moves.iter().zip(&one.features).map(|(moved, x)| moved * f64::from(*x)).sum();
            error += (f64::from(one.score) - 0.5 - said).powi(2) / 40.0;
        }
        assert!((fitted.after - error).abs() < 1e-9, "{} {error}", fitted.after);
    }

    #[test]
    fn labels_that_do_not_belong_to_the_head_are_passed_over() {
        let mut all = labels(50);
        let wanted = fit(&[0.5, 0.0, 0.0], &[], &all);
        all.push(Label { features: vec![1.0], score: 0.0, weight: 1.0 });
        all.push(Label { features: vec![1.0, 0.0, 0.0], score: f32::NAN, weight: 1.0 });
        all.push(Label { features: vec![1.0, 0.0, 0.0], score: 0.0, weight: 0.0 });
        assert_eq!(fit(&[0.5, 0.0, 0.0], &[], &all), wanted);
    }
}
