//! Inverses of 3x3 matrices by adjugate and determinant (Cramer's rule), as in attitude estimation and graphics.

use super::Rounds;
use super::numbers::digest_of;
use crate::task::mix::{SplitMix, digest};

/// Matrices inverted in one round.
const MATRICES: usize = 1024;

type Matrix = [[f64; 3]; 3];

/// One round inverts the matrices made from a seed; the checksum of the inverses is the next seed.
pub(crate) struct Inverse3 {
    seed: u64,
}

impl Rounds for Inverse3 {
    fn new(seed: u64) -> Self {
        Self { seed }
    }

    fn round(&mut self) -> u64 {
        let inverses = matrices(self.seed).map(|matrix| inverse(&matrix));
        self.seed = digest(inverses.map(|inverse| digest_of(inverse.as_flattened())));
        self.seed
    }
}

/// Whole numbers from -64 to 63, and 256 more on the diagonal: it dominates, so no matrix is singular.
fn matrices(seed: u64) -> impl Iterator<Item = Matrix> {
    let mut numbers = SplitMix::new(seed);
    let entry = |bits: u64, at: usize| {
        let diagonal = if at.is_multiple_of(4) { 256 } else { 0 };
        f64::from((bits >> (7 * at) & 127) as i32 - 64 + diagonal)
    };
    let matrices = std::iter::repeat_with(move || {
        let bits = numbers.next();
        std::array::from_fn(|i| std::array::from_fn(|j| entry(bits, 3 * i + j)))
    });
    matrices.take(MATRICES)
}

/// The adjugate divided by the determinant, which must not be zero.
fn inverse(matrix: &Matrix) -> Matrix {
    let [[a, b, c], [d, e, f], [g, h, i]] = *matrix;
    let adjugate = [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ];
    let determinant = a * adjugate[0][0] + b * adjugate[1][0] + c * adjugate[2][0];
    adjugate.map(|row| row.map(|entry| entry / determinant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(matrix: &Matrix) -> Matrix {
        std::array::from_fn(|j| matrix.map(|row| row[j]))
    }

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        for matrix in matrices(1) {
            let inverse = inverse(&matrix);
            for (i, row) in matrix.iter().enumerate() {
                for (j, column) in columns(&inverse).iter().enumerate() {
                    let product: f64 = row.iter().zip(column).map(|(a, b)| a * b).sum();
                    let one = if i == j { 1.0 } else { 0.0 };
                    assert!((product - one).abs() < 1e-13, "{matrix:?}");
                }
            }
        }
    }

    #[test]
    fn the_second_difference_has_its_textbook_inverse() {
        let found = inverse(&[[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]]);
        assert_eq!(found, [[0.75, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.75]]);
    }
}
