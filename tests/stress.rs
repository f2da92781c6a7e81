//! `hwmeter serve --stress`: the load is there, it is as asked, and it ends with the server.
#![allow(clippy::unwrap_used)]

mod common;

use common::child::{Started, started};
use common::{PLENTY, until};
use hwmeter::offload::{Client, Url};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::RangeInclusive;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A server that ends with the test, however that ends: its load must not outlive it.
fn mec(args: &[&str], first: bool) -> (Started, Url) {
    let program = env!("CARGO_BIN_EXE_hwmeter");
    let mut command = Command::new(if first { "chrt" } else { program });
    if first {
        command.args(["-f", "1", program]);
    }
    command
        .args(["-q", "serve", "--role", "mec", "--training", "off"])
        .args(args);
    let mut mec = started(command.stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(mec.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (_, url) = line.trim_end().rsplit_once(' ').unwrap();
    (mec, url.parse().unwrap())
}

fn end(mut mec: Started) {
    mec.signal(Signal::SIGTERM);
    let began = Instant::now();
    assert!(mec.wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// Seconds for which the threads that make the load ran, and for which they ran or were ready to
/// (`/proc/PID/task/TID/schedstat`: nanoseconds running, nanoseconds waiting for a CPU). Both are theirs alone,
/// whatever else this machine does.
fn ran_and_wanted(mec: &Started) -> Vec<(f64, f64)> {
    let threads = fs::read_dir(format!("/proc/{}/task", mec.id())).unwrap();
    let load = threads.filter_map(|dir| {
        let dir = dir.unwrap().path();
        let name = fs::read_to_string(dir.join("comm")).unwrap();
        name.starts_with("hwmeter-stress").then(|| {
            let text = fs::read_to_string(dir.join("schedstat")).unwrap();
            let ns: Vec<f64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
            (ns[0] * 1e-9, (ns[0] + ns[1]) * 1e-9)
        })
    });
    load.collect()
}

/// Shares of a CPU over 1 s: those for which each thread ran, and for which it wanted to.
fn shares(mec: &Started) -> Vec<(f64, f64)> {
    let (before, began) = (ran_and_wanted(mec), Instant::now());
    sleep(Duration::from_secs(1));
    let (after, elapsed) = (ran_and_wanted(mec), began.elapsed().as_secs_f64());
    let over = |(after, before): (&(f64, f64), &(f64, f64))| {
        ((after.0 - before.0) / elapsed, (after.1 - before.1) / elapsed)
    };
    after.iter().zip(&before).map(over).collect()
}

/// With the kernel's real-time priority threads get what they ask for, however busy the machine is with other things.
/// Without it, on a busy machine, they only ask for it.
fn may_run_first() -> bool {
    let tried = Command::new("chrt").args(["-f", "1", "true"]).status();
    tried.is_ok_and(|status| status.success())
}

#[track_caller]
fn assert_within(bounds: RangeInclusive<f64>, shares: &[(f64, f64)], first: bool) {
    assert_eq!(shares.len(), std::thread::available_parallelism().unwrap().get());
    for (ran, wanted) in shares {
        if first {
            assert!(bounds.contains(ran), "{shares:?}");
        } else {
            assert!(wanted >= bounds.start(), "{shares:?}");
        }
    }
}

#[test]
fn the_load_is_as_asked_on_every_cpu_and_is_told() {
    let first = may_run_first();
    if !first {
        eprintln!("skipped in part: needs the right to real-time priority (root, and chrt of util-linux)");
    }
    let (server, url) = mec(&["--stress", "0.85"], first);
    let mut client = Client::new(url).unwrap();
    until("the load is told", || {
        client.load(PLENTY).is_ok_and(|load| load.cpu_use > 0.8)
    });
    assert_within(0.82..=0.88, &shares(&server), first);
    end(server);

    let (server, _) = mec(&["--stress", "walk:0.3..0.5,seed=5,every=0.1s"], first);
    assert_within(0.27..=0.53, &shares(&server), first);
    end(server);
}

#[test]
fn there_is_none_unless_asked_for() {
    let (server, _) = mec(&[], false);
    assert_eq!(ran_and_wanted(&server), []);
    end(server);
}
