//! Task sets: what arrives at the device, made from a seed, the same on every machine.

use super::Kernel;
use super::mix::SplitMix;
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// One unit of work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Task {
    /// Its number, from 0.
    pub id: u64,
    /// What it computes.
    pub kernel: Kernel,
    /// Its computing size in CPU cycles.
    pub cycles: u64,
    /// What its input is made from.
    pub seed: u64,
    /// Bytes that cross the wire if it is offloaded.
    pub payload_bytes: u64,
    /// Its latency limit in seconds from arrival.
    pub deadline_s: f64,
}

/// A sequence of tasks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskSet {
    /// In order of arrival.
    pub tasks: Vec<Task>,
}

/// How the default set is drawn. Sizes are log-normal over three decades; deadlines follow the size, with a factor
/// that makes some of them impossible on the device, some impossible over a slow link, and many a choice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SetRule {
    /// Median computing size in cycles.
    pub median_cycles: f64,
    /// Standard deviation of its decimal logarithm; sizes beyond three of them are drawn again.
    pub sigma_decades: f64,
    /// Payload in bytes: log-uniform between these.
    pub payload_bytes: (f64, f64),
    /// Clock of the nominal device that deadlines refer to.
    pub reference_hz: f64,
    /// Deadline = `slack_s` + cycles / `reference_hz` x a uniform draw between these.
    pub factor: (f64, f64),
    /// Time every task has on top, in seconds.
    pub slack_s: f64,
}

impl Default for SetRule {
    fn default() -> Self {
        Self {
            median_cycles: 2.4e8,
            sigma_decades: 0.5,
            payload_bytes: (10e3, 1e6),
            reference_hz: 0.6e9,
            factor: (0.3, 2.0),
            slack_s: 0.08,
        }
    }
}

impl TaskSet {
    /// The default set: `count` tasks drawn from `seed` by the default rule.
    pub fn default_set(count: usize, seed: u64) -> Self {
        Self::draw(count, seed, &SetRule::default())
    }

    /// `count` tasks drawn from `seed`. A longer set begins with the shorter one.
    pub fn draw(count: usize, seed: u64, rule: &SetRule) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            tasks: (0..count as u64)
                .map(|id| draw_task(id, rule, &mut rng))
                .collect(),
        }
    }
}

fn draw_task(id: u64, rule: &SetRule, rng: &mut ChaCha8Rng) -> Task {
    let kernel = Kernel::ALL[rng.random_range(0..Kernel::ALL.len())];
    let decades = loop {
        let z = standard_normal(rng);
        if z.abs() <= 3.0 {
            break z * rule.sigma_decades;
        }
    };
    let cycles = rule.median_cycles * 10f64.powf(decades);
    let (smallest, largest) = rule.payload_bytes;
    let payload = smallest * (largest / smallest).powf(rng.random::<f64>());
    let (tight, loose) = rule.factor;
    let factor = tight + (loose - tight) * rng.random::<f64>();
    Task {
        id,
        kernel,
        cycles: cycles.round() as u64,
        seed: rng.random(),
        payload_bytes: payload.round() as u64,
        deadline_s: rule.slack_s + cycles / rule.reference_hz * factor,
    }
}

/// By Box and Muller (1958).
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// The payload of a task: bytes that no link can compress, from its seed.
pub fn payload(task: &Task) -> Vec<u8> {
    let mut bytes = vec![0; task.payload_bytes as usize];
    SplitMix::new(task.seed).fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_tasks_and_another_others() {
        assert_eq!(TaskSet::default_set(50, 7), TaskSet::default_set(50, 7));
        assert_eq!(
            TaskSet::default_set(50, 7).tasks[..20],
            TaskSet::default_set(20, 7).tasks
        );
        assert_ne!(TaskSet::default_set(50, 7), TaskSet::default_set(50, 8));
    }

    #[test]
    fn sizes_span_three_decades_around_the_median() {
        let mut cycles: Vec<u64> = TaskSet::default_set(500, 50)
            .tasks
            .iter()
            .map(|t| t.cycles)
            .collect();
        cycles.sort_unstable();
        let median = cycles[250] as f64;
        assert!((1.9e8..3.0e8).contains(&median), "{median}");
        let decades = (cycles[499] as f64 / cycles[0] as f64).log10();
        assert!((2.3..3.01).contains(&decades), "{decades}");
    }

    #[test]
    fn payloads_and_deadlines_are_within_their_rule() {
        for task in TaskSet::default_set(500, 50).tasks {
            assert!((10_000..=1_000_000).contains(&task.payload_bytes), "{task:?}");
            let least = 0.08 + 0.3 * task.cycles as f64 / 0.6e9 - 1e-6;
            assert!(task.deadline_s >= least && task.deadline_s < 20.0, "{task:?}");
        }
    }

    #[test]
    fn a_payload_is_as_long_as_said_and_always_the_same() {
        let task = &TaskSet::default_set(1, 3).tasks[0];
        let bytes = payload(task);
        assert_eq!(bytes.len() as u64, task.payload_bytes);
        assert_eq!(bytes, payload(task));
        assert!(bytes.iter().filter(|&&b| b == 0).count() < bytes.len() / 50);
    }
}
