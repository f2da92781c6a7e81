//! Keeps the MEC's load at hand, so that no decision ever waits for the network.

use super::client::Client;
use super::error::OffloadError;
use super::url::Url;
use super::wire::Load;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often the MEC is asked.
pub const PERIOD: Duration = Duration::from_millis(200);
/// A load that takes longer to come is not worth having.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Asks for `/v1/load` on a thread of its own until dropped.
pub struct LoadPoller {
    shared: Arc<Mutex<Shared>>,
    last_seen: Option<Sighting>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    latest: Option<Sighting>,
    stop: bool,
}

type Sighting = (Load, Instant);

impl LoadPoller {
    /// Begins to ask the MEC at `url`. That it does not answer is no error: its load just gets old.
    pub fn start(url: Url) -> Result<Self, OffloadError> {
        let client = Client::new(url)?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let published = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("hwmeter-poll".to_owned())
            .spawn(move || poll(client, &published))
            .map_err(OffloadError::Setup)?;
        Ok(Self {
            shared,
            last_seen: None,
            thread: Some(thread),
        })
    }

    /// The latest load and how old it is, counted from when it was asked for; `None` before the first answer.
    /// Never waits: while the poller is just writing, the load before is given once more.
    pub fn latest(&mut self) -> Option<(Load, Duration)> {
        if let Ok(shared) = self.shared.try_lock() {
            self.last_seen = shared.latest;
        }
        self.last_seen.map(|(load, asked)| (load, asked.elapsed()))
    }
}

impl Drop for LoadPoller {
    fn drop(&mut self) {
        lock(&self.shared).stop = true;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends within `TIMEOUT`. That it panicked would have been printed already.
            let _ = thread.join();
        }
    }
}

fn poll(mut client: Client, shared: &Mutex<Shared>) {
    let mut well = true;
    while !lock(shared).stop {
        let asked = Instant::now();
        match client.load(TIMEOUT) {
            Ok(load) => {
                lock(shared).latest = Some((load, asked));
                well = true;
            }
            // Said once, not five times a second.
            Err(e) => {
                if well {
                    tracing::warn!("the load of the MEC is unknown: {e}");
                }
                well = false;
            }
        }
        thread::park_timeout(PERIOD.saturating_sub(asked.elapsed()));
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
