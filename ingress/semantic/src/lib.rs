//! Whether two questions want the same answer, how sure that must be, and how well models answer one: pure decisions on texts, vectors and samples. Knows
//! no I/O, no clock, no request and no answer.
//!
//! A question's vector finds its neighbours in [`VectorIndex`]; [`compare`] says of the nearest whether a guard forbids to
//! serve its answer, and how probable it is that both want the same; [`AdaptiveThreshold`] says how probable that must be, by what
//! was measured.

mod guard;
pub mod heads;
mod index;
mod judge;
mod lexicon;
mod stem;
mod text;
mod threshold;
mod verifier;

pub use guard::Veto;
pub use index::{Neighbour, VectorIndex, VectorPlace};
pub use judge::{is_same_answer, is_same_text};
pub use text::Wording;
pub use threshold::{AdaptiveThreshold, CheckedHit, Interval, SAFE, STEPS, StepCounts};
pub use verifier::{FEATURES, WEIGHTS, features, logistic};

/// What is thought of two questions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// What forbids to serve the answer of one for the other, however near they are.
    pub veto: Option<Veto>,
    /// How probable it is that both want the same answer, 0 to 1.
    pub probability: f32,
}

/// Compares two questions whose vectors have this cosine.
pub fn compare(asked: &Wording, kept: &Wording, cosine: f32) -> Comparison {
    Comparison { veto: guard::find(asked, kept), probability: logistic(&WEIGHTS, &features(asked, kept, cosine)) }
}
