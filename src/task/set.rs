//! Task sets: which tasks arrive at a device, drawn from a rule and a seed.
//!
//! A set is the same on every host: its random numbers are those of ChaCha8, and its logarithms and powers come
//! from a library that does the same arithmetic everywhere, not from the host's.

use super::draw::Draw;
use super::kernel::Kernel;
use super::mix::SplitMix;
use super::work::Content;
use serde::{Deserialize, Serialize};

/// One unit of work that a device has to get done, by itself or by a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its place in the set, from 0.
    pub id: u64,
    /// What is computed.
    pub content: Content,
    /// How much is computed, in CPU cycles of the device.
    pub cycles: u64,
    /// What input and payload are made from.
    pub seed: u64,
    /// How much must be sent to a server that is to do it, in bytes.
    pub payload_bytes: u64,
    /// The time from arrival to result that is still in time, in seconds.
    pub deadline_s: f64,
}

/// Tasks in the order of their arrival.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSet {
    /// How the tasks were drawn.
    pub rule: SetRule,
    /// The seed they were drawn with.
    pub seed: u64,
    /// The tasks.
    pub tasks: Vec<Task>,
}

impl TaskSet {
    /// `count` tasks by the default [`SetRule`].
    pub fn default_set(count: usize, seed: u64) -> Self {
        SetRule::default().generate(count, seed)
    }
}

/// How tasks are drawn.
///
/// The default sizes are those of the reference system's generator with its published parameters: UUniFast over
/// 500 tasks with a total utilisation of 3.9 and periods of 0.1 to 100 s on 1.2 GHz gives a median of 2.4e8
/// cycles and about three decades of spread. Its deadlines are the periods, mostly far too long to matter; ours
/// are tight enough that the placement decides.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetRule {
    /// Cycles are log-normal around this median.
    pub median_cycles: f64,
    /// Standard deviation of the decimal logarithm of the cycles.
    pub sigma_decades: f64,
    /// The decimal logarithm is at most this far from the median's.
    pub max_decades: f64,
    /// The smallest payload in bytes; payloads are log-uniform.
    pub min_payload_bytes: u64,
    /// The largest payload in bytes.
    pub max_payload_bytes: u64,
    /// Clock rate in hertz of the nominal device by which deadlines are set: slower than the boards of the
    /// reference system (1.4 to 2.2 GHz), because a device has other work too.
    pub nominal_hz: f64,
    /// The least share of the time on the nominal device that a deadline grants; below 1 it forces offloading.
    pub min_slack: f64,
    /// The largest such share. Shares are uniform.
    pub max_slack: f64,
    /// Granted on top of every deadline, in seconds: connecting and deciding take the same for a tiny task.
    pub grace_s: f64,
}

impl Default for SetRule {
    fn default() -> Self {
        Self {
            median_cycles: 2.4e8,
            sigma_decades: 0.5,
            max_decades: 1.5,
            min_payload_bytes: 300_000,
            max_payload_bytes: 3_000_000,
            nominal_hz: 0.6e9,
            min_slack: 0.5,
            max_slack: 2.5,
            grace_s: 0.02,
        }
    }
}

impl SetRule {
    /// Draws `count` tasks. A longer set of the same seed begins with the same tasks.
    pub fn generate(&self, count: usize, seed: u64) -> TaskSet {
        let mut draw = Draw::new(seed);
        let tasks = (0..count as u64).map(|id| self.task(id, &mut draw)).collect();
        TaskSet {
            rule: *self,
            seed,
            tasks,
        }
    }

    fn task(&self, id: u64, draw: &mut Draw) -> Task {
        let kernel = Kernel::ALL[draw.index(Kernel::ALL.len())];
        let cycles = self.cycles(draw);
        let payload_bytes = draw.log_uniform(self.min_payload_bytes, self.max_payload_bytes);
        let slack = self.min_slack + (self.max_slack - self.min_slack) * draw.uniform();
        let deadline_s = in_microseconds(cycles as f64 / self.nominal_hz * slack + self.grace_s);
        Task {
            id,
            content: Content::Fill(kernel),
            cycles,
            seed: draw.word(),
            payload_bytes,
            deadline_s,
        }
    }

    fn cycles(&self, draw: &mut Draw) -> u64 {
        // A rule may allow next to nothing: then the median must do.
        let mut decades = (0..100).map(|_| self.sigma_decades * draw.normal());
        let decades = decades.find(|x| x.abs() <= self.max_decades).unwrap_or(0.0);
        (self.median_cycles * libm::pow(10.0, decades)).round() as u64
    }
}

