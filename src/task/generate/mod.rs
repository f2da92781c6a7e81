//! Task sets as the reference system's generator makes them, with kernels, payloads and latency limits.
//!
//! ```text
//! uunifast.rs     utilisation, period and execution time of each task, by the published generator
//! java_random.rs  its random numbers
//! fill.rs         kernels and repeat counts that take the execution time
//! ```
//!
//! Execution times are microseconds of a core with `mhz` (the published parameters name no unit; in nanoseconds no task
//! would be worth sending). Kernels are chosen by [`CostModel::reference`] unless told otherwise: then a set is the same
//! file on every machine and its tasks compute the same everywhere, as an executable would. What they take on a given
//! board is what that board needs for them.
//!
//! # Rule `uniform-factor`: latency limits and payloads
//!
//! The reference draws its latency limits after a work that could not be read. Here
//! `deadline = grace + F x execution time`, with F uniform, by default on 0.4 to 2, and a grace of 20 ms: connecting
//! and deciding take the same for a tiny task. A task with F below 1 cannot be done in time by the nominal core, one
//! with F above leaves time to send it, so no fixed placement can be right for all: on the profile of a Raspberry Pi 4
//! of this file's tests, none meets more than 90 %. Payloads are independent of that, as files are that are sent to be
//! run: log-uniform, by default on 300 kB to 3 MB.

mod fill;
mod java_random;
mod uunifast;

use super::cost::CostModel;
use super::draw::Draw;
use super::file::{LONGEST_DEADLINE_S, TaskRow};
use super::set::in_microseconds;
use super::work::{Content, Program};
use serde::Serialize;
use uunifast::{MAX_UTILISATION, timings};

pub use fill::TOLERANCE;

/// Tasks that a set may have.
pub const MAX_TASKS: usize = 1_000_000;

/// The longest period: 11 days.
const MAX_PERIOD_US: u64 = 1_000_000_000_000;

/// The largest payload: 1 GiB.
const MAX_PAYLOAD_BYTES: u64 = 1 << 30;

/// Granted on top of every deadline, in seconds.
const GRACE_S: f64 = 0.02;

/// What a set is to be like. The defaults are those of the reference (its table II).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameters {
    /// Sum of all utilisations, in cores.
    pub utilisation: f64,
    /// Number of tasks.
    pub tasks: usize,
    /// The shortest period in microseconds.
    pub period_min_us: u64,
    /// The longest period in microseconds.
    pub period_max_us: u64,
    /// Periods are multiples of this.
    pub period_step_us: u64,
    /// What everything is drawn from.
    pub seed: u64,
    /// Clock rate of the nominal core in MHz, by which execution times become cycles.
    pub mhz: f64,
    /// Cores of the nominal device.
    pub cores: u32,
    /// Least and largest share of the execution time that a deadline grants.
    pub deadline_factor: (f64, f64),
    /// Smallest and largest payload in bytes.
    pub payload_bytes: (u64, u64),
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            utilisation: 3.9,
            tasks: 500,
            period_min_us: 100_000,
            period_max_us: 100_000_000,
            period_step_us: 1000,
            seed: 50,
            mhz: 1200.048,
            cores: 4,
            deadline_factor: (0.4, 2.0),
            payload_bytes: (300_000, 3_000_000),
        }
    }
}

