//! The agent: observe, decide, execute, reward, learn; each task tagged with the joules it cost.
//!
//! ```text
//! observer.rs   the five values of the state
//! executor.rs   runs a task where the decision says
//! reward.rs     joules and deadlines become a reward
//! ledger.rs     tasks whose energy is not known yet; learning and writing happen in task order
//! training/     learning on the device or on the MEC
//! summary.rs    what the run was like
//! per_update.rs energy of an update, by regression over the run
//! checkpoints.rs   the learner on disk while the run goes on
//! recorder.rs   what the learner has learned from, on disk; replay.rs: the same once more
//! audit.rs      recomputes a share of the results, of servers between tasks, of the device afterwards
//! ```

pub mod audit;
pub mod checkpoints;
pub mod executor;
pub mod ledger;
pub mod observer;
pub mod per_update;
pub mod recorder;
pub mod replay;
pub mod reward;
pub mod summary;
pub mod training;

use crate::learn::LearnError;
use crate::learn::Placement;
use crate::learn::guard::Guard;
use crate::task::Task;
use crate::task::set::payload;
use audit::{Answer, SpotCheck};
use checkpoints::{Checkpoints, Position};
use executor::{Executor, Outcome};
use hwmeter_hw::clock::Moment;
use hwmeter_hw::meter::Meter;
use hwmeter_hw::span::Span;
use hwmeter_hw::units::Watts;
use ledger::{Ledger, Sink, Updates, Waiting};
use observer::Observer;
use per_update::{PerUpdate, Regression};
use recorder::Recorder;
use reward::RewardRule;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use summary::Tally;
use training::Training;

/// Everything a run needs, set up by whoever starts it.
pub struct Agent<'a> {
    /// Where the five values come from.
    pub observer: Observer,
    /// Who decides.
    pub learner: Guard,
    /// Where it learns.
    pub training: Training,
    /// Power of the idle board, which an update is not charged when sites are compared.
    pub idle: Watts,
    /// Where it is kept meanwhile.
    pub checkpoints: Checkpoints,
    /// Keeps what it learns from, if it is asked to.
    pub recorder: Recorder,
    /// What runs the tasks.
    pub executor: Executor<'a>,
    /// Whether servers compute rightly.
    pub spot_check: SpotCheck,
    /// The device's energy.
    pub meter: &'a Meter,
    /// What a result is worth.
    pub reward: RewardRule,
    /// Where `t_s` begins, the same as in the trace.
    pub origin: Moment,
    /// The number of the first task; there may be none left to run.
    pub first: u64,
    /// Set from outside (Ctrl-C) to end after the task at hand.
    pub stop: &'a AtomicBool,
}

/// Why a run ended before its tasks did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The learner could not be kept.
    #[error("cannot keep the learner before task {task}; free some space and use --resume")]
    Save {
        /// The task.
        task: u64,
        /// What went wrong.
        source: LearnError,
    },
    /// An experience could not be recorded.
    #[error("cannot record what the learner has learned from; free some space and use --resume")]
    Record {
        /// What went wrong.
        source: anyhow::Error,
    },
    /// A finished row could not be written.
    #[error("cannot write the row of task {task}; free some space and use --resume")]
    Write {
        /// The task.
        task: u64,
        /// What the disk said.
        source: anyhow::Error,
    },
}

/// What a run leaves.
pub struct Finished {
    /// What its tasks were like.
    pub tally: Tally,
    /// Its results that are still to be audited: those of the device.
    pub answers: Vec<Answer>,
    /// Tasks that ran on the device because their server failed.
    pub fell_back: u64,
    /// Energy of an update; `None` if it cannot be told.
    pub per_update: Option<PerUpdate>,
}

