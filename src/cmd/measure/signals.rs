//! Signals that arrive while something is measured.
//!
//! What a terminal sends (Ctrl-C, Ctrl-\, Ctrl-Z, a new size) goes to the whole foreground group, the command included;
//! what is sent to us alone is passed on to it. Signals that would end us do not: we live on to print the result.
//! One that was ignored when we began (`nohup`, a shell's background job) stays ignored, here and in the command.

use crate::cmd::stop_signal::is_ignored;
use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// They ask for an early end.
const ENDING: [i32; 4] = [SIGINT, SIGQUIT, SIGTERM, SIGHUP];
/// They mean something to the command alone.
const OTHERS: [i32; 5] = [SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT];

/// Watches for signals on a thread of its own.
pub struct Interrupts {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ended_by: Option<i32>,
    /// The command, as long as it has not been waited for: its number is its own until then.
    child: Option<i32>,
}

impl Interrupts {
    /// From now on.
    pub fn watch() -> anyhow::Result<Self> {
        let watched = ENDING.into_iter().chain(OTHERS).filter(|&n| !is_ignored(n));
        let mut signals = SignalsInfo::<WithOrigin>::new(watched).context("cannot watch for signals")?;
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for origin in signals.forever() {
                    of_thread.handle(&origin);
                }
            })
            .context("cannot start the thread that watches for signals")?;
        Ok(Self { shared })
    }

    /// The signal that asked for an early end, if one has.
    pub fn ended_by(&self) -> Option<i32> {
        self.shared.state().ended_by
    }

    /// Sleeps, or until a signal asks for an early end.
    pub fn sleep(&self, duration: Duration) {
        let state = self.shared.state();
        let is_on = |state: &mut State| state.ended_by.is_none();
        let waited = self.shared.changed.wait_timeout_while(state, duration, is_on);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Signals go to this process from now on; one that asked for an end while it was being started does too.
    pub fn attach(&self, child: u32) {
        let mut state = self.shared.state();
        state.child = i32::try_from(child).ok();
        if let Some(signal) = state.ended_by {
            state.pass_on(signal);
        }
    }

    /// It has ended.
    pub fn detach(&self) {
        self.shared.state().child = None;
    }
}

impl Shared {
    fn handle(&self, origin: &Origin) {
        let signal = origin.signal;
        let mut state = self.state();
        let from_terminal = matches!(origin.cause, Cause::Kernel);
        // The command may signal its own group, which we are in: it need not be told what it did.
        let from_child = origin
            .process
            .is_some_and(|process| Some(process.pid) == state.child);
        if !from_terminal && !from_child {
            state.pass_on(signal);
        }
        if ENDING.contains(&signal) {
            state.ended_by.get_or_insert(signal);
            self.changed.notify_all();
        }
        drop(state);
        if signal == SIGTSTP {
            // Stop as anybody would; a shell waits for it.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pass_on(&self, signal: i32) {
        if let (Some(child), Ok(signal)) = (self.child, Signal::try_from(signal)) {
            let _ = kill(Pid::from_raw(child), signal);
        }
    }
}
