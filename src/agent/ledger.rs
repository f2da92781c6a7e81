//! Tasks whose energy is not known yet.
//!
//! A task's energy is resolved when the next sample lands. Until then it waits here. Learning happens in task order,
//! rows are written in task order, and nothing else waits for either.

use super::AgentError;
use super::executor::Outcome;
use super::observer::Observation;
use super::recorder::Recorder;
use super::reward::RewardRule;
use super::summary::Tally;
use crate::learn::guard::Guard;
use crate::learn::{Cost, Decision, State, Transition};
use crate::record::DecisionRecord;
use crate::task::Task;
use hwmeter_hw::meter::Meter;
use hwmeter_hw::span::{PendingSpan, Resolution, SpanEnergy};
use std::collections::VecDeque;
use std::time::Instant;

/// Where finished rows go.
pub trait Sink {
    /// Takes the row of a task that is complete; rows come in task order.
    fn write(&mut self, record: &DecisionRecord) -> anyhow::Result<()>;
}

/// A task that has run.
pub struct Waiting {
    record: DecisionRecord,
    transition: Transition,
    has_next_state: bool,
    spans: Option<Spans>,
    /// `Some(None)`: the learner has passed over it.
    trained: Option<Option<PendingSpan>>,
}

struct Spans {
    whole: PendingSpan,
    deciding: PendingSpan,
    executing: PendingSpan,
}

impl Waiting {
    /// A task with everything known but its energy. `t_s` is its arrival.
    pub fn new(
        task: &Task,
        observed: Observation,
        decision: Decision,
        decide_s: f64,
        outcome: Outcome,
        t_s: f64,
    ) -> Self {
        let record = DecisionRecord {
            task: task.id,
            t_s,
            kernel: task.content.clone(),
            cycles: task.cycles,
            payload_bytes: task.payload_bytes,
            deadline_s: task.deadline_s,
            device_free: observed.state.device_free,
            mec_free: observed.mec_free,
            throughput_bps: observed.throughput_bps,
            placement: decision.placement,
            explored: decision.explored,
            decide_s,
            transmit_s: outcome.transmit_s,
            execute_s: outcome.execute_s,
            latency_s: outcome.latency_s,
            success: outcome.success,
            reward: None,
            energy_j: None,
            energy_u_j: None,
            decide_j: None,
            execute_j: None,
            train_j: None,
            train_s: None,
            training_site: None,
            train_send_s: None,
            train_server_s: None,
            train_receive_s: None,
            train_apply_s: None,
            coverage: 0.0,
            kind: "",
            sensor: String::new(),
            error: outcome.error,
        };
        let transition = Transition {
            state: observed.state,
            placement: decision.placement,
            reward: f64::NAN,
            next_state: observed.state,
        };
        Self {
            record,
            transition,
            has_next_state: false,
            spans: None,
            trained: None,
        }
    }

    /// The spans of the task, of its decision and of its execution.
    pub fn with_spans(mut self, whole: PendingSpan, deciding: PendingSpan, executing: PendingSpan) -> Self {
        self.spans = Some(Spans {
            whole,
            deciding,
            executing,
        });
        self
    }

    /// Fills in the energy if it is known by now, or known to be lost.
    fn resolve(&mut self, reward: &RewardRule) -> bool {
        let Some(spans) = &self.spans else { return true };
        let (Some(whole), Some(deciding), Some(executing)) = (
            settled(&spans.whole),
            settled(&spans.deciding),
            settled(&spans.executing),
        ) else {
            return false;
        };
        let record = &mut self.record;
        record.energy_j = joules(&whole);
        record.energy_u_j = whole.total.map(|total| total.uncertainty.0);
        record.decide_j = joules(&deciding);
        record.execute_j = joules(&executing);
        record.coverage = whole.coverage;
        record.kind = whole.kind.as_str();
        record.reward = match record.energy_j {
            Some(energy) => reward.reward(record.success, Some(energy), record.deadline_s),
            None => None,
        };
        self.spans = None;
        true
    }

