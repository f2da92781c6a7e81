//! The data caches of a CPU.
//!
//! Format, from `Documentation/ABI/testing/sysfs-devices-system-cpu`: `/sys/devices/system/cpu/cpuN/cache/indexM/` with
//! `level` (1, 2, 3), `type` (`Data`, `Instruction`, `Unified`) and `size` (`32K`).

use crate::root::Root;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const CPU_DIR: &str = "/sys/devices/system/cpu";

/// What a board is taken to have whose kernel shows no caches (device trees of old kernels leave them out): the smallest
/// usual L1 and L2 of a 64-bit Arm core. What is chosen by it fits on any board; it may
/// only use little of a cache.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Level, type and size of each cache of a CPU.
    type Files<'a> = &'a [(&'a str, &'a str, &'a str)];

    fn tree(cpus: &[(usize, Files)]) -> (tempfile::TempDir, Root) {
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
