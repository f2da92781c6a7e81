//! What a round of each kernel costs on this machine, so that a task of so many cycles takes about that many.

use super::{Kernel, Speed, Work, run};
use serde::Serialize;
use std::time::Duration;

/// Rounds timed at once grow until they take this long.
const SHORTEST: Duration = Duration::from_millis(8);
/// The best of this many timings counts: others were disturbed.
const REPEATS: usize = 5;

/// Cycles per round of each kernel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostModel {
    /// In the order of [`Kernel::ALL`].
    cycles_per_round: Vec<(Kernel, f64)>,
}

impl CostModel {
    /// Times every kernel on this thread's CPU time; `clock_hz` turns seconds into cycles. Takes about 0.2 s.
    pub fn calibrate(clock_hz: f64) -> Self {
        let cycles = |kernel| (kernel, seconds_per_round(kernel) * clock_hz);
        Self {
            cycles_per_round: Kernel::ALL.iter().map(|&kernel| cycles(kernel)).collect(),
        }
    }

    /// Rounds of `kernel` that take about `cycles`; at least one.
    pub fn size_for(&self, kernel: Kernel, cycles: u64) -> u64 {
        let known = self.cycles_per_round.iter().find(|(k, _)| *k == kernel);
        let per_round = known.map_or(1.0, |(_, cycles)| cycles.max(1.0));
        ((cycles as f64 / per_round).round() as u64).max(1)
    }
}

fn seconds_per_round(kernel: Kernel) -> f64 {
    let mut size = 8;
    while cpu_time(kernel, size) < SHORTEST {
        size *= 2;
    }
    let best = (0..REPEATS)
        .map(|_| cpu_time(kernel, size))
        .min()
        .unwrap_or(SHORTEST);
    best.as_secs_f64() / size as f64
}

/// CPU time of this thread for so many rounds.
fn cpu_time(kernel: Kernel, size: u64) -> Duration {
    let begin = thread_cpu_time();
    let work = Work {
        kernel,
        size,
        seed: size,
    };
    std::hint::black_box(run(&work, &[], Speed::FULL, &|| false));
    thread_cpu_time().saturating_sub(begin)
}

fn thread_cpu_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_takes_about_its_cycles() {
        let hz = 2e9;
        let model = CostModel::calibrate(hz);
        for &kernel in Kernel::ALL {
            let asked = 60_000_000;
            let size = model.size_for(kernel, asked);
            let best = (0..3)
                .map(|_| cpu_time(kernel, size))
                .min()
                .unwrap()
                .as_secs_f64();
            let ratio = best * hz / asked as f64;
            assert!((0.7..1.4).contains(&ratio), "{kernel}: {ratio}");
        }
    }

    #[test]
    fn the_smallest_task_is_one_round() {
        let model = CostModel {
            cycles_per_round: vec![(Kernel::Fft, 1e5)],
        };
        assert_eq!(model.size_for(Kernel::Fft, 0), 1);
        assert_eq!(model.size_for(Kernel::Fft, 1_000_000), 10);
    }
}
