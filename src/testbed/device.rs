//! A simulated device: observe -> decide -> execute -> reward -> learn, in the order and with the waits of the agent.
//!
//! Tasks come one after the other. A task's energy is known when the next sample lands; until then it waits in the
//! ledger, and the device goes on. It is learned from when the state after it has been observed too. Where training is on
//! the MEC, the learner takes an experience at the moment at which the weights that know it are in use: until then it
//! decides as it did before, as a device does that waits for them.

use super::board::{Board, EdgeId, Load};
use super::event::{Nanos, Ticket, nanos, seconds};
use super::run::{Finished, Output, SimulateError};
use super::scenario::{DeviceKind, Scenario};
use super::world::{Job, Site, Step, Transfer, What, World};
use crate::agent::observer;
use crate::agent::reward::{Penalty, RewardRule};
use crate::agent::summary::Tally;
use crate::agent::training::TrainingSite;
use crate::learn::guard::Guard;
use crate::learn::random::{Rng, seeded};
use crate::learn::{Cost, Engine, Placement, State, Transition};
use crate::offload::link::profile::Way;
use crate::record::DecisionRecord;
use crate::task::Task;
use hwmeter_hw::units::Watts;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of an answer without its payload; assumed: headers and a checksum.
const RESULT_BYTES: f64 = 300.0;
/// Bytes of an experience, as measured with the real trainer (bench/RESULTS.md).
const EXPERIENCE_BYTES: f64 = 194.0;
/// Bytes of a weight: f32.
const WEIGHT_BYTES: f64 = 4.0;
/// Weights that have come are read, checked and written.
const APPLY_PASSES: f64 = 3.0;
/// The MEC is asked for its load at most this often, as the agent does.
const PROBE_S: f64 = 1.0;
/// What is known of the MEC is used for so long.
const OLDEST_LOAD_S: f64 = 3.0;
const OLDEST_THROUGHPUT_S: f64 = 30.0;
/// A shorter look at the CPU tells nothing; as the agent's.
const SHORTEST_LOOK_S: f64 = 0.05;

/// One device.
pub(super) struct Device {
    pub number: u32,
    kind: Arc<DeviceKind>,
    guard: Guard,
    board: Board,
    reward: RewardRule,
    tally: Tally,
    /// Tasks whose energy came out, and those of them within two uncertainties of the truth.
    held: (u64, u64),
    rng: Rng,
    tasks: Arc<[Task]>,
    count: u64,
    offset: usize,
    wait: bool,
    output: Output,
    next_task: u64,
    /// What a stale event is told by: each task and each exchange with the trainer has one of its own.
    turn: u64,
    current: Option<Current>,
    ledger: VecDeque<Waiting>,
    training: Option<Exchange>,
    /// Experiences sent without waiting, oldest first.
    sent: VecDeque<Exchange>,
    /// Weights that have come meanwhile, by their turn.
    arrived: Vec<(u64, f64, Nanos)>,
    seen: Seen,
    /// Transfers under way, up and down.
    transfers: [u32; 2],
    /// The next task does not come before.
    due: Nanos,
    /// When it settles next, if it only waits for samples.
    settles_at: Nanos,
    weight_bytes: f64,
    written: u64,
    pub is_finished: bool,
}

/// What is known of the world.
struct Seen {
    mec: Option<(f64, f64, Nanos)>,
    last_look: (Nanos, f64),
    device_free: f64,
}

/// The task at hand.
struct Current {
    record: DecisionRecord,
    state: State,
    arrival: Nanos,
    arrived: EdgeId,
    decided: Option<EdgeId>,
    /// Its payload, while it passes the cell.
    sent: Option<Ticket>,
}

/// A task that has run.
struct Waiting {
    record: DecisionRecord,
    transition: Transition,
    has_next_state: bool,
    /// Arrival, decision, result.
    edges: [EdgeId; 3],
    trained: Trained,
}

#[derive(Clone, Copy, PartialEq)]
enum Trained {
    NotYet,
    /// On its way to the MEC and back.
    Sent,
    /// Learned from in this span, or passed over.
    Done(Option<(EdgeId, EdgeId)>),
}

/// An update on its way.
struct Exchange {
    task: u64,
    turn: u64,
    began: Nanos,
    edge: EdgeId,
    send_s: f64,
    server_s: f64,
    back: Nanos,
    took_s: f64,
}

