//! Trainers of a group as processes: one is killed, the others take its devices, and it comes back.

use super::brokers::Mosquitto;
use super::status::learners;
use super::{PROGRAM, Running, pids_with};
use hwmeter::offload::parent_death::child_ends_with_us;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const READY: &str = "hwmeter serve: trainer on ";
const TASKS: u64 = 80;
/// For four devices with so many tasks on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

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

/// Killed when dropped.
struct Device(Child);

impl Device {
    fn start(name: &str, url: &str, out: &Path) -> Self {
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
            .args(["--quiet", "--broker", url, "--device", name])
            .args(["--tasks", &TASKS.to_string(), "--out"])
            .arg(out)
            .stdin(Stdio::null());
        Self(child_ends_with_us(&mut command).spawn().unwrap())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which trainer has which device, and how far it is.
fn owners(url: &str) -> BTreeMap<(String, String), u64> {
    let text = |of: &Value| of.as_str().unwrap().to_owned();
    let listed = learners(&["--broker", url]);
    let one = |of: &Value| {
        let key = (text(&of["device"]), text(&of["trainer"]));
        (key, of["version"].as_u64().unwrap())
    };
    listed.iter().map(one).collect()
}

fn until(what: &str, url: &str, mut is_so: impl FnMut(&BTreeMap<(String, String), u64>) -> bool) {
    let begin = Instant::now();
    loop {
        let owners = owners(url);
        if is_so(&owners) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: {owners:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_living_take_the_devices_of_one_that_is_killed_and_give_them_back_and_nothing_is_lost() {
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let url = broker.url().to_string();
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut first = trainer("t0", &url, &state);
    let _second = trainer("t1", &url, &state);
    let names = ["pi-0", "pi-1", "pi-2", "pi-3"];
    let out = |name: &str| dir.path().join(name);
    let mut devices: Vec<Device> = names
        .iter()
        .map(|name| Device::start(name, &url, &out(name)))
        .collect();
    let count = |owners: &BTreeMap<(String, String), u64>, trainer: &str| {
        owners.keys().filter(|(_, owner)| owner == trainer).count()
    };
    let is_shared =
        |owners: &BTreeMap<_, _>| owners.len() == 4 && count(owners, "t0") > 0 && count(owners, "t1") > 0;
    until("each has some, and they learn", &url, |owners| {
        is_shared(owners) && owners.values().all(|version| *version > 3)
    });
    let before = owners(&url);
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    until("the other goes on with all of them", &url, |owners| {
        let further = before.iter().all(|((device, _), version)| {
            let key = (device.clone(), "t1".to_owned());
            owners.get(&key).is_some_and(|now| now > version)
        });
        further && owners.len() == 4
    });
    let _first = trainer("t0", &url, &state);
    until("it has some again", &url, is_shared);
    for (device, name) in devices.iter_mut().zip(names) {
        assert!(device.0.wait().unwrap().success(), "{name}");
        let mut replay = Command::new(PROGRAM);
        let replayed = replay
            .args(["trainer", "replay"])
            .arg(out(name))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&replayed.stdout);
        assert!(replayed.status.success(), "{name}: {said}");
        assert!(said.contains(&format!("{TASKS} transitions")), "{said}");
        let run = std::fs::read(out(name).join("run.json")).unwrap();
        let run: Value = serde_json::from_slice(&run).unwrap();
        for site in run["training"].as_array().unwrap() {
            assert_eq!(
                (&site["site"], &site["lost"]),
                (&"mec".into(), &0.into()),
                "{run}"
            );
        }
    }
}

#[test]
fn a_folder_is_for_one_group_or_for_one_trainer() {
    let Some(broker) = Mosquitto::start("") else {
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
