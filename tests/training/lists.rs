//! Several brokers, of which one dies.

use super::agent::Agent;
use super::{PROGRAM, Running, until};
use hwmeter::train::broker::{Broker, BrokerConfig};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn devices_and_trainers_go_to_the_next_broker_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let first = Broker::start(&BrokerConfig::new()).unwrap();
    let second = Broker::start(&BrokerConfig::new()).unwrap();
    let address = first.address();
    let urls = format!("mqtt://{address},mqtt://{}", second.address());
    let state = dir.path().join("state");
    let args = ["--role", "trainer", "--broker", &urls, "--state"];
    let mut trainer = Running::start(&[&args[..], &[state.to_str().unwrap()]].concat());
    assert_eq!(trainer.said("hwmeter serve: trainer on "), urls);
    let mut agent = Agent::start(dir.path(), Path::new("/"), "one", &urls, &[]);
    until("it trains", || agent.tasks_done() >= 3);
    first.stop();
    agent.ends_with_parity();

    // What is known of the learner is told at the second as well, although it has not changed.
    let second_url = format!("mqtt://{}", second.address());
    until("its status is there", || {
        let status = Command::new(PROGRAM)
            .args(["trainer", "status", "--json", "--broker", &second_url])
            .output()
            .unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["learners"][0]["version"] == 16
    });

    // Who begins when the first broker is there again finds nobody there, and goes on to where the trainer is.
    let config = BrokerConfig {
        listen: address,
        ..BrokerConfig::new()
    };
    let _first = Broker::start(&config).unwrap();
    let load = Command::new(PROGRAM)
        .args(["load", "--devices", "1", "--device-rate", "5", "--json"])
        .args(["--duration", "8s", "--broker", &urls])
        .output()
        .unwrap();
    assert!(load.status.success(), "{load:?}");
    let report: Value = serde_json::from_slice(&load.stdout).unwrap();
    assert_eq!(report["learned"], report["experiences"], "{report:#}");
    assert_eq!(report["lost"], 0);
}
