//! A toy device with an edge and a cloud, to see whether learners learn.
//!
//! Not the virtual testbed: a few lines of probability with the shape of the problem. A run has three regimes
//! of equal length: all is well; the MEC is 80 to 100 % busy; the link is congested. Each task has a free share
//! u of the device's CPU and m of the MEC's, a throughput, c seconds of work on a free core of the device, a
//! payload (not in the state) and a deadline. With tx = payload / throughput and LN(s) lognormal noise:
//!
//! ```text
//! local  T = c / u LN(0.1)                                e = 4 T
//! MEC    T = (tx + 0.01 + c / (4 max(m, 0.03))) LN(0.15)  e = 2.5 tx LN(0.1) + 0.6 (T - tx)
//! cloud  T = (tx + 0.06 + c / 6) LN(0.2)                  e likewise
//! ```
//!
//! The reward is -min(e / 6, 0.95) when T is within the deadline, else -1.

use super::guard::Guard;
use super::random::{Rng, gaussian, seeded};
use super::{Cost, LearnError, Learner, Placement, State, Transition};
use rand::RngExt;
use std::time::Instant;

/// Clock of the device, to express its work in cycles.
const DEVICE_HZ: f64 = 1.5e9;

/// Draws per placement from which the oracle takes the best mean.
const ORACLE_DRAWS: usize = 150;

/// One task: what is observed, and what each placement would bring.
#[derive(Clone, Copy, Debug)]
pub struct ToyTask {
    /// What the agent sees.
    pub state: State,
    /// The reward of each placement, drawn beforehand: every learner meets the same luck.
    pub rewards: [f64; Placement::ALL.len()],
    /// What each placement would take.
    pub costs: [Cost; Placement::ALL.len()],
    /// The placement with the best mean reward.
    pub best: Placement,
}

/// How well a learner did over a run: mean rewards per task.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// Of the learner.
    pub learner: f64,
    /// Expected of a uniform draw.
    pub random: f64,
    /// Of always taking the placement with the best mean.
    pub oracle: f64,
    /// Share of tasks for which the learner missed the deadline.
    pub missed: f64,
    /// The oracle's share.
    pub oracle_missed: f64,
    /// Median seconds of a decision.
    pub decide_s: f64,
    /// Median seconds of an update; NaN where there was none.
    pub update_s: f64,
    /// Whether the learner diverged on the way.
    pub diverged: bool,
}

impl Score {
    /// Share of the way from random to oracle that the learner went; 1 is the oracle.
    pub fn gap_closed(&self) -> f64 {
        (self.learner - self.random) / (self.oracle - self.random)
    }
}

/// The tasks of a run, the same for the same seed.
pub fn tasks(count: usize, seed: u64) -> Vec<ToyTask> {
    let mut rng = seeded(seed);
    (0..count)
        .map(|i| Draw::new(3 * i / count.max(1), &mut rng).into_task(&mut rng))
        .collect()
}

/// A run's transitions under a policy that takes the placements in no useful order, to feed a learner with.
pub fn transitions(count: usize, seed: u64) -> Vec<Transition> {
    let tasks = tasks(count + 1, seed);
    let one = |(i, pair): (usize, &[ToyTask])| {
        let placement = Placement::ALL[i * 7 % 3];
        Transition {
            state: pair[0].state,
            placement,
            reward: pair[0].rewards[placement as usize],
            next_state: pair[1].state,
        }
    };
    tasks.windows(2).enumerate().map(one).collect()
}

/// Lets a learner decide and learn through the tasks, in order: what it refuses is counted, and the tasks go on.
pub fn run_guarded(guard: &mut Guard, tasks: &[ToyTask]) -> Result<Score, LearnError> {
    let mut updates = Vec::with_capacity(tasks.len());
    let score = follow(tasks, |i, task, times| {
        let (decision, _) = timed(times, || guard.decide(&task.state));
        let (transition, cost) = outcome(tasks, i, decision.placement);
        // What is refused is counted.
        let _ = timed(&mut updates, || guard.learn(&transition, &cost));
        Ok(decision.placement)
    })?;
    Ok(Score {
        diverged: guard.counts().divergences > 0,
        update_s: median(&mut updates),
        ..score
    })
}

/// What `placement` brings task `i`.
pub(super) fn outcome(tasks: &[ToyTask], i: usize, placement: Placement) -> (Transition, Cost) {
    let task = &tasks[i];
    let transition = Transition {
        state: task.state,
        placement,
        reward: task.rewards[placement as usize],
        next_state: tasks.get(i + 1).unwrap_or(task).state,
    };
    (transition, task.costs[placement as usize])
}

