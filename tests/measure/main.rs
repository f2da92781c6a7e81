//! `hwmeter measure` and `hwmeter mark` as a user runs them, on made-up boards.
#![allow(clippy::unwrap_used)]

#[path = "../common/boards.rs"]
mod boards;
mod calibration;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/signals.rs"]
mod common_signals;
mod idle;
mod phases;
mod repeat;
mod result;
mod share;
mod signals;

use boards::Board;
use common::until;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// What the made-up Jetson Nano draws, in watts.
const NANO_WATTS: f64 = 2.247;
const NANO_INPUT: &str = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input";

/// The program on a board, with itself in PATH: measured scripts call `hwmeter mark`.
fn hwmeter(board: &Board, args: &[&str]) -> Command {
    let program = assert_cmd::cargo::cargo_bin!("hwmeter");
    let mut path = vec![program.parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut command = Command::new(program);
    command
        .arg("--root")
        .arg(board.path())
        .args(args)
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("TMPDIR", board.path())
        .env_remove("HWMETER_MARKS");
    command
}

fn output(board: &Board, args: &[&str]) -> Output {
    hwmeter(board, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(board: &Board, args: &[&str]) -> Value {
    let output = output(board, &[&["measure", "--json"], args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn status(board: &Board, args: &[&str]) -> Option<i32> {
    output(board, args).status.code()
}

/// Waits until a file is there.
#[track_caller]
fn until_there(file: &Path) {
    until(&format!("{} is there", file.display()), || file.exists());
}

/// Directories of marks that are left over.
fn leftovers(board: &Board) -> usize {
    let entries = std::fs::read_dir(board.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| text(name.as_encoded_bytes()).starts_with("hwmeter-"))
        .count()
}
