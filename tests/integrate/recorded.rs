//! Traces that the program itself has recorded: integrated, they are the joules it told while it ran.

use super::boards::Board;
use super::{Folder, json, number, stderr};
use std::process::Command;

/// The joules of a task, resolved while the run went on, and those of the same seconds of its trace.
#[test]
fn the_tasks_of_a_run_cost_the_same_in_its_trace() {
    let folder = Folder::new();
    let out = folder.0.path().join("run");
    let mut agent = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    agent.args([
        "run-agent",
        "--sensor",
        "cpu-model",
        "--learner",
        "local",
        "--tasks",
        "6",
        "--out",
    ]);
    let output = agent.arg(&out).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let mut live = Vec::new();
    let mut spans = "name,from_s,to_s\n".to_owned();
    let mut rows = csv::Reader::from_path(out.join("decisions.csv")).unwrap();
    let columns = rows.headers().unwrap().clone();
    for row in rows.records().map(Result::unwrap) {
        let cell = |name: &str| row[columns.iter().position(|column| column == name).unwrap()].parse::<f64>();
        let (from, latency) = (cell("t_s").unwrap(), cell("latency_s").unwrap());
        spans += &format!("task,{from},{}\n", from + latency);
        live.push(["energy_j", "energy_u_j", "coverage"].map(|name| cell(name).unwrap()));
    }
    let spans = folder.file("spans.csv", spans);
    let (document, notes) = json(&out.join("energy.csv"), &["--spans", spans.to_str().unwrap()]);
    assert_eq!(
        (document["kind"].as_str(), notes.as_str()),
        (Some("modelled"), "")
    );
    let found = document["spans"].as_array().unwrap();
    assert_eq!(found.len(), 6);
    for (span, [joules, uncertainty, coverage]) in found.iter().zip(live) {
        let again = number(&span["total"]["joules"]);
        let again_u = number(&span["total"]["uncertainty_joules"]);
        assert!((again - joules).abs() < 0.01 * joules, "{again} {joules}");
        assert!(
            (again_u - uncertainty).abs() < 0.1 * uncertainty,
            "{again_u} {uncertainty}"
        );
        assert!(
            (number(&span["coverage"]) - coverage).abs() < 0.05,
            "{span} {coverage}"
        );
    }
}

/// A disk that is full from the first byte on.
#[test]
fn a_full_disk_ends_the_trace_and_not_the_measurement() {
    let board = Board::jetson_nano();
    let mut measure = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    measure.arg("--root").arg(board.path());
    measure.args(["measure", "--duration", "300ms", "--json", "--csv", "/dev/full"]);
    let output = measure.output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&document["total"]["joules"]) > 0.5, "{document}");
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for part in [
        "/dev/full ends early, after 0 rows",
        "samples are lost",
        "No space left",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}
