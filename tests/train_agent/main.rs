//! `hwmeter run-agent --train mec|auto` as a user runs it: real processes, a real broker, a trainer that is killed.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod trainer;

use common::child::{Started, started};
use common::runs::{LONG, manifest, replayed, until_done};
use common::{until, until_within};
use hwmeter::train::broker::{Broker, BrokerConfig};
use hwmeter::train::queue::{Limits, Queue};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;
use trainer::{Stored, Trainer};

const HWMETER: &str = env!("CARGO_BIN_EXE_hwmeter");

fn agent(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(HWMETER);
    command
        .args(["run-agent", "--sensor", "cpu-model", "--json", "--audit", "0"])
        .args(["--set", "dqn.hidden=[16,16]", "--seed", "7", "--out"])
        .arg(out)
        .args(more)
        .stdin(Stdio::null());
    command
}

fn in_background(out: &Path, more: &[&str]) -> Started {
    started(agent(out, more).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

fn done(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn run(out: &Path, more: &[&str]) -> Value {
    done(&agent(out, more).output().unwrap())
}

fn rows(out: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(out.join("decisions.csv")).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

/// The run's learner is what one is that is trained afresh on the transitions that the run has recorded.
#[track_caller]
fn assert_parity(out: &Path) {
    let (hash, again) = (&manifest(out)["weights_sha256"], &replayed(out)["weights_sha256"]);
    let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(hash.as_str().is_some_and(is_hash), "{hash}");
    assert_eq!(hash, again, "{}", out.display());
}

/// A broker for everybody on this machine, and its address.
fn broker() -> (Broker, String) {
    let broker = Broker::start(&BrokerConfig::new()).unwrap();
    let url = format!("mqtt://{}", broker.address());
    (broker, url)
}

fn until_updated(trainer: &Trainer, times: u64) {
    until_within(LONG, &format!("{times} updates"), || {
        trainer.updates.load(Ordering::Relaxed) >= times
    });
}

#[test]
fn a_run_trains_on_the_mec_and_ends_with_the_weights_of_a_local_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, url) = broker();
    let _trainer = Trainer::start(&url, Stored::default());
    let out = dir.path().join("run");
    let more = [
        "--train",
        "mec",
        "--tasks",
        "12",
        "--train-measure-every",
        "4",
        "--record-transitions",
        "--broker",
        &url,
    ];
    let result = run(&out, &more);
    let [site] = result["training"].as_array().unwrap().as_slice() else {
        panic!("{:#}", result["training"])
    };
    assert_eq!(
        (&site["site"], &site["updates"]),
        (&Value::from("mec"), &Value::from(12))
    );
    assert_eq!(
        (&site["lost"], &site["codec"]),
        (&Value::from(0), &Value::from("f32"))
    );
    assert!(site["update_p50_s"].as_f64().unwrap() > 0.0, "{site:#}");
    assert!(site["bytes_up"].as_u64().unwrap() > 12 * 100, "{site:#}");
    assert!(site["bytes_down"].as_u64().unwrap() > 12 * 1000, "{site:#}");
    assert!(site["updates_with_energy"].as_u64().unwrap() > 0, "{site:#}");
    assert_eq!(site["update_j_kind"], "modelled");
    let rows = rows(&out);
    assert_eq!(rows.len(), 12);
    assert!(rows.iter().all(|row| row["training_site"] == "mec"), "{rows:?}");
    let timed = rows.iter().filter(|row| !row["train_server_s"].is_empty());
    assert!(timed.count() > 0, "{rows:?}");
    assert_parity(&out);
}

#[test]
fn a_machine_without_a_broker_trains_on_the_servers_that_the_run_starts() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let result = run(&out, &["--train", "mec", "--tasks", "8", "--record-transitions"]);
    let sites = result["training"].as_array().unwrap();
    assert_eq!(sites.len(), 1, "{sites:#?}");
    assert_eq!(
        (&sites[0]["site"], &sites[0]["updates"]),
        (&Value::from("mec"), &Value::from(8))
    );
    assert_eq!(sites[0]["duplicates"], 0);
    assert_parity(&out);
}

#[test]
fn weights_come_in_chunks_where_the_broker_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let (_broker, url) = broker();
    let _trainer = Trainer::start(&url, Stored::default());
    let more = [
        "--train",
        "mec",
        "--tasks",
        "5",
        "--max-message",
        "4096",
        "--codec",
        "f32-zstd",
    ];
    let result = run(
        &out,
        &[&more[..], &["--set", "dqn.hidden=[64,64]", "--broker", &url]].concat(),
    );
    let site = &result["training"][0];
    assert_eq!(
        (&site["updates"], &site["codec"]),
        (&Value::from(5), &Value::from("f32-zstd"))
    );
}

#[test]
fn the_papers_way_waits_for_each_update() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, url) = broker();
    let _trainer = Trainer::start(&url, Stored::default());
    let out = dir.path().join("run");
    let result = run(
        &out,
        &[
            "--train",
            "mec",
            "--protocol",
            "paper",
            "--tasks",
            "5",
            "--broker",
            &url,
        ],
    );
    let site = &result["training"][0];
    assert_eq!(
        (&site["updates"], &site["updates_with_energy"]),
        (&Value::from(5), &Value::from(5))
    );
    let weights_alone = 5 * 4 * (5 * 16 + 16 * 16 + 16 * 3);
    assert!(site["bytes_up"].as_u64().unwrap() > weights_alone, "{site:#}");
}

