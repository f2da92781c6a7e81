//! Programs that hwmeter starts for a sensor end with it, however hwmeter ends: by itself, by a signal, killed.
#![allow(clippy::unwrap_used)]

#[path = "common/boards.rs"]
mod boards;

use boards::Board;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const LINE: &str = "RAM 1/2MB (lfb 1x4MB) CPU [1%@729,off] cpu@42C POM_5V_IN 2010/1988 POM_5V_CPU 280/311";

/// A Jetson whose `tegrastats` notes each life of it and prints a line after a while.
struct Jetson {
    board: Board,
    bin: tempfile::TempDir,
}

impl Jetson {
    fn new(first_line_after: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let bin = tempfile::tempdir().unwrap();
        let program = bin.path().join("tegrastats");
        let pids = bin.path().join("pids");
        // It holds on to life: a tegrastats does not mind that nobody reads it any more, nor do these signals end it.
        let script = format!(
            "#!/bin/sh\ntrap '' PIPE TERM INT HUP\necho $$ >> {}\nsleep {first_line_after}\n\
             while :; do echo '{LINE}'; sleep 0.05; done\n",
            pids.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            board: Board::jetson_nano(),
            bin,
        }
    }

    fn hwmeter(&self, args: &[&str]) -> Command {
        let path = std::env::var_os("PATH").unwrap();
        let dirs = std::iter::once(self.bin.path().to_owned()).chain(std::env::split_paths(&path));
        let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
        command
            .env("PATH", std::env::join_paths(dirs).unwrap())
            .arg("--root")
            .arg(self.board.path())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.hwmeter(args).output().unwrap()
    }

    /// Starts it and waits for its first child.
    fn start(&self, args: &[&str]) -> Child {
        let child = self
            .hwmeter(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("a tegrastats", || !self.pids().is_empty());
        child
    }

    /// Every tegrastats so far.
    fn pids(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.bin.path().join("pids")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn assert_none_is_left(&self) {
        assert!(!self.pids().is_empty(), "none was ever started");
        // The kernel kills orphans at once, but their new parent may be slow to reap them.
        until("the end of every tegrastats", || {
            self.pids().iter().all(|pid| !is_running(pid))
        });
    }
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(PathBuf::from("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGKILL, SIGTERM};

#[test]
fn probe_reads_tegrastats_and_leaves_none_behind() {
    let jetson = Jetson::new("0");
    let output = jetson.run(&["probe"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("2.01 W"), "{text}");
    jetson.assert_none_is_left();
    jetson.run(&["probe", "--json"]);
    let bundle = jetson.bin.path().join("board.tar");
    jetson.run(&["probe", "--bundle", bundle.to_str().unwrap()]);
    jetson.assert_none_is_left();
}

#[test]
fn a_probe_that_is_stopped_while_it_waits_leaves_none_behind() {
    for end in [SIGINT, SIGTERM, SIGHUP, SIGKILL] {
        let jetson = Jetson::new("60");
        let mut probe = jetson.start(&["probe"]);
        signal(&probe, end);
        assert!(!probe.wait().unwrap().success());
        jetson.assert_none_is_left();
    }
}

#[test]
fn a_measurement_leaves_none_behind_however_it_ends() {
    let jetson = Jetson::new("0");
    let done = jetson.run(&["measure", "--sensor", "tegrastats", "--duration", "200ms"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    jetson.assert_none_is_left();
    for end in [SIGINT, SIGTERM, SIGHUP, SIGKILL] {
        let jetson = Jetson::new("0");
        let mut measure = jetson.start(&["measure", "--sensor", "tegrastats", "--duration", "60s"]);
        std::thread::sleep(Duration::from_millis(200));
        signal(&measure, end);
        measure.wait().unwrap();
        jetson.assert_none_is_left();
    }
}

#[test]
fn a_failure_leaves_none_behind() {
    let jetson = Jetson::new("0");
    // It fails once the sensor is open.
    let failed = jetson.run(&["measure", "--sensor", "tegrastats", "--", "/no/such/program"]);
    assert_eq!(failed.status.code(), Some(1));
    let failed = jetson.run(&[
        "measure",
        "--sensor",
        "tegrastats",
        "--total",
        "VDD_MOON",
        "--duration",
        "1s",
    ]);
    assert_eq!(failed.status.code(), Some(1));
    jetson.assert_none_is_left();
    assert!(Path::new("/proc/self/stat").exists(), "the check above needs it");
}
