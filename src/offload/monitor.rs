//! Watches one server in the background, so that no decision ever waits for the network.
//!
//! Each round asks the MEC for its load, sends a small task where the circuit wants to know whether the server is well,
//! and a larger one where the throughput has not been seen for a while. A probe begins only while the agent neither
//! decides nor uses the same server; one that is under way then goes on.

use super::circuit::Circuit;
use super::client::Client;
use super::error::{Blame, OffloadError};
use super::submitted::Submitted;
use super::throughput::{Pace, Throughput};
use super::wire::Load;
use crate::task::{self, Kernel, Speed, Work};
use rand::{Rng as _, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the MEC is asked for its load.
const PERIOD: Duration = Duration::from_millis(200);
/// A load that takes longer to come is not worth having.
const LOAD_TIMEOUT: Duration = Duration::from_millis(500);
/// A server that needs longer for a task of no work is not well, and a link that does is hardly one.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// A probe that had to wait for the agent is tried again this much later.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// A payload that says whether the server is well ...
const SMALL_BYTES: usize = 1024;
/// ... and one that shows the throughput.
const LARGE_BYTES: usize = 128 * 1024;

/// What is watched of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Whether it is well, its load, and the throughput to it: what the state needs of the MEC.
    State,
    /// Only whether it is well, and only while that is in doubt.
    Health,
}

/// What probing has cost, in all. The joules are part of the tasks that ran meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Probes {
    /// Tasks sent to no other end.
    pub count: u64,
    /// Of them, without a right answer.
    pub failed: u64,
    /// Bytes sent for them.
    pub bytes: u64,
    /// Seconds they took.
    pub seconds: f64,
}

/// What the agent and the thread share. Locked for no longer than it takes to read or write it.
pub(super) struct Shared {
    pub load: Option<(Load, Instant)>,
    pub throughput: Throughput,
    pub circuit: Circuit,
    pub probes: Probes,
    pub stop: bool,
}

pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Takes in how a task or a probe went wrong.
    pub fn failed(&mut self, error: &OffloadError, now: Instant) {
        match error.blame() {
            Blame::Task => {}
            Blame::Server => self.circuit.failed(error.to_string(), now),
            Blame::Proven => self.circuit.condemned(error.to_string(), now),
            Blame::Unclear => {
                self.throughput.doubt();
                self.circuit.unanswered(error.to_string(), now);
            }
        }
    }
}

/// The thread's side.
pub(super) struct Monitor {
    client: Client,
    shared: Arc<Mutex<Shared>>,
    /// Set while no probe may begin.
    busy: Arc<AtomicBool>,
    watch: Watch,
    small: Vec<u8>,
    large: Vec<u8>,
    /// Each probe is another kernel with another seed: a server shall not know one from a task.
    random: ChaCha8Rng,
    pace: Pace,
    /// What went wrong is said once, not five times a second.
    was_well: bool,
}