impl Parameters {
    /// What cannot be generated; the sentence names the parameter.
    pub fn check(&self) -> Result<(), GenerateError> {
        let bad = |what: String| Err(GenerateError::Parameter(what));
        let (utilisation, tasks, cores) = (self.utilisation, self.tasks, self.cores);
        // Comparisons are written so that NaN fails them.
        if !(utilisation > 0.0 && utilisation <= f64::from(cores)) {
            return bad(format!(
                "utilisation {utilisation}: must be above 0 and at most the {cores} cores"
            ));
        }
        if !(1..=MAX_TASKS).contains(&tasks) {
            return bad(format!("{tasks} tasks: must be 1 to {MAX_TASKS}"));
        }
        if utilisation > MAX_UTILISATION * tasks as f64 {
            return bad(format!(
                "utilisation {utilisation}: {tasks} tasks of at most {MAX_UTILISATION} cannot add up to it"
            ));
        }
        let (min, max, step) = (self.period_min_us, self.period_max_us, self.period_step_us);
        if !(1..=max).contains(&min) || max > MAX_PERIOD_US {
            return bad(format!(
                "periods from {min} to {max} µs: must be 1 to {MAX_PERIOD_US}, the least first"
            ));
        }
        if !(1..=max).contains(&step) {
            return bad(format!(
                "period step {step} µs: must be 1 to the longest period, {max} µs"
            ));
        }
        if !(self.mhz > 0.0 && self.mhz <= 1e6) {
            return bad(format!("{} MHz: must be above 0 and at most 1e6", self.mhz));
        }
        let (least, most) = self.deadline_factor;
        if !(least > 0.0 && least <= most && most <= 1e6) {
            return bad(format!(
                "deadline factors from {least} to {most}: must be above 0, the least first"
            ));
        }
        let (least, most) = self.payload_bytes;
        if least > most || most > MAX_PAYLOAD_BYTES {
            return bad(format!(
                "payloads of {least} to {most} bytes: must be at most {MAX_PAYLOAD_BYTES}, the least first"
            ));
        }
        Ok(())
    }

    /// The set, with kernels chosen by `cost`. The same parameters and costs give the same set on every machine.
    pub fn generate(&self, cost: &CostModel) -> Result<Vec<TaskRow>, GenerateError> {
        self.check()?;
        let mut draw = Draw::new(self.seed);
        let timings = timings(self)?;
        let row = |(task, timing): (usize, &uunifast::Timing)| {
            let cycles = timing.execution_us as f64 * self.mhz;
            let (least, most) = self.deadline_factor;
            let factor = least + (most - least) * draw.uniform();
            let payload_bytes = draw.log_uniform(self.payload_bytes.0, self.payload_bytes.1);
            let kernels = fill::fill(cycles, cost, &mut draw);
            TaskRow {
                task: task as u64,
                utilisation: Some(timing.utilisation),
                period_us: Some(timing.period_us),
                execution_us: Some(timing.execution_us),
                cycles: cycles.round().max(1.0) as u64,
                deadline_s: in_microseconds(GRACE_S + factor * timing.execution_us as f64 / 1e6),
                payload_bytes,
                kernels: Content::Exact(Program::Kernels(kernels)),
            }
        };
        let rows: Vec<TaskRow> = timings.iter().enumerate().map(row).collect();
        // Only here: what a task takes follows from its period and its utilisation, which have just been drawn.
        match rows.iter().find(|row| row.deadline_s > LONGEST_DEADLINE_S) {
            Some(row) => Err(GenerateError::Deadline {
                task: row.task,
                deadline_s: row.deadline_s,
            }),
            None => Ok(rows),
        }
    }
}

/// Why there is no set.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A parameter is out of its range.
    #[error("{0}")]
    Parameter(String),
    /// No vector of utilisations kept to the rules.
    #[error("none of {draws} draws of all utilisations kept to the rules: {why}")]
    Discarded {
        /// How often all utilisations were drawn.
        draws: usize,
        /// Which rule stood in the way, and what to do.
        why: String,
    },
    /// A deadline that no run would take.
    #[error(
        "task {task} has a deadline of {deadline_s} s, tasks may have at most {LONGEST_DEADLINE_S} s; ask for smaller \
         deadline factors or shorter periods"
    )]
    Deadline {
        /// The task.
        task: u64,
        /// Its deadline in seconds.
        deadline_s: f64,
    },
    /// No period made the execution time of a task long enough.
    #[error(
        "no period made task {task} with a utilisation of {utilisation} take 1 ms; ask for longer periods"
    )]
    NoPeriod {
        /// The task.
        task: usize,
        /// Its share of a core.
        utilisation: f64,
    },
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