impl Device {
    pub fn new(
        scenario: &Scenario,
        number: u32,
        kind: &Arc<DeviceKind>,
        tasks: &Arc<[Task]>,
        seed: u64,
        output: Output,
    ) -> Result<Self, SimulateError> {
        // Golden ratio: seeds that lie side by side give devices whose seeds do not.
        let own = seed.wrapping_add(u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut rng = seeded(own);
        rng.set_stream(2); // the learner's are 0 and 1
        let mut output = output;
        let mut board =
            Board::new(Arc::clone(&kind.profile), kind.busy, own).map_err(SimulateError::Profile)?;
        if let Some(on_sample) = output.on_sample.take() {
            board = board.watched_by(on_sample);
        }
        let full = Watts(board.power().full_w);
        let guard = Guard::fresh(kind.learner, own, &scenario.settings, Engine::Native, false)?;
        Ok(Self {
            number,
            board,
            reward: RewardRule {
                penalty: Penalty::FullLoad(full),
            },
            tally: Tally::default(),
            held: (0, 0),
            rng,
            tasks: Arc::clone(tasks),
            count: scenario.count as u64,
            offset: number as usize,
            wait: scenario.wait,
            output,
            next_task: 0,
            turn: 0,
            current: None,
            ledger: VecDeque::new(),
            training: None,
            sent: VecDeque::new(),
            arrived: Vec::new(),
            seen: Seen {
                mec: None,
                last_look: (0, 0.0),
                device_free: 1.0 - kind.busy,
            },
            transfers: [0; 2],
            due: 0,
            written: 0,
            settles_at: 0,
            weight_bytes: guard.learner().describe().parameters as f64 * WEIGHT_BYTES,
            guard,
            kind: Arc::clone(kind),
            is_finished: false,
        })
    }

    /// Rows written since it was asked last.
    pub fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }

    /// What is left of it at the end.
    pub fn into_finished(self) -> Finished {
        Finished {
            number: self.number,
            summary: self.tally.summary(0),
            truth: self.board.truth(),
            within_two_u: self.held,
            sensor: self.board.sensor().clone(),
            sampling_hz: self.board.sampling_hz(),
            samples: self.board.samples(),
            reward: self.reward,
            learner: self.guard.learner().describe(),
            learner_faults: self.guard.counts(),
            weights: self.guard.weights(),
            output: self.output,
            kind: self.kind,
        }
    }

    /// Whether anybody waits for what happens in this turn.
    pub fn is_waiting_for(&self, turn: u64) -> bool {
        let is_task = self.current.is_some() && turn == self.turn;
        is_task || self.exchange(turn).is_some()
    }

    fn exchange(&self, turn: u64) -> Option<&Exchange> {
        let all = self.training.iter().chain(&self.sent);
        all.into_iter().find(|exchange| exchange.turn == turn)
    }

    fn exchange_mut(&mut self, turn: u64) -> Option<&mut Exchange> {
        let all = self.training.iter_mut().chain(&mut self.sent);
        all.into_iter().find(|exchange| exchange.turn == turn)
    }

    /// Something happens here.
    pub fn on(&mut self, turn: u64, step: Step, world: &mut World) -> Result<(), SimulateError> {
        let is_own = matches!(step, Step::Settle | Step::Arrive);
        if !is_own && !self.is_waiting_for(turn) {
            return Ok(());
        }
        self.board.advance(world.now());
        match step {
            Step::Settle => return self.settle(world),
            // A task that comes while the learner learns comes when that is done.
            Step::Arrive => {
                let is_busy = self.training.is_some() || self.current.is_some();
                if !is_busy && self.due <= world.now() && self.next_task < self.count {
                    self.arrive(world);
                }
            }
            Step::Decided => self.execute(world),
            Step::DoneHere => {
                let execute_s = self.seconds_since_decision(world.now());
                return self.finish(world, Ok(()), Some(execute_s));
            }
            Step::GiveUp => {
                if let Some(ticket) = self.current.as_ref().and_then(|current| current.sent) {
                    // It may have left the cell already, or be an answer by now.
                    let is_up = world.cancel(Way::Up, ticket);
                    self.count_transfers(Way::Up, if is_up { -1 } else { 0 });
                }
                let why = match self.current.as_ref().map(|current| current.record.placement) {
                    Some(Placement::Local) => "not done on the device within the deadline",
                    _ => "no result within the deadline",
                };
                return self.finish(world, Err(why), None);
            }
            Step::AtServer => self.run_there(turn, world),
            Step::ResultHere { execute_s } => return self.finish(world, Ok(()), Some(execute_s)),
            Step::Updated => return self.updated(world),
            Step::AtTrainer => self.train_there(turn, world),
            Step::WeightsHere { server_s } => self.weights_here(turn, server_s, world),
            Step::Applied => return self.applied(world),
        }
        Ok(())
    }

