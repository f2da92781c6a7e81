//! What a device does between two tasks: learn from those whose energy is known by now, here or on the MEC, put weights to
//! use that have come, write the rows that are complete.

use super::{Device, Exchange, Trained};
use crate::agent::training::TrainingSite;
use crate::learn::{Cost, Placement};
use crate::offload::link::profile::Way;
use crate::record::DecisionRecord;
use crate::testbed::board::Load;
use crate::testbed::event::{Nanos, seconds};
use crate::testbed::run::SimulateError;
use crate::testbed::world::{Site, Step, What, World};

/// Bytes of an experience, as measured with the real trainer (bench/RESULTS.md).
const EXPERIENCE_BYTES: f64 = 194.0;
/// Weights that have come are read, checked and written.
const APPLY_PASSES: f64 = 3.0;

impl Device {
    /// Learns from what is known by now, one task after the other; then the next task arrives.
    pub(super) fn settle(&mut self, world: &mut World) -> Result<(), SimulateError> {
        if self.training.is_some() || self.current.is_some() || self.is_finished {
            return Ok(());
        }
        if self.use_arrived(world) || self.begin_update(world) {
            return Ok(());
        }
        self.write_complete()?;
        if self.next_task < self.count {
            let in_s = seconds(self.due.saturating_sub(world.now()));
            world.plan_in(in_s, self.number, self.turn, Step::Arrive);
            return Ok(());
        }
        if let Some(last) = self.ledger.back_mut() {
            last.has_next_state = true;
        }
        if self.ledger.is_empty() {
            self.is_finished = true;
        } else if !self.begin_update(world) && self.settles_at <= world.now() {
            self.settles_at = self.board.next_sample();
            let in_s = seconds(self.settles_at.saturating_sub(world.now()));
            world.plan_in(in_s, self.number, self.turn, Step::Settle);
        }
        Ok(())
    }

    /// The first task that can be learned from; true if its update has begun, and what follows it is to wait.
    fn begin_update(&mut self, world: &mut World) -> bool {
        while let Some(i) = self.next_to_learn() {
            if !self.ledger[i].has_next_state || !self.resolve(i) {
                return false;
            }
            let is_known = self.ledger[i].record.reward.is_some();
            if !self.guard.learns() || !is_known {
                self.ledger[i].trained = Trained::Done(None);
                continue;
            }
            let task = self.ledger[i].record.task;
            let exchange = self.exchange_from(task, world.now());
            match (self.kind.training, self.wait) {
                (TrainingSite::Local, _) => {
                    self.board.set(Load::Training, self.learner_w(), 1.0);
                    let turn = exchange.turn;
                    self.training = Some(exchange);
                    world.plan_in(self.kind.cost.update_s, self.number, turn, Step::Updated);
                    return true;
                }
                (TrainingSite::Mec, true) => {
                    let turn = exchange.turn;
                    self.training = Some(exchange);
                    self.send_experience(turn, world);
                    return true;
                }
                (TrainingSite::Mec, false) => {
                    let turn = exchange.turn;
                    self.ledger[i].trained = Trained::Sent;
                    self.sent.push_back(exchange);
                    self.send_experience(turn, world);
                }
            }
        }
        false
    }

    fn next_to_learn(&self) -> Option<usize> {
        self.ledger
            .iter()
            .position(|task| task.trained == Trained::NotYet)
    }

    fn exchange_from(&mut self, task: u64, now: Nanos) -> Exchange {
        self.turn += 1;
        Exchange {
            task,
            turn: self.turn,
            began: now,
            edge: self.board.edge(),
            send_s: 0.0,
            server_s: 0.0,
            back: now,
            took_s: 0.0,
        }
    }

    fn send_experience(&mut self, turn: u64, world: &mut World) {
        self.send(
            Way::Up,
            turn,
            EXPERIENCE_BYTES,
            Step::AtTrainer,
            Placement::Local,
            world,
        );
    }

    pub(super) fn train_there(&mut self, turn: u64, world: &mut World) {
        world.submit(self.job(turn, Site::Mec, What::Update, self.kind.mec_cost.update_s));
    }

    /// Weights have come: they are put to use at once, or when the task at hand is done.
    pub(super) fn weights_here(&mut self, turn: u64, server_s: f64, world: &mut World) {
        let now = world.now();
        self.arrived.push((turn, server_s, now));
        if self.current.is_none() {
            self.use_arrived(world);
        }
    }

