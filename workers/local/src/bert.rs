//! BERT with six layers, and the mean of its last layer as the text's vector. Knows the model; knows nothing of words.

use crate::kernel::{Linear, Norm, gelu, number, softmax, sum};
use crate::tokenizer::MAX_TOKENS;
use crate::weights::Weights;
use pulp::{Arch, NullaryFnOnce};

/// Numbers per token.
pub(crate) const HIDDEN: usize = 384;

const HEADS: usize = 12;

/// Numbers per token and head.
const HEAD: usize = HIDDEN / HEADS;

const LAYERS: usize = 6;

/// Numbers per token between the two halves of a layer.
const WIDE: usize = 1536;

/// Places for which the model has weights; it was trained with [`MAX_TOKENS`].
const PLACES: usize = 512;

/// The model's weights, packed for this CPU.
pub(crate) struct Bert {
    arch: Arch,
    words: Vec<i16>,
    /// What a word's numbers are multiplied with: 16 bits each and a scale keep five digits in half the memory.
    scales: Vec<f32>,
    /// Of each place, with that of the first sentence added.
    places: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    /// Query, key and value of each token in one product.
    attention: Linear,
    attended: Linear,
    attention_norm: Norm,
    widen: Linear,
    narrow: Linear,
    norm: Norm,
}

impl Bert {
    /// Packs the weights.
    ///
    /// # Errors
    /// When some are missing or of another shape.
    pub(crate) fn load(weights: &Weights<'_>) -> Result<Self, String> {
        let table = "embeddings.word_embeddings.weight";
        let (words, scales) = packed(&weights.of(table, &[weights.rows(table)?, HIDDEN])?);
        let kind = weights.of("embeddings.token_type_embeddings.weight", &[2, HIDDEN])?;
        let mut places = weights.of("embeddings.position_embeddings.weight", &[PLACES, HIDDEN])?;
        places.truncate(MAX_TOKENS * HIDDEN);
        for place in places.chunks_exact_mut(HIDDEN) {
            place.iter_mut().zip(&kind).for_each(|(value, kind)| *value += kind);
        }
        let norm = norm(weights, "embeddings.LayerNorm")?;
        let layers = (0..LAYERS).map(|at| Layer::load(weights, at)).collect::<Result<_, _>>()?;
        Ok(Self { arch: Arch::new(), words, scales, places, norm, layers })
    }

    /// How many words it knows.
    pub(crate) fn words(&self) -> usize {
        self.scales.len()
    }

    /// The vector of a text, of length 1. `ids` are at most [`MAX_TOKENS`], each below [`Bert::words`].
    pub(crate) fn embed(&self, ids: &[u32]) -> Vec<f32> {
        let mut rows = Vec::with_capacity(ids.len() * HIDDEN);
        for (id, place) in ids.iter().zip(self.places.chunks_exact(HIDDEN)) {
            let at = usize::try_from(*id).expect("an id fits");
            let word = &self.words[at * HIDDEN..(at + 1) * HIDDEN];
            rows.extend(word.iter().zip(place).map(|(word, place)| f32::from(*word) * self.scales[at] + place));
        }
        self.norm.apply(self.arch, &mut rows);
        for layer in &self.layers {
            rows = layer.apply(self.arch, &rows);
        }
        let mut vector = vec![0.0; HIDDEN];
        for row in rows.chunks_exact(HIDDEN) {
            vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let length = sum(&vector, |value| value * value).sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    }
}

impl Layer {
    fn load(weights: &Weights<'_>, at: usize) -> Result<Self, String> {
        let layer = format!("encoder.layer.{at}");
        let linear = |name: &str, inputs: usize, outputs: usize| -> Result<(Vec<f32>, Vec<f32>), String> {
            let weight = weights.of(&format!("{layer}.{name}.weight"), &[outputs, inputs])?;
            Ok((weight, weights.of(&format!("{layer}.{name}.bias"), &[outputs])?))
        };
        let (mut attention, mut bias) = (Vec::new(), Vec::new());
        for part in ["query", "key", "value"] {
            let (weight, offset) = linear(&format!("attention.self.{part}"), HIDDEN, HIDDEN)?;
            attention.extend(weight);
            bias.extend(offset);
        }
        let packed = |(weight, bias): (Vec<f32>, Vec<f32>)| Linear::new(&weight, bias);
        Ok(Self {
            attention: Linear::new(&attention, bias),
            attended: packed(linear("attention.output.dense", HIDDEN, HIDDEN)?),
            attention_norm: norm(weights, &format!("{layer}.attention.output.LayerNorm"))?,
            widen: packed(linear("intermediate.dense", HIDDEN, WIDE)?),
            narrow: packed(linear("output.dense", WIDE, HIDDEN)?),
            norm: norm(weights, &format!("{layer}.output.LayerNorm"))?,
        })
    }

