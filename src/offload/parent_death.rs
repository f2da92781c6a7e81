//! Helpers that end with the process that started them, even when that one is killed with -9.
//!
//! The kernel sends the signal when the *thread* that started the process ends, so a helper must be started
//! from a thread that lives as long as it is needed.

use nix::errno::Errno;
use nix::unistd::getppid;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes this process receive SIGTERM when its parent dies. An error also if the parent died meanwhile.
pub fn end_with_parent() -> io::Result<()> {
    let parent = getppid();
    ask_for_signal()?;
    if getppid() == parent {
        Ok(())
    } else {
        Err(Errno::ESRCH.into())
    }
}

/// Like [`end_with_parent`], for a child before it even runs its program.
pub fn child_ends_with_us(command: &mut Command) -> &mut Command {
    let us = nix::unistd::getpid();
    let prepare = move || {
        ask_for_signal()?;
        // Without this, a parent that died between fork and prctl would go unnoticed.
        if getppid() == us {
            Ok(())
        } else {
            Err(Errno::ESRCH.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; `prctl` and `getppid` are, and an
    // `io::Error` from an errno does not allocate.
    unsafe { command.pre_exec(prepare) }
}

fn ask_for_signal() -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes one number and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