    /// A transfer of this device has left the cell.
    pub fn left_cell(&mut self, way: Way, transfer: &Transfer, world: &mut World) {
        self.board.advance(world.now());
        self.count_transfers(way, -1);
        if !self.is_waiting_for(transfer.turn) {
            return;
        }
        let cable_s = world.cable_s(way, transfer, &mut self.rng);
        let now = world.now();
        if transfer.then == Step::AtServer
            && let Some(current) = &mut self.current
        {
            current.sent = None;
        }
        if transfer.then == Step::AtTrainer
            && let Some(exchange) = self.exchange_mut(transfer.turn)
        {
            exchange.send_s = seconds(now - exchange.began) + cable_s;
        }
        world.plan_in(cable_s, self.number, transfer.turn, transfer.then);
    }

    /// A server has done a job of this device: what it answers goes back.
    pub fn served(&mut self, job: &Job, world: &mut World) {
        if !self.is_waiting_for(job.turn) {
            return;
        }
        self.board.advance(world.now());
        let now = world.now();
        let (bytes, then) = match job.what {
            What::Task => {
                let execute_s = seconds(now - job.began);
                (RESULT_BYTES, Step::ResultHere { execute_s })
            }
            What::Update => {
                let server_s = seconds(now - job.came);
                (self.weight_bytes, Step::WeightsHere { server_s })
            }
        };
        let to = match job.site {
            Site::Mec => Placement::Local,
            Site::Cloud => Placement::Cloud,
        };
        self.send(Way::Down, job.turn, bytes, then, to, world);
    }

    fn task(&self, id: u64) -> &Task {
        &self.tasks[(self.offset + id as usize) % self.tasks.len()]
    }

    fn core_w(&self) -> f64 {
        self.board.power().core_w
    }

    fn learner_w(&self) -> f64 {
        let gpu_w = self.board.power().gpu_w.filter(|_| self.kind.cost.gpu);
        self.core_w() + gpu_w.unwrap_or(0.0)
    }

    fn send(
        &mut self,
        way: Way,
        turn: u64,
        bytes: f64,
        then: Step,
        to: Placement,
        world: &mut World,
    ) -> Ticket {
        self.count_transfers(way, 1);
        let device = self.number;
        world.send(
            way,
            Transfer {
                device,
                turn,
                bytes,
                then,
                to,
            },
        )
    }

    fn count_transfers(&mut self, way: Way, change: i32) {
        let count = &mut self.transfers[way as usize];
        *count = count.saturating_add_signed(change);
        let power = self.board.power();
        let of = |count: u32, watts: f64| if count > 0 { watts } else { 0.0 };
        let watts = of(self.transfers[0], power.radio_tx_w) + of(self.transfers[1], power.radio_rx_w);
        self.board.set(Load::Radio, watts, 0.0);
    }

    /// Free share of the CPU since the last look.
    fn look_at_cpu(&mut self, now: Nanos) {
        let (then, core_s_then) = self.seen.last_look;
        let elapsed_s = seconds(now - then);
        if elapsed_s >= SHORTEST_LOOK_S {
            let cores = f64::from(self.kind.profile.cpu.cores);
            let busy = (self.board.core_s() - core_s_then) / (elapsed_s * cores);
            self.seen.device_free = (1.0 - busy).clamp(0.0, 1.0);
            self.seen.last_look = (now, self.board.core_s());
        }
    }

    /// The MEC's load and the throughput, as far as they are known.
    fn look_at_mec(&mut self, world: &mut World) -> (Option<f64>, Option<f64>) {
        let now = world.now();
        let age_s = |at: Nanos| seconds(now - at);
        let is_due = self.seen.mec.is_none_or(|(_, _, at)| age_s(at) >= PROBE_S);
        if is_due && !world.is_silent() {
            self.seen.mec = Some((world.mec_free(), world.offered_bps(), now));
        }
        let younger = |limit_s: f64| self.seen.mec.filter(|(_, _, at)| age_s(*at) <= limit_s);
        (
            younger(OLDEST_LOAD_S).map(|(free, _, _)| free),
            younger(OLDEST_THROUGHPUT_S).map(|(_, bps, _)| bps),
        )
    }

    fn arrive(&mut self, world: &mut World) {
        let now = world.now();
        let arrived = self.board.edge();
        self.turn += 1;
        self.look_at_cpu(now);
        let (mec_free, throughput_bps) = self.look_at_mec(world);
        let task = self.task(self.next_task);
        let state = observer::state(
            self.seen.device_free,
            mec_free,
            throughput_bps,
            task.cycles as f64,
            task.deadline_s,
        );
        let mut record = DecisionRecord::begun(task, &state, mec_free, throughput_bps);
        record.task = self.next_task;
        record.t_s = seconds(now);
        self.next_task += 1;
        if let Some(last) = self.ledger.back_mut() {
            last.transition.next_state = state;
            last.has_next_state = true;
        }
        let (decision, refused) = self.guard.decide(&state);
        record.placement = decision.placement;
        record.explored = decision.explored;
        record.decide_s = self.kind.cost.decide_s;
        record.error = refused.map(|error| format!("not decided by the learner: {error}"));
        let decide_s = record.decide_s;
        self.current = Some(Current {
            record,
            state,
            arrival: now,
            arrived,
            decided: None,
            sent: None,
        });
        self.board.set(Load::Deciding, self.learner_w(), 1.0);
        world.plan_in(decide_s, self.number, self.turn, Step::Decided);
    }

