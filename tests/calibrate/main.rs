//! `hwmeter calibrate` as a user runs it, on made-up boards.
#![allow(clippy::unwrap_used)]

#[path = "../common/boards.rs"]
mod boards;
#[path = "../common/mod.rs"]
mod common;
mod curve;
mod files;
mod meter;
mod products;
mod refusals;
#[path = "../common/signals.rs"]
mod signals;
mod stopped;

use boards::Board;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The program on a board, with no settings of whoever runs this test.
fn hwmeter(board: &Board, args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("hwmeter"));
    command.arg("--root").arg(board.path()).args(args);
    command.env("XDG_CONFIG_HOME", board.path().join("config"));
    command
}

/// Tests that make load take turns: two cores would starve each other's samplers.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a calibration ended, which must be well.
#[track_caller]
fn calibrated(board: &Board, args: &[&str]) -> Output {
    let output = hwmeter(board, &[&["calibrate"], args].concat()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}
