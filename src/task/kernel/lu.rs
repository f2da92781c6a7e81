//! Linear equations: LU decomposition with partial pivoting (Doolittle; Golub and Van Loan, "Matrix Computations",
//! 3.4), then forward and back substitution.

use super::Rounds;
use super::numbers::{digest_of, signed_unit};
use crate::task::mix::SplitMix;

/// Equations and unknowns. The matrix takes 25 kB and stays in a first-level cache.
const N: usize = 56;

/// A square matrix, row after row.
type Matrix<const M: usize> = [[f64; M]; M];

/// One round solves a system; the checksum of its solution makes the next system.
pub(crate) struct Lu {
    a: Box<Matrix<N>>,
    b: [f64; N],
}

impl Rounds for Lu {
    fn new(seed: u64) -> Self {
        let mut kernel = Self {
            a: Box::new([[0.0; N]; N]),
            b: [0.0; N],
        };
        kernel.renew(seed);
        kernel
    }

    fn round(&mut self) -> u64 {
        // A random matrix is singular with a probability of next to nothing; its checksum is that of zeros.
        let x = solve(&mut self.a, self.b).unwrap_or([0.0; N]);
        let checksum = digest_of(&x);
        self.renew(checksum);
        checksum
    }
}

impl Lu {
    /// Coefficients and right-hand side uniform on [-1, 1).
    fn renew(&mut self, seed: u64) {
        let mut numbers = SplitMix::new(seed);
        let entries = self.a.iter_mut().flatten().chain(&mut self.b);
        entries.for_each(|entry| *entry = signed_unit(numbers.next()));
    }
}

/// Solves `a x = b`, leaving L (below the diagonal, which is one) and U in `a`. `None` for a singular matrix.
fn solve<const M: usize>(a: &mut Matrix<M>, mut b: [f64; M]) -> Option<[f64; M]> {
    for k in 0..M {
        let pivot = (k..M).reduce(|best, row| {
            if a[row][k].abs() > a[best][k].abs() {
                row
            } else {
                best
            }
        })?;
        a.swap(k, pivot);
        b.swap(k, pivot);
        if a[k][k] == 0.0 {
            return None;
        }
        let (above, below) = a.split_at_mut(k + 1);
        let pivot_row = &above[k];
        for (row, at) in below.iter_mut().zip(k + 1..) {
            let factor = row[k] / pivot_row[k];
            row[k] = factor;
            for (entry, &above) in row[k + 1..].iter_mut().zip(&pivot_row[k + 1..]) {
                *entry -= factor * above;
            }
            b[at] -= factor * b[k];
        }
    }
    for k in (0..M).rev() {
        let known: f64 = a[k][k + 1..]
            .iter()
            .zip(&b[k + 1..])
            .fold(0.0, |sum, (u, x)| sum + u * x);
        b[k] = (b[k] - known) / a[k][k];
    }
    Some(b)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_solution_solves_the_system() {
        let mut kernel = Lu::new(1);
        for _ in 0..3 {
            let x = solve(&mut kernel.a.clone(), kernel.b).unwrap();
            for (row, b) in kernel.a.iter().zip(kernel.b) {
                let left: f64 = row.iter().zip(x).map(|(a, x)| a * x).sum();
                assert!((left - b).abs() < 1e-9, "{left} for {b}");
            }
            kernel.round();
        }
    }

    #[test]
    fn a_textbook_system_has_its_textbook_solution() {
        // 2x + y - z = 8, -3x - y + 2z = -11, -2x + y + 2z = -3.
        let mut a = [[2.0, 1.0, -1.0], [-3.0, -1.0, 2.0], [-2.0, 1.0, 2.0]];
        let x = solve(&mut a, [8.0, -11.0, -3.0]).unwrap();
        for (found, expected) in x.iter().zip([2.0, 3.0, -1.0]) {
            assert!((found - expected).abs() < 1e-14, "{x:?}");
        }
    }

    #[test]
    fn rows_are_exchanged_where_the_pivot_is_zero_and_nothing_is_divided_by_it() {
        assert_eq!(solve(&mut [[0.0, 1.0], [1.0, 0.0]], [3.0, 4.0]), Some([4.0, 3.0]));
        assert_eq!(solve(&mut [[1.0, 2.0], [2.0, 4.0]], [1.0, 2.0]), None);
    }

    /// The factors multiplied give the matrix again, up to the exchanged rows.
    #[test]
    fn lower_times_upper_is_the_matrix() {
        let a = [[4.0, 3.0, 2.0], [2.0, 4.0, 1.0], [1.0, 2.0, 3.0]];
        let mut lu = a;
        solve(&mut lu, [0.0; 3]).unwrap();
        // Column pivots are on the diagonal already, so no row moves.
        for (i, row) in a.iter().enumerate() {
            for (j, entry) in row.iter().enumerate() {
                let product: f64 = (0..=i.min(j))
                    .map(|k| if k == i { 1.0 } else { lu[i][k] } * lu[k][j])
                    .sum();
                assert!((product - entry).abs() < 1e-14, "{i}, {j}");
            }
        }
    }
}
