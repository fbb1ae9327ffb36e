//! Vectors that are kept, and which of them are near another: signs first, then 8-bit numbers. Exact but for that rounding.
//! Knows nothing of what they stand for but an id.
//!
//! A cache only wants neighbours above a cosine of about 0.8, and for these the signs decide almost everything: of 6,718
//! pairs of questions with such a cosine none had more than 96 of 384 signs different, and one in 5,000 of other pairs has
//! fewer than 100. So 48 bytes of each are looked at, and 384 of very few.

use std::collections::HashMap;
use std::hash::Hash;

/// The part of the signs that may differ between neighbours: 100 of 384.
const APART: (usize, usize) = (100, 384);

/// The most neighbours that are given.
const NEIGHBOURS: usize = 4;

/// One that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour<T> {
    /// Which.
    pub id: T,
    /// The cosine, to two thousandths.
    pub cosine: f32,
}

/// Vectors of one length, each with an id, at most a fixed number of them.
#[derive(Clone, Debug)]
pub struct VectorIndex<T> {
    dimensions: usize,
    most: usize,
    signs: Vec<u64>,
    numbers: Vec<i8>,
    scales: Vec<f32>,
    ids: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T: Copy + Eq + Hash> VectorIndex<T> {
    /// An empty one, for vectors of so many numbers, and at most `most` of them.
    pub fn new(dimensions: usize, most: usize) -> Self {
        Self {
            dimensions,
            most,
            signs: Vec::new(),
            numbers: Vec::new(),
            scales: Vec::new(),
            ids: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// What a vector takes, in bytes.
    pub fn bytes_each(&self) -> usize {
        // Twice the id and its place: a table is half empty after it has grown.
        self.words() * 8 + self.dimensions + 4 + size_of::<T>() + 2 * size_of::<(T, usize)>()
    }

    /// Adds a vector, in the place of an earlier one with this id; false when it has another length, is no direction, or
    /// there is no room.
    pub fn insert(&mut self, id: T, vector: &[f32]) -> bool {
        let Some((numbers, scale)) = self.rounded(vector) else { return false };
        self.remove(id);
        if self.ids.len() >= self.most {
            return false;
        }
        self.signs.extend(signs(vector));
        self.numbers.extend(numbers);
        self.scales.push(scale);
        self.places.insert(id, self.ids.len());
        self.ids.push(id);
        true
    }

    /// Takes the vector of an id out; whether there was one. Takes the same time however many there are.
    pub fn remove(&mut self, id: T) -> bool {
        let Some(at) = self.places.remove(&id) else { return false };
        self.take_out(at);
        if let Some(moved) = self.ids.get(at) {
            self.places.insert(*moved, at);
        }
        true
    }

    /// The last one takes the place of the one that goes.
    fn take_out(&mut self, at: usize) {
        let (words, dimensions, last) = (self.words(), self.dimensions, self.ids.len() - 1);
        self.signs.copy_within(last * words.., at * words);
        self.signs.truncate(last * words);
        self.numbers.copy_within(last * dimensions.., at * dimensions);
        self.numbers.truncate(last * dimensions);
        self.scales.swap_remove(at);
        self.ids.swap_remove(at);
    }

    /// The nearest with at least this cosine, the nearest first; at most four.
    pub fn nearest(&self, vector: &[f32], least: f32) -> Vec<Neighbour<T>> {
        let Some((numbers, scale)) = self.rounded(vector) else { return Vec::new() };
        let (asked, words) = (signs(vector), self.words());
        let most = u32::try_from(self.dimensions * APART.0 / APART.1).unwrap_or(u32::MAX);
        let mut found: Vec<Neighbour<T>> = Vec::new();
        for (at, kept) in self.signs.chunks_exact(words).enumerate() {
            let differ: u32 = kept.iter().zip(&asked).map(|(kept, asked)| (kept ^ asked).count_ones()).sum();
            if differ > most {
                continue;
            }
            let kept = &self.numbers[at * self.dimensions..(at + 1) * self.dimensions];
            let cosine = dot(kept, &numbers) * scale * self.scales[at];
            if cosine >= least {
                let place = found.iter().position(|other| other.cosine < cosine).unwrap_or(found.len());
                found.insert(place, Neighbour { id: self.ids[at], cosine });
                found.truncate(NEIGHBOURS);
            }
        }
        found
    }

    fn words(&self) -> usize {
        self.dimensions.div_ceil(64)
    }

    /// The numbers of 8 bits, and what they are multiplied with for a vector of length 1.
    fn rounded(&self, vector: &[f32]) -> Option<(Vec<i8>, f32)> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        if vector.len() != self.dimensions || !length.is_normal() || !largest.is_finite() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the largest becomes 127")]
        let numbers = vector.iter().map(|x| (x / largest * 127.0).round() as i8).collect();
        Some((numbers, largest / 127.0 / length))
    }
}

fn signs(vector: &[f32]) -> Vec<u64> {
    let bits = |part: &[f32]| part.iter().enumerate().fold(0, |bits, (at, x)| bits | (u64::from(*x > 0.0) << at));
    vector.chunks(64).map(bits).collect()
}

fn dot(a: &[i8], b: &[i8]) -> f32 {
    let sum: i32 = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    #[expect(clippy::cast_precision_loss, reason = "the sum of 16,384 products at most is exact enough")]
    let sum = sum as f32;
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(vector: &[f32]) -> Vec<f32> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
        vector.iter().map(|x| x / length).collect()
    }

    fn near(vector: &[f32], noise: &[f32]) -> Vec<f32> {
        unit(&vector.iter().zip(noise).map(|(x, noise)| x + noise * 0.3).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn the_nearest_is_found_with_its_cosine_whatever_was_inserted_and_removed(
            vectors in prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, 128), 1..24),
            removed in prop::collection::vec(0_usize..24, 0..12),
            noise in prop::collection::vec(-1.0_f32..1.0, 128),
        ) {
            let vectors: Vec<Vec<f32>> = vectors.iter().map(|vector| unit(vector)).collect();
            let mut index = VectorIndex::new(128, 100);
            for (id, vector) in vectors.iter().enumerate() {
                prop_assert!(index.insert(id, vector));
            }
            for id in &removed {
                index.remove(*id);
            }
            for (id, vector) in vectors.iter().enumerate() {
                let query = near(vector, &noise);
                let cosine: f32 = query.iter().zip(vector).map(|(a, b)| a * b).sum();
                let found = index.nearest(&query, 0.8);
                let this = found.iter().find(|one| one.id == id);
                if removed.contains(&id) {
                    prop_assert!(this.is_none());
                } else if cosine > 0.9 {
                    prop_assert!(this.is_some_and(|one| (one.cosine - cosine).abs() < 0.01), "{cosine} {found:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_vector_of_its_kind_is_neither_kept_nor_found() {
        let mut index = VectorIndex::new(4, 2);
        for wrong in [&[1.0, 0.0][..], &[0.0; 4], &[f32::NAN, 1.0, 0.0, 0.0], &[f32::INFINITY, 0.0, 0.0, 0.0]] {
            assert!(!index.insert(1, wrong) && index.nearest(wrong, -1.0).is_empty(), "{wrong:?}");
        }
        assert!(index.insert(1, &[1.0, 0.0, 0.0, 0.0]) && index.insert(2, &[0.0, 1.0, 0.0, 0.0]));
        assert!(!index.insert(3, &[0.0, 0.0, 1.0, 0.0]), "there is no room");
        assert_eq!((index.len(), index.remove(1), index.remove(1), index.len()), (2, true, false, 1));
        assert!(index.insert(2, &[0.0, 0.0, 0.0, 1.0]) && index.len() == 1, "it takes the place of its own");
        assert!(index.nearest(&[0.0, 1.0, 0.0, 0.0], 0.5).is_empty());
    }
}
