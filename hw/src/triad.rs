//! Memory bandwidth by a triad as in STREAM (McCalpin): `a = b + s c` on arrays that no cache holds.
//!
//! Two numbers are read and one is written, so a pass moves 3 x 8 x n bytes. As in STREAM that a write may first read what
//! it overwrites is not counted. The best of several passes counts, the first is left out.

use crate::blas::bench::quantile;
use crate::caches::Caches;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How fast memory was read and written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Threads that did it.
    pub threads: usize,
    /// Bytes of each of the three arrays.
    pub array_bytes: u64,
    /// Times the last cache that all three are: below 4 a part may have come from the cache.
    pub times_last_cache: f64,
    /// Passes that were timed.
    pub passes: usize,
    /// Bytes per second of the fastest pass.
    pub best_bytes_per_s: f64,
    /// The same of the median pass.
    pub median_bytes_per_s: f64,
    /// The interquartile range of the passes' times over their median.
    pub spread: f64,
}

/// What to measure with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that work at once.
    pub threads: usize,
    /// Numbers in each array.
    pub length: usize,
    /// Passes that are timed, at least 2.
    pub passes: usize,
    /// Passes end when this has gone by, after two at the soonest.
    pub budget: Duration,
}

/// STREAM asks for arrays of four times the last cache each.
const TIMES_LAST_CACHE: u64 = 4;
/// Enough that a pass takes milliseconds, where the caches are small.
const SMALLEST_ARRAY: u64 = 16 << 20;
/// Of the memory that is free, for the three arrays.
const MEMORY_SHARE: u64 = 4;
const PASSES: usize = 20;
/// Fewer would have no spread.
const LEAST_PASSES: usize = 2;
const NUMBER_BYTES: u64 = 8;

impl Options {
    /// Arrays of four times the last cache each, held to a quarter of the memory that is free.
    pub fn new(threads: usize, caches: &Caches, available_bytes: u64, budget: Duration) -> Self {
        let wanted = (TIMES_LAST_CACHE * caches.last()).max(SMALLEST_ARRAY);
        let bytes = wanted.min(available_bytes / MEMORY_SHARE / 3);
        Self {
            threads,
            length: (bytes / NUMBER_BYTES) as usize,
            passes: PASSES,
            budget,
        }
    }
}

/// Measures the bandwidth.
pub fn measure(options: &Options, caches: &Caches) -> Result<Bandwidth> {
    let Options {
        threads,
        length,
        passes,
        ..
    } = *options;
    if threads == 0 || length < threads || passes < LEAST_PASSES {
        return Err(Error::unsupported(
            format!("a triad on {threads} threads with arrays of {length} numbers in {passes} passes"),
            "there must be a thread, a number for each and two passes; is enough memory free?",
        ));
    }
    let mut seconds = time_passes(options);
    seconds.sort_by(f64::total_cmp);
    let bytes = bytes_of_pass(length);
    let median = quantile(&seconds, 0.5);
    Ok(Bandwidth {
        threads,
        array_bytes: length as u64 * NUMBER_BYTES,
        times_last_cache: bytes / caches.last().max(1) as f64,
        passes: seconds.len(),
        best_bytes_per_s: bytes / seconds[0],
        median_bytes_per_s: bytes / median,
        spread: (quantile(&seconds, 0.75) - quantile(&seconds, 0.25)) / median,
    })
}

/// Two arrays read, one written.
fn bytes_of_pass(length: usize) -> f64 {
    3.0 * NUMBER_BYTES as f64 * length as f64
}

/// The factor of the triad; any that is not 0 or 1 does.
const FACTOR: f64 = 3.0;

/// The seconds of each pass, the first left out: from when the first thread begins to when the last is done, by their own
/// clocks. (A thread that only waits for them may wake up late, and would then see too little.) Each thread has a part of
/// its own, and writes it first, so that its pages lie where it runs.
fn time_passes(options: &Options) -> Vec<f64> {
    let start = Barrier::new(options.threads);
    let is_last = AtomicBool::new(false);
    let began = Instant::now();
    let worker = |length: usize| {
        let mut part = Part::new(length);
        let mut passes = Vec::with_capacity(options.passes + 1);
        while !is_last.load(Ordering::Relaxed) {
            // One of them decides for all, while the others wait: nobody reads the flag before all have come together.
            if start.wait().is_leader() {
                let is_enough = passes.len() >= options.passes;
                let is_late = passes.len() >= LEAST_PASSES && began.elapsed() >= options.budget;
                is_last.store(is_enough || is_late, Ordering::Relaxed);
            }
            start.wait();
            let from = Instant::now();
            part.pass();
            passes.push((from, Instant::now()));
        }
        passes
    };
    let of_threads: Vec<Vec<(Instant, Instant)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = parts(options.length, options.threads)
            .into_iter()
            .map(|part| scope.spawn(move || worker(part)))
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    whole_passes(&of_threads).skip(1).collect()
}