impl Monitor {
    pub fn new(client: Client, shared: Arc<Mutex<Shared>>, busy: Arc<AtomicBool>, watch: Watch) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(rand::random());
        // Bytes that no network on the way can compress.
        let mut payload = |bytes: usize| {
            let mut payload = vec![0; bytes];
            random.fill_bytes(&mut payload);
            payload
        };
        let (small, large) = (payload(SMALL_BYTES), payload(LARGE_BYTES));
        Self {
            client,
            shared,
            busy,
            watch,
            small,
            large,
            random,
            pace: Pace::default(),
            was_well: true,
        }
    }

    /// Watches until told to stop.
    pub fn run(mut self) {
        loop {
            let began = Instant::now();
            if lock(&self.shared).stop {
                return;
            }
            self.round();
            match self.pause(began) {
                Some(pause) => thread::park_timeout(pause),
                None => thread::park(),
            }
        }
    }

    /// Everything that is due.
    pub fn round(&mut self) {
        let asks = self.watch == Watch::State && !lock(&self.shared).circuit.is_open();
        let mut answers = asks && self.ask_for_load();
        if self.busy.load(Ordering::Relaxed) {
            return;
        }
        let is_due = lock(&self.shared)
            .circuit
            .next_probe()
            .is_some_and(|at| at <= Instant::now());
        if is_due {
            answers = self.is_well();
        }
        if answers && self.wants_throughput() {
            self.measure_throughput();
        }
    }

    /// How long nothing will be due; `None` until somebody asks.
    fn pause(&self, began: Instant) -> Option<Duration> {
        let shared = lock(&self.shared);
        let now = Instant::now();
        let polling = self.watch == Watch::State && !shared.circuit.is_open();
        let poll = polling.then(|| PERIOD.saturating_sub(now - began));
        let probe = shared
            .circuit
            .next_probe()
            .map(|at| at.saturating_duration_since(now).max(BUSY_PAUSE));
        poll.into_iter().chain(probe).min()
    }

    /// Whether the server answered, be it that it does not know.
    fn ask_for_load(&mut self) -> bool {
        let asked = Instant::now();
        match self.client.load(LOAD_TIMEOUT) {
            Ok(load) => {
                lock(&self.shared).load = Some((load, asked));
                true
            }
            Err(error) if error.blame() == Blame::Task => true,
            Err(error) => {
                lock(&self.shared).circuit.suspected(Instant::now());
                self.say(&error);
                false
            }
        }
    }

    /// Sends the small probe.
    fn is_well(&mut self) -> bool {
        let outcome = self.send(false);
        let mut shared = lock(&self.shared);
        let is_well = match &outcome {
            Ok(_) => true,
            Err(error) => error.blame() == Blame::Task,
        };
        match &outcome {
            // Too slow for a task of no work: here the doubt ends.
            Err(error) if error.blame() == Blame::Unclear => {
                shared.circuit.failed(error.to_string(), Instant::now());
            }
            Err(error) if !is_well => shared.failed(error, Instant::now()),
            _ => shared.circuit.probe_succeeded(),
        }
        drop(shared);
        match outcome {
            Err(error) if !is_well => self.say(&error),
            _ if !self.was_well => {
                tracing::info!("{} answers again", self.client.url());
                self.was_well = true;
            }
            _ => {}
        }
        is_well
    }

    fn wants_throughput(&mut self) -> bool {
        let shared = lock(&self.shared);
        self.watch == Watch::State && self.pace.is_due(&shared.throughput, Instant::now())
    }

    fn measure_throughput(&mut self) {
        let outcome = self.send(true);
        let mut shared = lock(&self.shared);
        let (now, bytes) = (Instant::now(), LARGE_BYTES as u64);
        match outcome {
            Ok(done) => shared
                .throughput
                .observe(bytes, done.receive_bytes, done.receive_s, now),
            Err(error) if error.blame() == Blame::Unclear => {
                shared.throughput.at_most(bytes, PROBE_TIMEOUT, now);
                shared.circuit.suspected(now);
            }
            Err(error) => shared.failed(&error, now),
        }
        self.pace.probed(&shared.throughput, now);
    }

    /// Sends a probe, counts what it cost, and checks what came back.
    fn send(&mut self, is_large: bool) -> Result<Submitted, OffloadError> {
        let payload = if is_large { &self.large } else { &self.small };
        let kernel = Kernel::ALL[self.random.random_range(0..Kernel::ALL.len())];
        let work = Work::one(kernel, 1, self.random.random());
        let expected = task::run(&work, payload, Speed::FULL, &|| false).ok();
        let (began, sent_before) = (Instant::now(), self.client.sent_bytes());
        let outcome = self.client.submit(&work, payload, PROBE_TIMEOUT);
        let outcome = outcome.and_then(|done| match expected {
            Some(expected) if expected != done.checksum => Err(OffloadError::WrongResult {
                url: self.client.url().clone(),
                expected,
                computed: done.checksum,
            }),
            _ => Ok(done),
        });
        let probes = &mut lock(&self.shared).probes;
        probes.count += 1;
        probes.failed += u64::from(outcome.is_err());
        probes.bytes += self.client.sent_bytes() - sent_before;
        probes.seconds += began.elapsed().as_secs_f64();
        outcome
    }

    fn say(&mut self, error: &OffloadError) {
        if self.was_well {
            tracing::warn!("{error}; the run goes on without it until it answers");
        }
        self.was_well = false;
    }
}
