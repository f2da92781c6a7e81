//! Signals of programs under test.

use nix::sys::signal::{SigHandler, Signal, signal};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Who runs these tests in the background may have them ignored, and ignored ones stay so in a program started from here.
pub fn with_default_signals(command: &mut Command) -> &mut Command {
    let reset = || {
        for number in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
            // SAFETY: the default action is no function of ours.
            unsafe { signal(number, SigHandler::SigDfl)? };
        }
        Ok(())
    };
    // SAFETY: `signal` may be called between fork and exec.
    unsafe { command.pre_exec(reset) }
}
