//! `hwmeter trainer status` beside real trainers and a real device.

use super::brokers::Broker;
use super::common::child::started;
use super::{PLENTY, PROGRAM, Running, until};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

fn status(args: &[&str]) -> (bool, String) {
    let mut command = Command::new(PROGRAM);
    let output = command.args(["trainer", "status"]).args(args).output().unwrap();
    let (stdout, stderr) = (output.stdout, output.stderr);
    (
        output.status.success(),
        String::from_utf8([stdout, stderr].concat()).unwrap(),
    )
}

pub fn learners(args: &[&str]) -> Vec<Value> {
    let (is_well, said) = status(&[args, &["--json"]].concat());
    assert!(is_well, "{said}");
    let document: Value = serde_json::from_str(&said).unwrap();
    document["learners"].as_array().unwrap().clone()
}

/// A device trains for some tasks.
fn train(broker: &str, dir: &Path, device: &str, tasks: u32) {
    let output = Command::new(PROGRAM)
        .args(["run-agent", "--sensor", "cpu-model", "--audit", "0", "--quiet"])
        .args([
            "--set",
            "dqn.hidden=[16,16]",
            "--train",
            "mec",
            "--broker",
            broker,
        ])
        .args(["--device", device, "--tasks", &tasks.to_string(), "--out"])
        .arg(dir.join(device))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_status_tells_what_every_trainer_has() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let url = broker.url().to_string();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        status(&["--broker", &url]),
        (true, "no trainer says that it has a learner\n".to_owned())
    );
    // Two trainers share the devices.
    let trainers = ["0/2", "1/2"].map(|shard| {
        let state = dir.path().join(shard.replace('/', "-"));
        // The first knows what its updates cost.
        let energy: &[&str] = match shard {
            "0/2" => &["--sensor", "cpu-model"],
            _ => &["--no-energy"],
        };
        let args = [
            "--role",
            "trainer",
            "--broker",
            &url,
            "--trainer-name",
            &format!("t{}", &shard[..1]),
            "--shard",
            shard,
            "--store-every",
            "2",
            "--max-learners",
            "1",
            "--state",
            state.to_str().unwrap(),
        ];
        let mut trainer = Running::start(&[&args, energy].concat());
        trainer.said("hwmeter serve: trainer on ");
        trainer
    });
    let mut watching = Command::new(PROGRAM);
    watching.args(["trainer", "status", "--watch", "--json", "--broker", &url]);
    let mut watching = started(watching.stdout(Stdio::piped()));
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"learners":[]}"#);

    for device in ["pi-0", "pi-1", "pi-2"] {
        train(&url, dir.path(), device, 5);
    }
    let is_whole = |of: &Value| of["version"] == 5 && of["lag"] == 0 && of["online"] == false;
    until("all is told", || {
        let learners = learners(&["--broker", &url]);
        learners.len() == 3 && learners.iter().all(is_whole)
    });
    let learners = learners(&["--broker", &url]);
    let names: Vec<_> = learners.iter().map(|of| of["device"].as_str().unwrap()).collect();
    assert_eq!(names, ["pi-0", "pi-1", "pi-2"]);
    for of in &learners {
        assert!(
            of["bytes_up"].as_u64() > Some(0) && of["bytes_down"].as_u64() > Some(0),
            "{of}"
        );
        assert_eq!(
            (&of["duplicates"], &of["updates"]),
            (&Value::from(0), &Value::from(5))
        );
        assert_eq!(of["weights_sha256"].as_str().unwrap().len(), 64);
        let run = std::fs::read(dir.path().join(of["device"].as_str().unwrap()).join("run.json"));
        let run: Value = serde_json::from_slice(&run.unwrap()).unwrap();
        let site = &run["training"][0];
        match of["trainer"].as_str() {
            Some("t0") => {
                assert!(of["update_j"].as_f64() > Some(0.0) && site["server_j"].as_f64() > Some(0.0));
                let kinds = (&of["update_j_kind"], &site["server_j_kind"]);
                assert_eq!(kinds, (&Value::from("modelled"), &Value::from("modelled")));
            }
            _ => assert_eq!((&of["update_j"], &site["server_j"]), (&Value::Null, &Value::Null)),
        }
    }
    let of_trainer = |name: &str| learners.iter().filter(|of| of["trainer"] == name).count();
    assert!(of_trainer("t0") > 0 && of_trainer("t1") > 0);
    assert_eq!(of_trainer("t0") + of_trainer("t1"), 3);
    let (_, table) = status(&["--broker", &url]);
    assert!(table.contains("pi-2") && table.contains("gone"), "{table}");
    let watched = lines.map_while(Result::ok).any(|line| line.contains("pi-1"));
    assert!(watched);
    watching.kill();
    drop(trainers);
}

#[test]
fn it_asks_an_edge_server_for_its_broker_and_says_what_is_wrong() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().to_str().unwrap();
    let mut mec = Running::start(&["--role", "mec", "--state", dir, "--mqtt-listen", "127.0.0.1:0"]);
    let url = mec.said("hwmeter serve: mec listening on ");
    assert_eq!(learners(&["--mec", &url]), Vec::<Value>::new());

    let mut off = Running::start(&["--role", "mec", "--training", "off"]);
    let url = off.said("hwmeter serve: mec listening on ");
    let (is_well, said) = status(&["--mec", &url]);
    assert!(!is_well && said.contains("trains no learners"), "{said}");
    let (is_well, said) = status(&["--broker", "mqtt://me:secret@127.0.0.1"]);
    assert!(!is_well && said.contains("--broker-password-file"), "{said}");
    let began = std::time::Instant::now();
    let (is_well, said) = status(&["--broker", "mqtt://127.0.0.1:1"]);
    assert!(!is_well && said.contains("cannot reach the broker"), "{said}");
    assert!(began.elapsed() < PLENTY / 2);
}