/// Of each pass, from the first begin to the last end, in seconds.
fn whole_passes(of_threads: &[Vec<(Instant, Instant)>]) -> impl Iterator<Item = f64> {
    let count = of_threads.iter().map(Vec::len).min().unwrap_or(0);
    (0..count).filter_map(|pass| {
        let first = of_threads.iter().map(|passes| passes[pass].0).min()?;
        let last = of_threads.iter().map(|passes| passes[pass].1).max()?;
        Some((last - first).as_secs_f64().max(1e-9))
    })
}

/// `length` in as many parts, as even as can be.
fn parts(length: usize, threads: usize) -> Vec<usize> {
    (0..threads)
        .map(|thread| length * (thread + 1) / threads - length * thread / threads)
        .collect()
}

/// What one thread works on.
struct Part {
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
}

impl Part {
    /// No zeros: pages of zeros may be one shared page.
    fn new(length: usize) -> Self {
        Self {
            a: vec![1.0; length],
            b: vec![2.0; length],
            c: vec![0.5; length],
        }
    }

    fn pass(&mut self) {
        triad(&mut self.a, black_box(&self.b), black_box(&self.c), FACTOR);
        black_box(&mut self.a);
    }
}

/// `a = b + s c`.
fn triad(a: &mut [f64], b: &[f64], c: &[f64], s: f64) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + s * c;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn caches(last: u64) -> Caches {
        Caches {
            levels: [(1, 32 << 10), (2, last)].into(),
            are_assumed: false,
        }
    }

    #[test]
    fn the_triad_adds_what_it_says() {
        let mut a = [0.0; 3];
        triad(&mut a, &[1.0, 2.0, 3.0], &[10.0, 20.0, -30.0], 0.5);
        assert_eq!(a, [6.0, 12.0, -12.0]);
        let mut part = Part::new(4);
        part.pass();
        assert_eq!(part.a, [3.5; 4]);
    }

    #[test]
    fn a_pass_counts_three_numbers_each() {
        assert_eq!(bytes_of_pass(1_000_000), 24e6);
    }

    #[test]
    fn parts_are_even_and_whole() {
        assert_eq!(parts(10, 3), [3, 3, 4]);
        assert_eq!(parts(1 << 40, 7).iter().sum::<usize>(), 1 << 40);
    }

    #[test]
    fn arrays_are_four_times_the_cache_unless_memory_is_short() {
        let of = |last, free| Options::new(2, &caches(last), free, Duration::ZERO).length as u64 * 8;
        assert_eq!(of(32 << 20, 64 << 30), 128 << 20);
        assert_eq!(of(1 << 20, 64 << 30), 16 << 20);
        assert_eq!(of(32 << 20, 240 << 20), 20 << 20);
    }

    #[test]
    fn the_figures_belong_together() {
        let options = Options {
            threads: 2,
            length: 30_000,
            passes: 5,
            budget: Duration::from_secs(5),
        };
        let found = measure(&options, &caches(60_000)).unwrap();
        assert_eq!((found.threads, found.passes, found.array_bytes), (2, 5, 240_000));
        assert_eq!(found.times_last_cache, 12.0);
        assert!(found.best_bytes_per_s >= found.median_bytes_per_s && found.median_bytes_per_s > 0.0);
        assert!(found.spread >= 0.0);
        let short = measure(
            &Options {
                budget: Duration::ZERO,
                ..options
            },
            &caches(1),
        );
        assert_eq!(short.unwrap().passes, 2);
    }

    #[test]
    fn a_pass_lasts_from_the_first_begin_to_the_last_end() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let one = vec![(at(0), at(10)), (at(20), at(30))];
        let other = vec![(at(8), at(15)), (at(21), at(22))];
        let found: Vec<f64> = whole_passes(&[one, other]).collect();
        assert_eq!(found, [0.015, 0.010]);
    }

    #[test]
    fn nothing_to_do_is_an_error() {
        let options = Options {
            threads: 1,
            length: 0,
            passes: 5,
            budget: Duration::ZERO,
        };
        assert!(measure(&options, &caches(1)).is_err());
        assert!(
            measure(
                &Options {
                    threads: 0,
                    length: 9,
                    ..options
                },
                &caches(1)
            )
            .is_err()
        );
    }
}
