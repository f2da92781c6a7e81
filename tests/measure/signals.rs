//! Exit statuses and signals.

use crate::boards::Board;
use crate::common::child::{Started, started};
use crate::common_signals::with_default_signals;
use crate::{hwmeter, leftovers, number, output, status, text, until_there};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_command_keeps_its_exit_status_and_its_output_leaves_stdout_to_the_document() {
    let board = Board::jetson_nano();
    let done = output(
        &board,
        &["measure", "--json", "--", "sh", "-c", "echo hello; exit 7"],
    );
    assert_eq!(done.status.code(), Some(7));
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(document["exit_status"], 7);
    assert!(text(&done.stderr).contains("hello"));
}

#[test]
fn exit_statuses_are_those_of_a_shell() {
    let board = Board::jetson_nano();
    assert_eq!(
        status(&board, &["measure", "--", "sh", "-c", "kill -9 $$"]),
        Some(137)
    );
    assert_eq!(
        status(&board, &["measure", "--", "sh", "-c", "kill -TERM $$"]),
        Some(143)
    );
    assert_eq!(status(&board, &["measure", "--", "/no/such/program"]), Some(127));
    board.file("/script", "not executable\n");
    let script = board.place("/script");
    let refused = output(&board, &["measure", "--", script.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(126));
    assert!(
        text(&refused.stderr).contains("/script"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(leftovers(&board), 0);
}

#[test]
fn stdin_and_stdout_are_those_of_the_command() {
    let board = Board::jetson_nano();
    let mut command = hwmeter(&board, &["measure", "--", "cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut measure = started(command.stderr(Stdio::null()));
    std::io::Write::write_all(&mut measure.stdin.take().unwrap(), b"through\n").unwrap();
    assert_eq!(text(&measure.output().stdout), "through\n");
}

/// Starts a script under `measure --json` and waits until it has made the file `ready`.
fn start(board: &Board, script: &str) -> Started {
    let ready = board.path().join("ready");
    let script = script.replace("READY", &format!("touch {}", ready.display()));
    let mut command = hwmeter(board, &["measure", "--json", "--", "sh", "-c", &script]);
    // A group of its own, as a shell's job has: in a group without a parent outside it the kernel stops nobody.
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let measure = started(with_default_signals(&mut command));
    until_there(&ready);
    measure
}

#[test]
fn a_signal_to_measure_alone_reaches_the_command_and_the_result_is_printed() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        let board = Board::jetson_nano();
        let name = &signal.as_str()[3..];
        let script = format!("trap 'exit 5' {name}; READY; while :; do sleep 0.01; done");
        let measure = start(&board, &script);
        measure.signal(signal);
        let done = measure.output();
        assert_eq!(done.status.code(), Some(5), "{signal}");
        let document: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(document["exit_status"], 5, "{signal}");
        assert_eq!(leftovers(&board), 0);
    }
}

#[test]
fn signals_that_mean_something_to_the_command_alone_end_nothing() {
    let board = Board::jetson_nano();
    let script =
        "n=0; trap 'n=$((n+1))' USR1 USR2 WINCH; READY; while [ $n -lt 3 ]; do sleep 0.01; done; exit 6";
    let measure = start(&board, script);
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH] {
        measure.signal(signal);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(measure.output().status.code(), Some(6));
}

#[test]
fn stopping_measure_stops_the_command_and_both_go_on() {
    let board = Board::jetson_nano();
    let counter = board.path().join("counter");
    let script = format!(
        "READY; i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo $i > {}; sleep 0.01; done; exit 4",
        counter.display()
    );
    let measure = start(&board, &script);
    measure.signal(Signal::SIGTSTP);
    std::thread::sleep(Duration::from_millis(200));
    let count = || std::fs::read_to_string(&counter).unwrap_or_default();
    let stopped_at = count();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(count(), stopped_at, "the command stands still");
    measure.signal(Signal::SIGCONT);
    let done = measure.output();
    assert_eq!(done.status.code(), Some(4));
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(number(&document["coverage"]) < 0.9, "nobody sampled meanwhile");
    assert!(document["warnings"].to_string().contains("backed by samples"));
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let board = Board::jetson_nano();
    let ready = board.path().join("ready");
    let inner = format!("touch {}; sleep 0.5; exit 3", ready.display());
    let mut nohup = hwmeter(&board, &[]);
    let program = nohup.get_program().to_owned();
    nohup = Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(program)
        .arg("--root")
        .arg(board.path())
        .args(["measure", "--", "sh", "-c", &inner])
        .stderr(Stdio::null());
    let mut measure = started(&mut nohup);
    until_there(&ready);
    measure.signal(Signal::SIGHUP);
    assert_eq!(measure.wait().unwrap().code(), Some(3));
}

/// The idle board is watched before anything runs; a signal then means that nothing shall.
#[test]
fn a_signal_while_idle_runs_nothing() {
    let board = Board::jetson_nano();
    let ran = board.path().join("ran");
    let args = [
        "measure",
        "--json",
        "--idle",
        "60s",
        "--",
        "touch",
        ran.to_str().unwrap(),
    ];
    let mut command = hwmeter(&board, &args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let measure = started(with_default_signals(&mut command));
    std::thread::sleep(Duration::from_millis(700));
    measure.signal(Signal::SIGTERM);
    let done = measure.output();
    assert_eq!(done.status.code(), Some(143));
    assert!(done.stdout.is_empty() && !ran.exists());
    assert!(text(&done.stderr).contains("nothing was measured"));
}

#[test]
fn a_duration_can_be_cut_short() {
    let board = Board::jetson_nano();
    let mut command = hwmeter(&board, &["measure", "--json", "--duration", "60s"]);
    // A group of its own, as a shell's job has: in a group without a parent outside it the kernel stops nobody.
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let measure = started(with_default_signals(&mut command));
    std::thread::sleep(Duration::from_millis(700));
    measure.signal(Signal::SIGINT);
    let done = measure.output();
    assert_eq!(done.status.code(), Some(0));
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(number(&document["duration_s"]) < 30.0);
}
