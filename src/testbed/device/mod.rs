//! A simulated device: observe -> decide -> execute -> reward -> learn, in the order and with the waits of the agent.
//!
//! Tasks come one after the other. A task's energy is known when the next sample lands; until then it waits in the
//! ledger, and the device goes on. It is learned from when the state after it has been observed too. Where training is on
//! the MEC, the learner takes an experience at the moment at which the weights that know it are in use: until then it
//! decides as it did before, as a device does that waits for them.
//!
//! Here is what happens at a device and in what order; `learning.rs` is what it does between two tasks.

mod learning;

use super::board::{Board, EdgeId, Load};
use super::event::{Nanos, Ticket, nanos, seconds};
use super::run::{Finished, Output, SimulateError};
use super::scenario::{DeviceKind, Scenario};
use super::world::{Job, Site, Step, Transfer, What, World};
use crate::agent::observer;
use crate::agent::reward::{Penalty, RewardRule};
use crate::agent::summary::Tally;
use crate::learn::guard::Guard;
use crate::learn::random::{Rng, seeded};
use crate::learn::{Engine, Placement, State, Transition};
use crate::offload::link::profile::Way;
use crate::record::DecisionRecord;
use crate::task::Task;
use hwmeter_hw::units::Watts;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of an answer without its payload; assumed: headers and a checksum.
const RESULT_BYTES: f64 = 300.0;
/// Bytes of a weight: f32.
const WEIGHT_BYTES: f64 = 4.0;
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
}