/// Rounded to whole microseconds, which survive being written down in decimals.
pub(super) fn in_microseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// The bytes that go with a task: made from its seed, incompressible, the same on every host.
pub fn payload(task: &Task) -> Vec<u8> {
    let mut bytes = vec![0; task.payload_bytes as usize];
    SplitMix::new(task.seed).fill(&mut bytes);
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The value at `share` of the sorted values.
    fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        sorted[(share * (sorted.len() - 1) as f64) as usize]
    }

    fn many() -> Vec<Task> {
        TaskSet::default_set(20_000, 50).tasks
    }

    #[test]
    fn a_set_is_the_same_everywhere() {
        let tasks = TaskSet::default_set(2, 50).tasks;
        let known = [
            Task {
                id: 0,
                content: Content::Fill(Kernel::BitonicSort),
                cycles: 632_982_993,
                seed: 2_003_396_283_302_960_058,
                payload_bytes: 655_111,
                deadline_s: 1.923_843,
            },
            Task {
                id: 1,
                content: Content::Fill(Kernel::Lms),
                cycles: 197_159_664,
                seed: 9_561_492_159_590_289_602,
                payload_bytes: 2_212_680,
                deadline_s: 0.324_064,
            },
        ];
        assert_eq!(tasks, known);
    }

    #[test]
    fn a_seed_decides_and_a_longer_set_begins_alike() {
        let set = TaskSet::default_set(100, 1);
        assert_eq!(set, TaskSet::default_set(100, 1));
        assert_ne!(set.tasks, TaskSet::default_set(100, 2).tasks);
        assert_eq!(set.tasks[..30], TaskSet::default_set(30, 1).tasks);
    }

    #[test]
    fn sizes_span_three_decades_around_the_median() {
        let tasks = many();
        let cycles = || tasks.iter().map(|task| task.cycles as f64);
        let median = quantile(cycles(), 0.5);
        assert!((2.3e8..2.5e8).contains(&median), "{median:e}");
        let mean = cycles().sum::<f64>() / tasks.len() as f64;
        assert!((4.2e8..5.0e8).contains(&mean), "{mean:e}");
        let decades = (quantile(cycles(), 1.0) / quantile(cycles(), 0.0)).log10();
        assert!((2.7..=3.0).contains(&decades), "{decades}");
        // One standard deviation up is half a decade.
        let one_sigma = (quantile(cycles(), 0.8413) / median).log10();
        assert!((0.48..0.52).contains(&one_sigma), "{one_sigma}");
    }

    #[test]
    fn payloads_are_log_uniform() {
        let tasks = many();
        let bytes = |share| quantile(tasks.iter().map(|task| task.payload_bytes as f64), share);
        assert!(bytes(0.0) >= 3e5 && bytes(0.0) < 3.03e5 && bytes(1.0) <= 3e6 && bytes(1.0) > 2.97e6);
        assert!((9.2e5..9.8e5).contains(&bytes(0.5)), "{}", bytes(0.5));
    }

    #[test]
    fn deadlines_are_neither_hopeless_nor_meaningless() {
        for task in many() {
            let nominal_s = task.cycles as f64 / 0.6e9;
            let slack = (task.deadline_s - 0.02) / nominal_s;
            assert!((0.499..2.501).contains(&slack), "{task:?}");
            assert!((0.02..32.0).contains(&task.deadline_s), "{task:?}");
        }
    }

    #[test]
    fn every_kernel_gets_its_share() {
        let tasks = many();
        for &kernel in Kernel::ALL {
            let share = tasks
                .iter()
                .filter(|task| task.content == Content::Fill(kernel))
                .count() as f64
                / tasks.len() as f64;
            assert!(
                (share * Kernel::ALL.len() as f64 - 1.0).abs() < 0.1,
                "{kernel}: {share}"
            );
        }
    }

    #[test]
    fn payloads_have_their_length_and_differ() {
        let tasks = TaskSet::default_set(2, 3).tasks;
        let [one, other] = [0, 1].map(|at| payload(&tasks[at]));
        assert_eq!(one.len() as u64, tasks[0].payload_bytes);
        assert_eq!(one, payload(&tasks[0]));
        assert_ne!(one[..64], other[..64]);
        assert!(
            payload(&Task {
                payload_bytes: 0,
                ..tasks[0].clone()
            })
            .is_empty()
        );
    }

    #[test]
    fn a_rule_can_be_tuned_and_written_down() {
        let rule: SetRule = serde_json::from_str(
            r#"{"max_decades": 0, "min_payload_bytes": 10000, "max_payload_bytes": 10000}"#,
        )
        .unwrap();
        let set = rule.generate(10, 1);
        assert!(
            set.tasks
                .iter()
                .all(|task| task.cycles == 240_000_000 && task.payload_bytes == 10_000)
        );
        assert_eq!(
            serde_json::from_str::<TaskSet>(&serde_json::to_string(&set).unwrap()).unwrap(),
            set
        );
        assert!(serde_json::from_str::<SetRule>(r#"{"meridian_cycles": 1}"#).is_err());
    }
}
