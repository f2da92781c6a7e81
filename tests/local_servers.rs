//! The commands `serve` and `link` as processes: how they start, and that they always end.
#![allow(clippy::unwrap_used)]

mod common;

use common::child::{Started, started};
use common::{PLENTY, SMALL, payload, until};
use hwmeter::offload::local_servers::LocalConfig;
use hwmeter::offload::{Client, LocalServers, Url};
use hwmeter::task::{Kernel, Work};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hwmeter");

fn config() -> LocalConfig {
    LocalConfig::with_program(PROGRAM)
}

fn fails(args: &[&str]) -> (i32, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(PROGRAM).args(args).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stdout), "", "{args:?}");
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

fn start(args: &[&str]) -> (Started, String) {
    let mut command = Command::new(PROGRAM);
    let mut child = started(command.args(args).stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line.trim_end().to_owned())
}

#[test]
fn one_line_says_where_it_listens_and_sigterm_ends_it_well() {
    for (args, begin) in [
        (
            &["serve", "--role", "cloud"][..],
            "hwmeter serve: cloud listening on http://127.0.0.1:",
        ),
        (
            &["link", "--to", "127.0.0.1:9", "--latency", "5ms"],
            "hwmeter link: listening on 127.0.0.1:",
        ),
    ] {
        let (mut child, line) = start(args);
        let port = line.strip_prefix(begin).unwrap_or_else(|| panic!("{line}"));
        assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{line}");
        child.signal(Signal::SIGTERM);
        assert!(child.wait().unwrap().success());
        let mut rest = String::new();
        child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn a_running_task_finishes_before_the_server_ends() {
    let (mut child, line) = start(&["serve", "--role", "mec", "--training", "off"]);
    let url: Url = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    // Find a size of about half a second.
    let mut client = Client::new(url.clone()).unwrap();
    let work = |rounds| Work::one(Kernel::Sha256, rounds, 5);
    let mut rounds = 16;
    let data = payload(1000);
    while client.submit(&work(rounds), &data, PLENTY).unwrap().execute_s < 0.5 {
        rounds *= 2;
    }
    let running = std::thread::spawn(move || client.submit(&work(rounds), &data, PLENTY));
    let mut watcher = Client::new(url).unwrap();
    until("it runs", || {
        watcher.load(PLENTY).is_ok_and(|load| load.running == 1)
    });
    child.signal(Signal::SIGTERM);
    assert!(running.join().unwrap().is_ok());
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_is_said_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (
            &["serve", "--role", "mec", "--listen", &taken],
            1,
            &[&taken, "in use", "port 0"],
        ),
        (
            &["link", "--to", "127.0.0.1:9", "--listen", &taken],
            1,
            &[&taken, "in use", "port 0"],
        ),
        (
            &["serve", "--role", "mec", "--listen", "0.0.0.0:0"],
            1,
            &["0.0.0.0:0", "--token-file"],
        ),
        (&["--root", empty, "serve", "--role", "mec"], 1, &["/proc/stat"]),
        (&["serve", "--role", "fog"], 2, &["fog", "mec"]),
        (
            &["serve", "--role", "mec", "--speed", "0"],
            2,
            &["--speed", "above 0"],
        ),
        (&["serve", "--role", "mec", "--workers", "0"], 2, &["--workers"]),
        (
            &["link", "--to", "nowhere.invalid:1"],
            1,
            &["--to \"nowhere.invalid:1\""],
        ),
        (
            &["link", "--to", "127.0.0.1:9", "--latency", "soon"],
            2,
            &["--latency", "5ms"],
        ),
    ];
    for (args, code, expected) in cases {
        let (status, stderr) = fails(args);
        assert_eq!(status, code, "{args:?}: {stderr}");
        for text in expected {
            assert!(stderr.contains(text), "{args:?} says no {text:?}: {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}

#[test]
fn local_servers_work_through_their_links_and_end_when_dropped() {
    let servers = LocalServers::start(&config()).unwrap();
    let mut mec = Client::new(servers.mec().clone()).unwrap();
    let mut cloud = Client::new(servers.cloud().clone()).unwrap();
    let data = payload(50_000);
    let [near, far] = [&mut mec, &mut cloud].map(|client| {
        client.health(PLENTY).unwrap();
        client.submit(&SMALL, &data, PLENTY).unwrap()
    });
    assert_eq!(near.checksum, far.checksum);
    // 5 ms and 25 ms one way, 2 ms and 4 ms for the payload.
    assert!(
        near.transmit_s >= 0.012 && far.transmit_s >= 0.054,
        "{near:?} {far:?}"
    );
    assert!(near.transmit_s < far.transmit_s, "{near:?} {far:?}");

    let began = Instant::now();
    drop(servers);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(mec.health(PLENTY).is_err() && cloud.health(PLENTY).is_err());
}

#[test]
fn a_child_that_fails_is_named_with_its_stderr() {
    let mut bad = config();
    bad.cloud.speed = 7.0;
    let error = LocalServers::start(&bad).unwrap_err().to_string();
    assert!(
        error.contains("cloud server") && error.contains("--speed"),
        "{error}"
    );

    let error = LocalServers::start(&LocalConfig::with_program("/nowhere/hwmeter"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("mec server") && error.contains("/nowhere/hwmeter"),
        "{error}"
    );

    let error = LocalServers::start(&LocalConfig::with_program("echo"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("instead of where it listens"), "{error}");
}

/// Not a test by itself: the process that `the_servers_end_with_a_killed_parent` kills.
#[test]
#[ignore = "run by another test"]
fn parent_to_be_killed() {
    let servers = LocalServers::start(&config()).unwrap();
    println!("\n{} {}", servers.mec(), servers.cloud());
    println!("{:?}", servers.pids());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn the_servers_end_with_a_killed_parent() {
    let mut parent = Command::new(std::env::current_exe().unwrap());
    parent.args(["--exact", "parent_to_be_killed", "--ignored", "--nocapture"]);
    let mut parent = started(parent.stdout(Stdio::piped()));
    let mut lines = BufReader::new(parent.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let urls = lines.find(|line| line.starts_with("http://")).unwrap();
    let mut clients: Vec<Client> = urls
        .split(' ')
        .map(|url| Client::new(url.parse().unwrap()).unwrap())
        .collect();
    assert!(clients.iter_mut().all(|client| client.health(PLENTY).is_ok()));
    let helpers = children_of(parent.id());
    let mut told = lines.next().unwrap();
    told.retain(|c| c == ',' || c.is_ascii_digit());
    let told: Vec<u32> = told.split(',').map(|pid| pid.parse().unwrap()).collect();
    assert!(
        told.len() == 4 && told.iter().all(|pid| helpers.contains(pid)),
        "{told:?} {helpers:?}"
    );
    assert_eq!(helpers.len(), 4, "{helpers:?}");

    parent.kill();
    until("all helpers have ended", || {
        !helpers.iter().any(|&pid| is_alive(pid))
    });
    assert!(clients.iter_mut().all(|client| client.health(PLENTY).is_err()));
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| stat(pid).is_some_and(|(_, its_parent)| its_parent == parent))
        .collect()
}

/// A process that has ended may wait as a zombie for an `init` that never reaps.
fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// State and parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = text.rsplit_once(") ")?.1.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}
