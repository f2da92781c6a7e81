//! `hwmeter serve --role trainer --keep`: starts a trainer, and starts it again when it ends by itself.

use super::trainer::READY;
use super::{announce, training};
use crate::cli::ServeArgs;
use anyhow::{Context, bail};
use hwmeter::offload::parent_death::child_ends_with_us;
use hwmeter::train::link::BrokerUrl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a trainer may take to be ready.
const START_TIME: Duration = Duration::from_secs(10);
/// How long a broker that somebody else runs is waited for.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long it may take to store its learners when asked to end.
const STOP_TIME: Duration = Duration::from_secs(8);
/// The wait before a trainer is started again is twice as long every time, from here
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// to here.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A trainer that ran for so long had started well: the waiting begins anew.
const RAN_WELL: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Keeps a trainer running until SIGTERM, or until stdin ends. One that does not even start is given up.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let stopping = watch_for_the_end()?;
    let mut trainer = Running::start(args, None)?;
    let Some(url) = trainer.ready(args) else {
        bail!("the trainer did not start");
    };
    announce(&format!("{READY}{url}"));
    // From now on devices know the port, if it is ours.
    let address = url.rsplit('/').next().unwrap_or_default();
    let listen = args.training.broker.broker.is_none().then_some(address);
    let mut began = Instant::now();
    let mut wait = FIRST_WAIT;
    while let Some(status) = trainer.until_ended(&stopping)? {
        if began.elapsed() > RAN_WELL {
            wait = FIRST_WAIT;
        }
        tracing::warn!(
            "the trainer ended ({status}); it is started again in {} s",
            wait.as_secs_f64()
        );
        if stopping.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        began = Instant::now();
        trainer = Running::start(args, listen)?;
    }
    Ok(())
}

/// Something arrives when it is time to end.
fn watch_for_the_end() -> anyhow::Result<Receiver<()>> {
    let (by_signal, stopping) = channel();
    let by_stdin = by_signal.clone();
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot watch for SIGTERM and SIGINT")?;
    // Nobody listens any more when the end has come already.
    std::thread::spawn(move || {
        signals.forever().next();
        let _ = by_signal.send(());
    });
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut [0; 64]), Ok(1..)) {}
        let _ = by_stdin.send(());
    });
    Ok(stopping)
}

/// A trainer, which ends when this is dropped.
struct Running {
    child: Child,
    first_line: Receiver<String>,
}

impl Running {
    fn start(args: &ServeArgs, listen: Option<&str>) -> anyhow::Result<Self> {
        let mut command = training::command(args, listen)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = child_ends_with_us(&mut command)
            .spawn()
            .context("cannot start the trainer")?;
        let first_line = first_line(child.stdout.take());
        Ok(Self { child, first_line })
    }

    /// Its broker's URL, once it can be reached. A broker that somebody else runs may come later: it is enough that
    /// the trainer waits for it.
    fn ready(&self, args: &ServeArgs) -> Option<String> {
        let elsewhere = &args.training.broker.broker;
        let limit = elsewhere.as_ref().map_or(START_TIME, |_| CONNECT_TIME);
        match self.first_line.recv_timeout(limit) {
            Ok(line) => Some(line.strip_prefix(READY)?.to_owned()),
            Err(RecvTimeoutError::Timeout) => elsewhere.as_ref().map(BrokerUrl::to_string),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// How it ended by itself; `None` if it is time to end.
    fn until_ended(&mut self, stopping: &Receiver<()>) -> anyhow::Result<Option<ExitStatus>> {
        loop {
            let ended = self.child.try_wait().context("cannot tell how the trainer is")?;
            if ended.is_some() {
                return Ok(ended);
            }
            if stopping.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                return Ok(None);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // Not reaped yet, so the number is still its own.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let give_up = Instant::now() + STOP_TIME;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Ok(None) = self.child.try_wait() {
            tracing::warn!("the trainer did not end when asked and was killed");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads stdout to its end, so that the trainer can never block on it, and passes on the first line.
fn first_line(stdout: Option<ChildStdout>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let lines = stdout
            .into_iter()
            .flat_map(|stdout| BufReader::new(stdout).lines());
        for line in lines.map_while(Result::ok) {
            // Only the first is waited for.
            let _ = sender.send(line);
        }
    });
    receiver
}
