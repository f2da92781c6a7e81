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
use super::training::{Learned, Training, TrainingSite, Update};
use crate::learn::guard::Guard;
use crate::learn::{Cost, Decision, State, Transition};
use crate::record::DecisionRecord;
use crate::task::Task;
use hwmeter_hw::meter::Meter;
use hwmeter_hw::span::{PendingSpan, Resolution, SpanEnergy};
use hwmeter_hw::units::Watts;
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
    trained: Trained,
}

/// What the learner has done with a task.
#[derive(Default)]
enum Trained {
    #[default]
    NotYet,
    /// It is on its way to the MEC under this number.
    Sent(u64),
    /// It was learned from, in this span if that can be told, or passed over.
    Done(Option<(TrainingSite, PendingSpan)>),
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
            t_s,
            placement: decision.placement,
            explored: decision.explored,
            decide_s,
            transmit_s: outcome.transmit_s,
            execute_s: outcome.execute_s,
            latency_s: outcome.latency_s,
            success: outcome.success,
            error: outcome.error,
            ..DecisionRecord::begun(task, &observed.state, observed.mec_free, observed.throughput_bps)
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
            trained: Trained::NotYet,
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

    /// One update, here or on the MEC. What the learner refuses is noted in the row and not learned from.
    fn learn(
        &mut self,
        training: &mut Training,
        learner: &mut Guard,
        meter: &Meter,
        recorder: &mut Recorder,
    ) {
        let (Some(reward), Some(energy_j)) = (self.record.reward, self.record.energy_j) else {
            self.trained = Trained::Done(None);
            return;
        };
        let cost = Cost {
            energy_j,
            latency_s: self.record.latency_s,
            in_time: self.record.success,
        };
        self.transition.reward = reward;
        match training.learn(self.record.task, learner, &self.transition, &cost, meter) {
            Learned::Done(update) => self.trained_by(update),
            Learned::Sent(sequence) => self.trained = Trained::Sent(sequence),
            Learned::Not(why) => {
                self.record.error.get_or_insert(why);
                self.trained = Trained::Done(None);
                return;
            }
        }
        recorder.learned(&self.transition, &cost);
    }

    /// The update is in use.
    fn trained_by(&mut self, update: Update) {
        let record = &mut self.record;
        record.training_site = Some(update.site.as_str());
        record.train_s = update.times.train_s;
        record.train_send_s = update.times.send_s;
        record.train_server_s = update.times.server_s;
        record.train_receive_s = update.times.receive_s;
        record.train_apply_s = update.times.apply_s;
        self.trained = Trained::Done(update.span.map(|span| (update.site, span)));
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

/// For the comparison of sites: the idle board would have drawn its part of a span anyway.
fn note_energy(training: &mut Training, site: TrainingSite, energy: &SpanEnergy, idle: Watts) {
    if let Some(joules) = joules(energy) {
        let above_idle_j = joules - idle.0 * energy.duration().0;
        training.note_energy(site, above_idle_j, joules, energy.kind.as_str());
    }
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

    /// Whether every task has been learned from, sent or passed over.
    pub fn is_all_learned(&self) -> bool {
        !self
            .waiting
            .iter()
            .any(|task| matches!(task.trained, Trained::NotYet))
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
        training: &mut Training,
        learner: &mut Guard,
        meter: &Meter,
        reward: &RewardRule,
        recorder: &mut Recorder,
    ) -> Updates {
        let learns = learner.learns();
        let mut updates = Updates::default();
        let begin = Instant::now();
        let mut waiting = self.waiting.iter_mut();
        while let Some(task) = waiting.find(|task| matches!(task.trained, Trained::NotYet)) {
            if !task.has_next_state || !task.resolve(reward) {
                break;
            }
            if learns {
                task.learn(training, learner, meter, recorder);
                let is_update = task.record.train_s.is_some() || matches!(task.trained, Trained::Sent(_));
                updates.count += u64::from(is_update);
            } else {
                task.trained = Trained::Done(None);
            }
        }
        if updates.count > 0 {
            updates.seconds = begin.elapsed().as_secs_f64();
        }
        updates
    }

    /// The update of a task that was on its way is in use.
    pub fn conclude(&mut self, update: Update) {
        let is_meant = |task: &&mut Waiting| matches!(task.trained, Trained::Sent(n) if n == update.sequence);
        // A row that could wait no longer has been written without.
        if let Some(task) = self.waiting.iter_mut().find(is_meant) {
            task.trained_by(update);
        }
    }

    /// The first task that has not been learned from or sent, where `next` is the first that has not run.
    pub fn next_to_learn(&self, next: u64) -> u64 {
        let unlearned = self
            .waiting
            .iter()
            .find(|task| matches!(task.trained, Trained::NotYet));
        unlearned.map_or(next, |task| task.record.task)
    }

    /// Writes the rows that are complete, in order.
    pub fn write_complete(
        &mut self,
        training: &mut Training,
        idle: Watts,
        meter: &Meter,
        sink: &mut dyn Sink,
    ) -> Result<(), AgentError> {
        while let Some(oldest) = self.waiting.front() {
            let energy = match &oldest.trained {
                Trained::NotYet => break,
                Trained::Sent(sequence) if training.awaits(*sequence) => break,
                Trained::Sent(_) | Trained::Done(None) => None,
                Trained::Done(Some((site, span))) => match settled(span) {
                    Some(energy) => Some((*site, energy)),
                    None => break,
                },
            };
            let Some(mut oldest) = self.waiting.pop_front() else {
                break;
            };
            if let Some((site, energy)) = energy {
                oldest.record.train_j = joules(&energy);
                note_energy(training, site, &energy, idle);
            }
            oldest.record.sensor.clone_from(&meter.info().id);
            self.tally.add(&oldest.record);
            let written = sink.write(&oldest.record);
            written.map_err(|source| AgentError::Write {
                task: oldest.record.task,
                source,
            })?;
        }
        Ok(())
    }

    /// What the written tasks were like.
    pub fn into_tally(self) -> Tally {
        self.tally
    }
}
