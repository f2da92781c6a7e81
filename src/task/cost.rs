//! What a round of each kernel costs on this host: turns a task's cycles into a number of rounds.
//!
//! Tasks state their size in CPU cycles. How many cycles a round takes depends on the processor and the compiler,
//! so it is measured once, at start.

use super::kernel::Kernel;
use super::pacer::thread_cpu_time;
use super::work::Kernels;
use serde::{Serialize, Serializer};
use std::hint::black_box;
use std::time::Duration;

/// CPU time of one timed batch of rounds: long against the resolution of the clock.
const BATCH: Duration = Duration::from_millis(2);

/// Timed batches for each kernel: about 0.3 s for all of them.
const BATCHES: usize = 6;

/// Cycles per round of each kernel, on the host where it was measured. Written down as a map by kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    rounds: Vec<RoundCost>,
}

/// What a round of one kernel costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundCost {
    /// The kernel.
    pub kernel: Kernel,
    /// CPU cycles of one round.
    pub cycles: f64,
}

impl CostModel {
    /// Measures every kernel, about 0.3 s of CPU time in all, on a CPU of `clock_hz` cycles per second.
    ///
    /// The fastest batch counts, because whatever disturbs a batch makes it slower.
    pub fn calibrate(clock_hz: f64) -> Self {
        Self::from_cycles(|kernel| seconds_per_round(kernel) * clock_hz)
    }

    /// The costs that a generated task set goes by wherever it is generated, so that a seed means the same file on
    /// every machine: cycles per round as measured on a server core (x86-64 without extensions, 2.6 GHz), rounded. They
    /// are a definition: another processor takes more or fewer cycles for the same rounds.
    pub fn reference() -> Self {
        Self::from_cycles(|kernel| kernel.reference_cycles().into())
    }

    /// A model of known cycles per round. What is not at least one cycle counts as one.
    pub fn from_cycles(mut cycles: impl FnMut(Kernel) -> f64) -> Self {
        let round = |&kernel| RoundCost {
            kernel,
            cycles: cycles(kernel).max(1.0),
        };
        Self {
            rounds: Kernel::ALL.iter().map(round).collect(),
        }
    }

    /// CPU cycles of one round of `kernel`.
    pub fn cycles_per_round(&self, kernel: Kernel) -> f64 {
        // The list is made from Kernel::ALL, which has the order of the enum.
        self.rounds[kernel as usize].cycles
    }

    /// The number of rounds of `kernel`, at least 1, that take about `cycles` cycles.
    pub fn size_for(&self, kernel: Kernel, cycles: u64) -> u64 {
        (cycles as f64 / self.cycles_per_round(kernel)).round().max(1.0) as u64
    }

    /// CPU cycles of all steps.
    pub fn cycles_of(&self, kernels: &Kernels) -> f64 {
        let steps = kernels.steps().iter();
        steps
            .map(|step| step.rounds as f64 * self.cycles_per_round(step.kernel))
            .sum()
    }

    /// The cost of a round of every kernel.
    pub fn rounds(&self) -> &[RoundCost] {
        &self.rounds
    }
}

impl Serialize for CostModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whole cycles: a fraction of one says nothing.
        serializer.collect_map(
            self.rounds
                .iter()
                .map(|round| (round.kernel, round.cycles.round() as u64)),
        )
    }
}

/// CPU seconds of one round of `kernel` on this host: of the fastest of some batches, about 15 ms in all.
pub fn seconds_per_round(kernel: Kernel) -> f64 {
    let mut rounds = kernel.start(black_box(1));
    let mut batch = |count: u32| {
        let began = thread_cpu_time();
        for _ in 0..count {
            black_box(rounds.round());
        }
        (thread_cpu_time() - began).as_secs_f64()
    };
    // Also warms the caches up.
    let first_guess = batch(4) / 4.0;
    let count = (BATCH.as_secs_f64() / first_guess.max(1e-9))
        .ceil()
        .clamp(1.0, 1e6) as u32;
    let fastest = (0..BATCHES).map(|_| batch(count)).fold(f64::MAX, f64::min);
    fastest / f64::from(count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Speed, Work, run};
    use super::*;

    const CLOCK_HZ: f64 = 2e9;

    /// CPU time of a task that was asked to take `cycles`, as a share of that.
    fn share_taken(cost: &CostModel, kernel: Kernel, cycles: u64) -> f64 {
        let work = Work::one(kernel, cost.size_for(kernel, cycles), 7);
        let began = thread_cpu_time();
        run(&work, &[1; 1000], Speed::FULL, &|| false).unwrap();
        (thread_cpu_time() - began).as_secs_f64() * CLOCK_HZ / cycles as f64
    }

    #[test]
    fn a_task_of_n_cycles_takes_n_cycles() {
        let mut open = Kernel::ALL.to_vec();
        let mut shares = Vec::new();
        // Other tests on the same core may slow down the task and not the calibration, or the other way round.
        for _ in 0..12 {
            let cost = CostModel::from_cycles(|kernel| match open.contains(&kernel) {
                true => seconds_per_round(kernel) * CLOCK_HZ,
                false => 1.0,
            });
            shares = open
                .iter()
                .map(|&kernel| (kernel, share_taken(&cost, kernel, 20_000_000)))
                .collect();
            shares.retain(|(_, share)| !(0.7..1.3).contains(share));
            open = shares.iter().map(|&(kernel, _)| kernel).collect();
            if open.is_empty() {
                return;
            }
        }
        panic!("shares of the cycles asked for: {shares:?}");
    }

    #[test]
    fn a_round_is_short_enough_to_stop_after_it() {
        // The limit is 1 ms; 20 to 200 µs are meant, but tests may run unoptimised. One of several tries:
        // others may be using the processor and its caches.
        for &kernel in Kernel::ALL {
            let mut tries = (0..20).map(|_| seconds_per_round(kernel) * CLOCK_HZ);
            assert!(tries.any(|cycles| (4e3..2e6).contains(&cycles)), "{kernel}");
        }
    }

    #[test]
    fn sizes_are_rounds_and_at_least_one() {
        let cost = CostModel::from_cycles(|kernel| if kernel == Kernel::Fft { 1000.0 } else { f64::NAN });
        assert_eq!(cost.cycles_per_round(Kernel::Fft), 1000.0);
        assert_eq!(
            [0, 1, 1499, 1501, 10_000].map(|c| cost.size_for(Kernel::Fft, c)),
            [1, 1, 1, 2, 10]
        );
        assert_eq!(cost.size_for(Kernel::Matmul, 5), 5);
    }

    #[test]
    fn costs_are_written_down_by_kernel() {
        let written = serde_json::to_value(CostModel::reference()).unwrap();
        assert_eq!(written["sha256"], Kernel::Sha256.reference_cycles());
        assert_eq!(written.as_object().map(|map| map.len()), Some(Kernel::ALL.len()));
    }

    #[test]
    fn steps_cost_what_their_rounds_cost() {
        let cost = CostModel::reference();
        let (sha256, fft) = (
            cost.cycles_per_round(Kernel::Sha256),
            cost.cycles_per_round(Kernel::Fft),
        );
        assert_eq!(
            cost.cycles_of(&"sha256:12 fft:3".parse().unwrap()),
            12.0 * sha256 + 3.0 * fft
        );
    }

    #[test]
    fn every_kernel_finds_its_own_cost() {
        let cost = CostModel::from_cycles(|kernel| kernel.name().len() as f64);
        assert!(
            Kernel::ALL
                .iter()
                .all(|&kernel| cost.cycles_per_round(kernel) == kernel.name().len() as f64)
        );
    }
}
