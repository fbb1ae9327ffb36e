//! The questions of kept answers, by the set in which they are compared, and the nearest to another: an answer's question is
//! here as long as the answer is in memory. Knows no threshold, and not what makes two questions the same.

use super::key::CacheKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use penstock_runtime::heavy_at_once;
use penstock_schemas::cache::KeptQuestion;
use penstock_semantic::{VectorIndex, VectorPlace};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// The longest question that is compared, in bytes: what the built-in model reads of it, 256 tokens. Longer ones are for the
/// exact cache alone.
pub(crate) const QUESTION: usize = 1024;

/// The most numbers of a vector that is kept.
const DIMENSIONS: usize = 4096;

/// The most questions of a set: the memory for answers ends before.
const MOST: usize = 4 << 20;

/// The least cosine of neighbours, as the verifier was trained.
const LEAST: f32 = 0.6;

/// Bytes that are looked at of a set in a moment that is not worth a thread of its own: 1,000 questions.
const QUICK: usize = 48;

/// All sets. Cloning shares them.
#[derive(Clone, Default)]
pub(super) struct Spaces(Arc<RwLock<HashMap<CacheKey, Weak<Space>>>>);

/// One set: its key says whose it is.
#[derive(Debug)]
pub(super) struct Space {
    index: RwLock<VectorIndex<QuestionId>>,
}

/// Which question: that of this answer, and which in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct QuestionId {
    answer: CacheKey,
    number: u64,
}

/// A question that is found as long as this lives.
#[derive(Debug)]
pub(crate) struct IndexedQuestion {
    space: Arc<Space>,
    place: VectorPlace,
    number: u64,
    pub(crate) text: String,
}

impl Drop for IndexedQuestion {
    fn drop(&mut self) {
        self.space.index.write().unwrap_or_else(PoisonError::into_inner).remove(self.place);
    }
}

impl IndexedQuestion {
    /// Whether it is the one with this number.
    pub(super) fn is(&self, number: u64) -> bool {
        self.number == number
    }

    /// What it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let each = self.space.index.read().unwrap_or_else(PoisonError::into_inner).bytes_each();
        (each + self.text.len() + size_of::<Self>()) as u64
    }
}

impl Spaces {
    /// Enters the question of an answer; `None` when it cannot be compared with the others of its set.
    pub(super) fn enter(&self, answer: CacheKey, question: &KeptQuestion) -> Option<IndexedQuestion> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let vector = read_vector(&question.vector)?;
        let space = self.open(CacheKey::read(&question.space)?, vector.len());
        let id = QuestionId { answer, number: NUMBERS.fetch_add(1, Ordering::Relaxed) };
        let place = space.index.write().unwrap_or_else(PoisonError::into_inner).insert(id, &vector)?;
        Some(IndexedQuestion { space, place, number: id.number, text: question.text.clone() })
    }

    fn open(&self, key: CacheKey, dimensions: usize) -> Arc<Space> {
        if let Some(space) = self.get(&key) {
            return space;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(space) = all.get(&key).and_then(Weak::upgrade) {
            return space;
        }
        let space = Arc::new(Space { index: RwLock::new(VectorIndex::new(dimensions, MOST)) });
        all.insert(key, Arc::downgrade(&space));
        space
    }

    fn get(&self, key: &CacheKey) -> Option<Arc<Space>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).and_then(Weak::upgrade)
    }

    /// The answers to the nearest questions of a set, by their keys.
    pub(super) fn nearest(&self, space: &CacheKey, vector: &[f32]) -> Vec<(CacheKey, u64, f32)> {
        let Some(space) = self.get(space) else { return Vec::new() };
        let index = space.index.read().unwrap_or_else(PoisonError::into_inner);
        let found = heavy_at_once(index.len() * QUICK, || index.nearest(vector, LEAST));
        found.into_iter().map(|near| (near.id.answer, near.id.number, near.cosine)).collect()
    }

    /// How many questions a set has.
    pub(super) fn questions(&self, space: &CacheKey) -> u64 {
        self.get(space).map_or(0, |space| space.index.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    /// Forgets sets that have no questions any more.
    pub(super) fn sweep(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|_, space| space.strong_count() > 0);
    }
}

/// The direction of a vector as it is kept: a signed byte for each number. `None` when it is none, or too long.
pub(crate) fn write_vector(vector: &[f32]) -> Option<String> {
    let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if vector.is_empty() || vector.len() > DIMENSIONS || !largest.is_normal() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the largest becomes 127")]
    let bytes: Vec<u8> = vector.iter().map(|x| ((x / largest * 127.0).round() as i8).cast_unsigned()).collect();
    Some(STANDARD.encode(bytes))
}

fn read_vector(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let is_possible = (1..=DIMENSIONS).contains(&bytes.len());
    is_possible.then(|| bytes.into_iter().map(|byte| f32::from(byte.cast_signed())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(space: &CacheKey, vector: &[f32]) -> KeptQuestion {
        KeptQuestion { space: space.spelled(), text: "How?".to_owned(), vector: write_vector(vector).unwrap() }
    }

    #[test]
    fn a_question_is_found_in_its_own_set_alone_and_as_long_as_it_is_held() {
        let spaces = Spaces::default();
        let [here, there, answer] = [b"a", b"b", b"c"].map(|part| CacheKey::of(&[part]));
        let held = spaces.enter(answer, &question(&here, &[0.5, -1.0, 0.0])).unwrap();
        let found = spaces.nearest(&here, &[0.5, -1.0, -0.01]);
        assert!(matches!(found[..], [(key, _, cosine)] if key == answer && cosine > 0.99), "{found:?}");
        assert!(spaces.nearest(&there, &[0.5, -1.0, 0.0]).is_empty());
        assert!(spaces.enter(answer, &question(&here, &[1.0, 0.0])).is_none(), "another length");
        drop(held);
        assert!(spaces.nearest(&here, &[0.5, -1.0, 0.0]).is_empty());
        spaces.sweep();
        assert!(spaces.0.read().unwrap().is_empty());
    }

    #[test]
    fn a_vector_is_kept_as_bytes_and_what_is_none_is_not() {
        assert_eq!(read_vector(&write_vector(&[1.0, -0.5, 0.0]).unwrap()).unwrap(), [127.0, -64.0, 0.0]);
        for wrong in [&[][..], &[0.0], &[f32::NAN, f32::INFINITY], &[1.0; DIMENSIONS + 1]] {
            assert!(write_vector(wrong).is_none());
        }
        assert!(read_vector("?").is_none() && read_vector("").is_none());
    }
}
