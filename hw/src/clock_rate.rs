//! How fast the CPU's clock runs at full speed: what turns a number of cycles into seconds.

use crate::cpu::online_cores;
use crate::root::Root;
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// A clock rate and where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClockRate {
    /// Cycles per second.
    pub hz: f64,
    /// Where the rate is from.
    pub source: ClockSource,
}

/// Where a clock rate is from, most trustworthy first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockSource {
    /// `cpufreq/cpuinfo_max_freq`: the highest frequency the first online CPU may run at.
    Cpufreq,
    /// The highest `cpu MHz` of `/proc/cpuinfo` (x86 only): nominal or present frequency, as the kernel sees it.
    Cpuinfo,
    /// Measured on the running machine: what the CPU reached just now.
    Estimated,
}

impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpufreq => "cpufreq",
            Self::Cpuinfo => "cpuinfo",
            Self::Estimated => "estimated",
        })
    }
}

/// The clock rate of the CPU at full speed.
///
/// The first of these that is there: the `cpuinfo_max_freq` of the first online CPU, the highest `cpu MHz` of
/// `/proc/cpuinfo`, an estimate that takes about 20 ms and is always of the running machine, whatever `root` is.
/// On boards with cores of two kinds the first online CPU is often a small one; its rate stands for all.
pub fn clock_hz(root: &Root) -> ClockRate {
    cpufreq_hz(root)
        .map(|hz| ClockRate {
            hz,
            source: ClockSource::Cpufreq,
        })
        .or_else(|| {
            cpuinfo_hz(root).map(|hz| ClockRate {
                hz,
                source: ClockSource::Cpuinfo,
            })
        })
        .unwrap_or_else(estimate)
}

/// What the CPU that runs this reaches just now; takes about 20 ms.
pub fn estimate() -> ClockRate {
    ClockRate {
        hz: estimated_hz(),
        source: ClockSource::Estimated,
    }
}

fn cpufreq_hz(root: &Root) -> Option<f64> {
    let cpu = online_cores(root)
        .ok()
        .and_then(|cores| cores.first().copied())
        .unwrap_or(0);
    let khz: f64 = root
        .read_number(format!(
            "/sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"
        ))
        .ok()?;
    plausible(khz * 1e3)
}

fn cpuinfo_hz(root: &Root) -> Option<f64> {
    let cpuinfo = root.read_text("/proc/cpuinfo").ok()?;
    let rates = cpuinfo.lines().filter_map(|line| {
        let (key, mhz) = line.split_once(':')?;
        if key.trim() == "cpu MHz" {
            mhz.trim().parse().ok()
        } else {
            None
        }
    });
    plausible(rates.fold(0.0, f64::max) * 1e6)
}

/// Some virtual machines and drivers report 0 or garbage.
fn plausible(hz: f64) -> Option<f64> {
    (1e7..1e11).contains(&hz).then_some(hz)
}

/// How long the estimate looks for the fastest of its runs: long enough for a CPU to raise its frequency.
const ESTIMATE_TIME: Duration = Duration::from_millis(20);

/// Runs it makes even when others take most of that time.
const ESTIMATE_RUNS: u32 = 300;

/// Additions in one run: about 20 µs at 2 GHz.
const CHAIN_ADDITIONS: u32 = 100 * CHAIN_TURNS;
const CHAIN_TURNS: u32 = 400;

/// Cycles per second from a chain of integer additions of which each needs the result of the one before.
///
/// On all usual cores such an addition takes one cycle, however many the core could do at once. The fastest
/// run counts, because interruptions only ever make a run slower.
fn estimated_hz() -> f64 {
    let began = Instant::now();
    let (mut fastest, mut runs) = (f64::MAX, 0);
    while runs < ESTIMATE_RUNS || began.elapsed() < ESTIMATE_TIME {
        let run = Instant::now();
        addition_chain(CHAIN_TURNS);
        fastest = fastest.min(run.elapsed().as_secs_f64().max(1e-9));
        runs += 1;
    }
    f64::from(CHAIN_ADDITIONS) / fastest
}

/// `turns` times a hundred additions, `turns` at least 1. Assembly, because a compiler would either shorten the
/// chain or, unoptimised, wrap each addition in memory accesses. Both operands are registers: some cores add
/// constants for free.
#[cfg(target_arch = "x86_64")]
fn addition_chain(turns: u32) {
    // SAFETY: works on the named registers and the flags only.
    unsafe {
        std::arch::asm!(
            "2:", ".rept 100", "add {sum}, {addend}", ".endr", "sub {turns:e}, 1", "jnz 2b",
            sum = inout(reg) 1u64 => _,
            addend = in(reg) 3u64,
            turns = inout(reg) turns => _,
            options(nomem, nostack),
        );
    }
}

/// As on x86-64.
#[cfg(target_arch = "aarch64")]
fn addition_chain(turns: u32) {
    // SAFETY: works on the named registers and the flags only.
    unsafe {
        std::arch::asm!(
            "2:", ".rept 100", "add {sum}, {sum}, {addend}", ".endr", "subs {turns:w}, {turns:w}, #1", "b.ne 2b",
            sum = inout(reg) 1u64 => _,
            addend = in(reg) 3u64,
            turns = inout(reg) turns => _,
            options(nomem, nostack),
        );
    }
}

/// On other architectures in Rust: exclusive-ors keep the compiler from shortening the chain. Needs optimisation.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn addition_chain(turns: u32) {
    use std::hint::black_box;
    let (mut sum, addend, mask) = (black_box(1usize), black_box(3), black_box(5));
    for _ in 0..turns * 50 {
        sum = sum.wrapping_add(addend) ^ mask;
    }
    black_box(sum);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fake_tree::tree;

    const CPUINFO: (&str, &str) = (
        "/proc/cpuinfo",
        "processor\t: 0\ncpu MHz\t\t: 1800.5\n\nprocessor\t: 1\ncpu MHz\t\t: 2400.25\ncache size\t: 9 KB\n",
    );

    #[test]
    fn the_first_online_cpu_speaks_for_all() {
        let (_dir, root) = tree(&[
            ("/sys/devices/system/cpu/online", "2-3,5\n"),
            (
                "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
                "600000\n",
            ),
            (
                "/sys/devices/system/cpu/cpu2/cpufreq/cpuinfo_max_freq",
                "1500000\n",
            ),
            CPUINFO,
        ]);
        assert_eq!(
            clock_hz(&root),
            ClockRate {
                hz: 1.5e9,
                source: ClockSource::Cpufreq
            }
        );
    }

    #[test]
    fn without_cpufreq_the_fastest_line_of_cpuinfo_counts() {
        let broken = ("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "0\n");
        for files in [&[CPUINFO][..], &[CPUINFO, broken]] {
            let (_dir, root) = tree(files);
            assert_eq!(
                clock_hz(&root),
                ClockRate {
                    hz: 2400.25e6,
                    source: ClockSource::Cpuinfo
                }
            );
        }
    }

    #[test]
    fn with_nothing_to_read_the_rate_is_estimated() {
        let (_dir, root) = tree(&[("/proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 108.00\n")]);
        let rate = clock_hz(&root);
        assert_eq!(rate.source, ClockSource::Estimated);
        assert!(rate.hz > 4e8 && rate.hz < 1e10, "{rate:?}");
    }
}
