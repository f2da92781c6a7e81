//! Advances an engine's epoch while tasks run, and sleeps while none does: an idle board is not woken.

use super::error::WasmError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wasmtime::Engine;

/// Tasks look up this often, to be paced or stopped.
const TICK: Duration = Duration::from_millis(1);

/// The thread that ticks; it ends when this is dropped.
pub(super) struct Ticker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    ended: bool,
}

impl Ticker {
    /// Starts the thread.
    pub fn start(engine: Engine) -> Result<Self, WasmError> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("hwmeter-wasm".to_owned())
            .spawn(move || tick(&of_thread, &engine))
            .map_err(|e| WasmError::Engine(format!("no thread to watch tasks: {e}")))?;
        Ok(Self { shared })
    }

    /// Ticks until the value is dropped.
    pub fn ticking(&self) -> Ticking<'_> {
        let mut state = self.shared.state();
        state.running += 1;
        if state.running == 1 {
            self.shared.changed.notify_one();
        }
        Ticking { shared: &self.shared }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_one();
    }
}

/// A task is running.
pub(super) struct Ticking<'a> {
    shared: &'a Shared,
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.shared.state().running -= 1;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a task runs. `false` when the ticker has ended.
    fn until_needed(&self) -> bool {
        let idle = |state: &mut State| state.running == 0 && !state.ended;
        let state = self
            .changed
            .wait_while(self.state(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        !state.ended
    }
}

fn tick(shared: &Shared, engine: &Engine) {
    while shared.until_needed() {
        std::thread::sleep(TICK);
        engine.increment_epoch();
    }
}
