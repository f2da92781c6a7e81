//! Runs a task where the decision says, for no longer than its deadline.
//!
//! Deadlines are firm: a late result is worth nothing, so a task is stopped there, on the device as on a server.

use super::audit::Answer;
use crate::learn::Placement;
use crate::offload::site::Site;
use crate::task::cost::CostModel;
use crate::task::{self, Speed, Task, TaskError, Work};
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
    pub mec: Site,
    /// The cloud.
    pub cloud: Site,
    /// What becomes of a task whose server fails.
    pub fallback: Fallback,
    /// Set from outside to give up the task at hand.
    pub stop: &'a AtomicBool,
}

/// What becomes of a task whose server fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// It has failed.
    #[default]
    None,
    /// It runs on the device in the time that is left.
    Local,
}

/// How a task went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether a result came within the deadline.
    pub success: bool,
    /// From arrival to result, or to giving up.
    pub latency_s: f64,
    /// Connecting, sending and receiving.
    pub transmit_s: Option<f64>,
    /// The kernel's own time.
    pub execute_s: Option<f64>,
    /// Whether it ran on the device although the decision was another.
    pub fell_back: bool,
    /// The result, to be audited.
    pub answer: Option<Answer>,
    /// What went wrong.
    pub error: Option<String>,
}

/// How the error of a task begins that fell back to the device.
pub const FELL_BACK: &str = "ran on the device instead";

impl Executor<'_> {
    /// No probe begins from now on; [`Self::execute`] lets them again, on a server that it uses only afterwards.
    pub fn hold_probes(&self) {
        self.mec.hold_probes();
        self.cloud.hold_probes();
    }

    /// The server behind a placement.
    pub fn site(&mut self, placement: Placement) -> Option<&mut Site> {
        match placement {
            Placement::Local => None,
            Placement::Mec => Some(&mut self.mec),
            Placement::Cloud => Some(&mut self.cloud),
        }
    }

    /// Runs `task`, which arrived at `arrival`.
    pub fn execute(&mut self, task: &Task, payload: &[u8], placement: Placement, arrival: Moment) -> Outcome {
        let work = Work {
            program: task.content.program(task.cycles, &self.cost),
            seed: task.seed,
        };
        let deadline = arrival.after(Duration::from_secs_f64(task.deadline_s));
        let mut outcome = match placement {
            Placement::Local => {
                self.release_probes();
                self.run_here(task.id, &work, payload, deadline)
            }
            Placement::Mec | Placement::Cloud => self.run_there(task.id, &work, payload, placement, deadline),
        };
        outcome.latency_s = (self.clock.now() - arrival).0;
        if outcome.success && outcome.latency_s > task.deadline_s {
            outcome.success = false;
            let late = "the result came after the deadline";
            outcome.error = Some(match outcome.error {
                Some(error) => format!("{error}; {late}"),
                None => late.to_owned(),
            });
        }
        outcome
    }

    fn run_there(
        &mut self,
        task: u64,
        work: &Work,
        payload: &[u8],
        placement: Placement,
        deadline: Moment,
    ) -> Outcome {
        let left = self.time_left(deadline);
        let (site, other) = match placement {
            Placement::Mec => (&mut self.mec, &self.cloud),
            _ => (&mut self.cloud, &self.mec),
        };
        other.release_probes();
        let outcome = submit(site, task, work, payload, left);
        site.release_probes();
        match outcome.error {
            Some(error) if self.falls_back(deadline) => {
                let here = self.run_here(task, work, payload, deadline);
                let why = here.error.map_or(String::new(), |e| format!(" ({e})"));
                Outcome {
                    fell_back: true,
                    error: Some(format!("{FELL_BACK}{why}: {error}")),
                    ..here
                }
            }
            error => Outcome { error, ..outcome },
        }
    }

    fn falls_back(&self, deadline: Moment) -> bool {
        self.fallback == Fallback::Local
            && !self.stop.load(Ordering::Relaxed)
            && !self.time_left(deadline).is_zero()
    }

    fn run_here(&self, task: u64, work: &Work, payload: &[u8], deadline: Moment) -> Outcome {
        let begin = Instant::now();
        let give_up = || self.stop.load(Ordering::Relaxed) || self.clock.now() >= deadline;
        match task::run(work, payload, self.device_speed, &give_up) {
            Ok(checksum) => Outcome {
                success: true,
                execute_s: Some(begin.elapsed().as_secs_f64()),
                answer: Some(Answer {
                    task,
                    work: work.clone(),
                    checksum,
                }),
                ..Outcome::default()
            },
            Err(TaskError::Stopped) if self.stop.load(Ordering::Relaxed) => {
                failure("given up: the run was asked to end")
            }
            Err(TaskError::Stopped) => failure("not done on the device within the deadline"),
            Err(TaskError::Module(why)) => failure(why.to_string()),
        }
    }

    fn release_probes(&self) {
        self.mec.release_probes();
        self.cloud.release_probes();
    }

    fn time_left(&self, deadline: Moment) -> Duration {
        Duration::from_secs_f64((deadline - self.clock.now()).0.max(0.0))
    }
}

fn submit(site: &mut Site, task: u64, work: &Work, payload: &[u8], left: Duration) -> Outcome {
    match site.submit(work, payload, left) {
        Ok(done) => Outcome {
            success: true,
            transmit_s: Some(done.transmit_s),
            execute_s: Some(done.execute_s),
            answer: Some(Answer {
                task,
                work: work.clone(),
                checksum: done.checksum,
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
