//! The heads that are shipped: how well a weaker and a stronger model answer, learnt from public data, and read from a file of bytes
//! in the program. The card of the data stands in `deploy/docs/routing.md`. Knows nothing of a deployment's own models.

use super::basis::{AXES, Basis, CENTRES};
use super::words::TEXT_FEATURES;
use super::{WHOLE, WORDS};
use std::sync::LazyLock;

/// The file, as [`ShippedHeads::to_bytes`] writes it.
const FILE: &[u8] = include_bytes!("heads.bin");

/// Numbers of a vector of the built-in model that embeds.
const DIMENSIONS: usize = 384;

/// The heads, each as one by words alone and one with the vector, and the basis of their features.
#[derive(Clone, Debug, PartialEq)]
pub struct ShippedHeads {
    /// How questions become features.
    pub basis: Basis,
    /// A weaker model's.
    pub weak: [Vec<f32>; 2],
    /// A stronger one's.
    pub strong: [Vec<f32>; 2],
    /// How much better the stronger answers, in the mean.
    pub usual_gain: f32,
}

/// The heads of this version.
pub fn shipped() -> &'static ShippedHeads {
    static SHIPPED: LazyLock<ShippedHeads> =
        LazyLock::new(|| ShippedHeads::parse(FILE).expect("the file is well-formed: a test reads it"));
    &SHIPPED
}

impl ShippedHeads {
    /// The head that judges for a target of which nothing was learnt, by words alone and with the vector: at its own level, and as much
    /// nearer to the stronger than the middle of all that are compared, as its quality is above theirs. So what a question changes is
    /// in proportion to what the qualities differ by, whatever scale they have.
    #[expect(clippy::cast_possible_truncation, reason = "weights need no more digits")]
    pub fn without_scores(&self, quality: f64, all: &[f64]) -> [Vec<f32>; 2] {
        let (middle, _) = middle_and_spread(quality, all);
        self.between((quality - middle) as f32 / self.usual_gain.max(0.01), quality)
    }

    /// The head that a target begins to learn with: as it is in the data, because scores say what its level is.
    #[expect(clippy::cast_possible_truncation, reason = "weights need no more digits")]
    pub fn to_learn_from(&self, quality: f64, all: &[f64]) -> [Vec<f32>; 2] {
        let (middle, spread) = middle_and_spread(quality, all);
        self.between(((quality - middle) / spread.max(f64::from(self.usual_gain)).max(0.01)) as f32, quality)
    }

    #[expect(clippy::cast_possible_truncation, reason = "weights need no more digits")]
    fn between(&self, place: f32, quality: f64) -> [Vec<f32>; 2] {
        [0, 1].map(|at| {
            let pairs = self.weak[at].iter().zip(&self.strong[at]);
            let mut weights: Vec<f32> =
                pairs.map(|(weak, strong)| f32::midpoint(*weak, *strong) + place * (strong - weak)).collect();
            weights[0] = quality as f32;
            weights
        })
    }

    /// As a file: vectors in bytes with a scale each, the rest in full.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let full = |numbers: &[f32], out: &mut Vec<u8>| {
            numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
        };
        for (mean, spread) in &self.basis.words {
            full(&[*mean, *spread], &mut out);
        }
        full(&self.basis.middle, &mut out);
        for row in self.basis.axes.iter().chain(&self.basis.centres) {
            let scale = row.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs())) / 127.0;
            full(&[scale], &mut out);
            #[expect(clippy::cast_possible_truncation, reason = "at most 127, by the scale")]
            out.extend(row.iter().flat_map(|x| ((x / scale).round() as i8).to_le_bytes()));
        }
        full(&self.basis.usual, &mut out);
        self.basis.covariance.iter().for_each(|row| full(row, &mut out));
        self.weak.iter().chain(&self.strong).for_each(|weights| full(weights, &mut out));
        full(&[self.usual_gain], &mut out);
        out
    }

    /// Reads what [`ShippedHeads::to_bytes`] wrote; `None` when it is something else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let words = reader.numbers(2 * TEXT_FEATURES)?;
        let words = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let middle = reader.numbers(DIMENSIONS)?;
        let axes = (0..AXES).map(|_| reader.row()).collect::<Option<_>>()?;
        let centres = (0..CENTRES).map(|_| reader.row()).collect::<Option<_>>()?;
        let usual = reader.numbers(CENTRES)?;
        let covariance = (1..WHOLE).map(|length| reader.numbers(length)).collect::<Option<_>>()?;
        let weak = [reader.numbers(WORDS)?, reader.numbers(WHOLE)?];
        let strong = [reader.numbers(WORDS)?, reader.numbers(WHOLE)?];
        let usual_gain = reader.numbers(1)?[0];
        let basis = Basis { words, middle, axes, centres, usual, covariance };
        reader.0.is_empty().then_some(Self { basis, weak, strong, usual_gain })
    }
}

