//! Programs that hwmeter starts for a sensor end with it, however hwmeter ends: by itself, by a signal, killed.
#![allow(clippy::unwrap_used)]

#[path = "common/boards.rs"]
mod boards;
mod common;
#[path = "../hw/tests/common/program.rs"]
mod program;
#[path = "common/signals.rs"]
mod signals;

use boards::Board;
use common::child::{Started, started};
use common::until;
use program::script;
use signals::with_default_signals;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const LINE: &str = "RAM 1/2MB (lfb 1x4MB) CPU [1%@729,off] cpu@42C POM_5V_IN 2010/1988 POM_5V_CPU 280/311";

/// A board with a program in `PATH` that notes each life of it.
struct Machine {
    board: Board,
    bin: tempfile::TempDir,
}

impl Machine {
    fn new(board: Board, program: &str, body: &str) -> Self {
        let bin = tempfile::tempdir().unwrap();
        let pids = bin.path().join("pids");
        // It holds on to life: none of these signals ends it.
        let body = format!("trap '' PIPE TERM INT HUP\necho $$ >> {}\n{body}", pids.display());
        script(&bin.path().join(program), &body);
        Self { board, bin }
    }

    /// A Jetson whose tegrastats prints its first line after a while, and does not mind that nobody reads it any more.
    fn jetson(first_line_after: &str) -> Self {
        let body = format!("sleep {first_line_after}\nwhile :; do echo '{LINE}'; sleep 0.05; done");
        Self::new(Board::jetson_nano(), "tegrastats", &body)
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
        with_default_signals(&mut command);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.hwmeter(args).output().unwrap()
    }

    /// Starts it and waits for its first child.
    fn start(&self, args: &[&str]) -> Started {
        let mut command = self.hwmeter(args);
        let child = started(command.stdout(Stdio::null()).stderr(Stdio::null()));
        until("a child", || !self.pids().is_empty());
        child
    }

    /// Every child so far.
    fn pids(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.bin.path().join("pids")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn assert_none_is_left(&self) {
        assert!(!self.pids().is_empty(), "none was ever started");
        // The kernel kills orphans at once, but their new parent may be slow to reap them.
        until("the end of every child", || {
            self.pids().iter().all(|pid| !is_running(pid))
        });
    }
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(PathBuf::from("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| !state.starts_with('Z'))
}

use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGKILL, SIGTERM};

#[test]
fn probe_reads_tegrastats_and_leaves_none_behind() {
    let jetson = Machine::jetson("0");
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
        let jetson = Machine::jetson("60");
        let mut probe = jetson.start(&["probe"]);
        probe.signal(end);
        assert!(!probe.wait().unwrap().success());
        jetson.assert_none_is_left();
    }
}

#[test]
fn a_measurement_leaves_none_behind_however_it_ends() {
    let jetson = Machine::jetson("0");
    let done = jetson.run(&["measure", "--sensor", "tegrastats", "--duration", "200ms"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    jetson.assert_none_is_left();
    for end in [SIGINT, SIGTERM, SIGHUP, SIGKILL] {
        let jetson = Machine::jetson("0");
        let mut measure = jetson.start(&["measure", "--sensor", "tegrastats", "--duration", "60s"]);
        std::thread::sleep(Duration::from_millis(200));
        measure.signal(end);
        measure.wait().unwrap();
        jetson.assert_none_is_left();
    }
}

#[test]
fn a_failure_leaves_none_behind() {
    let jetson = Machine::jetson("0");
    // It fails once the sensor is open.
    let failed = jetson.run(&["measure", "--sensor", "tegrastats", "--", "/no/such/program"]);
    assert_eq!(failed.status.code(), Some(127));
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

const READING: &str = " VDD_CORE_A current(7)=2.0A\n HDMI_A current(22)=0.5A\n VDD_CORE_V volt(15)=0.5V\n HDMI_V volt(23)=4.0V\n";

#[test]
fn a_pi_5_is_read_through_vcgencmd_in_path() {
    let machine = Machine::new(
        Board::raspberry_pi_5(),
        "vcgencmd",
        &format!(
            "[ \"$*\" = pmic_read_adc ] && printf '{}'",
            READING.replace('\n', "\\n")
        ),
    );
    let output = machine.run(&["measure", "--duration", "500ms", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["sensor"], &document["kind"]),
        (&"rpi-pmic".into(), &"measured".into())
    );
    let watts = document["total"]["mean_watts"].as_f64().unwrap();
    assert!((watts - 3.0).abs() < 1e-6, "{document:#}");
    machine.assert_none_is_left();
}

#[test]
fn a_vcgencmd_that_hangs_is_not_left_behind() {
    for end in [None, Some(SIGINT), Some(SIGKILL)] {
        let machine = Machine::new(Board::raspberry_pi_5(), "vcgencmd", "sleep 60");
        let mut probe = machine.start(&["probe"]);
        match end {
            Some(end) => probe.signal(end),
            // By itself: the other sensors are shown, this one is not usable.
            None => assert!(probe.wait().unwrap().success()),
        }
        probe.wait().unwrap();
        machine.assert_none_is_left();
    }
}
