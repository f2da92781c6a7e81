//! Marks and the phases between them.

use crate::boards::Board;
use crate::common::until;
use crate::{NANO_INPUT, hwmeter, json, leftovers, number, output, text, until_there};
use serde_json::Value;
use std::process::{Command, Stdio};

/// A script that sets the board's power itself, in one step, and says where its phases begin.
fn phases_script(board: &Board, mark: impl Fn(&str) -> String) -> String {
    let input = board.place(NANO_INPUT);
    let power = |milliwatts: u32| format!("echo {milliwatts} > {0}.new; mv {0}.new {0}\n", input.display());
    [("load", 2000), ("work", 6000), ("save", 4000)]
        .iter()
        .map(|(name, milliwatts)| format!("{}\n{}sleep 0.5\n", mark(name), power(*milliwatts)))
        .collect()
}

fn assert_phases(measured: &Value) {
    let phases = measured["phases"].as_array().unwrap();
    let names: Vec<&str> = phases
        .iter()
        .map(|phase| phase["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["(start)", "load", "work", "save"]);
    for (phase, watts) in phases[1..].iter().zip([2.0, 6.0, 4.0]) {
        let mean = number(&phase["total"]["mean_watts"]);
        assert!((mean - watts).abs() < 0.08 * watts, "{watts} W: {phase:#}");
        assert!(number(&phase["duration_s"]) >= 0.45, "{phase:#}");
        assert!(
            number(&phase["coverage"]) > 0.7 && number(&phase["samples"]) > 20.0,
            "{phase:#}"
        );
        assert!(number(&phase["total"]["uncertainty_joules"]) > 0.0);
        assert_eq!(phase["rails"].as_array().unwrap().len(), 3);
    }
    let sum: f64 = phases.iter().map(|phase| number(&phase["total"]["joules"])).sum();
    let total = number(&measured["total"]["joules"]);
    assert!((sum - total).abs() < 1e-6 * total, "{sum} {total}");
}

#[test]
fn phases_by_hwmeter_mark() {
    let board = Board::jetson_nano();
    let script = phases_script(&board, |name| format!("hwmeter mark {name}"));
    assert_phases(&json(&board, &["--", "sh", "-c", &script]));
    assert_eq!(leftovers(&board), 0);
}

#[test]
fn phases_by_plain_shell_in_json_and_as_a_table() {
    let board = Board::jetson_nano();
    let script = phases_script(&board, |name| format!("echo {name} > \"$HWMETER_MARKS\""));
    assert_phases(&json(&board, &["--", "sh", "-c", &script]));
    let twice = "for i in 1 2; do hwmeter mark 'read file'; sleep 0.1; hwmeter mark rest; sleep 0.1; done";
    let shown = text(&output(&board, &["measure", "--", "sh", "-c", twice]).stderr);
    for words in [
        "PHASE",
        "(start)",
        "read file",
        "read file, 2 times",
        "rest, 2 times",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn thousands_of_marks_lose_none() {
    let board = Board::jetson_nano();
    let script = "i=0; while [ $i -lt 3000 ]; do echo p$((i % 3)) > \"$HWMETER_MARKS\"; i=$((i+1))
        j=0; while [ $j -lt 200 ]; do j=$((j+1)); done; done";
    let measured = json(&board, &["--", "sh", "-c", script]);
    let phases = measured["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 3001);
    let sum: f64 = phases.iter().map(|phase| number(&phase["duration_s"])).sum();
    let seconds = number(&measured["duration_s"]);
    assert!((sum - seconds).abs() < 1e-6, "{sum} {seconds}");
    let shown = text(&output(&board, &["measure", "--", "sh", "-c", script]).stderr);
    assert!(shown.lines().count() < 24, "one screen: {shown}");
}

#[test]
fn junk_in_the_pipe_is_counted_and_begins_nothing() {
    let board = Board::jetson_nano();
    let script =
        "head -c 100000 /dev/zero > \"$HWMETER_MARKS\"; echo > \"$HWMETER_MARKS\"; hwmeter mark good";
    let measured = json(&board, &["--", "sh", "-c", script]);
    assert_eq!(measured["phases"].as_array().unwrap().len(), 2, "{measured:#}");
    let warnings = measured["warnings"].to_string();
    assert!(warnings.contains("1 marks began no phase"), "{warnings}");
}

#[test]
fn a_mark_where_nothing_is_measured_says_so() {
    let board = Board::jetson_nano();
    let failed_with = |status: i32, command: &mut Command| {
        let failed = command.output().unwrap();
        assert_eq!(failed.status.code(), Some(status));
        text(&failed.stderr)
    };
    let failure = |command: &mut Command| failed_with(1, command);
    let outside = failure(&mut hwmeter(&board, &["mark", "x"]));
    assert!(
        outside.contains("nothing is being measured") && outside.contains("measure --"),
        "{outside}"
    );
    let gone = failure(hwmeter(&board, &["mark", "x"]).env("HWMETER_MARKS", "/no/such/pipe"));
    assert!(gone.contains("has ended"), "{gone}");
    let bad = failed_with(2, &mut hwmeter(&board, &["mark", "a\tb"]));
    assert!(bad.contains("control characters"), "{bad}");
    failed_with(2, &mut hwmeter(&board, &["mark", ""]));
}

/// Killed without a chance to clean up, it leaves the command alone, and no mark waits for ever.
#[test]
fn the_command_survives_measure_and_so_do_its_marks() {
    let board = Board::jetson_nano();
    let place = |name: &str| board.path().join(name);
    let script = format!(
        "echo begin > \"$HWMETER_MARKS\"; touch {0}; while [ ! -e {1} ]; do sleep 0.01; done
         hwmeter mark late; echo $? > {2}; echo later > \"$HWMETER_MARKS\"; touch {3}",
        place("ready").display(),
        place("go").display(),
        place("status").display(),
        place("done").display(),
    );
    let mut measure = hwmeter(&board, &["measure", "--", "sh", "-c", &script])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_there(&place("ready"));
    measure.kill().unwrap();
    measure.wait().unwrap();
    until("the directory of the pipe is gone", || leftovers(&board) == 0);
    std::fs::write(place("go"), "").unwrap();
    until_there(&place("done"));
    assert_eq!(std::fs::read_to_string(place("status")).unwrap(), "1\n");
}
