//! Recomputes a share of the results outside all spans: a server could be wrong, or lie.
//!
//! Results of servers are recomputed between tasks, so that a server that is wrong is given up while there is a run to
//! be saved. Those of the device are recomputed after the run.

use crate::task::{self, Speed, Task, TaskError, Work, set::payload};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// The error of a task whose result was wrong.
pub const WRONG_RESULT: &str = "wrong result (audit)";

/// A result to be checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The task's number.
    pub task: u64,
    /// What was computed.
    pub work: Work,
    /// What came out.
    pub checksum: u64,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Audit {
    /// Results recomputed.
    pub checked: u64,
    /// Tasks whose result was wrong.
    pub wrong: Vec<u64>,
}

impl Audit {
    /// Both together.
    pub fn and(mut self, other: Audit) -> Self {
        self.checked += other.checked;
        self.wrong.extend(other.wrong);
        self.wrong.sort_unstable();
        self
    }
}

/// Recomputes results of servers between tasks.
pub struct SpotCheck {
    share: f64,
    rng: ChaCha8Rng,
    found: Audit,
}

impl SpotCheck {
    /// Checks each result with probability `share`, drawn from `seed`.
    pub fn new(share: f64, seed: u64) -> Self {
        Self {
            share,
            rng: ChaCha8Rng::seed_from_u64(seed),
            found: Audit::default(),
        }
    }

    /// Whether the next result is to be checked.
    pub fn is_due(&mut self) -> bool {
        self.rng.random::<f64>() < self.share
    }

    /// The right checksum; an error if it cannot be known here, or `stop` said yes.
    pub fn recompute(
        &mut self,
        answer: &Answer,
        payload: &[u8],
        stop: &dyn Fn() -> bool,
    ) -> Result<u64, TaskError> {
        let expected = task::run(&answer.work, payload, Speed::FULL, stop)?;
        self.found.checked += 1;
        if expected != answer.checksum {
            self.found.wrong.push(answer.task);
        }
        Ok(expected)
    }

    /// What has been found so far.
    pub fn found(&self) -> &Audit {
        &self.found
    }
}

/// Recomputes each answer with probability `share`, drawn from `seed`. `stop` ends the audit early.
pub fn audit(answers: &[Answer], tasks: &[Task], share: f64, seed: u64, stop: &dyn Fn() -> bool) -> Audit {
    let mut check = SpotCheck::new(share, seed);
    for answer in answers {
        let Some(task) = tasks.iter().find(|task| task.id == answer.task) else {
            continue;
        };
        if !check.is_due() {
            continue;
        }
        match check.recompute(answer, &payload(task), stop) {
            Ok(_) => {}
            Err(TaskError::Stopped) => break,
            Err(TaskError::Module(why)) => {
                tracing::warn!("task {}: its result cannot be checked here: {why}", answer.task);
            }
        }
    }
    check.found
}
