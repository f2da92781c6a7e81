//! What a run's learner has learned from, recorded and learned from once more: the weights must be the same to the bit.
#![allow(clippy::unwrap_used)]

mod common;

use common::child::started;
use common::runs::{LONG, finished_rows, manifest, replayed};
use common::until_within;
use hwmeter::learn::Checkpoint;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const HWMETER: &str = env!("CARGO_BIN_EXE_hwmeter");

/// Small, with everything in use that learning depends on: a target network, a replay, the next state.
const DQN: [&str; 12] = [
    "--learner",
    "dqn",
    "--set",
    "dqn.hidden=[16,12]",
    "--set",
    "dqn.replay=5",
    "--set",
    "dqn.gamma=0.3",
    "--set",
    "dqn.target_every=2",
    "--set",
    "dqn.rate=0.0012345678901234567",
];

fn agent(out: &Path) -> Command {
    let mut command = Command::new(HWMETER);
    command
        .args(["run-agent", "--gpu", "off", "--sensor", "cpu-model"])
        .args(["--record-transitions", "--audit", "0", "--out"])
        .arg(out)
        .stdin(Stdio::null());
    command
}

fn replay(run: &Path) -> Output {
    let mut command = Command::new(HWMETER);
    command.args(["trainer", "replay"]).arg(run).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// It says that the weights are those of `run.json`, and so does the hash that it prints.
#[track_caller]
fn is_the_same(run: &Path, transitions: usize) {
    let output = replay(run);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let hash = manifest(run)["weights_sha256"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 64);
    assert!(said.contains(&format!("weights_sha256 {hash}\n")), "{said}");
    assert!(said.contains(&format!("{transitions} transitions")), "{said}");
    assert!(said.contains("the same as in run.json"), "{said}");
}

#[track_caller]
fn fails(run: &Path, words: &[&str]) {
    let output = replay(run);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

fn rows(run: &Path) -> usize {
    finished_rows(&run.join("transitions.csv"))
}

/// A run that was killed after some transitions.
fn killed(run: &Path) {
    let mut command = agent(run);
    command
        .args(DQN)
        .args(["--tasks", "300", "--checkpoint-every", "2"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _running = started(&mut command);
    until_within(LONG, "five transitions", || rows(run) >= 5);
}

fn copy(from: &Path, to: PathBuf) -> PathBuf {
    std::fs::create_dir(&to).unwrap();
    for name in ["run.json", "transitions.csv"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    to
}

fn edit(file: PathBuf, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, change(&text)).unwrap();
}

#[test]
fn a_run_learned_once_more_has_the_same_weights_unless_something_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    succeeds(agent(&run).args(DQN).args(["--tasks", "6", "--seed", "3"]));
    is_the_same(&run, 6);

    let said = replayed(&run);
    assert_eq!((&said["equal"], &said["transitions"]), (&true.into(), &6.into()));
    assert_eq!(said["weights_sha256"], manifest(&run)["weights_sha256"]);
    assert_eq!(said["from"], "fresh");

    let changed = copy(&run, dir.path().join("changed"));
    edit(changed.join("transitions.csv"), |text| text.replace(",-", ",-1"));
    let output = replay(&changed);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("NOT the same"));

    let shorter = copy(&run, dir.path().join("shorter"));
    edit(shorter.join("transitions.csv"), |text| {
        text[..text.len() - 4].to_owned()
    });
    fails(&shorter, &["transitions.csv is damaged", "line: 7"]);

    let infinite = copy(&run, dir.path().join("infinite"));
    edit(infinite.join("transitions.csv"), |text| {
        text.replace(",-", ",-inf,-")
            .replacen(",reward", ",reward,more", 1)
    });
    fails(&infinite, &["transitions.csv is damaged"]);
    edit(infinite.join("transitions.csv"), |text| {
        text.replacen(",reward,more", ",reward", 1)
            .replace(",-inf,-", ",-inf")
    });
    fails(&infinite, &["transitions.csv"]);

    std::fs::remove_file(shorter.join("transitions.csv")).unwrap();
    fails(&shorter, &["--record-transitions"]);
    edit(shorter.join("run.json"), |text| {
        text.replace("\"seed\"", "\"sead\"")
    });
    fails(&shorter, &["run.json", "seed"]);
    fails(&dir.path().join("none"), &["none/run.json"]);
}

#[test]
fn a_killed_run_can_be_replayed_and_so_can_the_one_that_goes_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    killed(&first);
    let output = replay(&first);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("nothing to compare with"));

    // The option is inherited.
    let mut resumed = Command::new(HWMETER);
    resumed.args(["run-agent", "--tasks", "12", "--resume"]);
    succeeds(resumed.arg(&first).arg("--out").arg(&second));
    let recorded = rows(&second);
    assert!((1..12).contains(&recorded), "{recorded}");
    is_the_same(&second, recorded);
    let csv = std::fs::read_to_string(second.join("transitions.csv")).unwrap();
    let update = csv.lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    let start = Checkpoint::read(&second.join("start.safetensors")).unwrap();
    assert!(start.header().updates > 0);
    assert_eq!(update, (start.header().updates + 1).to_string());

    std::fs::remove_file(second.join("start.safetensors")).unwrap();
    fails(&second, &["start.safetensors", "went on from an earlier learner"]);
}
