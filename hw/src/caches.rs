//! The caches of a CPU, and sizes of matrices that fit each of them, or none.
//!
//! Format, from `Documentation/ABI/testing/sysfs-devices-system-cpu`: `/sys/devices/system/cpu/cpuN/cache/indexM/` with
//! `level` (1, 2, 3), `type` (`Data`, `Instruction`, `Unified`) and `size` (`32K`).

use crate::blas::bench::{Precision, operations};
use crate::root::Root;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

const CPU_DIR: &str = "/sys/devices/system/cpu";

/// What a board is taken to have whose kernel shows no caches (device trees of old kernels leave them out): the smallest
/// usual L1 and L2 of a 64-bit Arm core. Sizes chosen by it fit on any board, they may only use little of a cache.
const ASSUMED: [(u8, u64); 2] = [(1, 32 << 10), (2, 512 << 10)];

/// The data caches that one core sees.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Caches {
    /// By level, in rising order: the bytes of the smallest such cache among the CPUs asked for.
    pub levels: BTreeMap<u8, u64>,
    /// The kernel shows none: these are assumed.
    pub are_assumed: bool,
}

impl Caches {
    /// The caches of some CPUs.
    pub fn read(root: &Root, cpus: &[usize]) -> Self {
        let mut levels = BTreeMap::new();
        for cpu in cpus {
            for (level, bytes) in caches_of(root, *cpu) {
                let smallest = levels.entry(level).or_insert(bytes);
                *smallest = bytes.min(*smallest);
            }
        }
        let are_assumed = levels.is_empty();
        if are_assumed {
            levels.extend(ASSUMED);
        }
        Self { levels, are_assumed }
    }

    /// Bytes of the last level.
    pub fn last(&self) -> u64 {
        self.levels.values().next_back().copied().unwrap_or(0)
    }
}

fn caches_of(root: &Root, cpu: usize) -> Vec<(u8, u64)> {
    let dir = PathBuf::from(format!("{CPU_DIR}/cpu{cpu}/cache"));
    let indices = root.list(&dir).unwrap_or_default();
    indices
        .iter()
        .filter(|name| name.starts_with("index"))
        .filter_map(|name| data_cache(root, &dir.join(name)))
        .collect()
}

fn data_cache(root: &Root, dir: &Path) -> Option<(u8, u64)> {
    if root.read_text(dir.join("type")).ok()? == "Instruction" {
        return None;
    }
    let level = root.read_number(dir.join("level")).ok()?;
    let bytes = parse_size(&root.read_text(dir.join("size")).ok()?)?;
    (bytes > 0).then_some((level, bytes))
}

/// `48K`, `2M`, or plain bytes.
fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

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

    /// CPUs with a 32 KiB L1 each, and the levels given.
    fn tree(cpus: &[(usize, &[(&str, &str, &str)])]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for (cpu, caches) in cpus {
            for (index, (level, kind, size)) in caches.iter().enumerate() {
                let dir = root.path(format!("{CPU_DIR}/cpu{cpu}/cache/index{index}"));
                std::fs::create_dir_all(&dir).unwrap();
                for (file, content) in [("level", level), ("type", kind), ("size", size)] {
                    std::fs::write(dir.join(file), format!("{content}\n")).unwrap();
                }
            }
        }
        (dir, root)
    }

    #[test]
    fn the_smallest_data_cache_of_each_level_counts() {
        let big: &[_] = &[
            ("1", "Data", "64K"),
            ("1", "Instruction", "16K"),
            ("2", "Unified", "512K"),
            ("3", "Unified", "2M"),
        ];
        let little: &[_] = &[
            ("1", "Data", "32K"),
            ("2", "Unified", "128K"),
            ("3", "Unified", "2M"),
        ];
        let (_dir, root) = tree(&[(0, little), (4, big)]);
        let levels = |cpus: &[usize]| Caches::read(&root, cpus).levels.into_iter().collect::<Vec<_>>();
        assert_eq!(levels(&[4]), [(1, 64 << 10), (2, 512 << 10), (3, 2 << 20)]);
        assert_eq!(levels(&[0, 4]), [(1, 32 << 10), (2, 128 << 10), (3, 2 << 20)]);
        assert!(!Caches::read(&root, &[0]).are_assumed);
    }

    #[test]
    fn a_board_that_shows_no_caches_gets_small_ones() {
        let (_dir, root) = tree(&[(
            0,
            &[
                ("1", "Data", "junk"),
                ("x", "Data", "32K"),
                ("2", "Unified", "0K"),
            ],
        )]);
        let caches = Caches::read(&root, &[0, 1]);
        assert!(caches.are_assumed);
        assert_eq!(caches.last(), 512 << 10);
    }

    #[test]
    fn sizes_fit_what_they_are_for() {
        // A Raspberry Pi 4: 32 KiB and 1 MiB.
        let (_dir, root) = tree(&[(0, &[("1", "Data", "32K"), ("2", "Unified", "1024K")])]);
        let caches = Caches::read(&root, &[0]);
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
        let (_dir, root) = tree(&[(0, &[("1", "Data", "32K"), ("2", "Unified", "32M")])]);
        let caches = Caches::read(&root, &[0]);
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
    fn sizes_of_files_are_read_or_not() {
        assert_eq!(parse_size("48K"), Some(48 << 10));
        assert_eq!(parse_size("2M"), Some(2 << 20));
        assert_eq!(parse_size("512"), Some(512));
        for junk in [
            "",
            "K",
            "-1K",
            "x",
            "99999999999999999999K",
            "18446744073709551615G",
        ] {
            assert_eq!(parse_size(junk), None, "{junk:?}");
        }
    }
}
