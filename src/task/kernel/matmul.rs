//! Dense matrix multiplication, modulo 2^32.

use super::Rounds;
use crate::task::mix::{GOLDEN, SplitMix, digest};

/// Rows and columns. Three matrices take 27 kB and stay in a first-level cache.
const N: usize = 48;

/// A square matrix, row after row.
type Matrix = [u32; N * N];

/// One round is C = A·B; then A becomes C, disturbed by C's checksum.
pub(crate) struct Matmul {
    a: Matrix,
    b: Matrix,
    c: Matrix,
}

impl Rounds for Matmul {
    fn new(seed: u64) -> Self {
        let mut numbers = SplitMix::new(seed);
        let mut matrix = || std::array::from_fn(|_| numbers.next() as u32);
        Self {
            a: matrix(),
            b: matrix(),
            c: [0; N * N],
        }
    }

    fn round(&mut self) -> u64 {
        multiply(&self.a, &self.b, &mut self.c);
        let pairs = self.c.chunks_exact(2);
        let checksum = digest(pairs.map(|pair| u64::from(pair[0]) << 32 | u64::from(pair[1])));
        // Repeated products of one matrix tend to zero modulo 2^32; the disturbance keeps all bits alive.
        let mut disturbance = checksum;
        for (next, product) in self.a.iter_mut().zip(&self.c) {
            disturbance = disturbance.wrapping_add(GOLDEN);
            *next = product ^ (disturbance >> 32) as u32;
        }
        checksum
    }
}

/// `c = a·b` modulo 2^32.
fn multiply(a: &Matrix, b: &Matrix, c: &mut Matrix) {
    c.fill(0);
    for (c_row, a_row) in c.chunks_exact_mut(N).zip(a.chunks_exact(N)) {
        // Whole rows of B are added, so that the innermost loop runs along memory and vectorises.
        for (&factor, b_row) in a_row.iter().zip(b.chunks_exact(N)) {
            for (sum, &value) in c_row.iter_mut().zip(b_row) {
                *sum = sum.wrapping_add(factor.wrapping_mul(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row times column, straight from the definition.
    fn naive(a: &Matrix, b: &Matrix) -> Matrix {
        let entry = |i: usize, j: usize| {
            (0..N).fold(0u32, |sum, k| {
                sum.wrapping_add(a[i * N + k].wrapping_mul(b[k * N + j]))
            })
        };
        std::array::from_fn(|at| entry(at / N, at % N))
    }

    #[test]
    fn agrees_with_the_definition() {
        let mut kernel = Matmul::new(3);
        for _ in 0..3 {
            let expected = naive(&kernel.a, &kernel.b);
            kernel.round();
            assert_eq!(kernel.c, expected);
        }
    }

    #[test]
    fn the_identity_changes_nothing() {
        let a = Matmul::new(4).a;
        let identity: Matrix = std::array::from_fn(|at| u32::from(at / N == at % N));
        let mut c = [1; N * N];
        multiply(&a, &identity, &mut c);
        assert_eq!(c, a);
    }

    #[test]
    fn a_long_chain_does_not_die_out() {
        let mut kernel = Matmul::new(5);
        for _ in 0..50 {
            kernel.round();
        }
        assert!(kernel.a.iter().filter(|&&x| x == 0).count() < 3);
    }
}
