//! How well a model is expected to answer a question, from its words and, where it was made, its vector: heads, each a row of
//! weights for one model. Those that are shipped were trained on public data by `tests/quality heads`; a deployment's own begin as
//! these and learn from its scores. Pure; knows no model's name, no price and no request.

mod basis;
mod fit;
mod shipped;
mod words;

pub use basis::{AXES, Basis, CENTRES};
pub use fit::{Fitted, Label, fit};
pub use shipped::{ShippedHeads, shipped};
pub use words::{RequestShape, TEXT_FEATURES, text_features};

/// Features of a question without its vector: the constant, its text's, and what else the request holds.
pub const WORDS: usize = 1 + TEXT_FEATURES + words::SHAPE_FEATURES;

/// Features with its vector.
pub const WHOLE: usize = WORDS + AXES + CENTRES;

/// What a head says of a question: about 0 to 1. `None` when they do not belong together.
pub fn quality(weights: &[f32], features: &[f32]) -> Option<f32> {
    (weights.len() == features.len())
        .then(|| weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum())
}
