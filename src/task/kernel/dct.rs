//! The two-dimensional discrete cosine transform of 8x8 blocks in fixed point, as in JPEG (ITU-T T.81, A.3.3).

use super::Rounds;
use crate::task::mix::{SplitMix, digest};

/// Rows and columns of a block.
const N: usize = 8;

/// Blocks transformed in one round: an image of 64x64 pixels.
const BLOCKS: usize = 64;

/// Fractional bits of the cosines, and those kept between the two passes.
const FRACTION: u32 = 13;
const KEPT: u32 = 3;

/// `C(u) / 2 cos((2 x + 1) u pi / 16)` for `u` below and `x` beside, times 2^13, with `C(0) = 1 / sqrt 2`; for `x` below
/// 4: the other half mirrors it, with the sign of `(-1)^u`.
const COSINES: [[i32; N / 2]; N] = [
    [2896, 2896, 2896, 2896],
    [4017, 3406, 2276, 799],
    [3784, 1567, -1567, -3784],
    [3406, -799, -4017, -2276],
    [2896, -2896, -2896, 2896],
    [2276, -4017, 799, 3406],
    [1567, -3784, 3784, -1567],
    [799, -2276, 3406, -4017],
];

type Block = [[i32; N]; N];

/// One round transforms the blocks; their coefficients, with noise, are the next pixels.
pub(crate) struct Dct {
    blocks: [Block; BLOCKS],
}

impl Rounds for Dct {
    fn new(seed: u64) -> Self {
        let mut kernel = Self {
            blocks: [[[0; N]; N]; BLOCKS],
        };
        kernel.disturb(seed);
        kernel
    }

    fn round(&mut self) -> u64 {
        for block in &mut self.blocks {
            *block = transform(block);
        }
        let coefficients = self.blocks.as_flattened().as_flattened();
        let checksum = digest(coefficients.iter().map(|&coefficient| coefficient as u64));
        self.disturb(checksum);
        checksum
    }
}

impl Dct {
    /// Pixels are 8 signed bits.
    fn disturb(&mut self, seed: u64) {
        let mut noise = SplitMix::new(seed);
        for pixel in self.blocks.as_flattened_mut().as_flattened_mut() {
            *pixel = i32::from((*pixel as i8).wrapping_add(noise.next() as i8));
        }
    }
}

/// Rows, then columns.
fn transform(block: &Block) -> Block {
    let rows = transposed(&block.map(|row| transform_row(&row, FRACTION - KEPT)));
    transposed(&rows.map(|column| transform_row(&column, FRACTION + KEPT)))
}

/// Eight values: their sums and differences from both ends, four products for each coefficient, and a shift.
fn transform_row(row: &[i32; N], shift: u32) -> [i32; N] {
    let ends: [(i32, i32); N / 2] =
        std::array::from_fn(|x| (row[x] + row[N - 1 - x], row[x] - row[N - 1 - x]));
    std::array::from_fn(|u| {
        let half = 1 << (shift - 1);
        let pick = |&(sum, difference): &(i32, i32)| if u % 2 == 0 { sum } else { difference };
        let products = COSINES[u]
            .iter()
            .zip(&ends)
            .map(|(cosine, end)| cosine * pick(end));
        (products.sum::<i32>() + half) >> shift
    })
}

fn transposed(block: &Block) -> Block {
    std::array::from_fn(|i| std::array::from_fn(|j| block[j][i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    /// The formula of T.81, A.3.3.
    fn naive(block: &Block) -> [[f64; N]; N] {
        let scale = |u: usize| if u == 0 { 0.5f64.sqrt() } else { 1.0 };
        let cosine = |x: usize, u: usize| ((2 * x + 1) as f64 * u as f64 * PI / 16.0).cos();
        let coefficient = |v: usize, u: usize| {
            let mut sum = 0.0;
            for (y, row) in block.iter().enumerate() {
                for (x, &pixel) in row.iter().enumerate() {
                    sum += f64::from(pixel) * cosine(x, u) * cosine(y, v);
                }
            }
            sum * scale(u) * scale(v) / 4.0
        };
        std::array::from_fn(|v| std::array::from_fn(|u| coefficient(v, u)))
    }

    #[test]
    fn agrees_with_the_definition() {
        let mut kernel = Dct::new(1);
        kernel.round();
        let extremes = [[[127; N]; N], [[-128; N]; N]];
        for block in kernel.blocks.iter().chain(&extremes) {
            let (found, expected) = (transform(block), naive(block));
            for (found, expected) in found.as_flattened().iter().zip(expected.as_flattened()) {
                assert!(
                    (f64::from(*found) - expected).abs() < 0.6,
                    "{found} for {expected}"
                );
            }
        }
    }

    #[test]
    fn the_cosines_are_cosines() {
        for (u, row) in COSINES.iter().enumerate() {
            for (x, &cosine) in row.iter().enumerate() {
                let scale = if u == 0 { 0.5f64.sqrt() } else { 1.0 };
                let exact = 4096.0 * scale * ((2 * x + 1) as f64 * u as f64 * PI / 16.0).cos();
                assert_eq!(cosine, exact.round() as i32, "{u}, {x}");
            }
        }
    }

    #[test]
    fn a_flat_block_is_its_mean_alone() {
        let mut expected = [[0; N]; N];
        expected[0][0] = 800;
        assert_eq!(transform(&[[100; N]; N]), expected);
    }
}
