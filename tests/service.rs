//! The systemd unit of `hwmeter serve`.
#![allow(clippy::unwrap_used)]

mod common;

use common::have;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

const UNIT: &str = include_str!("../udev/hwmeter-serve.service");
const INSTALLED: &str = "/usr/local/bin/hwmeter";

/// The unit in a folder of its own, starting the program that was built here.
fn unit() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hwmeter-serve.service");
    let start = format!("ExecStart={INSTALLED}");
    assert!(UNIT.contains(&start));
    let text = UNIT.replace(&start, &format!("ExecStart={}", env!("CARGO_BIN_EXE_hwmeter")));
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn analyze(args: &[&str]) -> Output {
    let (_dir, path) = unit();
    let mut command = Command::new("systemd-analyze");
    command.args(args).arg("--no-pager").arg(path).output().unwrap()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if !have("systemd-analyze", "systemd") {
        return;
    }
    let output = analyze(&["verify"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn systemd_finds_the_service_little_exposed() {
    if !have("systemd-analyze", "systemd") {
        return;
    }
    let output = analyze(&["security", "--offline=true", "--threshold=15"]);
    let table = String::from_utf8_lossy(&output.stdout);
    // 0 is not exposed, 10 is; what is left is mostly that it serves a network.
    assert!(output.status.success(), "more than 1.5\n{table}");
}