fn middle_and_spread(quality: f64, all: &[f64]) -> (f64, f64) {
    let (least, most) = all.iter().fold((quality, quality), |(least, most), one| (one.min(least), one.max(most)));
    (f64::midpoint(least, most), most - least)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn numbers(&mut self, count: usize) -> Option<Vec<f32>> {
        let bytes = self.take(4 * count)?;
        let numbers: Vec<f32> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
        numbers.iter().all(|number| number.is_finite()).then_some(numbers)
    }

    fn row(&mut self) -> Option<Vec<f32>> {
        let scale = self.numbers(1)?[0];
        let bytes = self.take(DIMENSIONS)?;
        Some(bytes.iter().map(|byte| f32::from(i8::from_le_bytes([*byte])) * scale).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RequestShape, quality};
    use super::*;
    use std::time::Instant;

    fn vector(seed: f32) -> Vec<f32> {
        (0..DIMENSIONS).map(|at| ((f32::from(u16::try_from(at).unwrap()) + 1.0) * seed).sin() / 14.0).collect()
    }

    #[test]
    fn the_file_is_read_and_written_the_same() {
        assert_eq!(ShippedHeads::parse(&shipped().to_bytes()).as_ref(), Some(shipped()));
        assert_eq!(ShippedHeads::parse(&FILE[1..]), None);
        assert!((0.0..0.5).contains(&shipped().usual_gain));
    }

    #[test]
    fn a_target_begins_at_its_own_level_and_harder_questions_part_the_weaker_from_the_stronger() {
        let heads = shipped();
        let easy = "What is the capital of France?";
        let hard = "Let G be a group of order 30 with |H| = 5. If each element except the identity has 3 conjugates, calculate the total \
            number of subgroups that are not normal, and prove that 2x + 3y = 17 has no more than 3 solutions.\nA. 4 (all)\nB. 8\nC. 16\nD. none";
        let gain = |text: &str, at: usize, bases: [f64; 2]| {
            let vector = vector(0.37);
            let vector = (at == 1).then_some(&vector[..]);
            let features = heads.basis.look_at(text, &RequestShape::default(), vector);
            let [weak, strong] = bases.map(|base| quality(&heads.without_scores(base, &bases)[at], &features).unwrap());
            strong - weak
        };
        for at in [0, 1] {
            assert!(gain(hard, at, [0.5, 0.9]) > gain(easy, at, [0.5, 0.9]), "{at}");
            assert_eq!(gain(hard, at, [0.7, 0.7]), 0.0, "equals stay equal");
        }
    }

    #[test]
    fn a_vector_of_another_model_is_not_looked_at() {
        let look = |vector: Option<&[f32]>| shipped().basis.look_at("Hello", &RequestShape::default(), vector).len();
        assert_eq!((look(None), look(Some(&[0.5; 8])), look(Some(&vector(0.2)))), (WORDS, WORDS, WHOLE));
    }

    /// A bound that a machine ten times slower meets: the figure of a quiet one stands in `deploy/docs/routing.md`.
    #[test]
    fn features_and_heads_are_quick() {
        let (text, vector) = ("Which of these is not a prime number, and why? ".repeat(40), vector(0.2));
        let began = Instant::now();
        for _ in 0..100 {
            let features = shipped().basis.look_at(&text, &RequestShape::default(), Some(&vector));
            assert!(quality(&shipped().weak[1], &features).is_some());
        }
        let each = began.elapsed() / 100;
        println!("{each:?} for a question of {} bytes", text.len());
        assert!(each.as_millis() < 10, "{each:?}");
    }
}
