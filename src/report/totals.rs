//! What tasks were like together: sums and distributions, of one run or of several.

use super::rows::Row;
use super::stats::Sum;
use crate::learn::Placement;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// Larger values count as this many steps: a million seconds, in nanoseconds.
const MOST_STEPS: f64 = 1e15;

/// Durations, or shares of something, with three significant digits.
#[derive(Clone, Debug)]
pub struct Distribution {
    values: Histogram<u64>,
    per_step: f64,
}

impl Distribution {
    /// Values down to `step`.
    fn with_step(step: f64) -> Self {
        // Three digits is a precision that the type always has.
        let values = Histogram::new(3).unwrap_or_else(|_| unreachable!("3 digits are within 0 to 5"));
        Self {
            values,
            per_step: 1.0 / step,
        }
    }

    fn add(&mut self, value: f64) {
        // It makes room for what is beyond its range; the bound keeps that room small.
        let _ = self
            .values
            .record((value * self.per_step).clamp(0.0, MOST_STEPS).round() as u64);
    }

    fn merge(&mut self, other: &Self) {
        // Both resize themselves, so that everything fits.
        let _ = self.values.add(&other.values);
    }

    /// The value below which a share `q` lies; `None` where there is none.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        (!self.values.is_empty()).then(|| self.values.value_at_quantile(q) as f64 / self.per_step)
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.values.len()
    }
}

/// The updates at one training site.
#[derive(Clone, Debug)]
pub struct Updates {
    /// Time of an update.
    pub time_s: Distribution,
    /// Its energy.
    pub energy_j: Sum,
    /// Sending, server, receiving, applying: of remote updates.
    pub parts_s: [Sum; 4],
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            time_s: Distribution::with_step(1e-9),
            energy_j: Sum::default(),
            parts_s: Default::default(),
        }
    }
}

/// Counts, sums and distributions.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Tasks.
    pub tasks: u64,
    /// By placement: local, MEC, cloud.
    pub placements: [u64; 3],
    /// Past their deadline or failed, by placement.
    pub misses: [u64; 3],
    /// Rewards.
    pub reward: Sum,
    /// Regret, where the best reward is known.
    pub regret: Sum,
    /// Energy of the tasks.
    pub energy_j: Sum,
    /// Its standard uncertainty, the tasks taken as fully correlated: the sensor's gain is common to all of them.
    pub energy_u_j: Sum,
    /// Of the energy, deciding.
    pub decide_j: Sum,
    /// Executing on the device.
    pub local_j: Sum,
    /// Sending, waiting and receiving.
    pub offload_j: Sum,
    /// Energy of the updates, on top.
    pub train_j: Sum,
    /// Share of each task that is backed by samples.
    pub coverage: Sum,
    /// The worst of them.
    pub least_coverage: Option<f64>,
    /// Tasks without energy.
    pub without_energy: u64,
    /// Tasks with something in their error column.
    pub errors: u64,
    /// Time to decide.
    pub decide_s: Distribution,
    /// Arrival to result.
    pub latency_s: Distribution,
    /// Latency as a share of the task's deadline.
    pub latency_share: Distribution,
    /// Updates by training site.
    pub updates: BTreeMap<String, Updates>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            tasks: 0,
            placements: [0; 3],
            misses: [0; 3],
            reward: Sum::default(),
            regret: Sum::default(),
            energy_j: Sum::default(),
            energy_u_j: Sum::default(),
            decide_j: Sum::default(),
            local_j: Sum::default(),
            offload_j: Sum::default(),
            train_j: Sum::default(),
            coverage: Sum::default(),
            least_coverage: None,
            without_energy: 0,
            errors: 0,
            decide_s: Distribution::with_step(1e-9),
            latency_s: Distribution::with_step(1e-9),
            latency_share: Distribution::with_step(1e-4),
            updates: BTreeMap::new(),
        }
    }
}

