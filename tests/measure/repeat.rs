//! Repeated runs.

use crate::boards::Board;
use crate::common::child::started;
use crate::{hwmeter, json, number, output, text};
use nix::sys::signal::Signal;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn repeated_runs_have_mean_deviation_and_interval() {
    let board = Board::jetson_nano();
    let measured = json(
        &board,
        &["--repeat", "4", "--idle", "500ms", "--duration", "200ms"],
    );
    let runs = measured["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    let joules: Vec<f64> = runs.iter().map(|run| number(&run["total"]["joules"])).collect();
    let mean = joules.iter().sum::<f64>() / 4.0;
    let deviation = (joules.iter().map(|j| (j - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
    assert!(
        (number(&measured["mean_joules"]) - mean).abs() < 1e-9,
        "{measured:#}"
    );
    assert!(
        (number(&measured["stddev_joules"]) - deviation).abs() < 1e-9,
        "{measured:#}"
    );
    let [low, high] = [0, 1].map(|i| number(&measured["interval_joules"][i]));
    assert!(((low + high) / 2.0 - mean).abs() < 1e-9);
    // Gain and offset are the same in all runs: no number of them makes the mean surer than that.
    let common = runs.iter().map(|run| {
        let term = |name: &str| number(&run["budget"][name]);
        term("gain").hypot(term("offset"))
    });
    let common = common.fold(f64::INFINITY, f64::min);
    assert!((high - low) / 2.0 >= 1.95 * common, "{measured:#}");
    assert!((high - low) / 2.0 < 0.2 * mean, "{measured:#}");
    let net = &measured["net"];
    let [low, high] = [0, 1].map(|i| number(&net["interval_joules"][i]));
    assert!(low <= 0.0 && 0.0 <= high, "{net:#}");
    let shown = text(&output(&board, &["measure", "--repeat", "2", "--duration", "100ms"]).stderr);
    assert!(
        shown.contains("over 2 runs") && shown.contains("(95 %)"),
        "{shown}"
    );
}

#[test]
fn a_run_that_failed_is_not_hidden_by_those_after_it() {
    let board = Board::jetson_nano();
    let flag = board.path().join("flag");
    let script = format!("test -e {0} || {{ touch {0}; exit 3; }}", flag.display());
    let done = output(&board, &["measure", "--repeat", "3", "--", "sh", "-c", &script]);
    assert_eq!(done.status.code(), Some(3));
    assert!(
        text(&done.stderr).contains("1 of 3 runs"),
        "{}",
        text(&done.stderr)
    );
}

/// A run that a signal cut short says nothing about what a whole one costs.
#[test]
fn a_run_cut_short_is_not_in_the_mean() {
    let board = Board::jetson_nano();
    let mut command = hwmeter(
        &board,
        &["measure", "--json", "--repeat", "100", "--duration", "400ms"],
    );
    let measure = started(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    std::thread::sleep(Duration::from_millis(1500));
    measure.signal(Signal::SIGTERM);
    let done = measure.output();
    let measured: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let runs = measured["runs"].as_array().unwrap();
    let (last, whole) = runs.split_last().unwrap();
    assert_eq!(last["cut_short"], true, "{measured:#}");
    assert!(!whole.is_empty() && whole.iter().all(|run| run["cut_short"] == false));
    let joules: f64 = whole.iter().map(|run| number(&run["total"]["joules"])).sum();
    assert!(
        (number(&measured["mean_joules"]) - joules / whole.len() as f64).abs() < 1e-9,
        "{measured:#}"
    );
    assert!(
        measured["warnings"]
            .to_string()
            .contains("cut the last run short")
    );
}
