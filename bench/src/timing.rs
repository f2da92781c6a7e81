//! Times of single calls, and the bandwidth of the memory they are held against.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// What of a hundred calls took at most so long.
#[derive(Clone, Copy, Debug)]
pub struct Quantiles {
    /// Half of the calls.
    pub median: Duration,
    /// Nine in ten.
    pub p90: Duration,
    /// Ninety-nine in a hundred.
    pub p99: Duration,
}

impl Quantiles {
    /// Times `calls` calls one by one.
    pub fn of(calls: usize, mut call: impl FnMut()) -> Self {
        let mut times: Vec<Duration> = Vec::with_capacity(calls);
        for _ in 0..calls {
            let start = Instant::now();
            call();
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let at = |share: f64| {
            let index = (share * times.len() as f64) as usize;
            times.get(index).copied().unwrap_or_default()
        };
        Self {
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
        }
    }

    /// Holds them against a limit of microseconds; without one they may be as they are.
    pub fn against(&self, limit: Option<f64>) -> Verdict {
        match limit {
            None => Verdict::Kept,
            Some(limit) if micros(self.median) > limit => Verdict::Missed,
            Some(_) if self.p90 > self.median.mul_f64(1.5) => Verdict::Unsteady,
            Some(_) => Verdict::Kept,
        }
    }
}

/// What a limit says of some calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They keep it.
    Kept,
    /// Their median is above it.
    Missed,
    /// Their median keeps it, but their p90 is above 1.5 medians.
    Unsteady,
}

impl Verdict {
    /// What stands behind the limit in a table.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Kept => "",
            Self::Missed => "  MISSED",
            Self::Unsteady => "  UNSTEADY",
        }
    }
}

/// A duration in microseconds.
pub fn micros(duration: Duration) -> f64 {
    1e6 * duration.as_secs_f64()
}

/// The rate in bytes per second at which one core does `a[i] = b[i] + 3 c[i]` on three arrays of `bytes` in all
/// (McCalpin's STREAM triad): two of three arrays read, one written, as the best of some passes.
pub fn triad(bytes: usize) -> f64 {
    let length = bytes / 3 / size_of::<f32>();
    let (mut a, b, c) = (vec![0f32; length], vec![1f32; length], vec![2f32; length]);
    let mut best = Duration::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for ((a, b), c) in a.iter_mut().zip(&b).zip(&c) {
            *a = b + 3.0 * c;
        }
        black_box(&mut a);
        best = best.min(start.elapsed());
    }
    bytes as f64 / best.as_secs_f64()
}

/// The time of one pass that reads and writes three arrays of `bytes` in all, as an update must with weights,
/// means and squares: the floor of any update, as the median of some passes.
pub fn read_and_write_three(bytes: usize) -> Duration {
    let length = bytes / 3 / size_of::<f32>();
    let mut arrays = [vec![1f32; length], vec![1f32; length], vec![1f32; length]];
    Quantiles::of(2000, || {
        let [a, b, c] = &mut arrays;
        for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
            *a += 1.0;
            *b += 1.0;
            *c += 1.0;
        }
        black_box(&mut arrays);
    })
    .median
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_for_the_median_and_asks_for_steady_calls() {
        let times = |median, p90| {
            let [median, p90] = [median, p90].map(Duration::from_micros);
            Quantiles {
                median,
                p90,
                p99: p90,
            }
        };
        for (median, p90, limit, verdict) in [
            (10, 15, Some(10.0), Verdict::Kept),
            (10, 16, Some(10.0), Verdict::Unsteady),
            (11, 12, Some(10.0), Verdict::Missed),
            (11, 99, Some(10.0), Verdict::Missed),
            (11, 99, None, Verdict::Kept),
        ] {
            assert_eq!(
                times(median, p90).against(limit),
                verdict,
                "{median} {p90} {limit:?}"
            );
        }
    }
}