    fn execute(&mut self, world: &mut World) {
        self.board.set(Load::Deciding, 0.0, -1.0);
        let decided = self.board.edge();
        let now = world.now();
        let turn = self.turn;
        let Some(current) = &mut self.current else { return };
        current.decided = Some(decided);
        let placement = current.record.placement;
        let left_s = (current.record.deadline_s - seconds(now - current.arrival)).max(0.0);
        let (cycles, bytes) = (current.record.cycles as f64, current.record.payload_bytes as f64);
        if placement == Placement::Local {
            // Others that take a share of a core take half of it from a task beside them.
            let takes_s = self.kind.profile.task_s(cycles) / (1.0 - 0.5 * self.kind.busy);
            self.board.set(Load::Executing, self.core_w(), 1.0);
            let (in_s, step) = match takes_s <= left_s {
                true => (takes_s, Step::DoneHere),
                false => (left_s, Step::GiveUp),
            };
            world.plan_in(in_s, self.number, turn, step);
            return;
        }
        world.plan_in(left_s, self.number, turn, Step::GiveUp);
        let ticket = self.send(Way::Up, turn, bytes, Step::AtServer, placement, world);
        if let Some(current) = &mut self.current {
            current.sent = Some(ticket);
        }
    }

    fn run_there(&mut self, turn: u64, world: &mut World) {
        let Some(current) = &self.current else { return };
        let site = match current.record.placement {
            Placement::Cloud => Site::Cloud,
            _ => Site::Mec,
        };
        let core_s = world.task_s(site, current.record.cycles as f64);
        world.submit(self.job(turn, site, What::Task, core_s));
    }

    fn job(&self, turn: u64, site: Site, what: What, core_s: f64) -> Job {
        Job {
            device: self.number,
            turn,
            site,
            what,
            core_s,
            came: 0,
            began: 0,
        }
    }

    fn seconds_since_decision(&self, now: Nanos) -> f64 {
        let current = self.current.as_ref();
        current.map_or(0.0, |current| {
            seconds(now - current.arrival) - current.record.decide_s
        })
    }

    /// The task is done, or given up; the next one is soon to come.
    fn finish(
        &mut self,
        world: &mut World,
        outcome: Result<(), &'static str>,
        execute_s: Option<f64>,
    ) -> Result<(), SimulateError> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        self.turn += 1;
        if current.record.placement == Placement::Local {
            self.board.set(Load::Executing, 0.0, -1.0);
        }
        let done = self.board.edge();
        self.due = world.now() + nanos(self.kind.gap_s);
        let mut record = current.record;
        record.latency_s = seconds(world.now() - current.arrival);
        record.execute_s = execute_s;
        if record.placement != Placement::Local && outcome.is_ok() {
            let waited_s = record.latency_s - record.decide_s;
            record.transmit_s = execute_s.map(|execute_s| (waited_s - execute_s).max(0.0));
        }
        // Rounding up to whole nanoseconds is not being late.
        record.success = outcome.is_ok() && record.latency_s <= record.deadline_s + 1e-8;
        if let Err(why) = outcome {
            record.error.get_or_insert(why.to_owned());
        }
        let transition = Transition {
            state: current.state,
            placement: record.placement,
            reward: f64::NAN,
            next_state: current.state,
        };
        self.ledger.push_back(Waiting {
            record,
            transition,
            has_next_state: false,
            edges: [current.arrived, current.decided.unwrap_or(done), done],
            trained: Trained::NotYet,
        });
        self.settle(world)
    }

    /// Learns from what is known by now, one task after the other; then the next task arrives.
    fn settle(&mut self, world: &mut World) -> Result<(), SimulateError> {
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

    fn train_there(&mut self, turn: u64, world: &mut World) {
        world.submit(self.job(turn, Site::Mec, What::Update, self.kind.mec_cost.update_s));
    }

    /// Weights have come: they are put to use at once, or when the task at hand is done.
    fn weights_here(&mut self, turn: u64, server_s: f64, world: &mut World) {
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

    fn updated(&mut self, world: &mut World) -> Result<(), SimulateError> {
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

    fn applied(&mut self, world: &mut World) -> Result<(), SimulateError> {
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
