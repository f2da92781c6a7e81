//! `hwmeter load`: other UEs' traffic, as a user sends it.
#![allow(clippy::unwrap_used)]

mod common;

use common::child::{Started, started};
use common::{link_to, server, until};
use hwmeter::offload::Client;
use hwmeter::serve::{Role, ServeConfig};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn load(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command.arg("load").args(arguments).stdin(Stdio::null());
    command
}

fn in_background(command: &mut Command) -> Started {
    started(command.stdout(Stdio::piped()))
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn each_ue_sends_at_its_rate() {
    let mec = server(ServeConfig::new(Role::Mec));
    let url = mec.url().to_string();
    let output = load(&[
        "--to",
        &url,
        "--ues",
        "5",
        "--rate",
        "800k",
        "--duration",
        "2s",
        "--json",
    ])
    .output()
    .unwrap();
    let report = report(&output);
    assert_eq!((&report["ues"], &report["asked_bps"]), (&5.into(), &4e6.into()));
    // 5000 bytes each 50 ms.
    assert_eq!(report["payload_bytes"], 5000);
    let achieved = report["achieved_bps"].as_f64().unwrap();
    assert!((achieved / 4e6 - 1.0).abs() < 0.15, "{report:#}");
    let answered = report["answered"].as_u64().unwrap();
    let seconds = report["duration_s"].as_f64().unwrap();
    assert!(
        (achieved * seconds / 8.0 / 5000.0 - answered as f64).abs() < 0.5,
        "{report:#}"
    );
    assert_eq!(report["failed"], 0);
    let latency = &report["latency_s"];
    assert!(latency["p50"].as_f64().unwrap() > 0.0 && latency["p50"].as_f64() <= latency["max"].as_f64());
}

#[test]
fn the_link_holds_them_to_its_own_rate_and_the_device_feels_them() {
    let mec = server(ServeConfig::new(Role::Mec));
    let link = link_to(mec.address, Duration::from_millis(2), 10e6);
    let url = link.url().to_string();
    let mut device = Client::new(link.url()).unwrap();
    let mut trip = || {
        let began = Instant::now();
        device.health(common::PLENTY).unwrap();
        began.elapsed()
    };
    trip();
    let alone = (0..5).map(|_| trip()).min().unwrap();
    let child = in_background(&mut load(&[
        "--to",
        &url,
        "--ues",
        "10",
        "--rate",
        "5M",
        "--duration",
        "2500ms",
        "--json",
    ]));
    std::thread::sleep(Duration::from_millis(1000));
    let beside = (0..5).map(|_| trip()).min().unwrap();
    let report = report(&child.output());
    let achieved = report["achieved_bps"].as_f64().unwrap();
    // 50 Mbit/s asked of 10; what is under way at the end is not counted.
    assert!(achieved < 10.5e6 && achieved > 5e6, "{report:#}");
    assert!(
        beside > alone + Duration::from_millis(5),
        "{beside:?} beside others, {alone:?} alone"
    );
}

#[test]
fn it_ends_with_its_report_when_asked() {
    let mec = server(ServeConfig::new(Role::Mec));
    let url = mec.url().to_string();
    let child = in_background(&mut load(&["--to", &url, "--ues", "3", "--rate", "1M"]));
    let mut watcher = Client::new(mec.url()).unwrap();
    let thread_count = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Threads:"))
            .unwrap();
        line.trim().parse::<u32>().unwrap()
    };
    std::thread::sleep(Duration::from_millis(500));
    assert!(thread_count() <= 4, "{}", thread_count());
    child.signal(Signal::SIGTERM);
    let began = Instant::now();
    let output = child.output();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("3 UEs") && text.contains("answer after"),
        "{text}"
    );
    until("the server has nothing left of it", || {
        watcher
            .load(common::PLENTY)
            .is_ok_and(|load| load.running + load.queue == 0)
    });
}

#[test]
fn refusals_and_failures_are_counted_and_the_ues_go_on() {
    // Payloads are too large for this one.
    let mut config = ServeConfig::new(Role::Mec);
    config.max_payload = 1000;
    let mec = server(config);
    let url = mec.url().to_string();
    let arguments = ["--to", &url, "--ues", "2", "--rate", "800k", "--json"];
    let output = load(&arguments).args(["--duration", "600ms"]).output().unwrap();
    let refused = report(&output);
    assert_eq!(refused["answered"], 0);
    assert!(refused["latency_s"].is_null());
    let codes = refused["refused"].as_object().unwrap();
    assert!(
        codes.values().all(|count| count.as_u64().unwrap() > 4) && codes.len() == 1,
        "{refused:#}"
    );

    // A server that goes away.
    let child = in_background(load(&arguments).args(["--duration", "1500ms", "--payload", "900"]));
    std::thread::sleep(Duration::from_millis(500));
    drop(mec);
    let failed = report(&child.output());
    assert!(failed["answered"].as_u64().unwrap() > 0, "{failed:#}");
    // Two UEs that wait 0.1, 0.2, 0.4 s ...
    assert!(
        (2..20).contains(&failed["failed"].as_u64().unwrap()),
        "{failed:#}"
    );
    assert!(
        failed["last_failure"].as_str().unwrap().contains(&url),
        "{failed:#}"
    );
}

#[test]
fn what_cannot_be_is_said_and_what_to_do() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--to", &url], 1, "hwmeter serve --role mec"),
        (&["--ues", "0"], 2, "--ues"),
        (&["--rate", "0"], 2, "--rate"),
        (&["--payload", "0"], 2, "--payload"),
        (&["--broker", "mqtt://127.0.0.1"], 1, "--devices N"),
        (
            &["--devices", "2", "--broker", "mqtt://127.0.0.1", "--ca", "ca.pem"],
            2,
            "--ca",
        ),
    ];
    for (arguments, code, expected) in cases {
        let output = load(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

/// A shell that lets few files be open begins the program: more connections than that all work.
fn with_few_files(arguments: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!(
        "ulimit -Sn 40; exec {} {arguments}",
        env!("CARGO_BIN_EXE_hwmeter")
    );
    command.args(["-c", &script]).stdin(Stdio::null());
    command
}

#[test]
fn link_and_load_have_the_files_they_need() {
    let mec = server(ServeConfig::new(Role::Mec));
    let mut link = in_background(&mut with_few_files(&format!(
        "link --preset ideal --to {}",
        mec.address
    )));
    let mut line = String::new();
    BufReader::new(link.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().rsplit(' ').next().unwrap();
    let output = with_few_files(&format!(
        "load --to http://{address} --ues 100 --rate 10k --payload 100 --duration 1s --json"
    ))
    .output()
    .unwrap();
    let report = report(&output);
    assert_eq!(report["failed"], 0, "{report:#}");
    assert!(
        report["ue_bps"][0].as_f64().unwrap() > 0.0,
        "each was answered: {report:#}"
    );
}
