//! Sizes of matrices: one that fits each cache, and one that fits none.

use super::bench::{Precision, operations};
use crate::caches::Caches;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where the three matrices of a product lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// In the first-level cache of a core.
    L1,
    /// In the second.
    L2,
    /// In the third.
    L3,
    /// In no cache.
    Memory,
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::Memory => "memory",
        })
    }
}

/// Rows of a matrix, and where three such matrices fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Rows and columns.
    pub n: usize,
    /// Where they lie.
    pub fit: Fit,
}

/// What sizes are held to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Memory that the three matrices may take in all.
    pub memory_bytes: u64,
    /// Floating-point operations that one product may take: the time for it, times the speed.
    pub operations: f64,
}

impl Bounds {
    /// A quarter of the memory that is free, and so many seconds a product at so many GFLOPS.
    pub fn new(available_bytes: u64, gflops: f64, seconds: f64) -> Self {
        Self {
            memory_bytes: available_bytes / 4,
            operations: 1e9 * gflops * seconds,
        }
    }
}

/// The sizes to time with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sizes {
    /// In rising order; a level whose size is that of the one below is left out.
    pub sizes: Vec<Size>,
    /// Why there is none that fits no cache.
    pub note: Option<String>,
}

/// Of a cache for the matrices: the rest is for what the library packs and for everybody else.
const CACHE_SHARE: f64 = 0.75;
/// Times the last cache, for a product that fits none.
const BEYOND: f64 = 2.0;
/// Sizes are multiples of this: kernels work on tiles, and a rest of a tile would be timed with it.
const STEP: usize = 16;

/// A size for each cache level, and one beyond the last.
pub fn sizes(caches: &Caches, precision: Precision, bounds: Bounds) -> Sizes {
    let largest = largest_n(precision, bounds);
    let mut sizes: Vec<Size> = Vec::new();
    for (fit, level) in [(Fit::L1, 1), (Fit::L2, 2), (Fit::L3, 3)] {
        let Some(&bytes) = caches.levels.get(&level) else {
            continue;
        };
        let n = side(CACHE_SHARE * bytes as f64, precision).min(largest);
        if n > sizes.last().map_or(0, |size| size.n) {
            sizes.push(Size { n, fit });
        }
    }
    let last = caches.last() as f64;
    let n = (side(BEYOND * last, precision) + STEP).min(largest);
    let is_beyond = working_set(n, precision) > last;
    let note = (!is_beyond).then(|| {
        format!(
            "no size beyond the last cache ({:.0} KiB): its product would take too much {}",
            last / 1024.0,
            if side(bounds.memory_bytes as f64, precision) <= n {
                "memory"
            } else {
                "time"
            }
        )
    });
    if is_beyond {
        sizes.push(Size { n, fit: Fit::Memory });
    }
    Sizes { sizes, note }
}

/// Bytes of three matrices.
fn working_set(n: usize, precision: Precision) -> f64 {
    3.0 * (n as f64).powi(2) * precision.bytes() as f64
}

/// The largest n of which three matrices have at most so many bytes, as a multiple of [`STEP`].
fn side(bytes: f64, precision: Precision) -> usize {
    down_to_step((bytes / 3.0 / precision.bytes() as f64).sqrt())
}

fn largest_n(precision: Precision, bounds: Bounds) -> usize {
    let by_time = down_to_step((bounds.operations / operations(1)).cbrt());
    side(bounds.memory_bytes as f64, precision).min(by_time)
}

fn down_to_step(n: f64) -> usize {
    n as usize / STEP * STEP
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PLENTY: Bounds = Bounds {
        memory_bytes: 8 << 30,
        operations: 1e15,
    };

    fn caches(levels: &[(u8, u64)]) -> Caches {
        Caches {
            levels: levels.iter().copied().collect(),
            are_assumed: false,
        }
    }

    #[test]
    fn sizes_fit_what_they_are_for() {
        // A Raspberry Pi 4.
        let caches = caches(&[(1, 32 << 10), (2, 1 << 20)]);
        for precision in [Precision::Sgemm, Precision::Dgemm] {
            let found = sizes(&caches, precision, PLENTY);
            let fits: Vec<Fit> = found.sizes.iter().map(|size| size.fit).collect();
            assert_eq!(fits, [Fit::L1, Fit::L2, Fit::Memory]);
            assert_eq!(found.note, None);
            let bytes: Vec<f64> = found
                .sizes
                .iter()
                .map(|size| working_set(size.n, precision))
                .collect();
            assert!(bytes[0] <= 32768.0 && bytes[1] <= 1048576.0 && bytes[2] > 2.0 * 1048576.0);
            assert!(bytes[1] > 32768.0);
        }
        assert_eq!(
            sizes(&caches, Precision::Sgemm, PLENTY).sizes[1],
            Size { n: 256, fit: Fit::L2 }
        );
    }

    #[test]
    fn memory_and_time_bound_the_largest() {
        let caches = caches(&[(1, 32 << 10), (2, 32 << 20)]);
        let bounded = |memory_bytes, operations| {
            sizes(
                &caches,
                Precision::Sgemm,
                Bounds {
                    memory_bytes,
                    operations,
                },
            )
        };
        // Beyond the cache, though not twice.
        let found = bounded(48 << 20, 1e15);
        assert_eq!(found.sizes.last().unwrap().fit, Fit::Memory);
        assert!(working_set(found.sizes.last().unwrap().n, Precision::Sgemm) <= (48 << 20) as f64);
        let note = bounded(16 << 20, 1e15).note.unwrap();
        assert!(note.contains("32768 KiB") && note.contains("memory"), "{note}");
        let found = bounded(8 << 30, 1e9);
        assert!(found.note.unwrap().contains("time"));
        assert!(
            found
                .sizes
                .iter()
                .all(|size| operations(size.n) <= 1e9 && size.n > 0)
        );
    }

    #[test]
    fn bounds_leave_most_of_the_memory_to_others() {
        let bounds = Bounds::new(4 << 30, 12.5, 2.0);
        assert_eq!((bounds.memory_bytes, bounds.operations), (1 << 30, 25e9));
    }
}
