//! Matrix multiplication at the speed of the hardware: what a board is calibrated with.
//!
//! ```text
//! providers() -> Gemm (verified) -> plan::plan -> [Case] -> rows::time -> GemmRow
//! ```
//!
//! - [`builtin`] is always there; [`openblas`], [`blis`] and [`cublas`] are looked up when asked for
//! - [`mod@bench`] times one of them; [`plan`] and [`sizes`] say where it matters; [`rows`] is
//!   what comes out, with power, conditions and theory beside
//!
//! A library is tried in a child process before it is loaded here, so one that crashes, hangs or multiplies wrongly is told
//! and not timed.
//!
//! ```no_run
//! use hwmeter_hw::blas::{plan::{Machine, plan}, providers, rows::{self, Setup}, sizes::Bounds};
//! use hwmeter_hw::{Root, cpu};
//! use std::time::Duration;
//!
//! # fn main() -> hwmeter_hw::Result<()> {
//! let root = Root::default();
//! // Products may take two seconds at 10 GFLOPS.
//! let machine = Machine::read(&root, Bounds::new(cpu::memory(&root)?.available_bytes, 10.0, 2.0));
//! let setup = Setup { root: &root, meter: None, budget: Duration::from_millis(500) };
//! let found = providers();
//! for engine in &found.usable {
//!     let (cases, _notes) = plan(&**engine, &machine);
//!     for case in &cases {
//!         let row = rows::time(&**engine, case, &machine, setup)?;
//!         println!("{} {} n {}: {:.1} GFLOPS", row.engine, row.op, row.n, row.gflops);
//!     }
//! }
//! for missing in &found.missing {
//!     println!("{missing}");
//! }
//! # Ok(())
//! # }
//! ```

pub mod bench;
pub mod blis;
pub mod builtin;
mod cblas;
pub mod cublas;
mod cuda;
mod isolated;
mod library;
pub mod openblas;
pub mod plan;
mod providers;
pub mod rows;
pub mod sizes;
#[cfg(test)]
mod stub;

pub use cblas::Cblas;
pub use providers::{Missing, Providers, providers};

use crate::error::{Error, Result};
use bench::Precision;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::hint::black_box;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The crate `gemm`.
    Builtin,
    /// OpenBLAS.
    OpenBlas,
    /// BLIS.
    Blis,
    /// cuBLAS, on an NVIDIA GPU.
    Cublas,
}

impl Provider {
    /// As in tables and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::OpenBlas => "openblas",
            Self::Blis => "blis",
            Self::Cublas => "cublas",
        }
    }

    /// Whether it multiplies on a GPU, where threads mean nothing.
    pub fn is_gpu(self) -> bool {
        self == Self::Cublas
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Multiplies the same matrices as often as it is told, and says how long that took in all.
pub type Repeat<'a> = Box<dyn FnMut(u32) -> Result<Duration> + 'a>;

/// An engine for products of square matrices.
///
/// All matrices are `n` by `n`, row-major, and exactly `n * n` long; any other length is an error. The product
/// overwrites `c`. `threads` is how many may work on it, at least 1; a GPU does not look at it.
pub trait Gemm: Send + Sync {
    /// Which one it is.
    fn provider(&self) -> Provider;

    /// The engine and its version, such as `OpenBLAS 0.3.21 (Zen)`.
    fn name(&self) -> String;

    /// `c = a b` in single precision.
    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) -> Result<()>;

    /// `c = a b` in double precision.
    fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], threads: usize) -> Result<()>;

    /// The most threads that it can use: 1 for a library built without any.
    fn max_threads(&self) -> usize {
        usize::MAX
    }

    /// Puts single-precision matrices where the engine multiplies them, to be multiplied again and again. An engine with
    /// memory of its own copies them there now, so that the time of a product is without the transfers.
    fn repeat_sgemm<'a>(
        &'a self,
        n: usize,
        a: &'a [f32],
        b: &'a [f32],
        threads: usize,
    ) -> Result<Repeat<'a>> {
        Ok(repeat(n, a, b, move |a, b, c| self.sgemm(n, a, b, c, threads)))
    }

    /// The same in double precision.
    fn repeat_dgemm<'a>(
        &'a self,
        n: usize,
        a: &'a [f64],
        b: &'a [f64],
        threads: usize,
    ) -> Result<Repeat<'a>> {
        Ok(repeat(n, a, b, move |a, b, c| self.dgemm(n, a, b, c, threads)))
    }
}

/// Products of matrices that stay where they are, timed by the clock.
fn repeat<'a, T: Copy + Default + 'a>(
    n: usize,
    a: &'a [T],
    b: &'a [T],
    product: impl Fn(&[T], &[T], &mut [T]) -> Result<()> + 'a,
) -> Repeat<'a> {
    let mut c = vec![T::default(); n.saturating_mul(n).min(a.len())];
    Box::new(move |times| {
        let began = Instant::now();
        for _ in 0..times {
            product(black_box(a), black_box(b), &mut c)?;
            black_box(&mut c);
        }
        Ok(began.elapsed())
    })
}

/// Held by a product of a loaded library, and while this process forks. The number of threads is one setting of a whole
/// library, so products take turns; and a fork in the middle of one would leave the library's threads in between.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The CPUs this process may use: what "all threads" means.
pub fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Compares small products of the engine with the definition, on one thread and on all.
///
/// Fails with [`Error::Unsupported`] if one is wrong: its timings would mean nothing.
pub fn verify(gemm: &dyn Gemm) -> Result<()> {
    for threads in [1, all_threads().min(gemm.max_threads())] {
        // One size below any blocking, and one that is a multiple of no block but enough for several threads.
        for n in [7, 131] {
            let (a, b) = (test_matrix(n, 1), test_matrix(n, 2));
            let expected = naive(n, &a, &b);
            let mut c = vec![f64::NAN; n * n];
            gemm.dgemm(n, &a, &b, &mut c, threads)?;
            check(gemm, Precision::Dgemm, n, &expected, &c, f64::EPSILON)?;

            let [a, b] = [a, b].map(|matrix| matrix.iter().map(|&x| x as f32).collect::<Vec<_>>());
            let mut c = vec![f32::NAN; n * n];
            gemm.sgemm(n, &a, &b, &mut c, threads)?;
            let c: Vec<_> = c.into_iter().map(f64::from).collect();
            check(gemm, Precision::Sgemm, n, &expected, &c, f64::from(f32::EPSILON))?;
        }
    }
    Ok(())
}

/// The usual bound: `n` roundings of terms that are at most 1.
fn check(
    gemm: &dyn Gemm,
    what: Precision,
    n: usize,
    expected: &[f64],
    found: &[f64],
    epsilon: f64,
) -> Result<()> {
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
        format!("{what} of {}", gemm.name()),
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
        fn provider(&self) -> Provider {
            Provider::Builtin
        }

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
