//! Times products of large matrices: GFLOPS of an engine, in the shape of the usual calibration table.

use super::{Gemm, all_threads};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How wide the numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits: SGEMM.
    Sgemm,
    /// 64 bits: DGEMM.
    Dgemm,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sgemm => "SGEMM",
            Self::Dgemm => "DGEMM",
        })
    }
}

/// How fast an engine multiplied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GemmTiming {
    /// The engine, see [`Gemm::name`].
    pub engine: String,
    /// Single or double.
    pub precision: Precision,
    /// Rows and columns of each matrix.
    pub n: usize,
    /// Threads asked for.
    pub threads: usize,
    /// Timed products; the warm-up is not among them.
    pub runs: usize,
    /// 10^9 floating-point operations per second of the fastest product, which counts as 2 n^3 operations.
    pub best_gflops: f64,
    /// The same of the median product.
    pub median_gflops: f64,
    /// The interquartile range of the products' times over their median: 0 is perfectly steady.
    pub spread: f64,
}

/// The four rows of a calibration: SGEMM and DGEMM, each on one thread and on all, `budget` of time for each.
///
/// A machine with one CPU has two rows.
pub fn time_all(gemm: &dyn Gemm, n: usize, budget: Duration) -> Result<Vec<GemmTiming>> {
    let mut rows = Vec::new();
    for precision in [Precision::Sgemm, Precision::Dgemm] {
        rows.push(time(gemm, precision, n, 1, budget)?);
        if all_threads() > 1 {
            rows.push(time(gemm, precision, n, all_threads(), budget)?);
        }
    }
    Ok(rows)
}

/// Times products of `n` by `n` matrices on `threads` threads: a warm-up, then products until `budget` is spent,
/// at least three.
pub fn time(
    gemm: &dyn Gemm,
    precision: Precision,
    n: usize,
    threads: usize,
    budget: Duration,
) -> Result<GemmTiming> {
    if n == 0 || threads == 0 {
        return Err(Error::unsupported(
            format!("timing {precision} with n = {n} on {threads} threads"),
            "both must be at least 1",
        ));
    }
    let seconds = match precision {
        Precision::Sgemm => time_products::<f32>(n, budget, |a, b, c| gemm.sgemm(n, a, b, c, threads))?,
        Precision::Dgemm => time_products::<f64>(n, budget, |a, b, c| gemm.dgemm(n, a, b, c, threads))?,
    };
    let gflops = |seconds: f64| 2.0 * (n as f64).powi(3) / seconds / 1e9;
    let median = quantile(&seconds, 0.5);
    Ok(GemmTiming {
        engine: gemm.name(),
        precision,
        n,
        threads,
        runs: seconds.len(),
        best_gflops: gflops(quantile(&seconds, 0.0)),
        median_gflops: gflops(median),
        spread: (quantile(&seconds, 0.75) - quantile(&seconds, 0.25)) / median,
    })
}

/// Fewer would have no spread.
const MIN_RUNS: usize = 3;

/// The seconds of each product, in rising order.
fn time_products<T: Copy + From<f32>>(
    n: usize,
    budget: Duration,
    mut product: impl FnMut(&[T], &[T], &mut [T]) -> Result<()>,
) -> Result<Vec<f64>> {
    // Not zeros: pages of zeros may be one shared page, and denormals or zeros may be faster or slower.
    let matrix = |shift: usize| {
        (0..n * n)
            .map(|at| T::from(((at + shift) % 13) as f32 / 8.0 - 0.75))
            .collect()
    };
    let (a, b): (Vec<T>, Vec<T>) = (matrix(0), matrix(5));
    let mut c = vec![T::from(0.0); n * n];
    product(&a, &b, &mut c)?;

    let (began, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < MIN_RUNS || began.elapsed() < budget {
        let run = Instant::now();
        product(black_box(&a), black_box(&b), &mut c)?;
        black_box(&mut c);
        seconds.push(run.elapsed().as_secs_f64().max(1e-9));
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

/// Of numbers in rising order, at least one; linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::blas::builtin::Builtin;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!(
            [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&sorted, share)),
            [1.0, 1.5, 2.0, 3.0, 4.0]
        );
        assert_eq!(quantile(&[7.0], 0.75), 7.0);
    }

    #[test]
    fn the_table_has_a_plausible_row_for_each_case() {
        let rows = time_all(&Builtin::new(), 64, Duration::from_millis(5)).unwrap();
        assert_eq!(rows.len(), if all_threads() > 1 { 4 } else { 2 });
        for row in rows {
            assert!(row.runs >= MIN_RUNS && row.spread >= 0.0, "{row:?}");
            assert!(
                row.median_gflops > 0.0 && row.best_gflops >= row.median_gflops,
                "{row:?}"
            );
            assert!(row.best_gflops < 1e5, "{row:?}");
        }
    }

    #[test]
    fn nothing_to_multiply_is_an_error() {
        let time = |n, threads| time(&Builtin::new(), Precision::Sgemm, n, threads, Duration::ZERO);
        assert!(time(0, 1).is_err() && time(8, 0).is_err() && time(8, 1).is_ok());
    }
}
