//! `hwmeter serve --role trainer --keep`: starts a trainer, and starts it again when it ends by itself.

use super::trainer::READY;
use super::{announce, training};
use crate::cli::ServeArgs;
use anyhow::{Context, bail};
use hwmeter::offload::child::OurChild;
use hwmeter::train::link::BrokerUrl;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Read;
use std::process::ExitStatus;
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
    let mut trainer = start(args, None)?;
    let Some(url) = ready(&trainer, args) else {
        bail!("the trainer did not start");
    };
    announce(&format!("{READY}{url}"));
    // From now on devices know the port, if it is ours.
    let address = url.rsplit('/').next().unwrap_or_default();
    let listen = args.training.broker.broker.is_none().then_some(address);
    let mut began = Instant::now();
    let mut wait = FIRST_WAIT;
    while let Some(status) = until_ended(&mut trainer, &stopping)? {
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
        trainer = start(args, listen)?;
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

fn start(args: &ServeArgs, listen: Option<&str>) -> anyhow::Result<OurChild> {
    let mut command = training::command(args, listen)?;
    OurChild::start("trainer", &mut command, STOP_TIME).context("cannot start the trainer")
}

/// Its broker's URL, once it can be reached. A broker that somebody else runs may come later: it is enough that the
/// trainer waits for it.
fn ready(trainer: &OurChild, args: &ServeArgs) -> Option<String> {
    let elsewhere = &args.training.broker.broker;
    let limit = elsewhere.as_ref().map_or(START_TIME, |_| CONNECT_TIME);
    match trainer.first_line(limit) {
        Ok(line) => Some(line.strip_prefix(READY)?.to_owned()),
        Err(RecvTimeoutError::Timeout) => elsewhere.as_ref().map(BrokerUrl::to_string),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

/// How it ended by itself; `None` if it is time to end.
fn until_ended(trainer: &mut OurChild, stopping: &Receiver<()>) -> anyhow::Result<Option<ExitStatus>> {
    loop {
        let ended = trainer.try_wait().context("cannot tell how the trainer is")?;
        if ended.is_some() {
            return Ok(ended);
        }
        if stopping.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
            return Ok(None);
        }
    }
}