impl Totals {
    /// Takes in one task.
    pub fn add(&mut self, row: &Row<'_>) {
        let place = row.placement as usize;
        self.tasks += 1;
        self.placements[place] += 1;
        self.misses[place] += u64::from(!row.success);
        self.reward.add(row.reward);
        self.regret
            .add(row.oracle_reward.zip(row.reward).map(|(best, got)| best - got));
        self.energy_j.add(row.energy_j);
        self.energy_u_j.add(row.energy_u_j);
        self.decide_j.add(row.decide_j);
        match row.placement {
            Placement::Local => self.local_j.add(row.execute_j),
            Placement::Mec | Placement::Cloud => self.offload_j.add(row.execute_j),
        }
        self.train_j.add(row.train_j);
        self.coverage.add(row.coverage);
        self.least_coverage = least(self.least_coverage, row.coverage);
        self.without_energy += u64::from(row.energy_j.is_none());
        self.errors += u64::from(row.error.is_some());
        self.decide_s.add(row.decide_s);
        self.latency_s.add(row.latency_s);
        if row.deadline_s > 0.0 {
            self.latency_share.add(row.latency_s / row.deadline_s);
        }
        self.add_update(row);
    }

    fn add_update(&mut self, row: &Row<'_>) {
        let (Some(site), Some(time_s)) = (row.training_site, row.train_s) else {
            return;
        };
        if !self.updates.contains_key(site) {
            self.updates.insert(site.to_owned(), Updates::default());
        }
        if let Some(updates) = self.updates.get_mut(site) {
            updates.time_s.add(time_s);
            updates.energy_j.add(row.train_j);
            for (sum, part) in updates.parts_s.iter_mut().zip(row.train_parts_s) {
                sum.add(part);
            }
        }
    }

    /// Takes in all of another.
    pub fn merge(&mut self, other: &Self) {
        self.tasks += other.tasks;
        for place in 0..3 {
            self.placements[place] += other.placements[place];
            self.misses[place] += other.misses[place];
        }
        for (mine, theirs) in [
            (&mut self.reward, other.reward),
            (&mut self.regret, other.regret),
            (&mut self.energy_j, other.energy_j),
            (&mut self.energy_u_j, other.energy_u_j),
            (&mut self.decide_j, other.decide_j),
            (&mut self.local_j, other.local_j),
            (&mut self.offload_j, other.offload_j),
            (&mut self.train_j, other.train_j),
            (&mut self.coverage, other.coverage),
        ] {
            mine.merge(theirs);
        }
        self.least_coverage = least(self.least_coverage, other.least_coverage);
        self.without_energy += other.without_energy;
        self.errors += other.errors;
        self.decide_s.merge(&other.decide_s);
        self.latency_s.merge(&other.latency_s);
        self.latency_share.merge(&other.latency_share);
        for (site, theirs) in &other.updates {
            let mine = self.updates.entry(site.clone()).or_default();
            mine.time_s.merge(&theirs.time_s);
            mine.energy_j.merge(theirs.energy_j);
            for (mine, theirs) in mine.parts_s.iter_mut().zip(theirs.parts_s) {
                mine.merge(theirs);
            }
        }
    }

    /// Share of the tasks past their deadline, or failed; 0 where there is no task.
    pub fn miss_rate(&self) -> f64 {
        self.misses.iter().sum::<u64>() as f64 / self.tasks.max(1) as f64
    }

    /// Standard uncertainty of a task's energy as a share of it; that of training is taken to be the same share.
    pub fn relative_uncertainty(&self) -> Option<f64> {
        let (joules, u) = (self.energy_j.known()?, self.energy_u_j.known()?);
        (joules > 0.0).then(|| u / joules)
    }

    /// What an average task's energy went to.
    pub fn split(&self) -> Split {
        let tasks = self.energy_j.count.max(1) as f64;
        let per_task = |sum: Sum| sum.known().map(|joules| joules / tasks);
        Split {
            decide_j: per_task(self.decide_j),
            execute_j: per_task(self.local_j),
            send_j: per_task(self.offload_j),
            train_j: per_task(self.train_j),
        }
    }
}

fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).min_by(f64::total_cmp)
}

/// Joules of an average task, by what they went to; `None` where not known, as executing of a run that only offloads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Split {
    /// Deciding.
    pub decide_j: Option<f64>,
    /// Executing on the device, averaged over all tasks.
    pub execute_j: Option<f64>,
    /// Sending, waiting for a server and receiving, averaged over all tasks.
    pub send_j: Option<f64>,
    /// The learner's updates, averaged over all tasks.
    pub train_j: Option<f64>,
}
