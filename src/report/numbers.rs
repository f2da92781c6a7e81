//! The numbers of a report, for programs and for tables on a terminal.

use super::group::{Group, Member};
use super::stats::Mean;
use super::totals::Split;
use serde::Serialize;
use std::path::PathBuf;

/// A group of runs. What is not known is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct GroupNumbers {
    /// What tells it from the others.
    pub label: String,
    /// Who decided.
    pub learner: Option<String>,
    /// The machine.
    pub board: Option<String>,
    /// Where the learner was trained.
    pub training_site: String,
    /// Measured, modelled or simulated.
    pub kind: String,
    /// The sensor.
    pub sensor: String,
    /// Tasks of all its runs.
    pub tasks: u64,
    /// Reward of a task in joules; mean over runs.
    pub reward: Option<Mean>,
    /// Share of tasks that missed their deadline; mean over runs.
    pub miss_rate: Option<Mean>,
    /// Shares of tasks by placement.
    pub placements: Placements,
    /// Joules of a task; mean over runs.
    pub energy_j: Option<Mean>,
    /// Standard uncertainty of a task's joules, by the sensor.
    pub energy_u_j: Option<f64>,
    /// What those joules went to.
    pub split: Split,
    /// Share of a task that is backed by samples, mean.
    pub coverage: Option<f64>,
    /// The worst of all tasks.
    pub least_coverage: Option<f64>,
    /// Time to decide.
    pub decide_s: Quantiles,
    /// Arrival to result.
    pub latency_s: Quantiles,
    /// What the best placements would have brought more, joules per task.
    pub regret: Option<f64>,
    /// Updates by training site.
    pub updates: Vec<UpdateNumbers>,
    /// Tasks with something in their error column.
    pub tasks_with_error: u64,
    /// Tasks without energy.
    pub tasks_without_energy: u64,
    /// Its runs.
    pub runs: Vec<RunNumbers>,
}

/// Shares of tasks.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Placements {
    /// On the device.
    pub local: f64,
    /// On the MEC.
    pub mec: f64,
    /// In the cloud.
    pub cloud: f64,
}

/// Median and tail.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// What 99 % stay below.
    pub p99: Option<f64>,
}

/// The updates at one site.
#[derive(Clone, Debug, Serialize)]
pub struct UpdateNumbers {
    /// `local` or `mec`.
    pub site: String,
    /// How many.
    pub updates: u64,
    /// Their time.
    pub time_s: Quantiles,
    /// Mean joules of one, idle power included.
    pub energy_j: Option<f64>,
    /// Its standard uncertainty, taken to be the same share as that of the tasks.
    pub energy_u_j: Option<f64>,
    /// Mean times of sending, the server's update, receiving and putting to use.
    pub parts_s: [Option<f64>; 4],
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct RunNumbers {
    /// Its folder.
    pub path: PathBuf,
    /// Its seed.
    pub seed: Option<u64>,
    /// Its tasks.
    pub tasks: u64,
    /// Its mean reward.
    pub reward: Option<f64>,
    /// Share of its tasks that missed.
    pub miss_rate: Option<f64>,
    /// Its mean joules per task.
    pub energy_j: Option<f64>,
}

impl GroupNumbers {
    /// Of a group.
    pub fn of(group: &Group) -> Self {
        let totals = &group.totals;
        let share = |place: usize| totals.placements[place] as f64 / totals.tasks.max(1) as f64;
        let relative = totals.relative_uncertainty();
        let updates = totals.updates.iter().map(|(site, updates)| {
            let energy_j = updates.energy_j.mean();
            UpdateNumbers {
                site: site.clone(),
                updates: updates.time_s.count(),
                time_s: Quantiles {
                    p50: updates.time_s.quantile(0.5),
                    p99: updates.time_s.quantile(0.99),
                },
                energy_j,
                energy_u_j: energy_j.zip(relative).map(|(joules, u)| joules.abs() * u),
                parts_s: updates.parts_s.map(super::stats::Sum::mean),
            }
        });
        Self {
            label: group.label.clone(),
            learner: group.learner.clone(),
            board: group.board.clone(),
            training_site: group.site.clone(),
            kind: group.kind.clone(),
            sensor: group.sensor.clone(),
            tasks: totals.tasks,
            reward: group.mean_of(|run| run.reward),
            miss_rate: group.mean_of(|run| (run.tasks > 0).then_some(run.miss_rate)),
            placements: Placements {
                local: share(0),
                mec: share(1),
                cloud: share(2),
            },
            energy_j: group.mean_of(|run| run.energy_j),
            energy_u_j: totals.energy_u_j.mean(),
            split: totals.split(),
            coverage: totals.coverage.mean(),
            least_coverage: totals.least_coverage,
            decide_s: Quantiles {
                p50: totals.decide_s.quantile(0.5),
                p99: totals.decide_s.quantile(0.99),
            },
            latency_s: Quantiles {
                p50: totals.latency_s.quantile(0.5),
                p99: totals.latency_s.quantile(0.99),
            },
            regret: totals.regret.mean(),
            updates: updates.collect(),
            tasks_with_error: totals.errors,
            tasks_without_energy: totals.without_energy,
            runs: group.members.iter().map(RunNumbers::of).collect(),
        }
    }
}

impl RunNumbers {
    fn of(run: &Member) -> Self {
        Self {
            path: run.path.clone(),
            seed: run.seed,
            tasks: run.tasks,
            reward: run.reward,
            miss_rate: (run.tasks > 0).then_some(run.miss_rate),
            energy_j: run.energy_j,
        }
    }
}
