//! Recomputes a share of the results after the run, outside all spans: a server could be wrong, or lie.

use crate::task::{self, Speed, Task, TaskError, Work, set::payload};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

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

/// Recomputes each answer with probability `share`, drawn from `seed`. `stop` ends the audit early.
pub fn audit(answers: &[Answer], tasks: &[Task], share: f64, seed: u64, stop: &dyn Fn() -> bool) -> Audit {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut found = Audit::default();
    for answer in answers {
        let Some(task) = tasks.iter().find(|task| task.id == answer.task) else {
            continue;
        };
        if rng.random::<f64>() >= share {
            continue;
        }
        let checksum = match task::run(&answer.work, &payload(task), Speed::FULL, stop) {
            Ok(checksum) => checksum,
            Err(TaskError::Stopped) => break,
            Err(TaskError::Module(why)) => {
                tracing::warn!("task {}: its result cannot be checked here: {why}", answer.task);
                continue;
            }
        };
        found.checked += 1;
        if checksum != answer.checksum {
            found.wrong.push(answer.task);
        }
    }
    found
}