/// Notes the seconds that a call takes.
fn timed<T>(times: &mut Vec<f64>, call: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = call();
    times.push(began.elapsed().as_secs_f64());
    result
}

/// Lets a learner decide what it holds best, without learning.
pub fn evaluate(learner: &mut dyn Learner, tasks: &[ToyTask]) -> Result<Score, LearnError> {
    follow(tasks, |_, task, times| timed(times, || learner.best(&task.state)))
}

/// Adds up what the decisions bring; `decide` also notes its time.
pub(super) fn follow(
    tasks: &[ToyTask],
    mut decide: impl FnMut(usize, &ToyTask, &mut Vec<f64>) -> Result<Placement, LearnError>,
) -> Result<Score, LearnError> {
    let mut times = Vec::with_capacity(tasks.len());
    let mut score = Score::default();
    let share = 1.0 / tasks.len() as f64;
    for (i, task) in tasks.iter().enumerate() {
        let placement = decide(i, task, &mut times)? as usize;
        let best = task.best as usize;
        score.learner += share * task.rewards[placement];
        score.missed += share * f64::from(!task.costs[placement].in_time);
        score.random += share * task.rewards.iter().sum::<f64>() / task.rewards.len() as f64;
        score.oracle += share * task.rewards[best];
        score.oracle_missed += share * f64::from(!task.costs[best].in_time);
    }
    Ok(Score {
        decide_s: median(&mut times),
        update_s: f64::NAN,
        ..score
    })
}

/// The middle of the values; NaN of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The hidden truth of a task.
struct Draw {
    device_free: f64,
    mec_free: f64,
    /// Mbit/s.
    throughput: f64,
    /// Seconds of a free core of the device.
    work: f64,
    /// Mbit.
    payload: f64,
    deadline: f64,
}

impl Draw {
    fn new(regime: usize, rng: &mut Rng) -> Self {
        let mut uniform = |low: f64, high: f64| low + (high - low) * rng.random::<f64>();
        let device_free = uniform(0.3, 1.0);
        let mec_free = if regime == 1 {
            uniform(0.0, 0.2)
        } else {
            uniform(0.8, 1.0)
        };
        let work = 10f64.powf(uniform(-2.5, 0.5));
        let payload = uniform(0.2, 4.0);
        let deadline = work * uniform(0.3, 2.0) + 0.08;
        let median = if regime == 2 { 8.0 } else { 150.0 };
        let throughput = median * lognormal(0.4, rng);
        Self {
            device_free,
            mec_free,
            throughput,
            work,
            payload,
            deadline,
        }
    }

    fn into_task(self, rng: &mut Rng) -> ToyTask {
        let costs = Placement::ALL.map(|p| self.cost(p, rng));
        let mean = |p| (0..ORACLE_DRAWS).map(|_| reward(&self.cost(p, rng))).sum::<f64>();
        let means = Placement::ALL.map(mean);
        let best = Placement::ALL
            .into_iter()
            .max_by(|a, b| means[*a as usize].total_cmp(&means[*b as usize]));
        let state = State {
            device_free: self.device_free,
            mec_free: self.mec_free,
            throughput_bps: 1e6 * self.throughput,
            cycles: DEVICE_HZ * self.work,
            deadline_s: self.deadline,
        };
        ToyTask {
            state,
            rewards: costs.map(|cost| reward(&cost)),
            costs,
            best: best.unwrap_or(Placement::Local),
        }
    }

    fn cost(&self, placement: Placement, rng: &mut Rng) -> Cost {
        let tx = self.payload / self.throughput;
        let seconds = match placement {
            Placement::Local => self.work / self.device_free * lognormal(0.1, rng),
            Placement::Mec => {
                (tx + 0.01 + self.work / (4.0 * self.mec_free.max(0.03))) * lognormal(0.15, rng)
            }
            Placement::Cloud => (tx + 0.06 + self.work / 6.0) * lognormal(0.2, rng),
        };
        let energy = match placement {
            Placement::Local => 4.0 * seconds,
            Placement::Mec | Placement::Cloud => 2.5 * tx * lognormal(0.1, rng) + 0.6 * (seconds - tx),
        };
        Cost {
            energy_j: energy,
            latency_s: seconds,
            in_time: seconds <= self.deadline,
        }
    }
}

fn reward(cost: &Cost) -> f64 {
    match cost.in_time {
        true => -(cost.energy_j / 6.0).min(0.95),
        false => -1.0,
    }
}

fn lognormal(sigma: f64, rng: &mut Rng) -> f64 {
    (sigma * gaussian(rng)).exp()
}
