//! Numbers in bulk: products of matrices, layer norms, softmax, GELU, in the widest instructions that the CPU has. Knows
//! nothing of what they mean.

use pulp::{Arch, Simd, WithSimd};

/// Columns of a matrix that lie together: two of the widest registers.
const PANEL: usize = 32;

/// Rows that are multiplied at once: so many sums fit into 16 registers.
const ROWS: usize = 6;

/// A linear layer: weights in the order in which they are read, and what is added.
pub(crate) struct Linear {
    /// For each panel of columns, for each input, a number per column.
    panels: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

impl Linear {
    /// A layer of weights that lie output by output.
    pub(crate) fn new(weights: &[f32], bias: Vec<f32>) -> Self {
        let outputs = bias.len();
        let inputs = weights.len() / outputs;
        assert_eq!(outputs % PANEL, 0, "layers have whole panels");
        let mut panels = Vec::with_capacity(weights.len());
        for panel in weights.chunks_exact(inputs * PANEL) {
            for input in 0..inputs {
                panels.extend(panel.iter().skip(input).step_by(inputs));
            }
        }
        Self { panels, bias, inputs }
    }

    /// The layer's outputs for each row of inputs.
    pub(crate) fn apply(&self, arch: Arch, rows: &[f32]) -> Vec<f32> {
        let count = rows.len() / self.inputs;
        let mut result = vec![0.0; count * self.bias.len()];
        let tiles = rows.chunks(self.inputs * ROWS).map(|tile| transposed(tile, self.inputs)).collect::<Vec<_>>();
        arch.dispatch(Product { layer: self, tiles: &tiles, result: &mut result });
        result
    }
}

/// Up to [`ROWS`] rows side by side: for each input, its number of each row.
fn transposed(tile: &[f32], inputs: usize) -> Vec<f32> {
    let mut columns = Vec::with_capacity(tile.len());
    for input in 0..inputs {
        columns.extend(tile.iter().skip(input).step_by(inputs));
    }
    columns
}

struct Product<'a> {
    layer: &'a Linear,
    tiles: &'a [Vec<f32>],
    result: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    // Panels outside, rows inside: a panel stays in the nearest cache while all rows pass it.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Linear { panels, bias, inputs } = self.layer;
        let outputs = bias.len();
        for (at, (panel, bias)) in panels.chunks_exact(inputs * PANEL).zip(bias.chunks_exact(PANEL)).enumerate() {
            for (tile, result) in self.tiles.iter().zip(self.result.chunks_mut(outputs * ROWS)) {
                let place = Place { outputs, column: at * PANEL };
                match tile.len() / inputs {
                    6 => multiply::<S, 6>(simd, (panel, bias), tile, (result, place)),
                    5 => multiply::<S, 5>(simd, (panel, bias), tile, (result, place)),
                    4 => multiply::<S, 4>(simd, (panel, bias), tile, (result, place)),
                    3 => multiply::<S, 3>(simd, (panel, bias), tile, (result, place)),
                    2 => multiply::<S, 2>(simd, (panel, bias), tile, (result, place)),
                    _ => multiply::<S, 1>(simd, (panel, bias), tile, (result, place)),
                }
            }
        }
    }
}

/// Where in the result a panel's columns stand.
#[derive(Clone, Copy)]
struct Place {
    outputs: usize,
    column: usize,
}

#[inline(always)]
fn multiply<S: Simd, const N: usize>(
    simd: S,
    (panel, bias): (&[f32], &[f32]),
    tile: &[f32],
    (result, place): (&mut [f32], Place),
) {
    let vectors = PANEL / S::F32_LANES;
    let (panel, _) = S::as_simd_f32s(panel);
    let (bias, _) = S::as_simd_f32s(bias);
    let (tile, _) = tile.as_chunks::<N>();
    for pair in 0..vectors / 2 {
        let (left, right) = (pair * 2, pair * 2 + 1);
        let mut sums = [[bias[left], bias[right]]; N];
        for (weights, inputs) in panel.chunks_exact(vectors).zip(tile) {
            let (first, second) = (weights[left], weights[right]);
            for (sum, input) in sums.iter_mut().zip(inputs) {
                let input = simd.splat_f32s(*input);
                sum[0] = simd.mul_add_e_f32s(input, first, sum[0]);
                sum[1] = simd.mul_add_e_f32s(input, second, sum[1]);
            }
        }
        for (row, sum) in result.chunks_exact_mut(place.outputs).zip(sums) {
            let (row, _) = S::as_mut_simd_f32s(&mut row[place.column..place.column + PANEL]);
            row[left] = sum[0];
            row[right] = sum[1];
        }
    }
}

