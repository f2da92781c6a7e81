//! Tries a library in a child process first: one that crashes or hangs takes the child down, not the measurement.

use crate::error::{Error, Result};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The first use of CUDA on a Jetson Nano takes several seconds.
const LIMIT: Duration = Duration::from_secs(20);

/// Separates the two parts of an error on its way to the parent.
const SEPARATOR: char = '\0';

/// What a child says that has come to its end; one that a library ended with code 0 says nothing.
const DONE: &str = "done";

/// Runs `check` in a child process, and says what became of it. `what` names the library.
///
/// The child is a copy of this process with the calling thread alone. `check` may allocate, load libraries and start
/// threads (the C library prepares itself for that at a fork), but must not print, nor take a lock that another thread may
/// hold.
pub(super) fn try_out(what: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    try_within(LIMIT, what, check)
}

fn try_within(limit: Duration, what: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    let failed = |errno: nix::Error| Error::os(format!("trying {what} in a child process"), errno);
    let (answer, question) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let forked = {
        let _turn = super::turn();
        // SAFETY: the child runs `check` under the rules above, and ends without destructors.
        unsafe { fork() }
    };
    match forked.map_err(failed)? {
        ForkResult::Child => {
            drop(answer);
            in_child(question, check)
        }
        ForkResult::Parent { child } => {
            drop(question);
            let (said, in_time) = listen(answer, Instant::now() + limit);
            if !in_time {
                let _ = kill(child, Signal::SIGKILL);
            }
            let end = wait(child).map_err(failed)?;
            verdict(what, &said, in_time.then_some(end), limit)
        }
    }
}

/// Tells the parent the outcome and ends.
fn in_child(question: OwnedFd, check: impl FnOnce() -> Result<()>) -> ! {
    prepare_child();
    let outcome = catch_unwind(AssertUnwindSafe(check));
    let (code, said) = match outcome {
        Ok(Ok(())) => (0, DONE.to_owned()),
        Ok(Err(Error::Unsupported { what, why })) => (1, format!("{what}{SEPARATOR}{why}")),
        Ok(Err(other)) => (1, other.to_string()),
        Err(_) => (1, "it panicked".to_owned()),
    };
    let _ = File::from(question).write_all(said.as_bytes());
    // SAFETY: ends the process at once; destructors and exit handlers are the parent's business.
    unsafe { libc::_exit(code) }
}

/// Ends with the parent, leaves no core file, and keeps what the library prints off our standard output.
fn prepare_child() {
    let no_core = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: plain system calls on this process; the structure lives through its call. If one fails, nothing is lost
    // but tidiness.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setrlimit(libc::RLIMIT_CORE, &no_core);
    }
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        // SAFETY: as above.
        unsafe { libc::dup2(null.as_raw_fd(), libc::STDOUT_FILENO) };
    }
}

/// What the child says until it ends, and whether it ended before the deadline. A thread of the library keeps the pipe
/// open no longer than the child lives.
fn listen(answer: OwnedFd, deadline: Instant) -> (String, bool) {
    let mut answer = File::from(answer);
    let mut said = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd {
            fd: answer.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let left_ms = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one structure that lives through the call.
        let ready = unsafe { libc::poll(&mut poll, 1, left_ms) };
        if ready == 0 && left.is_zero() {
            return (String::new(), false);
        }
        if ready <= 0 {
            continue;
        }
        match answer.read(&mut piece) {
            Ok(0) => return (String::from_utf8_lossy(&said).into_owned(), true),
            Ok(read) => said.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return (String::from_utf8_lossy(&said).into_owned(), true),
        }
    }
}

fn wait(child: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(child, None) {
            Err(nix::Error::EINTR) => {}
            other => return other,
        }
    }
}

/// `end` is `None` for a child that had to be ended.
fn verdict(what: &str, said: &str, end: Option<WaitStatus>, limit: Duration) -> Result<()> {
    let unusable = |why: String| Err(Error::unsupported(what, why));
    match end {
        None => unusable(format!(
            "it did not answer within {} s when it was tried",
            limit.as_secs_f64()
        )),
        Some(WaitStatus::Exited(_, 0)) if said == DONE => Ok(()),
        Some(WaitStatus::Exited(_, 1)) => match said.split_once(SEPARATOR) {
            Some((what, why)) => Err(Error::unsupported(what, why)),
            None => unusable(said.to_owned()),
        },
        Some(WaitStatus::Exited(_, code)) => unusable(format!(
            "it ended the program (exit code {code}) when it was tried"
        )),
        Some(WaitStatus::Signaled(_, signal, _)) => unusable(format!(
            "it crashed when it was tried ({}); reinstall it, or set it up for this CPU",
            signal.as_str()
        )),
        Some(other) => unusable(format!("it ended oddly when it was tried: {other:?}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(check: impl FnOnce() -> Result<()>) -> String {
        try_within(Duration::from_secs(10), "BLAS", check)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_good_check_passes_and_changes_nothing_here() {
        let mut here = 1;
        try_out("BLAS", || {
            here = 2;
            Ok(())
        })
        .unwrap();
        assert_eq!(here, 1);
    }

    #[test]
    fn an_error_arrives_as_it_was_made() {
        let error = told(|| Err(Error::unsupported("BLAS 3 (x.so)", "a product is wrong")));
        assert_eq!(error, "BLAS 3 (x.so): a product is wrong");
        let error = told(|| Err(Error::os("mmap", nix::Error::ENOMEM)));
        assert!(error.starts_with("BLAS: mmap failed"), "{error}");
    }

    #[test]
    fn crashes_exits_and_panics_are_told() {
        let crash = told(|| {
            nix::sys::signal::raise(Signal::SIGILL).unwrap();
            Ok(())
        });
        assert!(crash.contains("crashed") && crash.contains("SIGILL"), "{crash}");
        // SAFETY: ends the child.
        let exit = told(|| unsafe { libc::_exit(7) });
        assert!(exit.contains("exit code 7"), "{exit}");
        // SAFETY: ends the child; a library that exits with 0 has proved nothing.
        let silent = try_out("BLAS", || unsafe { libc::_exit(0) });
        assert!(silent.is_err());
    }

    #[test]
    fn a_library_that_hangs_is_ended() {
        let began = Instant::now();
        let hang = || -> Result<()> {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        };
        let error = try_within(Duration::from_millis(50), "BLAS", hang).unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