#[test]
fn a_killed_trainer_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let (_broker, url) = broker();
    let trainer = Trainer::start(&url, Stored::default());
    let more = [
        "--train",
        "mec",
        "--tasks",
        "16",
        "--record-transitions",
        "--broker",
        &url,
    ];
    let running = in_background(&out, &more);
    until_updated(&trainer, 6);
    let stored = trainer.kill();
    std::thread::sleep(Duration::from_millis(300));
    let _again = Trainer::start(&url, stored);
    let result = done(&running.output());
    let site = &result["training"][0];
    assert_eq!(
        (&site["lost"], &site["updates"]),
        (&Value::from(0), &Value::from(16)),
        "{site:#}"
    );
    assert_parity(&out);
}

#[test]
fn without_a_trainer_the_run_goes_on_and_learns_at_the_end_what_it_has_queued() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let more = [
        "--train",
        "mec",
        "--tasks",
        "6",
        "--record-transitions",
        "--broker",
        "mqtt://127.0.0.1:9",
    ];
    let result = run(&out, &more);
    assert_eq!(result["summary"]["tasks"], 6);
    assert_eq!(rows(&out).len(), 6);
    assert_parity(&out);
}

#[test]
fn auto_goes_on_here_when_the_trainer_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let (_broker, url) = broker();
    let trainer = Trainer::start(&url, Stored::default());
    let more = [
        "--train",
        "auto",
        "--tasks",
        "45",
        "--record-transitions",
        "--train-latency",
        "300ms",
        "--broker",
        &url,
    ];
    let running = in_background(&out, &more);
    // The first look at the MEC is after 20 updates.
    until_updated(&trainer, 6);
    trainer.kill();
    let result = done(&running.output());
    let sites = result["training"].as_array().unwrap();
    assert_eq!(sites.len(), 2, "{sites:#?}");
    let updates: u64 = sites.iter().map(|site| site["updates"].as_u64().unwrap()).sum();
    assert_eq!(updates, 45, "{sites:#?}");
    assert_parity(&out);
}

#[test]
fn a_run_that_was_killed_is_taken_up_with_its_queue() {
    is_taken_up_with_its_queue("5");
}

#[test]
fn tasks_that_are_in_the_queue_of_a_killed_run_are_not_decided_again() {
    // The only checkpoint is that before the first task.
    is_taken_up_with_its_queue("50");
}

#[test]
fn a_run_that_was_killed_after_its_last_task_still_gets_its_learner() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    // Nobody is there: at the end the run waits for its learner.
    let more = ["--train", "mec", "--tasks", "4", "--broker", "mqtt://127.0.0.1:9"];
    let mut running = started(agent(&first, &more).stdout(Stdio::null()));
    let copy = dir.path().join("queue");
    until("all tasks in the queue", || {
        std::fs::copy(first.join("experiences.queue"), &copy).is_ok()
            && Queue::open(&copy, Limits::default()).is_ok_and(|queue| queue.last_task() == Some(3))
    });
    running.kill();
    let mut resumed = Command::new(HWMETER);
    resumed.args(["run-agent", "--json", "--train", "local", "--resume"]);
    resumed.arg(&first).arg("--out").arg(&second);
    assert_eq!(done(&resumed.output().unwrap())["summary"]["tasks"], 0);
    let learned = hwmeter::learn::Checkpoint::read(&second.join("learner.safetensors")).unwrap();
    assert_eq!(learned.header().updates, 4);
    assert_eq!(learned.count("run.next_task").unwrap(), 4);
}

fn is_taken_up_with_its_queue(checkpoint_every: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    let (_broker, url) = broker();
    let _trainer = Trainer::start(&url, Stored::default());
    let more = [
        "--train",
        "mec",
        "--tasks",
        "20",
        "--checkpoint-every",
        checkpoint_every,
        "--broker",
        &url,
    ];
    let mut running = in_background(&first, &more);
    until_done(8, &first);
    running.kill();
    let output = Command::new(HWMETER)
        .args(["run-agent", "--json", "--out"])
        .arg(&second)
        .arg("--resume")
        .arg(&first)
        .output()
        .unwrap();
    let result = done(&output);
    let learned = hwmeter::learn::Checkpoint::read(&second.join("learner.safetensors")).unwrap();
    let experiences = learned.count("run.experiences").unwrap();
    // Each task once: those after the checkpoint that were in the queue already are not decided again, and those before
    // it whose energy was not known when the run was killed are.
    assert_eq!(experiences, 20);
    assert_eq!(learned.header().updates, experiences);
    assert_eq!(result["training"][0]["lost"], 0);
}

#[test]
fn a_password_on_the_command_line_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let more = ["--train", "mec", "--broker", "mqtt://me:secret@127.0.0.1:9"];
    let output = agent(&dir.path().join("run"), &more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("--broker-password-file"),
        "{said}"
    );
}
