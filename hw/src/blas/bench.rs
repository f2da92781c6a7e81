//! Times products of large matrices: GFLOPS of an engine, in the shape of the usual calibration table.

use super::{Gemm, Repeat, all_threads};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
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

impl Precision {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::Sgemm => 4,
            Self::Dgemm => 8,
        }
    }
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
    /// Timed runs; the warm-up is not among them. A run is one product, or as many small ones as fill 100 µs.
    pub runs: usize,
    /// Products in all runs together.
    pub products: u64,
    /// 10^9 floating-point operations per second of the fastest run; a product counts as 2 n^3 operations.
    pub best_gflops: f64,
    /// The same of the median run.
    pub median_gflops: f64,
    /// The interquartile range of the runs' times over their median: 0 is perfectly steady.
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
/// at least three runs.
pub fn time(
    gemm: &dyn Gemm,
    precision: Precision,
    n: usize,
    threads: usize,
    budget: Duration,
) -> Result<GemmTiming> {
    time_watched(gemm, precision, n, threads, budget, &mut ())
}

/// Is told what a timing is doing, between products.
pub trait Watcher {
    /// The warm-up is over: what follows counts.
    fn begin(&mut self) {}
    /// A run is over.
    fn run_done(&mut self) {}
    /// The last run is over.
    fn end(&mut self) {}
}

/// Watches nothing.
impl Watcher for () {}

/// [`time`], with somebody watching.
pub fn time_watched(
    gemm: &dyn Gemm,
    precision: Precision,
    n: usize,
    threads: usize,
    budget: Duration,
    watcher: &mut dyn Watcher,
) -> Result<GemmTiming> {
    if n == 0 || threads == 0 {
        return Err(Error::unsupported(
            format!("timing {precision} with n = {n} on {threads} threads"),
            "both must be at least 1",
        ));
    }
    let runs = match precision {
        Precision::Sgemm => {
            let (a, b) = operands::<f32>(n);
            time_runs(gemm.repeat_sgemm(n, &a, &b, threads)?, budget, watcher)?
        }
        Precision::Dgemm => {
            let (a, b) = operands::<f64>(n);
            time_runs(gemm.repeat_dgemm(n, &a, &b, threads)?, budget, watcher)?
        }
    };
    let gflops = |seconds: f64| operations(n) / seconds / 1e9;
    let median = quantile(&runs.seconds, 0.5);
    Ok(GemmTiming {
        engine: gemm.name(),
        precision,
        n,
        threads,
        runs: runs.seconds.len(),
        products: runs.seconds.len() as u64 * u64::from(runs.products_each),
        best_gflops: gflops(quantile(&runs.seconds, 0.0)),
        median_gflops: gflops(median),
        spread: (quantile(&runs.seconds, 0.75) - quantile(&runs.seconds, 0.25)) / median,
    })
}

/// Floating-point operations of a product: `n^3` multiplications and as many additions.
pub fn operations(n: usize) -> f64 {
    2.0 * (n as f64).powi(3)
}

/// Fewer would have no spread.
const MIN_RUNS: usize = 3;
/// A run is at least so long, so that reading the clock (about 50 ns) does not count.
const SHORTEST_RUN: Duration = Duration::from_micros(100);
/// Of the budget, before anything counts: clocks rise, pages and threads come to be.
const WARM_UP_SHARE: u32 = 8;

/// Not zeros: pages of zeros may be one shared page, and denormals or zeros may be faster or slower.
fn operands<T: From<f32>>(n: usize) -> (Vec<T>, Vec<T>) {
    let matrix = |shift: usize| {
        (0..n * n)
            .map(|at| T::from(((at + shift) % 13) as f32 / 8.0 - 0.75))
            .collect()
    };
    (matrix(0), matrix(5))
}

struct Runs {
    /// Of a product in each run, in rising order.
    seconds: Vec<f64>,
    products_each: u32,
}

fn time_runs(mut repeat: Repeat, budget: Duration, watcher: &mut dyn Watcher) -> Result<Runs> {
    repeat(1)?;
    let mut product = repeat(1)?;
    let warm_up = Instant::now();
    while warm_up.elapsed() < budget / WARM_UP_SHARE {
        product = product.min(repeat(1)?);
    }
    let products_each = SHORTEST_RUN
        .as_nanos()
        .div_ceil(product.as_nanos().max(10))
        .max(1) as u32;

    watcher.begin();
    let (began, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < MIN_RUNS || began.elapsed() < budget {
        let run = repeat(products_each)?.as_secs_f64() / f64::from(products_each);
        seconds.push(run.max(1e-9));
        watcher.run_done();
    }
    watcher.end();
    seconds.sort_by(f64::total_cmp);
    Ok(Runs {
        seconds,
        products_each,
    })
}

/// Of numbers in rising order, at least one; linear between neighbours.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
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

    /// A product of 1 µs, and one more every time.
    #[test]
    fn short_products_are_timed_in_runs_and_the_watcher_sees_each() {
        #[derive(Default)]
        struct Log(Vec<&'static str>);
        impl Watcher for Log {
            fn begin(&mut self) {
                self.0.push("begin");
            }
            fn run_done(&mut self) {
                self.0.push("run");
            }
            fn end(&mut self) {
                self.0.push("end");
            }
        }
        let mut asked = Vec::new();
        let mut log = Log::default();
        let runs = time_runs(
            Box::new(|times| {
                asked.push(times);
                Ok(Duration::from_micros(u64::from(times)))
            }),
            Duration::ZERO,
            &mut log,
        )
        .unwrap();
        assert_eq!(runs.products_each, 100);
        assert_eq!(asked, [1, 1, 100, 100, 100]);
        assert!(runs.seconds.iter().all(|s| (s - 1e-6).abs() < 1e-12));
        assert_eq!(log.0, ["begin", "run", "run", "run", "end"]);
    }

    #[test]
    fn nothing_to_multiply_is_an_error() {
        let time = |n, threads| time(&Builtin::new(), Precision::Sgemm, n, threads, Duration::ZERO);
        assert!(time(0, 1).is_err() && time(8, 0).is_err() && time(8, 1).is_ok());
    }
}
