//! SIGTERM and Ctrl-C, as something to wait for.

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::oneshot;

/// From now on the first SIGTERM or SIGINT completes the future, and the second ends the process at once.
pub fn catch() -> anyhow::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot watch for SIGTERM and SIGINT")?;
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("hwmeter-signals".to_owned())
        .spawn(move || {
            let mut arrived = signals.forever();
            arrived.next();
            // Nobody waits any more when the server has ended by itself.
            let _ = sender.send(());
            if let Some(second) = arrived.next() {
                let _ = signal_hook::low_level::emulate_default_handler(second);
            }
        })
        .context("cannot start the thread that watches for signals")?;
    Ok(async {
        if receiver.await.is_err() {
            // No signal can come any more: wait for ever.
            std::future::pending::<()>().await;
        }
    })
}

/// From now on the first SIGTERM, SIGINT or SIGHUP makes this true, and the second ends the process at once. Under nohup,
/// SIGHUP stays ignored.
pub fn flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let hangup = Some(SIGHUP).filter(|&signal| !is_ignored(signal));
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("cannot watch for signals")?;
    }
    Ok(stop)
}

/// The signals that ask for an end, for work that must not be left half done: those after the first are ignored.
pub struct Ending(Signals);

impl Ending {
    /// From now on none of them ends the process.
    pub fn watch() -> anyhow::Result<Self> {
        let watched = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&n| !is_ignored(n));
        Ok(Self(Signals::new(watched).context("cannot watch for signals")?))
    }

    /// Waits for the first, which may have come already.
    pub fn wait(&mut self) {
        self.0.forever().next();
    }
}

/// Whether whoever started us wants this signal ignored.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action changes nothing; `action` has room for the old one, and zeroes are a valid one.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
