//! Governor and limits given on the command line hold meanwhile, and are put back however the command ends.
#![allow(clippy::unwrap_used)]

#[path = "common/boards.rs"]
mod boards;
mod common;
#[path = "common/signals.rs"]
mod signals;

use boards::Board;
use common::child::started;
use common::until;
use nix::sys::signal::Signal::{SIGINT, SIGTERM};
use signals::with_default_signals;
use std::process::{Command, Stdio};

const DIR: &str = "/sys/devices/system/cpu/cpufreq/policy0";

/// Governor, lowest and highest frequency.
type State = [String; 3];

fn board() -> Board {
    let board = Board::jetson_nano();
    for (file, content) in [
        ("related_cpus", "0 1 2 3\n"),
        ("scaling_available_governors", "performance powersave schedutil\n"),
        ("scaling_governor", "schedutil"),
        ("scaling_min_freq", "102000"),
        ("scaling_max_freq", "1479000"),
        ("cpuinfo_min_freq", "102000\n"),
        ("cpuinfo_max_freq", "1479000\n"),
    ] {
        board.file(&format!("{DIR}/{file}"), content);
    }
    board
}

fn state(board: &Board) -> State {
    ["scaling_governor", "scaling_min_freq", "scaling_max_freq"]
        .map(|file| std::fs::read_to_string(board.place(&format!("{DIR}/{file}"))).unwrap())
}

fn hwmeter(board: &Board, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command.arg("--root").arg(board.path()).args(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

const CLOCKED: [&str; 6] = [
    "--governor",
    "performance",
    "--cpu-min-khz",
    "921600",
    "--cpu-max-khz",
    "1224000",
];

fn clocked() -> State {
    ["performance", "921600", "1224000"].map(str::to_owned)
}

#[test]
fn they_hold_while_a_command_runs_and_not_longer() {
    let board = board();
    let before = state(&board);
    let governor = board.place(&format!("{DIR}/scaling_governor"));
    let seen = board.place("/seen");
    let script = format!("cat {} > {}", governor.display(), seen.display());
    let mut measure = hwmeter(&board, &["measure"]);
    let status = measure
        .args(CLOCKED)
        .args(["--", "sh", "-c", &script])
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(std::fs::read_to_string(seen).unwrap(), "performance");
    assert_eq!(state(&board), before);
    // A failure is an end too.
    let failed = hwmeter(&board, &["measure"])
        .args(CLOCKED)
        .args(["--", "/no/such/program"])
        .status()
        .unwrap();
    assert_eq!(failed.code(), Some(127));
    assert_eq!(state(&board), before);
}

#[test]
fn a_signal_puts_them_back_whether_or_not_the_command_catches_it() {
    for args in [&["measure", "--duration", "60s"][..], &["calibrate"]] {
        for end in [SIGINT, SIGTERM] {
            let board = board();
            let before = state(&board);
            let mut command = hwmeter(&board, args);
            let mut child = started(with_default_signals(command.args(CLOCKED)));
            until("the new frequencies", || state(&board) == clocked());
            child.signal(end);
            let status = child.wait().unwrap();
            assert_eq!(state(&board), before, "{args:?} {end}");
            // `measure` ends with its result, `calibrate` as it would without us.
            use std::os::unix::process::ExitStatusExt;
            let by = (args[0] == "calibrate").then_some(end as i32);
            assert_eq!(status.signal(), by, "{args:?} {end}: {status}");
        }
    }
}

#[test]
fn a_command_that_ignores_the_signal_does_not_keep_them() {
    let board = board();
    let before = state(&board);
    let mut measure = hwmeter(&board, &["measure"]);
    measure
        .args(CLOCKED)
        .args(["--", "sh", "-c", "trap '' TERM; exec sleep 60"]);
    let child = started(&mut measure);
    until("the new frequencies", || state(&board) == clocked());
    child.signal(SIGTERM);
    until("the old ones", || state(&board) == before);
}

#[test]
fn what_the_cpu_cannot_do_is_refused_before_anything_is_measured() {
    let board = board();
    let before = state(&board);
    for (args, word) in [
        (["--governor", "turbo"], "powersave"),
        (["--cpu-max-khz", "9000000"], "1479000"),
        (["--cpu-min-khz", "5"], "102000"),
    ] {
        let mut measure = hwmeter(&board, &["measure", "--duration", "1s"]);
        let output = measure.args(args).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && text.contains(word), "{text}");
    }
    let without = Board::plain_vm();
    let mut measure = hwmeter(
        &without,
        &["measure", "--duration", "1s", "--governor", "performance"],
    );
    let output = measure.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no frequency scaling"), "{text}");
    assert_eq!(state(&board), before);
}