    /// One update, in its own span. What the learner refuses is noted in the row and not learned from.
    fn learn(&mut self, learner: &mut Guard, meter: &Meter, recorder: &mut Recorder) {
        let (Some(reward), Some(energy_j)) = (self.record.reward, self.record.energy_j) else {
            self.trained = Some(None);
            return;
        };
        let cost = Cost {
            energy_j,
            latency_s: self.record.latency_s,
            in_time: self.record.success,
        };
        self.transition.reward = reward;
        let training = meter.span("train");
        let begin = Instant::now();
        let learned = learner.learn(&self.transition, &cost);
        let train_s = begin.elapsed().as_secs_f64();
        let training = training.end();
        if let Err(error) = learned {
            self.record
                .error
                .get_or_insert(format!("not learned from: {error}"));
            self.trained = Some(None);
            return;
        }
        recorder.learned(&self.transition, &cost);
        self.record.train_s = Some(train_s);
        self.record.training_site = Some("local");
        self.trained = Some(Some(training));
    }
}

/// The span's energy once nothing more is to be waited for.
fn settled(span: &PendingSpan) -> Option<SpanEnergy> {
    match span.poll() {
        Resolution::Pending => None,
        Resolution::Resolved(energy) | Resolution::Lost(energy) => Some(energy),
    }
}

fn joules(span: &SpanEnergy) -> Option<f64> {
    span.total.map(|total| total.joules.0)
}

/// How much was learned at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Updates {
    /// Updates.
    pub count: u64,
    /// Their time.
    pub seconds: f64,
}

/// The tasks that wait, oldest first.
#[derive(Default)]
pub struct Ledger {
    waiting: VecDeque<Waiting>,
    tally: Tally,
}

impl Ledger {
    /// A task has run.
    pub fn push(&mut self, task: Waiting) {
        self.waiting.push_back(task);
    }

    /// Whether every task has been written.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What the state was after the newest task.
    pub fn next_state(&mut self, state: State) {
        if let Some(newest) = self.waiting.back_mut()
            && !newest.has_next_state
        {
            newest.transition.next_state = state;
            newest.has_next_state = true;
        }
    }

    /// After the last task nothing more is observed: its next state is its own.
    pub fn last_state_stays(&mut self) {
        if let Some(newest) = self.waiting.back_mut() {
            newest.has_next_state = true;
        }
    }

    /// Learns from the tasks whose energy is known, in order, up to the first whose is not.
    pub fn learn_resolved(
        &mut self,
        learner: &mut Guard,
        meter: &Meter,
        reward: &RewardRule,
        recorder: &mut Recorder,
    ) -> Updates {
        let learns = learner.learns();
        let mut updates = Updates::default();
        for task in self.waiting.iter_mut().filter(|task| task.trained.is_none()) {
            if !task.has_next_state || !task.resolve(reward) {
                break;
            }
            if learns {
                task.learn(learner, meter, recorder);
                updates.count += u64::from(task.record.train_s.is_some());
                updates.seconds += task.record.train_s.unwrap_or(0.0);
            } else {
                task.trained = Some(None);
            }
        }
        updates
    }

    /// The first task that has not been learned from, where `next` is the first that has not run.
    pub fn next_to_learn(&self, next: u64) -> u64 {
        let unlearned = self.waiting.iter().find(|task| task.trained.is_none());
        unlearned.map_or(next, |task| task.record.task)
    }

    /// Writes the rows that are complete, in order.
    pub fn write_complete(&mut self, meter: &Meter, sink: &mut dyn Sink) -> Result<(), AgentError> {
        while let Some(oldest) = self.waiting.front_mut() {
            let Some(training) = &oldest.trained else { break };
            if let Some(training) = training {
                let Some(energy) = settled(training) else { break };
                oldest.record.train_j = joules(&energy);
            }
            oldest.record.sensor.clone_from(&meter.info().id);
            self.tally.add(&oldest.record);
            let written = sink.write(&oldest.record);
            written.map_err(|source| AgentError::Write {
                task: oldest.record.task,
                source,
            })?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// What the written tasks were like.
    pub fn into_tally(self) -> Tally {
        self.tally
    }
}
