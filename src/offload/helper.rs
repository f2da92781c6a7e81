//! One child process of ours that listens somewhere: started, waited for, and always ended.

use super::child::OurChild;
use super::local_servers::LocalError;
use super::url::{Url, UrlError};
use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a child may take to say that it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to end when asked.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The last lines of a child's stderr are kept for its error.
const KEPT_LINES: usize = 20;

/// One child process.
pub(super) struct Helper {
    name: String,
    child: OurChild,
    address: String,
    stderr: Arc<Mutex<VecDeque<String>>>,
    stderr_reader: Option<JoinHandle<()>>,
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}, {})", self.name, self.child.pid(), self.address)
    }
}

impl Helper {
    /// Starts the program and waits until it says where it listens.
    pub fn start(program: &Path, name: &str, args: &[&str]) -> Result<Self, LocalError> {
        let mut command = Command::new(program);
        command.args(args).stderr(Stdio::piped());
        // A group of its own: Ctrl-C in the terminal reaches only us, and we decide when the helpers end.
        command.process_group(0);
        let mut child =
            OurChild::start(name, &mut command, STOP_TIMEOUT).map_err(|cause| LocalError::Spawn {
                child: name.to_owned(),
                program: program.to_owned(),
                cause,
            })?;
        let stderr = Arc::default();
        let stderr_reader = keep_last_lines(name, child.take_stderr(), &stderr);
        let mut helper = Self {
            name: name.to_owned(),
            child,
            address: String::new(),
            stderr,
            stderr_reader: Some(stderr_reader),
        };
        helper.address = helper.wait_until_ready()?;
        Ok(helper)
    }

    /// The last word of the line by which a child says that it is ready is its address.
    fn wait_until_ready(&mut self) -> Result<String, LocalError> {
        let why = match self.child.line_within(START_TIMEOUT) {
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
        self.child.pid()
    }

    /// Tells the child to end, without waiting for it; dropping waits.
    pub fn ask_to_end(&mut self) {
        self.child.ask_to_end();
    }

    /// Ends the child, and waits until all that it said is here.
    fn stop(&mut self) -> Option<ExitStatus> {
        let status = self.child.stop();
        if let Some(reader) = self.stderr_reader.take() {
            // Its pipe has ended with the child. That it panicked would have been printed already.
            let _ = reader.join();
        }
        status
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stop();
    }
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
