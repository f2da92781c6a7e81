//! What a run was like, in numbers.

use crate::learn::Placement;
use crate::quantile::quantile;
use crate::record::DecisionRecord;
use serde::Serialize;

/// Adds up records as they are written.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    tasks: u64,
    successes: u64,
    placements: [u64; 3],
    rewards: Sum,
    energy_j: Sum,
    uncertainty_j: f64,
    decide_j: Sum,
    execute_j: Sum,
    train_j: Sum,
    decide_s: Vec<f64>,
    train_s: Vec<f64>,
    latency_s: Vec<f64>,
    without_energy: u64,
    errors: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: f64,
    count: u64,
}

impl Sum {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    /// `None` if nothing was added: an unknown sum is not zero.
    fn known(self) -> Option<f64> {
        (self.count > 0).then_some(self.sum)
    }

    fn mean(self) -> Option<f64> {
        self.known().map(|sum| sum / self.count as f64)
    }
}

impl Tally {
    /// Takes in one finished task.
    pub fn add(&mut self, record: &DecisionRecord) {
        self.tasks += 1;
        self.successes += u64::from(record.success);
        self.placements[record.placement as usize] += 1;
        self.rewards.add(record.reward);
        self.energy_j.add(record.energy_j);
        // The sensor's gain is common to all tasks, so uncertainties add up as they are, not in squares.
        self.uncertainty_j += record.energy_u_j.unwrap_or(0.0);
        self.decide_j.add(record.decide_j);
        self.execute_j.add(record.execute_j);
        self.train_j.add(record.train_j);
        self.decide_s.push(record.decide_s);
        self.train_s.extend(record.train_s);
        self.latency_s.push(record.latency_s);
        self.without_energy += u64::from(record.energy_j.is_none());
        self.errors += u64::from(record.error.is_some());
    }

    /// Tasks so far.
    pub fn tasks(&self) -> u64 {
        self.tasks
    }

    /// Tasks per placement: local, MEC, cloud.
    pub fn placements(&self) -> [u64; 3] {
        self.placements
    }

    /// Mean reward so far.
    pub fn mean_reward(&self) -> Option<f64> {
        self.rewards.mean()
    }

    /// Energy of all tasks and updates so far.
    pub fn joules(&self) -> f64 {
        self.energy_j.sum + self.train_j.sum
    }

    /// The figures of the whole run. `wrong` tasks were found out by the audit.
    pub fn summary(mut self, wrong: u64) -> Summary {
        let share = |n: u64| {
            if self.tasks > 0 {
                n as f64 / self.tasks as f64
            } else {
                0.0
            }
        };
        Summary {
            tasks: self.tasks,
            success_rate: share(self.successes.saturating_sub(wrong)),
            mean_reward: self.rewards.mean(),
            local: share(self.placements[Placement::Local as usize]),
            mec: share(self.placements[Placement::Mec as usize]),
            cloud: share(self.placements[Placement::Cloud as usize]),
            energy_j: self.energy_j.known(),
            energy_u_j: self.energy_j.known().map(|_| self.uncertainty_j),
            decide_j: self.decide_j.known(),
            execute_j: self.execute_j.known(),
            train_j: self.train_j.known(),
            decide_p50_s: quantile(&mut self.decide_s, 0.50),
            decide_p99_s: quantile(&mut self.decide_s, 0.99),
            train_p50_s: quantile(&mut self.train_s, 0.50),
            train_p99_s: quantile(&mut self.train_s, 0.99),
            latency_p50_s: quantile(&mut self.latency_s, 0.50),
            latency_p99_s: quantile(&mut self.latency_s, 0.99),
            tasks_without_energy: self.without_energy,
            tasks_with_error: self.errors,
        }
    }
}

/// The figures of a run. Absent ones are unknown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Tasks that ran.
    pub tasks: u64,
    /// Share that met its deadline with a result not found wrong.
    pub success_rate: f64,
    /// Mean reward in joules.
    pub mean_reward: Option<f64>,
    /// Share run on the device.
    pub local: f64,
    /// Share run on the MEC.
    pub mec: f64,
    /// Share run in the cloud.
    pub cloud: f64,
    /// Energy of all tasks.
    pub energy_j: Option<f64>,
    /// Its standard uncertainty, the tasks taken as fully correlated.
    pub energy_u_j: Option<f64>,
    /// Of it, deciding.
    pub decide_j: Option<f64>,
    /// Of it, executing or sending and waiting.
    pub execute_j: Option<f64>,
    /// Energy of all updates, on top.
    pub train_j: Option<f64>,
    /// Median time to decide.
    pub decide_p50_s: Option<f64>,
    /// 99th percentile of it.
    pub decide_p99_s: Option<f64>,
    /// Median time of an update.
    pub train_p50_s: Option<f64>,
    /// 99th percentile of it.
    pub train_p99_s: Option<f64>,
    /// Median latency of a task.
    pub latency_p50_s: Option<f64>,
    /// 99th percentile of it.
    pub latency_p99_s: Option<f64>,
    /// Tasks whose energy never resolved; they were not learned from.
    pub tasks_without_energy: u64,
    /// Tasks with something in their error column.
    pub tasks_with_error: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_is_not_zero_joules() {
        let summary = Tally::default().summary(0);
        assert_eq!(
            (summary.energy_j, summary.mean_reward, summary.tasks),
            (None, None, 0)
        );
    }
}
