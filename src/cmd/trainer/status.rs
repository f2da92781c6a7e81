//! `hwmeter trainer status`: what the trainers of a broker say of their learners.

use crate::cli::StatusArgs;
use crate::ui;
use anyhow::bail;
use hwmeter::offload::{Access, Client};
use hwmeter::train::directory::{Directory, Listed};
use hwmeter::train::link::{BrokerUrls, Event, Link};
use hwmeter::train::topic::ALL_LEARNER_STATUS;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Where a trainer of this machine has its broker.
const HERE: &str = "mqtt://127.0.0.1:1883";
/// How long a broker or an edge server may take to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// What a broker keeps comes at once; after so long without more there is no more.
const QUIET: Duration = Duration::from_millis(500);

/// Prints what there is, or goes on printing.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let id = format!("hwmeter-status-{}", std::process::id());
    let mut config = args.broker.link(&brokers(args)?, id)?;
    let tries = config.urls.iter().len();
    config.clean = true;
    let (link, events) = Link::start(config)?;
    link.subscribe(ALL_LEARNER_STATUS)?;
    let mut directory = Directory::default();
    connected(&events, tries)?;
    let mut is_first = true;
    loop {
        let is_new = gather(&events, &mut directory)?;
        if is_new || std::mem::take(&mut is_first) {
            print(&directory, args)?;
        }
        if !args.watch {
            link.stop(QUIET);
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The brokers that were named, or that the MEC names, or the one of this machine.
fn brokers(args: &StatusArgs) -> anyhow::Result<BrokerUrls> {
    args.broker.check()?;
    let mec = match (&args.broker.broker, &args.mec) {
        (Some(url), _) => return Ok(url.clone()),
        (None, None) => return Ok(HERE.parse()?),
        (None, Some(mec)) => mec,
    };
    let access = Access::to(&[mec], args.ca.as_deref(), args.token_file.as_deref())?;
    match Client::with_access(mec.clone(), &access)?.training(CONNECT)? {
        Some(url) => Ok(url.parse()?),
        None => bail!("{mec} trains no learners"),
    }
}

/// Waits for a broker. Who asks once wants to know at once that none can be reached.
fn connected(events: &Receiver<Event>, tries: usize) -> anyhow::Result<()> {
    let mut failed = 0;
    let deadline = Instant::now() + CONNECT;
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Connected) => return Ok(()),
            Ok(Event::Disconnected(why)) => {
                failed += 1;
                if failed == tries {
                    bail!("{why}");
                }
                tracing::warn!("{why}");
            }
            Ok(_) => {}
            Err(_) => bail!("the broker does not answer within {} s", CONNECT.as_secs()),
        }
    }
}

/// Takes what comes until nothing more does; whether there was anything new.
fn gather(events: &Receiver<Event>, directory: &mut Directory) -> anyhow::Result<bool> {
    let mut is_new = false;
    loop {
        match events.recv_timeout(QUIET) {
            Ok(Event::Message { topic, payload, .. }) => is_new |= directory.receive(&topic, payload),
            Ok(Event::Disconnected(why) | Event::Trouble(why)) => tracing::warn!("{why}"),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return Ok(is_new),
            Err(RecvTimeoutError::Disconnected) => bail!("the connection to the broker has ended"),
        }
    }
}

fn print(directory: &Directory, args: &StatusArgs) -> anyhow::Result<()> {
    let listed: Vec<&Listed> = directory.listed().collect();
    if args.json {
        let document = serde_json::json!({ "learners": listed });
        match args.watch {
            true => ui::outln!("{document}"),
            false => ui::outln!("{document:#}"),
        }
        return Ok(());
    }
    if listed.is_empty() {
        ui::outln!("no trainer says that it has a learner");
        return Ok(());
    }
    let mut table = ui::table(&[
        "device",
        "learner",
        "trainer",
        "version",
        "lag",
        "updates/s",
        "energy/update",
        "up",
        "down",
        "again",
        "dropped",
        "device is",
        "learner is",
    ]);
    for learner in listed {
        table.add_row(row(learner));
    }
    ui::outln!("{table}");
    Ok(())
}

fn row(of: &Listed) -> Vec<String> {
    vec![
        of.device.clone(),
        of.learner.clone(),
        of.trainer.clone(),
        of.version.to_string(),
        of.lag.to_string(),
        format!("{:.1}", of.updates_per_s),
        joules(of),
        kilobytes(of.bytes_up),
        kilobytes(of.bytes_down),
        of.duplicates.to_string(),
        of.dropped.to_string(),
        if of.online { "there" } else { "gone" }.to_owned(),
        match &of.refused {
            Some(why) => format!("refused: {why}"),
            None if of.active => "in memory".to_owned(),
            None => "stored".to_owned(),
        },
    ]
}

/// With its kind, as every energy.
fn joules(of: &Listed) -> String {
    let (Some(joules), Some(kind)) = (of.update_j, &of.update_j_kind) else {
        return String::new();
    };
    format!("{:.3} mJ, {kind}", 1e3 * joules)
}

fn kilobytes(bytes: u64) -> String {
    format!("{:.1} kB", bytes as f64 / 1e3)
}