    fn apply(&self, arch: Arch, rows: &[f32]) -> Vec<f32> {
        let attended = attend(arch, &self.attention.apply(arch, rows));
        let mut attended = self.attended.apply(arch, &attended);
        add(&mut attended, rows);
        self.attention_norm.apply(arch, &mut attended);
        let mut wide = self.widen.apply(arch, &attended);
        gelu(arch, &mut wide);
        let mut result = self.narrow.apply(arch, &wide);
        add(&mut result, &attended);
        self.norm.apply(arch, &mut result);
        result
    }
}

fn add(values: &mut [f32], others: &[f32]) {
    values.iter_mut().zip(others).for_each(|(value, other)| *value += other);
}

/// Each token's values of all tokens, weighed by how well its query fits their keys.
fn attend(arch: Arch, rows: &[f32]) -> Vec<f32> {
    let tokens = rows.len() / (3 * HIDDEN);
    let mut result = vec![0.0; tokens * HIDDEN];
    for head in 0..HEADS {
        let [queries, keys, values] = [0, 1, 2].map(|kind| {
            let parts = rows.as_chunks::<HEAD>().0.iter();
            parts.skip(kind * HEADS + head).step_by(3 * HEADS).copied().collect::<Vec<_>>()
        });
        let keys: Vec<f32> = (0..HEAD).flat_map(|at| keys.iter().map(move |key| key[at])).collect();
        let results = result.as_chunks_mut::<HEAD>().0.iter_mut().skip(head).step_by(HEADS);
        arch.dispatch(Attention { queries: &queries, keys: &keys, values: &values, results });
    }
    result
}

/// One head's part of the attention.
struct Attention<'a, R> {
    queries: &'a [[f32; HEAD]],
    /// For each number of a key, that of every token.
    keys: &'a [f32],
    values: &'a [[f32; HEAD]],
    results: R,
}

impl<'a, R: Iterator<Item = &'a mut [f32; HEAD]>> NullaryFnOnce for Attention<'a, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let factor = 1.0 / number(HEAD).sqrt();
        let mut scores = vec![0.0; self.values.len()];
        for (query, result) in self.queries.iter().zip(self.results) {
            scores.fill(0.0);
            for (query, keys) in query.iter().zip(self.keys.chunks_exact(scores.len())) {
                let query = query * factor;
                scores.iter_mut().zip(keys).for_each(|(score, key)| *score = key.mul_add(query, *score));
            }
            softmax(&mut scores);
            let mut sums = [0.0; HEAD];
            for (score, value) in scores.iter().zip(self.values) {
                sums.iter_mut().zip(value).for_each(|(sum, value)| *sum = value.mul_add(*score, *sum));
            }
            *result = sums;
        }
    }
}

/// The table's rows as 16-bit numbers, and the scale of each.
fn packed(table: &[f32]) -> (Vec<i16>, Vec<f32>) {
    let mut words = Vec::with_capacity(table.len());
    let mut scales = Vec::with_capacity(table.len() / HIDDEN);
    for row in table.chunks_exact(HIDDEN) {
        let largest = row.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        let scale = largest / f32::from(i16::MAX);
        scales.push(scale);
        #[expect(clippy::cast_possible_truncation, reason = "the largest number of the row becomes i16::MAX")]
        words.extend(row.iter().map(|value| (value / scale).round() as i16));
    }
    (words, scales)
}

fn norm(weights: &Weights<'_>, name: &str) -> Result<Norm, String> {
    let part = |kind: &str| weights.of(&format!("{name}.{kind}"), &[HIDDEN]);
    Ok(Norm { scale: part("weight")?, shift: part("bias")? })
}
