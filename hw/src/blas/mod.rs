//! Matrix multiplication at the speed of the hardware: what a board is calibrated with.
//!
//! [`builtin`] is always there; [`openblas`] is looked up when asked for. [`mod@bench`] times either of them.

pub mod bench;
pub mod builtin;
pub mod openblas;

use crate::error::{Error, Result};

/// An engine for products of square matrices.
///
/// All matrices are `n` by `n`, row-major, and exactly `n * n` long; any other length is an error. The product
/// overwrites `c`. `threads` is how many may work on it, at least 1.
pub trait Gemm: Send + Sync {
    /// The engine and its version, such as `OpenBLAS 0.3.21 (Zen)`.
    fn name(&self) -> String;

    /// `c = a b` in single precision.
    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) -> Result<()>;

    /// `c = a b` in double precision.
    fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], threads: usize) -> Result<()>;
}

/// The CPUs this process may use: what "all threads" means.
pub fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Compares small products of the engine with the definition, on one thread and on all.
///
/// Fails with [`Error::Unsupported`] if one is wrong: its timings would mean nothing.
pub fn verify(gemm: &dyn Gemm) -> Result<()> {
    for threads in [1, all_threads()] {
        // One size below any blocking, and one that is a multiple of no block but enough for several threads.
        for n in [7, 131] {
            let (a, b) = (test_matrix(n, 1), test_matrix(n, 2));
            let expected = naive(n, &a, &b);
            let mut c = vec![f64::NAN; n * n];
            gemm.dgemm(n, &a, &b, &mut c, threads)?;
            check(gemm, "DGEMM", n, &expected, &c, f64::EPSILON)?;

            let [a, b] = [a, b].map(|matrix| matrix.iter().map(|&x| x as f32).collect::<Vec<_>>());
            let mut c = vec![f32::NAN; n * n];
            gemm.sgemm(n, &a, &b, &mut c, threads)?;
            let c: Vec<_> = c.into_iter().map(f64::from).collect();
            check(gemm, "SGEMM", n, &expected, &c, f64::from(f32::EPSILON))?;
        }
    }
    Ok(())
}

/// The usual bound: `n` roundings of terms that are at most 1.
fn check(gemm: &dyn Gemm, what: &str, n: usize, expected: &[f64], found: &[f64], epsilon: f64) -> Result<()> {
    let tolerance = n as f64 * epsilon;
    // Written so that NaN is an error.
    let right = expected
        .iter()
        .zip(found)
        .all(|(x, y)| (x - y).abs() <= tolerance);
    if right {
        return Ok(());
    }
    Err(Error::unsupported(
        format!("{} of {}", what, gemm.name()),
        format!("a product of {n} x {n} matrices is wrong; use another engine or reinstall the library"),
    ))
}

/// Row times column.
fn naive(n: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
    let entry = |i: usize, j: usize| (0..n).map(|k| a[i * n + k] * b[k * n + j]).sum();
    (0..n * n).map(|at| entry(at / n, at % n)).collect()
}

/// Well-mixed multiples of 1/256 within -1..1, exact in both precisions, asymmetric, different for each `seed`.
fn test_matrix(n: usize, seed: u64) -> Vec<f64> {
    let number = |at: usize| (at as u64 + 1).wrapping_mul(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) >> 55;
    (0..n * n).map(|at| number(at) as f64 / 256.0 - 1.0).collect()
}

/// Engines hand raw pointers on, so lengths are checked here.
fn check_lengths(n: usize, lengths: [usize; 3]) -> Result<()> {
    if n.checked_mul(n).is_some_and(|square| lengths == [square; 3]) {
        return Ok(());
    }
    Err(Error::unsupported(
        format!("a product of {n} x {n} matrices"),
        format!("the matrices given have {lengths:?} elements"),
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Right, or wrong in a chosen way.
    struct Fake {
        wrong: fn(&mut f64),
    }

    impl Gemm for Fake {
        fn name(&self) -> String {
            "fake".to_owned()
        }

        fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) -> Result<()> {
            let [a, b] = [a, b].map(|matrix| matrix.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
            let mut wide = vec![0.0; n * n];
            self.dgemm(n, &a, &b, &mut wide, threads)?;
            c.iter_mut().zip(wide).for_each(|(c, x)| *c = x as f32);
            Ok(())
        }

        fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], _threads: usize) -> Result<()> {
            check_lengths(n, [a.len(), b.len(), c.len()])?;
            c.copy_from_slice(&naive(n, a, b));
            (self.wrong)(&mut c[n * n - 1]);
            Ok(())
        }
    }

    #[test]
    fn only_a_right_engine_passes() {
        verify(&Fake { wrong: |_| () }).unwrap();
        let wrongs: [fn(&mut f64); 3] = [|x| *x += 1e-3, |x| *x = f64::NAN, |x| *x = 0.0];
        for wrong in wrongs {
            let message = verify(&Fake { wrong }).unwrap_err().to_string();
            assert!(
                message.contains("GEMM of fake") && message.contains("wrong"),
                "{message}"
            );
        }
    }

    #[test]
    fn lengths_must_fit() {
        assert!(check_lengths(3, [9, 9, 9]).is_ok());
        assert!(check_lengths(3, [9, 8, 9]).is_err());
        assert!(check_lengths(usize::MAX, [1, 1, 1]).is_err());
    }

    #[test]
    fn test_matrices_tell_rows_from_columns() {
        let a = test_matrix(7, 1);
        assert!(a.iter().all(|x| (-1.0..1.0).contains(x)));
        assert_ne!(a[1], a[7]);
        assert_ne!(a, test_matrix(7, 2));
    }
}
