//! The CPU's clock rate, which turns seconds into cycles.

use crate::board::cpuinfo_field;
use crate::root::Root;
use serde::Serialize;
use std::hint::black_box;
use std::time::Instant;

/// A clock rate and where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClockRate {
    /// Cycles per second.
    pub hz: f64,
    /// Where the figure is from.
    pub source: ClockSource,
}

/// Where a clock rate is from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockSource {
    /// `cpuinfo_max_freq` of frequency scaling: what a busy core reaches.
    Cpufreq,
    /// `cpu MHz` in `/proc/cpuinfo` (x86).
    Cpuinfo,
    /// Timed on a chain of dependent additions.
    Measured,
}

/// The highest clock rate of the first core below `root`, or an estimate where the system does not tell.
pub fn clock_rate(root: &Root) -> ClockRate {
    let khz = root
        .read_number::<f64>("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
        .ok();
    if let Some(khz) = khz.filter(|khz| *khz > 0.0) {
        return ClockRate {
            hz: khz * 1e3,
            source: ClockSource::Cpufreq,
        };
    }
    let cpuinfo = root.read_text("/proc/cpuinfo").unwrap_or_default();
    let mhz = cpuinfo_field(&cpuinfo, "cpu MHz").and_then(|mhz| mhz.parse::<f64>().ok());
    if let Some(mhz) = mhz.filter(|mhz| *mhz > 0.0) {
        return ClockRate {
            hz: mhz * 1e6,
            source: ClockSource::Cpuinfo,
        };
    }
    ClockRate {
        hz: measure(),
        source: ClockSource::Measured,
    }
}

/// Adds a chain of numbers in which each addition needs the result of the one before: on every core in use one
/// such addition takes one cycle. The best of several rounds, for the first ones run before the clock is up.
fn measure() -> f64 {
    const ROUNDS: usize = 10;
    const CHAIN: u64 = 16;
    const REPEATS: u64 = 200_000;
    let mut best = 0.0f64;
    for _ in 0..ROUNDS {
        let step = black_box(3u64);
        let mut x = black_box(1u64);
        let begin = Instant::now();
        for _ in 0..REPEATS {
            // Alternating with xor keeps the compiler from folding the chain into one multiplication.
            x = chain(x, step);
        }
        black_box(x);
        best = best.max((CHAIN * REPEATS) as f64 / begin.elapsed().as_secs_f64());
    }
    best
}

/// Sixteen dependent one-cycle operations.
#[inline(always)]
fn chain(mut x: u64, step: u64) -> u64 {
    for _ in 0..8 {
        x = x.wrapping_add(step);
        x ^= step;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_source_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(clock_rate(&root).source, ClockSource::Measured);
        std::fs::create_dir_all(root.path("/proc")).unwrap();
        std::fs::write(
            root.path("/proc/cpuinfo"),
            "vendor_id\t: X\ncpu MHz\t\t: 2450.000\n",
        )
        .unwrap();
        assert_eq!(
            clock_rate(&root),
            ClockRate {
                hz: 2.45e9,
                source: ClockSource::Cpuinfo
            }
        );
        let cpufreq = root.path("/sys/devices/system/cpu/cpu0/cpufreq");
        std::fs::create_dir_all(&cpufreq).unwrap();
        std::fs::write(cpufreq.join("cpuinfo_max_freq"), "1500000\n").unwrap();
        assert_eq!(
            clock_rate(&root),
            ClockRate {
                hz: 1.5e9,
                source: ClockSource::Cpufreq
            }
        );
    }

    #[test]
    fn a_measured_clock_rate_is_that_of_a_computer() {
        let hz = measure();
        assert!((1e8..2e10).contains(&hz), "{hz}");
    }
}
