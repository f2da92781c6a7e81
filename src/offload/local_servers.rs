//! A MEC and a cloud for a demonstration on one machine: two servers and a link in front of each, as child
//! processes of this program. They end when dropped, and also when this process is killed.

use super::parent_death::child_ends_with_us;
use super::url::{Url, UrlError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One way to the MEC.
pub const MEC_ONE_WAY: Duration = Duration::from_millis(5);
/// Bits per second to the MEC.
pub const MEC_RATE_BPS: f64 = 200e6;
/// The share of this machine's speed the MEC has.
pub const MEC_SPEED: f64 = 0.5;
/// One way to the cloud.
pub const CLOUD_ONE_WAY: Duration = Duration::from_millis(25);
/// Bits per second to the cloud.
pub const CLOUD_RATE_BPS: f64 = 100e6;
/// The share of this machine's speed the cloud has.
pub const CLOUD_SPEED: f64 = 1.0;

/// How long a child may take to say that it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to end when asked.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The last lines of a child's stderr are kept for its error.
const KEPT_LINES: usize = 20;

/// One server and the link in front of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteConfig {
    /// Share of this machine's speed, more than 0 to 1.
    pub speed: f64,
    /// Delay of each direction of its link.
    pub one_way: Duration,
    /// Bits per second of each direction.
    pub rate_bps: f64,
}

/// What to start.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalConfig {
    /// The `hwmeter` program.
    pub program: PathBuf,
    /// The MEC.
    pub mec: SiteConfig,
    /// The cloud.
    pub cloud: SiteConfig,
}

impl LocalConfig {
    /// The defaults, run by the program that is running now.
    pub fn new() -> io::Result<Self> {
        Ok(Self::with_program(std::env::current_exe()?))
    }

    /// The defaults, run by another program.
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        let mec = SiteConfig {
            speed: MEC_SPEED,
            one_way: MEC_ONE_WAY,
            rate_bps: MEC_RATE_BPS,
        };
        let cloud = SiteConfig {
            speed: CLOUD_SPEED,
            one_way: CLOUD_ONE_WAY,
            rate_bps: CLOUD_RATE_BPS,
        };
        Self {
            program: program.into(),
            mec,
            cloud,
        }
    }
}

/// Why the servers did not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The program could not be run at all.
    #[error("cannot start the {child} ({}): {cause}", .program.display())]
    Spawn {
        /// Which one.
        child: String,
        /// What was run.
        program: PathBuf,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// A child ended, kept silent, or said something else than that it is ready.
    #[error("the {child} did not start: {why}{}", shown(.stderr))]
    NotReady {
        /// Which one.
        child: String,
        /// What happened instead.
        why: String,
        /// The end of its stderr.
        stderr: String,
    },
}

fn shown(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!("; it said:\n{stderr}")
    }
}

/// Running servers.
///
/// The kernel ends them when the *thread* that called [`LocalServers::start`] ends, so call it from a thread that
/// lives as long as they are needed, such as the main thread.
#[derive(Debug)]
pub struct LocalServers {
    mec: Url,
    cloud: Url,
    helpers: [Helper; 4],
}

impl LocalServers {
    /// Starts everything and waits until it is ready.
    pub fn start(config: &LocalConfig) -> Result<Self, LocalError> {
        let program = &config.program;
        let server = |role: &str, site: &SiteConfig| {
            let speed = site.speed.to_string();
            let args = [
                "serve",
                "--role",
                role,
                "--listen",
                "127.0.0.1:0",
                "--speed",
                &speed,
                "--exit-with-parent",
            ];
            Helper::start(program, &format!("{role} server"), &args)
        };
        let link = |role: &str, site: &SiteConfig, server: &Helper| {
            let to = server.address.clone();
            let latency = format!("{}us", site.one_way.as_micros());
            let rate = site.rate_bps.to_string();
            let args = [
                "link",
                "--listen",
                "127.0.0.1:0",
                "--to",
                &to,
                "--latency",
                &latency,
                "--rate",
                &rate,
                "--exit-with-parent",
            ];
            Helper::start(program, &format!("link to the {role}"), &args)
        };
        let mec = server("mec", &config.mec)?;
        let cloud = server("cloud", &config.cloud)?;
        let mec_link = link("mec", &config.mec, &mec)?;
        let cloud_link = link("cloud", &config.cloud, &cloud)?;
        Ok(Self {
            mec: mec_link.url()?,
            cloud: cloud_link.url()?,
            helpers: [mec_link, cloud_link, mec, cloud],
        })
    }

    /// Where the MEC is reached, through its link.
    pub fn mec(&self) -> &Url {
        &self.mec
    }

    /// Where the cloud is reached, through its link.
    pub fn cloud(&self) -> &Url {
        &self.cloud
    }
}

impl Drop for LocalServers {
    fn drop(&mut self) {
        // All are asked before the first is waited for: they end side by side.
        for helper in &mut self.helpers {
            helper.signal(Signal::SIGTERM);
        }
    }
}

/// One child process.
struct Helper {
    name: String,
    child: Child,
    /// Where it listens, `HOST:PORT`.
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
    fn start(program: &Path, name: &str, args: &[&str]) -> Result<Self, LocalError> {
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

    fn url(&self) -> Result<Url, LocalError> {
        format!("http://{}", self.address)
            .parse()
            .map_err(|e: UrlError| LocalError::NotReady {
                child: self.name.clone(),
                why: e.to_string(),
                stderr: String::new(),
            })
    }

    /// Asks the child to end, makes it end if it does not, and reaps it.
    fn stop(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
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
