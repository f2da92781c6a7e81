//! Runs a task where the decision says, for no longer than its deadline.
//!
//! Deadlines are firm: a late result is worth nothing, so a task is stopped there, on the device as on a server.

use super::audit::Answer;
use crate::learn::Placement;
use crate::offload::client::Client;
use crate::task::cost::CostModel;
use crate::task::{self, Speed, Task, Work};
use hwmeter_hw::clock::{Clock, Moment};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What runs the tasks.
pub struct Executor<'a> {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How many rounds of a kernel take how many cycles.
    pub cost: CostModel,
    /// Share of this machine's speed at which local tasks run.
    pub device_speed: Speed,
    /// The MEC.
    pub mec: Client,
    /// The cloud.
    pub cloud: Client,
    /// Set from outside to give up the task at hand.
    pub stop: &'a AtomicBool,
}

/// How a task went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether a result came within the deadline.
    pub success: bool,
    /// From arrival to result, or to giving up.
    pub latency_s: f64,
    /// Sending and receiving.
    pub transmit_s: Option<f64>,
    /// The kernel's own time.
    pub execute_s: Option<f64>,
    /// The result, to be audited.
    pub answer: Option<Answer>,
    /// What a transfer to the MEC showed.
    pub mec_transfer: Option<Transfer>,
    /// What went wrong.
    pub error: Option<String>,
}

/// How long a payload took to arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transfer {
    /// Bytes sent.
    pub payload_bytes: u64,
    /// Bytes that arrived after the first read.
    pub receive_bytes: u64,
    /// Seconds they took.
    pub receive_s: f64,
}

impl Executor<'_> {
    /// Runs `task`, which arrived at `arrival`.
    pub fn execute(&mut self, task: &Task, payload: &[u8], placement: Placement, arrival: Moment) -> Outcome {
        let work = Work {
            program: task.content.program(task.cycles, &self.cost),
            seed: task.seed,
        };
        let deadline = arrival.after(Duration::from_secs_f64(task.deadline_s));
        let mut outcome = match placement {
            Placement::Local => self.run_here(task.id, &work, payload, deadline),
            Placement::Mec => {
                let left = self.time_left(deadline);
                submit(&mut self.mec, task.id, &work, payload, left)
            }
            Placement::Cloud => {
                let left = self.time_left(deadline);
                Outcome {
                    mec_transfer: None,
                    ..submit(&mut self.cloud, task.id, &work, payload, left)
                }
            }
        };
        outcome.latency_s = (self.clock.now() - arrival).0;
        if outcome.success && outcome.latency_s > task.deadline_s {
            outcome.success = false;
            outcome.error = Some("the result came after the deadline".to_owned());
        }
        outcome
    }

    fn run_here(&self, task: u64, work: &Work, payload: &[u8], deadline: Moment) -> Outcome {
        let begin = Instant::now();
        let give_up = || self.stop.load(Ordering::Relaxed) || self.clock.now() >= deadline;
        match task::run(work, payload, self.device_speed, &give_up) {
            Some(checksum) => Outcome {
                success: true,
                execute_s: Some(begin.elapsed().as_secs_f64()),
                answer: Some(Answer {
                    task,
                    work: work.clone(),
                    checksum,
                }),
                ..Outcome::default()
            },
            None if self.stop.load(Ordering::Relaxed) => failure("given up: the run was asked to end"),
            None => failure("not done on the device within the deadline"),
        }
    }

    fn time_left(&self, deadline: Moment) -> Duration {
        Duration::from_secs_f64((deadline - self.clock.now()).0.max(0.0))
    }
}

fn submit(client: &mut Client, task: u64, work: &Work, payload: &[u8], left: Duration) -> Outcome {
    match client.submit(work, payload, left) {
        Ok(done) => Outcome {
            success: true,
            transmit_s: Some(done.transmit_s),
            execute_s: Some(done.execute_s),
            answer: Some(Answer {
                task,
                work: work.clone(),
                checksum: done.checksum,
            }),
            mec_transfer: Some(Transfer {
                payload_bytes: payload.len() as u64,
                receive_bytes: done.receive_bytes,
                receive_s: done.receive_s,
            }),
            ..Outcome::default()
        },
        Err(error) => failure(error.to_string()),
    }
}

fn failure(why: impl Into<String>) -> Outcome {
    Outcome {
        error: Some(why.into()),
        ..Outcome::default()
    }
}