    /// Puts weights to use that have come, in the order in which their experiences were sent.
    fn use_arrived(&mut self, world: &mut World) -> bool {
        let is_next = |turn: u64| match (&self.training, self.sent.front()) {
            (Some(waited), _) => waited.turn == turn,
            (None, Some(oldest)) => oldest.turn == turn,
            (None, None) => false,
        };
        let Some(i) = self.arrived.iter().position(|(turn, _, _)| is_next(*turn)) else {
            return false;
        };
        let (_, server_s, back) = self.arrived.swap_remove(i);
        let waited = self.training.take().or_else(|| self.sent.pop_front());
        let Some(mut exchange) = waited else { return false };
        exchange.server_s = server_s;
        exchange.back = back;
        let bytes = APPLY_PASSES * self.weight_bytes;
        let memory = self.kind.profile.memory.bytes_per_s.as_ref();
        exchange.took_s = memory.map_or(0.0, |rate| bytes / rate.get());
        if !self.wait {
            // The time between is not the update's: other tasks ran in it.
            exchange.edge = self.board.edge();
        }
        self.board.set(Load::Training, self.core_w(), 1.0);
        world.plan_in(exchange.took_s, self.number, exchange.turn, Step::Applied);
        self.training = Some(exchange);
        true
    }

    pub(super) fn updated(&mut self, world: &mut World) -> Result<(), SimulateError> {
        let Some(exchange) = self.training.take() else {
            return Ok(());
        };
        let took_s = seconds(world.now() - exchange.began);
        self.learned(&exchange, |record| {
            record.train_s = Some(took_s);
            record.training_site = Some(TrainingSite::Local.as_str());
        });
        self.settle(world)
    }

    pub(super) fn applied(&mut self, world: &mut World) -> Result<(), SimulateError> {
        let Some(exchange) = self.training.take() else {
            return Ok(());
        };
        let until_back_s = seconds(exchange.back - exchange.began);
        let (send_s, server_s, took_s) = (exchange.send_s, exchange.server_s, exchange.took_s);
        self.learned(&exchange, |record| {
            record.train_s = Some(until_back_s + took_s);
            record.training_site = Some(TrainingSite::Mec.as_str());
            record.train_send_s = Some(send_s);
            record.train_server_s = Some(server_s);
            record.train_receive_s = Some((until_back_s - send_s - server_s).max(0.0));
            record.train_apply_s = Some(took_s);
        });
        self.settle(world)
    }

    /// The learner takes the experience, and the span of its update ends.
    fn learned(&mut self, exchange: &Exchange, note: impl FnOnce(&mut DecisionRecord)) {
        self.board.set(Load::Training, 0.0, -1.0);
        let end = self.board.edge();
        let found = self
            .ledger
            .iter_mut()
            .find(|task| task.record.task == exchange.task);
        let Some(task) = found else { return };
        let cost = Cost {
            energy_j: task.record.energy_j.unwrap_or(0.0),
            latency_s: task.record.latency_s,
            in_time: task.record.success,
        };
        match self.guard.learn(&task.transition, &cost) {
            Ok(()) => {
                note(&mut task.record);
                task.trained = Trained::Done(Some((exchange.edge, end)));
            }
            Err(error) => {
                let why = format!("not learned from: {error}");
                task.record.error.get_or_insert(why);
                task.trained = Trained::Done(None);
            }
        }
    }

    /// Fills in a task's energy if the sensor has shown it.
    fn resolve(&mut self, i: usize) -> bool {
        let task = &mut self.ledger[i];
        if task.record.energy_j.is_some() {
            return true;
        }
        let [arrived, decided, done] = task.edges;
        let Some(whole) = self.board.energy(arrived, done) else {
            return false;
        };
        let joules = |begin, end| {
            let span = self.board.energy(begin, end)?;
            span.total.map(|total| total.joules.0)
        };
        let record = &mut task.record;
        record.decide_j = joules(arrived, decided);
        record.execute_j = joules(decided, done);
        record.coverage = whole.coverage;
        record.kind = whole.kind.as_str();
        let Some(total) = whole.total else {
            return true;
        };
        record.energy_j = Some(total.joules.0);
        record.energy_u_j = Some(total.uncertainty.0);
        record.reward = self
            .reward
            .reward(record.success, record.energy_j, record.deadline_s);
        if let Some(reward) = record.reward {
            task.transition.reward = reward;
        }
        if let Some(true_j) = self.board.true_energy_j(arrived, done) {
            let off_j = (total.joules.0 - true_j).abs();
            self.held.0 += 1;
            self.held.1 += u64::from(off_j <= 2.0 * total.uncertainty.0);
        }
        true
    }

    /// Writes the rows that are complete, in order, and lets go of their edges.
    fn write_complete(&mut self) -> Result<(), SimulateError> {
        while let Some(oldest) = self.ledger.front() {
            let train_j = match oldest.trained {
                Trained::NotYet | Trained::Sent => break,
                Trained::Done(None) => None,
                Trained::Done(Some((begin, end))) => match self.board.energy(begin, end) {
                    Some(span) => span.total.map(|total| total.joules.0),
                    None => break,
                },
            };
            let Some(mut oldest) = self.ledger.pop_front() else {
                break;
            };
            oldest.record.train_j = train_j;
            oldest.record.sensor.clone_from(&self.board.sensor().id);
            self.tally.add(&oldest.record);
            self.written += 1;
            let written = self.output.rows.write(&oldest.record);
            written.map_err(|source| SimulateError::Write {
                device: self.number,
                source,
            })?;
            if let Some(next) = self.ledger.front() {
                self.board.forget_before(next.edges[0]);
            }
        }
        Ok(())
    }
}
