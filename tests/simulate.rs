//! `hwmeter simulate` as a user runs it.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;

fn simulate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command.arg("simulate").args(arguments);
    command
}

fn stdout(command: &mut Command) -> String {
    let output = command.assert().success().get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

fn failure(command: &mut Command, code: i32) -> String {
    let output = command.assert().code(code).get_output().stderr.clone();
    String::from_utf8(output).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_preset_that_is_shown_is_a_scenario_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    std::fs::write(&file, stdout(&mut simulate(&["--preset", "drift", "--show"]))).unwrap();
    let out = folder.path().join("runs");
    let arguments = [text(&file), "--tasks", "30", "--seeds", "2", "--out", text(&out)];
    let table = stdout(&mut simulate(&arguments));
    assert!(
        table.contains("d-linucb") && table.contains("simulated") && table.contains("assumed"),
        "{table}"
    );
    let run = out.join("seed-51/device-1-raspberry-pi-4-d-linucb");
    let rows = std::fs::read_to_string(run.join("decisions.csv")).unwrap();
    assert_eq!(rows.lines().count(), 31);
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    assert_eq!(
        (&manifest["kind"], &manifest["seed"]),
        (&"simulated".into(), &51.into())
    );
    // The trace of a simulated board is integrated like any other, and stays simulated.
    let trace = run.join("energy.csv");
    let mut integrate = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    integrate.args(["integrate", text(&trace), "--json"]);
    let integrated: Value = serde_json::from_str(&stdout(&mut integrate)).unwrap();
    assert!(
        integrated["spans"][0]["total"]["joules"].as_f64().unwrap() > 10.0,
        "{integrated}"
    );
    let error = failure(&mut simulate(&arguments), 1);
    assert!(error.contains("seed-50") && error.contains("--force"), "{error}");
    stdout(simulate(&arguments).arg("--force"));
}

#[test]
fn one_json_document_and_a_part_of_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--preset",
        "outage",
        "--tasks",
        "10",
        "--seeds",
        "5",
        "--shard",
        "1/2",
        "--no-trace",
        "--json",
    ];
    let document = stdout(simulate(&arguments).args(["--out", text(folder.path())]));
    let document: Value = serde_json::from_str(&document).unwrap();
    let runs = document["runs"].as_array().unwrap();
    let seeds: Vec<u64> = runs.iter().map(|run| run["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [51, 51, 53, 53]);
    assert_eq!(document["kind"], "simulated");
    assert!(
        runs.iter()
            .all(|run| run["summary"]["tasks"] == 10 && run["summary"]["energy_u_j"].is_number())
    );
    assert!(
        !Path::new(runs[0]["out"].as_str().unwrap())
            .join("energy.csv")
            .exists()
    );
}

#[test]
fn bad_input_is_told_with_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    let shown = stdout(&mut simulate(&["--preset", "scenario-1", "--show"]));
    std::fs::write(&file, shown.replacen("learner", "leaner", 1)).unwrap();
    let error = failure(&mut simulate(&[text(&file)]), 1);
    assert!(
        error.contains("bad.toml, line 8") && error.contains("leaner"),
        "{error}"
    );
    let error = failure(&mut simulate(&["/no/such.toml"]), 1);
    assert!(error.contains("/no/such.toml"), "{error}");
    let error = failure(&mut simulate(&[]), 2);
    assert!(error.contains("SCENARIO"), "{error}");
    let error = failure(&mut simulate(&["--preset", "drift", "--shard", "2/2"]), 2);
    assert!(error.contains("0/4"), "{error}");
    let runs = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(runs, 1, "nothing was begun");
}
