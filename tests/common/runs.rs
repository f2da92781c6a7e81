//! What a run of `run-agent` has left in its folder.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Its `run.json`.
#[track_caller]
pub fn manifest(run: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("run.json")).unwrap()).unwrap()
}

/// What `trainer replay --json` says of the learner that it has trained afresh on the transitions of the run.
#[track_caller]
pub fn replayed(run: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    let output = command
        .args(["trainer", "replay", "--json"])
        .arg(run)
        .output()
        .unwrap();
    let [said, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{}: {said}{error}", run.display());
    serde_json::from_str(&said).unwrap()
}
