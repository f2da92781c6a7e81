//! One server as the agent uses it: tasks go to it while it is well, and what is known of it is always at hand.

use super::access::Access;
use super::circuit::Circuit;
use super::client::Client;
use super::error::OffloadError;
use super::monitor::{Monitor, Shared, lock};
use super::submitted::Submitted;
use super::throughput::Throughput;
use super::url::Url;
use super::wire::Load;
use crate::task::Work;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use super::monitor::{Probes, Watch};

/// After a wrong result so many have to be right, all of them recomputed, before the server is trusted again.
pub const DOUBTED: u32 = 20;

/// A server, a connection for its tasks, and a thread with one of its own that watches it.
pub struct Site {
    client: Client,
    shared: Arc<Mutex<Shared>>,
    busy: Arc<AtomicBool>,
    seen: Seen,
    exchanges: Exchanges,
    /// Results that have to be right before the server is trusted again.
    doubted: u32,
    thread: Option<JoinHandle<()>>,
}

/// What is known of a server, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Its latest load, and when it was asked for.
    pub load: Option<(Load, Instant)>,
    /// Bits per second to it, and when the last transfer showed that.
    pub throughput_bps: Option<(f64, Instant)>,
    /// Whether tasks are kept from it because it fails.
    pub is_open: bool,
}

/// Where the time of all done tasks went, in seconds; see [`Submitted`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Exchanges {
    /// Tasks done.
    pub tasks: u64,
    /// Tasks for which a connection had to be opened.
    pub connects: u64,
    /// Opening them.
    pub connect_s: f64,
    /// Sending.
    pub send_s: f64,
    /// Waiting, the server's own time included.
    pub wait_s: f64,
    /// Receiving.
    pub answer_s: f64,
    /// Of the waiting: for a worker.
    pub queue_s: f64,
    /// Of the waiting: for the kernel.
    pub execute_s: f64,
}

impl Exchanges {
    fn add(&mut self, done: &Submitted) {
        self.tasks += 1;
        self.connects += u64::from(done.connect_s.is_some());
        self.connect_s += done.connect_s.unwrap_or(0.0);
        self.send_s += done.send_s;
        self.wait_s += done.wait_s;
        self.answer_s += done.answer_s;
        self.queue_s += done.queue_s;
        self.execute_s += done.execute_s;
    }
}

/// What a server was like during a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteReport {
    /// Its tasks.
    pub exchanges: Exchanges,
    /// Bits per second to it, as last known.
    pub throughput_bps: Option<f64>,
    /// What probing it has cost.
    pub probes: Probes,
    /// How often it was given up for a while.
    pub circuit_opened: u64,
    /// What its last failure was.
    pub last_failure: Option<String>,
}

impl Site {
    /// Looks at the server once, which takes a few seconds where it does not answer, and then watches it. That it does
    /// not answer is no error: tasks fail until it does. `seed` decides the jitter between probes.
    pub fn start(url: Url, access: &Access, watch: Watch, seed: u64) -> Result<Self, OffloadError> {
        let mut circuit = Circuit::new(seed);
        circuit.suspected(Instant::now());
        let shared = Arc::new(Mutex::new(Shared {
            load: None,
            throughput: Throughput::new(),
            circuit,
            probes: Probes::default(),
            stop: false,
        }));
        let busy = Arc::new(AtomicBool::new(false));
        let client = Client::with_access(url.clone(), access)?;
        let watching = Client::with_access(url, access)?;
        let mut monitor = Monitor::new(watching, Arc::clone(&shared), Arc::clone(&busy), watch);
        monitor.round();
        let thread = thread::Builder::new()
            .name("hwmeter-watch".to_owned())
            .spawn(move || monitor.run())
            .map_err(OffloadError::Setup)?;
        Ok(Self {
            client,
            shared,
            busy,
            seen: Seen::default(),
            exchanges: Exchanges::default(),
            doubted: 0,
            thread: Some(thread),
        })
    }

    /// The server.
    pub fn url(&self) -> &Url {
        self.client.url()
    }

    /// Has the server run `work`, unless it has failed too often: then this fails at once and sends nothing.
    pub fn submit(&mut self, work: &Work, payload: &[u8], left: Duration) -> Result<Submitted, OffloadError> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let outcome = self.client.submit(work, payload, left);
        let mut shared = lock(&self.shared);
        let now = Instant::now();
        match &outcome {
            Ok(done) => {
                self.exchanges.add(done);
                if self.doubted == 0 {
                    shared.circuit.task_succeeded();
                }
                let bytes = payload.len() as u64;
                shared
                    .throughput
                    .observe(bytes, done.receive_bytes, done.receive_s, now);
            }
            Err(error) => {
                shared.failed(error, now);
                drop(shared);
                // It may have something to look at.
                self.wake();
            }
        }
        outcome
    }

    /// Whether each of its results should be recomputed, because one was wrong not long ago.
    pub fn is_doubted(&self) -> bool {
        self.doubted > 0
    }

    /// Takes in that a result was recomputed: one that is wrong opens the circuit, and only [`DOUBTED`] right ones in a
    /// row close it for good. Whether it was right.
    pub fn judge(&mut self, expected: u64, computed: u64) -> bool {
        let mut shared = lock(&self.shared);
        if expected == computed {
            if self.doubted == 1 {
                shared.circuit.task_succeeded();
            }
            self.doubted = self.doubted.saturating_sub(1);
            return true;
        }
        self.doubted = DOUBTED;
        let error = OffloadError::WrongResult {
            url: self.client.url().clone(),
            expected,
            computed,
        };
        tracing::warn!("{error}");
        shared.failed(&error, Instant::now());
        drop(shared);
        self.wake();
        false
    }

    /// What is known by now. Never waits: while the thread is just writing, what was known before is given once more.
    pub fn latest(&mut self) -> Seen {
        if let Ok(shared) = self.shared.try_lock() {
            let throughput = &shared.throughput;
            self.seen = Seen {
                load: shared.load,
                throughput_bps: throughput.bps().zip(throughput.since()),
                is_open: shared.circuit.is_open(),
            };
        }
        self.seen
    }

    /// No probe begins from now on ...
    pub fn hold_probes(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// ... until now.
    pub fn release_probes(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// What it was like.
    pub fn report(&self) -> SiteReport {
        let shared = lock(&self.shared);
        let last = shared.circuit.last_failure();
        SiteReport {
            exchanges: self.exchanges,
            throughput_bps: shared.throughput.bps(),
            probes: shared.probes,
            circuit_opened: shared.circuit.opened(),
            last_failure: (!last.is_empty()).then(|| last.to_owned()),
        }
    }

    fn refusal(&self) -> Option<OffloadError> {
        let shared = lock(&self.shared);
        let circuit = &shared.circuit;
        circuit.is_open().then(|| OffloadError::CircuitOpen {
            url: self.client.url().clone(),
            last: circuit.last_failure().to_owned(),
            retry_in: circuit
                .next_probe()
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now())),
        })
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        lock(&self.shared).stop = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It ends with its probe at the latest. That it panicked would have been printed already.
            let _ = thread.join();
        }
    }
}
