//! A question as numbers that heads weigh: its words made comparable, and where its vector lies among questions: along the axes
//! in which they differ most, and how near to each of some centres. Made by `tests/quality heads`. Knows no answer.

use super::words::{RequestShape, TEXT_FEATURES, text_features};
use super::{WHOLE, WORDS};

/// Axes in which questions differ most.
pub const AXES: usize = 24;

/// Centres that questions gather around.
pub const CENTRES: usize = 48;

/// How much nearer centres count than farther ones.
const SHARPNESS: f32 = 10.0;

/// A feature is at most so many times as far from the usual as is usual.
const MOST: f32 = 3.0;

/// What words weigh beside the place of the vector.
const OF_WORDS: f32 = 0.3;

/// What is usual of questions, and where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis {
    /// The mean of each feature of texts, and how far they usually are from it.
    pub words: Vec<(f32, f32)>,
    /// The mean of vectors.
    pub middle: Vec<f32>,
    /// The axes, as long as they count.
    pub axes: Vec<Vec<f32>>,
    /// The centres, of length 1.
    pub centres: Vec<Vec<f32>>,
    /// How near questions usually are to each.
    pub usual: Vec<f32>,
    /// How the features behind the constant vary together: their covariance, a lower triangle by rows. It says how surely a weight
    /// is known that was learnt from these questions.
    pub covariance: Vec<Vec<f32>>,
}

impl Basis {
    /// The features of a question: [`WHOLE`] of them; without a vector of the basis's length, [`WORDS`].
    pub fn look_at(&self, text: &str, shape: &RequestShape, vector: Option<&[f32]>) -> Vec<f32> {
        let mut features = Vec::with_capacity(WHOLE);
        features.push(1.0);
        let comparable = |(feature, (mean, spread)): (f32, &(f32, f32))| {
            ((feature - mean) / spread.max(1e-3)).clamp(-MOST, MOST) * OF_WORDS
        };
        debug_assert_eq!(self.words.len(), TEXT_FEATURES);
        if text.is_empty() {
            // Of what is not known, the usual is expected.
            features.resize(1 + TEXT_FEATURES, 0.0);
        } else {
            features.extend(text_features(text).into_iter().zip(&self.words).map(comparable));
        }
        features.extend(shape.features(text));
        debug_assert_eq!(features.len(), WORDS);
        let Some(vector) = vector.filter(|vector| vector.len() == self.middle.len()) else { return features };
        let moved: Vec<f32> = vector.iter().zip(&self.middle).map(|(x, middle)| x - middle).collect();
        features.extend(self.axes.iter().map(|axis| dot(axis, &moved)));
        features.extend(self.shares(vector).into_iter().zip(&self.usual).map(|(share, usual)| share - usual));
        features
    }

    /// How near the vector is to each centre.
    #[expect(clippy::cast_precision_loss, reason = "some dozens")]
    pub fn shares(&self, vector: &[f32]) -> Vec<f32> {
        let near: Vec<f32> = self.centres.iter().map(|centre| SHARPNESS * dot(centre, vector)).collect();
        let most = near.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f32> = near.iter().map(|near| (near - most).exp()).collect();
        let sum: f32 = powers.iter().sum();
        // As much in all as the axes are, whatever the number of centres.
        let scale = 0.7 * (self.centres.len() as f32).sqrt() / sum.max(f32::MIN_POSITIVE);
        powers.into_iter().map(|power| power * scale).collect()
    }
}

/// In eight sums at once, which the compiler keeps in one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (mut sums, a, b) = ([0.0_f32; 8], a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a.zip(b) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + rest
}
