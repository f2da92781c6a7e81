//! Trainers of a group as processes: one is killed, the others take its devices, and it comes back.

use super::brokers::Broker;
use super::common::child::{Started, started};
use super::common::runs::{LONG, manifest, replayed};
use super::common::until_within;
use super::status::learners;
use super::{PROGRAM, Running, Signal, pids_with};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

const READY: &str = "hwmeter serve: trainer on ";
const TASKS: u64 = 40;

fn trainer(name: &str, url: &str, state: &Path) -> Running {
    let mut trainer = Running::start(&[
        "--role",
        "trainer",
        "--broker",
        url,
        "--group",
        "g",
        "--trainer-name",
        name,
        "--store-every",
        "3",
        "--state",
        state.to_str().unwrap(),
    ]);
    assert_eq!(trainer.said(READY), url);
    trainer
}

/// One that records what it learns from.
fn agent(name: &str, url: &str, out: &Path) -> Started {
    let mut command = Command::new(PROGRAM);
    command
        .args([
            "run-agent",
            "--gpu",
            "off",
            "--sensor",
            "cpu-model",
            "--audit",
            "0",
        ])
        .args([
            "--set",
            "dqn.hidden=[16,16]",
            "--train",
            "mec",
            "--record-transitions",
        ])
        .args(["--json", "--broker", url, "--device", name])
        .args(["--tasks", &TASKS.to_string(), "--out"])
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    started(&mut command)
}

/// Many that learn until they are asked to end: load-0, load-1 and so on.
fn fleet(devices: usize, url: &str) -> Started {
    let mut command = Command::new(PROGRAM);
    command
        .args([
            "load",
            "--json",
            "--device-rate",
            "4",
            "--learner",
            "ac",
            "--broker",
            url,
        ])
        .args(["--devices", &devices.to_string()])
        .stdout(Stdio::piped());
    started(&mut command)
}

/// By device and trainer, how far the learner is.
type Owners = BTreeMap<(String, String), u64>;

/// Which trainer has which device, and how far it is.
fn owners(url: &str) -> Owners {
    let text = |of: &Value| of.as_str().unwrap().to_owned();
    let listed = learners(&["--broker", url]);
    let one = |of: &Value| {
        let key = (text(&of["device"]), text(&of["trainer"]));
        (key, of["version"].as_u64().unwrap())
    };
    listed.iter().map(one).collect()
}

#[test]
fn the_living_take_the_devices_of_one_that_is_killed_and_give_them_back_and_nothing_is_lost() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let url = broker.url().to_string();
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut first = trainer("t0", &url, &state);
    let _second = trainer("t1", &url, &state);
    let fleet = fleet(6, &url);
    // By its hash it is t0's while there are both, as are three of the six.
    let out = dir.path().join("run");
    let agent = agent("load-14", &url, &out);
    let until =
        |what: &str, is_so: &dyn Fn(&Owners) -> bool| until_within(LONG, what, || is_so(&owners(&url)));
    let has_some = |owners: &Owners, trainer: &str| owners.keys().any(|(_, owner)| owner == trainer);
    until("each has some, and they learn", &|owners| {
        let both = has_some(owners, "t0") && has_some(owners, "t1");
        both && owners.len() == 7 && owners.values().all(|version| *version > 3)
    });
    let before = owners(&url);
    first.child.kill();
    until("the other goes on with all of them", &|owners| {
        let mut others = before.iter().filter(|((device, _), _)| device != "load-14");
        let goes_on = others.all(|((device, _), version)| {
            let now = owners.get(&(device.clone(), "t1".to_owned()));
            now.is_some_and(|now| now > version)
        });
        goes_on && !has_some(owners, "t0")
    });
    let _first = trainer("t0", &url, &state);
    until("it has some again", &|owners| has_some(owners, "t0"));

    assert!(agent.output().status.success());
    let (run, again) = (manifest(&out), replayed(&out));
    assert_eq!(run["weights_sha256"], again["weights_sha256"]);
    assert_eq!(again["transitions"], TASKS);
    let sites = run["training"].as_array().unwrap();
    let lost: Vec<_> = sites.iter().map(|site| (&site["site"], &site["lost"])).collect();
    assert_eq!(lost, [(&"mec".into(), &0.into())], "{run}");

    fleet.signal(Signal::SIGTERM);
    let report: Value = serde_json::from_slice(&fleet.output().stdout).unwrap();
    assert_eq!(
        (&report["lost"], &report["learned"]),
        (&0.into(), &report["experiences"])
    );
}

#[test]
fn a_folder_is_for_one_group_or_for_one_trainer() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let url = broker.url().to_string();
    let dir = tempfile::tempdir().unwrap();
    let _trainer = trainer("t0", &url, dir.path());
    let state = dir.path().to_str().unwrap();
    let mut alone = Running::start(&["--role", "trainer", "--broker", &url, "--state", state]);
    alone.complained("only trainers of one --group");
    assert!(!alone.child.wait().unwrap().success());
    assert_eq!(pids_with(dir.path()).len(), 1);
    let mut both = Running::start(&[
        "--role", "trainer", "--broker", &url, "--group", "g", "--shard", "0/2",
    ]);
    both.complained("cannot be used with");
}
