//! The systemd unit of `hwmeter serve`.
#![allow(clippy::unwrap_used)]

#[path = "common/certificates.rs"]
mod certificates;
mod common;

use certificates::Authority;
use common::child::started;
use common::have;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

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

/// What follows a setting in the unit, with lines that go on joined.
fn setting(name: &str) -> String {
    let text = UNIT.replace("\\\n", " ");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap().trim_matches('"').to_owned()
}

#[test]
fn the_unit_starts_the_server_with_options_it_takes() {
    let authority = Authority::new();
    let signed = authority.sign("localhost");
    let dir = tempfile::tempdir().unwrap();
    fs::copy(signed.cert, dir.path().join("cert")).unwrap();
    fs::copy(signed.key, dir.path().join("key")).unwrap();
    fs::write(dir.path().join("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    // As systemd hands them over.
    for name in ["cert", "key", "token"] {
        assert!(UNIT.contains(&format!("LoadCredential={name}:/etc/hwmeter/")));
        fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o400)).unwrap();
    }
    let environment = setting("Environment");
    let options = environment.strip_prefix("OPTIONS=").unwrap();
    let line = setting("ExecStart")
        .replace("$OPTIONS", &options.replace("0.0.0.0:8443", "127.0.0.1:0"))
        .replace("${CREDENTIALS_DIRECTORY}", dir.path().to_str().unwrap());
    let line = format!("{line} --training off");
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some(INSTALLED));
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    let mut server = started(command.args(words).stdout(Stdio::piped()));
    let mut said = String::new();
    let mut stdout = BufReader::new(server.stdout.as_mut().unwrap());
    stdout.read_line(&mut said).unwrap();
    assert!(
        said.starts_with("hwmeter serve: mec listening on https://127.0.0.1:"),
        "{said}"
    );
}
