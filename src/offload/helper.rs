//! One child process of ours that listens somewhere: started, waited for, and always ended.

use super::local_servers::LocalError;
use super::parent_death::child_ends_with_us;
use super::url::{Url, UrlError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a child may take to say that it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to end when asked.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The last lines of a child's stderr are kept for its error.
const KEPT_LINES: usize = 20;

/// One child process.
pub(super) struct Helper {
    name: String,
    child: Child,
    address: String,
    stderr: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}, {})", self.name, self.child.id(), self.address)
    }
}

impl Helper {
    /// Starts the program and waits until it says where it listens.
    pub fn start(program: &Path, name: &str, args: &[&str]) -> Result<Self, LocalError> {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A group of its own: Ctrl-C in the terminal reaches only us, and we decide when the helpers end.
        command.process_group(0);
        let mut child = child_ends_with_us(&mut command)
            .spawn()
            .map_err(|cause| LocalError::Spawn {
                child: name.to_owned(),
                program: program.to_owned(),
                cause,
            })?;
        let stderr = Arc::default();
        let (first_line, stdout_reader) = read_first_line(child.stdout.take());
        let stderr_reader = keep_last_lines(name, child.stderr.take(), &stderr);
        let readers = vec![stdout_reader, stderr_reader];
        let mut helper = Self {
            name: name.to_owned(),
            child,
            address: String::new(),
            stderr,
            readers,
        };
        helper.address = helper.wait_until_ready(&first_line)?;
        Ok(helper)
    }

    /// The last word of the line by which a child says that it is ready is its address.
    fn wait_until_ready(&mut self, first_line: &Receiver<String>) -> Result<String, LocalError> {
        let why = match first_line.recv_timeout(START_TIMEOUT) {
            Ok(line) => match line.rsplit_once(" listening on ") {
                Some((_, address)) => return Ok(address.trim_start_matches("http://").to_owned()),
                None => format!("it said {line:?} instead of where it listens"),
            },
            Err(RecvTimeoutError::Timeout) => {
                format!("it was not ready within {} s", START_TIMEOUT.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => "it ended at once".to_owned(),
        };
        let status = self.stop();
        let why = match status {
            Some(status) if why.starts_with("it ended") => format!("{why} ({status})"),
            _ => why,
        };
        let lines = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let stderr = lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        Err(LocalError::NotReady {
            child: self.name.clone(),
            why,
            stderr,
        })
    }

    /// Where it is reached by HTTP.
    pub fn url(&self) -> Result<Url, LocalError> {
        format!("http://{}", self.address)
            .parse()
            .map_err(|e: UrlError| LocalError::NotReady {
                child: self.name.clone(),
                why: e.to_string(),
                stderr: String::new(),
            })
    }

    /// Where it listens, `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells the child to end, without waiting for it; dropping waits.
    pub fn ask_to_end(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    /// Asks the child to end, makes it end if it does not, and reaps it.
    fn stop(&mut self) -> Option<ExitStatus> {
        self.ask_to_end();
        let give_up = Instant::now() + STOP_TIMEOUT;
        let mut status = self.child.try_wait().ok().flatten();
        while status.is_none() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(5));
            status = self.child.try_wait().ok().flatten();
        }
        if status.is_none() {
            tracing::warn!("the {} did not end when asked and was killed", self.name);
            self.signal(Signal::SIGKILL);
            status = self.child.wait().ok();
        }
        for reader in self.readers.drain(..) {
            // Its pipe has ended with the child. That it panicked would have been printed already.
            let _ = reader.join();
        }
        status
    }

    /// Signals the child unless it was reaped already: its pid could be another process by then.
    fn signal(&mut self, signal: Signal) {
        if let Ok(None) = self.child.try_wait() {
            // Between the check and here only we could have reaped it, so the pid is still its own.
            let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads stdout to its end, so that the child can never block on it, and passes on the first line.
fn read_first_line(stdout: Option<ChildStdout>) -> (Receiver<String>, JoinHandle<()>) {
    let (sender, receiver) = channel();
    let reader = std::thread::spawn(move || {
        let sender = sender;
        for line in stdout
            .into_iter()
            .flat_map(|stdout| BufReader::new(stdout).lines())
            .map_while(Result::ok)
        {
            // Only the first is waited for.
            let _ = sender.send(line);
        }
    });
    (receiver, reader)
}

/// Keeps the end of stderr for an error, and shows it in our own log.
fn keep_last_lines(
    name: &str,
    stderr: Option<ChildStderr>,
    kept: &Arc<Mutex<VecDeque<String>>>,
) -> JoinHandle<()> {
    let (name, kept) = (name.to_owned(), Arc::clone(kept));
    std::thread::spawn(move || {
        for line in stderr
            .into_iter()
            .flat_map(|stderr| BufReader::new(stderr).lines())
            .map_while(Result::ok)
        {
            tracing::debug!("{name}: {line}");
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    })
}