/// The scale and shift of a layer norm.
pub(crate) struct Norm {
    /// What each number is multiplied with.
    pub scale: Vec<f32>,
    /// What is added to each then.
    pub shift: Vec<f32>,
}

impl Norm {
    /// BERT's `layer_norm_eps`.
    const LEAST: f32 = 1e-12;

    /// Normalises each row in place.
    pub(crate) fn apply(&self, arch: Arch, rows: &mut [f32]) {
        arch.dispatch(
            #[inline(always)]
            || {
                for row in rows.chunks_exact_mut(self.scale.len()) {
                    self.apply_to_row(row);
                }
            },
        );
    }

    #[inline(always)]
    fn apply_to_row(&self, row: &mut [f32]) {
        let part = 1.0 / number(row.len());
        let mean = sum(row, |value| value) * part;
        let variance = sum(row, |value| (value - mean) * (value - mean)) * part;
        let factor = 1.0 / (variance + Self::LEAST).sqrt();
        for ((value, scale), shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
            *value = (*value - mean) * factor * scale + shift;
        }
    }
}

/// The sum of what is made of each number, in sixteen sums side by side.
#[inline(always)]
pub(crate) fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += of(*value);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| of(*value)).sum::<f32>()
}

/// GELU of each number in place, in the exact form, with erf.
pub(crate) fn gelu(arch: Arch, values: &mut [f32]) {
    arch.dispatch(
        #[inline(always)]
        || {
            for value in values {
                *value = 0.5 * *value * (1.0 + erf(*value * std::f32::consts::FRAC_1_SQRT_2));
            }
        },
    );
}

/// The error function to 7 digits: the rational approximation of Eigen (`generic_fast_erf_float`)..
#[inline(always)]
fn erf(x: f32) -> f32 {
    const ABOVE: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BELOW: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let horner = |sum: f32, coefficient: &f32| sum.mul_add(square, *coefficient);
    x * ABOVE.iter().fold(0.0, horner) / BELOW.iter().fold(0.0, horner)
}

/// Makes the numbers positive with the sum 1.
#[inline(always)]
pub(crate) fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = exp(*value - largest));
    let factor = 1.0 / sum(values, |value| value);
    values.iter_mut().for_each(|value| *value *= factor);
}

/// e to the power of a number that is not positive, to 7 digits: 2^n by its exponent bits, the rest by Taylor's series.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: what is added to it is rounded to a whole number
    let x = x.max(-87.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = whole.mul_add(2.121_944_4e-4, x - whole * 0.693_359_4); // ln 2 in two parts, the first exact
    let mut sum: f32 = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum.mul_add(rest, coefficient);
    }
    sum * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

/// A count as a number; counts here are far below 2^16.
pub(crate) fn number(count: usize) -> f32 {
    f32::from(u16::try_from(count).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_multiplies_as_the_definition_says_whatever_the_number_of_rows() {
        let (inputs, outputs) = (40, 64);
        let value = |at: usize| (number(at * 37 % 101) - 50.0) / 50.0;
        let weights: Vec<f32> = (0..inputs * outputs).map(value).collect();
        let bias: Vec<f32> = (0..outputs).map(value).collect();
        let layer = Linear::new(&weights, bias.clone());
        for rows in [1, 2, 3, 4, 5, 6, 7, 12, 17] {
            let given: Vec<f32> = (0..rows * inputs).map(|at| value(at * 3 + 1)).collect();
            let mut expected = Vec::new();
            for row in given.chunks(inputs) {
                for (weights, bias) in weights.chunks(inputs).zip(&bias) {
                    expected.push(bias + row.iter().zip(weights).map(|(a, b)| a * b).sum::<f32>());
                }
            }
            for arch in [Arch::new(), Arch::Scalar] {
                let got = layer.apply(arch, &given);
                let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(got.len() == expected.len() && off < 1e-4, "{rows} rows: {off}");
            }
        }
    }

    #[test]
    fn exp_and_erf_are_right_to_six_digits() {
        for (x, e) in [(0.0, 1.0), (-1.0, 0.367_879_44), (-0.3, 0.740_818_2), (-20.0, 2.061_153_6e-9), (-200.0, 0.0)] {
            assert!((exp(x) - e).abs() <= 1e-6 * e + 1e-37, "exp {x}: {}", exp(x));
        }
        // Table 7.1 of Abramowitz and Stegun.
        for (x, e) in [(0.0, 0.0), (0.1, 0.112_462_92), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3)] {
            assert!((erf(x) - e).abs() < 1e-6 && (erf(-x) + e).abs() < 1e-6, "erf {x}: {}", erf(x));
        }
        assert!((erf(9.0) - 1.0).abs() < 1e-6);
    }
}
