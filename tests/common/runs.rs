//! What a run of `run-agent` has left in its folder.

use super::until_within;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Long enough for a run to come so far, also on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Its `run.json`.
#[track_caller]
pub fn manifest(run: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("run.json")).unwrap()).unwrap()
}

/// Rows of a CSV file that a run may still be writing.
pub fn finished_rows(csv: &Path) -> usize {
    let text = std::fs::read_to_string(csv).unwrap_or_default();
    text.lines().count().saturating_sub(1)
}

/// Waits until tasks are done, so many of them.
#[track_caller]
pub fn until_done(tasks: usize, run: &Path) {
    let decisions = run.join("decisions.csv");
    until_within(LONG, &format!("{tasks} tasks done"), || {
        finished_rows(&decisions) >= tasks
    });
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
