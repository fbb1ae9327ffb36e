//! Vectors that are kept, and which of them are near another: signs first, then 8-bit numbers. Exact but for that rounding.
//! Knows nothing of what they stand for but an id.
//!
//! A cache only wants neighbours above a cosine of about 0.8, and for these the signs decide almost everything: of 6,718
//! pairs of questions with such a cosine none had more than 96 of 384 signs different, and one in 5,000 of other pairs has
//! fewer than 100. So 48 bytes of each are looked at, and 384 of very few.

/// The part of the signs that may differ between neighbours: 100 of 384.
const APART: (usize, usize) = (100, 384);

/// The most neighbours that are given.
const NEIGHBOURS: usize = 4;

/// Vectors that lie together. What grows is never more than this, 1.8 MB: moving all would take a second.
const SEGMENT: usize = 4096;

/// One that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour<T> {
    /// Which.
    pub id: T,
    /// The cosine, to two thousandths.
    pub cosine: f32,
}

/// Where a vector lies, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorPlace(usize);

/// Vectors of one length, each with an id, at most a fixed number of them.
#[derive(Clone, Debug)]
pub struct VectorIndex<T> {
    dimensions: usize,
    most: usize,
    segments: Vec<Segment<T>>,
    /// Places whose vectors were taken out.
    free: Vec<usize>,
    length: usize,
}

#[derive(Clone, Debug)]
struct Segment<T> {
    signs: Vec<u64>,
    numbers: Vec<i8>,
    scales: Vec<f32>,
    /// `None`: taken out.
    ids: Vec<Option<T>>,
}

impl<T: Copy> VectorIndex<T> {
    /// An empty one, for vectors of so many numbers, and at most `most` of them.
    pub fn new(dimensions: usize, most: usize) -> Self {
        Self { dimensions, most, segments: Vec::new(), free: Vec::new(), length: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What a vector takes, in bytes.
    pub fn bytes_each(&self) -> usize {
        self.words() * 8 + self.dimensions + 4 + size_of::<Option<T>>() + size_of::<usize>()
    }

    /// Adds a vector; `None` when it has another length, is no direction, or there is no room.
    pub fn insert(&mut self, id: T, vector: &[f32]) -> Option<VectorPlace> {
        let (numbers, scale) = self.rounded(vector)?;
        if self.length >= self.most {
            return None;
        }
        let (signs, words) = (signs(vector), self.words());
        self.length += 1;
        if let Some(at) = self.free.pop() {
            let (segment, at_of) = (&mut self.segments[at / SEGMENT], at % SEGMENT);
            segment.signs[at_of * words..(at_of + 1) * words].copy_from_slice(&signs);
            segment.numbers[at_of * self.dimensions..(at_of + 1) * self.dimensions].copy_from_slice(&numbers);
            (segment.scales[at_of], segment.ids[at_of]) = (scale, Some(id));
            return Some(VectorPlace(at));
        }
        if self.segments.last().is_none_or(|last| last.ids.len() == SEGMENT) {
            self.segments.push(Segment { signs: vec![], numbers: vec![], scales: vec![], ids: vec![] });
        }
        let before = (self.segments.len() - 1) * SEGMENT;
        let last = self.segments.last_mut()?;
        last.signs.extend(signs);
        last.numbers.extend(numbers);
        last.scales.push(scale);
        last.ids.push(Some(id));
        Some(VectorPlace(before + last.ids.len() - 1))
    }

    /// Takes a vector out; whether there was one.
    pub fn remove(&mut self, VectorPlace(at): VectorPlace) -> bool {
        let id = self.segments.get_mut(at / SEGMENT).and_then(|segment| segment.ids.get_mut(at % SEGMENT));
        if id.and_then(Option::take).is_none() {
            return false;
        }
        self.length -= 1;
        self.free.push(at);
        if self.is_empty() {
            (self.segments, self.free) = (Vec::new(), Vec::new());
        }
        true
    }

    /// The nearest with at least this cosine, the nearest first; at most four.
    pub fn nearest(&self, vector: &[f32], least: f32) -> Vec<Neighbour<T>> {
        let Some((numbers, scale)) = self.rounded(vector) else { return Vec::new() };
        let (asked, words) = (signs(vector), self.words());
        let most = u32::try_from(self.dimensions * APART.0 / APART.1).unwrap_or(u32::MAX);
        let mut found: Vec<Neighbour<T>> = Vec::new();
        for segment in &self.segments {
            for (at, kept) in segment.signs.chunks_exact(words).enumerate() {
                let differ: u32 = kept.iter().zip(&asked).map(|(kept, asked)| (kept ^ asked).count_ones()).sum();
                if differ > most {
                    continue;
                }
                let Some(id) = segment.ids[at] else { continue };
                let kept = &segment.numbers[at * self.dimensions..(at + 1) * self.dimensions];
                let cosine = dot(kept, &numbers) * scale * segment.scales[at];
                if cosine >= least {
                    let place = found.iter().position(|other| other.cosine < cosine).unwrap_or(found.len());
                    found.insert(place, Neighbour { id, cosine });
                    found.truncate(NEIGHBOURS);
                }
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
            // Others were there before, whose places are taken again.
            let others: Vec<_> = vectors.iter().take(3).filter_map(|vector| index.insert(usize::MAX, vector)).collect();
            let lasting = index.insert(usize::MAX - 1, &unit(&noise)).unwrap();
            prop_assert!(others.into_iter().all(|place| index.remove(place)));
            let mut places = Vec::new();
            for (id, vector) in vectors.iter().enumerate() {
                places.push(index.insert(id, vector).unwrap());
            }
            prop_assert!(index.remove(lasting));
            for id in removed.iter().filter(|id| **id < places.len()) {
                index.remove(places[*id]);
            }
            for (id, vector) in vectors.iter().enumerate() {
                let query = near(vector, &noise);
                let cosine: f32 = query.iter().zip(vector).map(|(a, b)| a * b).sum();
                let found = index.nearest(&query, 0.8);
                let this = found.iter().find(|one| one.id == id);
                prop_assert!(found.iter().all(|one| one.id < vectors.len()));
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
            assert!(index.insert(1, wrong).is_none() && index.nearest(wrong, -1.0).is_empty(), "{wrong:?}");
        }
        let first = index.insert(1, &[1.0, 0.0, 0.0, 0.0]).unwrap();
        assert!(index.insert(2, &[0.0, 1.0, 0.0, 0.0]).is_some());
        assert_eq!(index.insert(3, &[0.0, 0.0, 1.0, 0.0]), None, "there is no room");
        assert_eq!((index.len(), index.remove(first), index.remove(first), index.len()), (2, true, false, 1));
        assert!(index.nearest(&[1.0, 0.0, 0.0, 0.0], 0.5).is_empty());
    }

    #[test]
    fn more_than_a_segment_is_found_and_the_memory_goes_with_the_last() {
        let direction = |at: usize| vec![1.0, f32::from(u16::try_from(at).unwrap()) / 8192.0];
        let mut index = VectorIndex::new(2, 3 * SEGMENT);
        let places: Vec<_> = (0..2 * SEGMENT + 1).map(|at| index.insert(at, &direction(at)).unwrap()).collect();
        assert!(index.nearest(&direction(2 * SEGMENT), 0.999).len() == NEIGHBOURS);
        for place in places {
            assert!(index.remove(place));
        }
        assert!(index.is_empty() && index.segments.is_empty() && index.free.is_empty());
    }
}
