//! Programs of others that sensors ask: found, started so that none is left behind, and not waited for without end.

use crate::error::{Error, Result};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The first executable file of that name in the directories of `PATH`.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// A child that is killed by its id and reaped however the scope is left.
pub(super) struct Reaped(pub Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only if it has ended and been reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program with its output piped. The kernel kills it (`PR_SET_PDEATHSIG`) if the *thread* that calls this
/// ends, which it does with the process, whatever ends that.
pub(super) fn spawn_with_us(program: &Path, arguments: &[String]) -> io::Result<Reaped> {
    let parent = std::process::id();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // SAFETY: between fork and exec only prctl and getppid run, both async-signal-safe, and no memory is allocated.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0);
            // The parent may have died before the line above; then nobody would ever send the signal.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
    command.spawn().map(Reaped)
}

/// All that a program prints until it ends, and how it ended. One that takes longer than `timeout` is killed, and is
/// an error of kind `Busy`.
pub(super) fn answer_of(program: &Path, argument: &str, timeout: Duration) -> Result<(Vec<u8>, ExitStatus)> {
    let failed = |e| Error::io("run", program, e);
    let deadline = Instant::now() + timeout;
    let mut child = spawn_with_us(program, &[argument.to_owned()]).map_err(failed)?;
    let mut answer = Vec::new();
    if let Some(mut stdout) = child.0.stdout.take() {
        let mut chunk = [0; 4096];
        loop {
            if !has_data(&stdout, deadline) {
                let why = format!("no answer within {:.1} s", timeout.as_secs_f64());
                return Err(failed(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            match stdout.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }
    // It has closed its output and can say no more.
    let status = child.0.wait().map_err(failed)?;
    Ok((answer, status))
}

/// Waits until something can be read, the end included; false if nothing comes before the deadline.
fn has_data(stdout: &impl AsRawFd, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut watched = libc::pollfd {
        fd: stdout.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // Rounded up: a poll of 0 ms in the last millisecond would spin.
    let milliseconds = left.as_millis() as libc::c_int + 1;
    // SAFETY: `watched` is one valid pollfd for the whole call.
    let ready = unsafe { libc::poll(&raw mut watched, 1, milliseconds) };
    // An interrupted poll is no end: reading waits for what is left, and that is rare enough.
    ready != 0
}