impl Agent<'_> {
    /// Runs the tasks one after the other. The agent never waits for a task's energy: it goes on deciding, and learns
    /// from the tasks whose energy has been resolved, in their order.
    pub fn run(&mut self, tasks: &[Task], sink: &mut dyn Sink) -> Result<Finished, AgentError> {
        let mut ledger = Ledger::default();
        let (mut answers, mut fell_back) = (Vec::new(), 0);
        let (mut regression, mut cycle) = (Regression::default(), None::<(Span, f64)>);
        for task in tasks {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let payload = payload(task);
            // Last thing before a task arrives: the update leaves the weights in the cache for the decision.
            let updates = self.settle(&mut ledger, sink)?;
            if self.checkpoints.is_due(task.id) {
                self.save(task.id, ledger.next_to_learn(task.id))?;
            }
            let arrival = self.executor.clock.now();
            if let Some((span, local_s)) = cycle.take() {
                regression.push(span.end(), local_s, updates.seconds, updates.count);
            }
            self.executor.hold_probes();
            let around = self.meter.span("cycle");
            let whole = self.meter.span("task");
            let observed = self.observer.observe(task, &self.executor.mec.latest());
            ledger.next_state(observed.state);

            let deciding = self.meter.span("decide");
            let begin = Instant::now();
            let (decision, refused) = self.learner.decide(&observed.state);
            let decide_s = begin.elapsed().as_secs_f64();
            let deciding = deciding.end();

            let executing = self.meter.span("execute");
            let mut outcome = self.executor.execute(task, &payload, decision.placement, arrival);
            let executing = executing.end();
            let whole = whole.end();

            fell_back += u64::from(outcome.fell_back);
            let computing = match (decision.placement, outcome.fell_back) {
                (Placement::Local, _) => outcome.latency_s - decide_s,
                (_, true) => outcome.execute_s.unwrap_or(0.0),
                (_, false) => 0.0,
            };
            // What checking takes belongs to no task and no update: this cycle is left out.
            let was_checked = self.check(&mut outcome, decision.placement, &payload);
            cycle = (!was_checked).then_some((around, computing));
            if let Some(error) = refused {
                outcome
                    .error
                    .get_or_insert(format!("not decided by the learner: {error}"));
            }
            answers.extend(outcome.answer.take());
            ledger.push(
                Waiting::new(
                    task,
                    observed,
                    decision,
                    decide_s,
                    outcome,
                    (whole.begin() - self.origin).0,
                )
                .with_spans(whole, deciding, executing),
            );
        }
        let tally = self.finish(ledger, sink)?;
        let next = self.first + tally.tasks();
        self.save(next, next)?;
        Ok(Finished {
            tally,
            answers,
            fell_back,
            per_update: regression.finish(),
        })
    }

    /// For its figures, when the run is over.
    pub fn into_training(self) -> Training {
        self.training
    }

    /// Recomputes a share of what servers answer, and every result of one that was found wrong. A wrong one has failed
    /// before anything is learned from it. Whether it took time.
    fn check(&mut self, outcome: &mut Outcome, placement: Placement, payload: &[u8]) -> bool {
        if outcome.fell_back {
            return false;
        }
        let Some(site) = self.executor.site(placement) else {
            return false;
        };
        let Some(answer) = outcome.answer.take() else {
            return false;
        };
        // Drawn in any case, so that one server's lies do not change what is checked of the other.
        let is_due = self.spot_check.is_due();
        if !is_due && !site.is_doubted() {
            return false;
        }
        let stop = || self.stop.load(Ordering::Relaxed);
        if let Ok(expected) = self.spot_check.recompute(&answer, payload, &stop)
            && !site.judge(expected, answer.checksum)
        {
            outcome.success = false;
            outcome.error = Some(audit::WRONG_RESULT.to_owned());
        }
        true
    }

    fn save(&mut self, next_task: u64, next_to_learn: u64) -> Result<(), AgentError> {
        let position = Position {
            next_task,
            next_to_learn,
        };
        let training = self.training.whereabouts();
        let saved = self.checkpoints.save(&mut self.learner, position, training);
        saved.map_err(|source| AgentError::Save {
            task: next_task,
            source,
        })
    }

    /// Learns from what has been resolved and writes what is complete.
    fn settle(&mut self, ledger: &mut Ledger, sink: &mut dyn Sink) -> Result<Updates, AgentError> {
        for update in self.training.poll(&mut self.learner) {
            ledger.conclude(update);
        }
        let updates = ledger.learn_resolved(
            &mut self.training,
            &mut self.learner,
            self.meter,
            &self.reward,
            &mut self.recorder,
        );
        let recorded = self.recorder.check();
        recorded.map_err(|source| AgentError::Record { source })?;
        ledger.write_complete(&mut self.training, self.idle, self.meter, sink)?;
        Ok(updates)
    }

    /// Waits for the energy of the last tasks; a sensor that is gone ends the wait.
    fn finish(&mut self, mut ledger: Ledger, sink: &mut dyn Sink) -> Result<Tally, AgentError> {
        ledger.last_state_stays();
        let mut is_finished = false;
        while !ledger.is_empty() || !is_finished {
            self.settle(&mut ledger, sink)?;
            if !is_finished && ledger.is_all_learned() {
                for update in self.training.finish(&mut self.learner) {
                    ledger.conclude(update);
                }
                is_finished = true;
            }
            let soon = self
                .executor
                .clock
                .now()
                .after(std::time::Duration::from_millis(1));
            self.executor.clock.sleep_until(soon);
        }
        Ok(ledger.into_tally())
    }
}
