//! The same joules by an integrator that is not ours: NumPy, on traces that `hwmeter measure` has written.

use super::boards::{Animation, Board};
use super::{Folder, json, number};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integrate/reference.py");

/// A Python that has NumPy; the distribution's own where the first one found has not. `None` (said aloud, and a failure
/// where everything is required) if there is none.
fn python() -> Option<&'static str> {
    let has_numpy = |python: &&str| {
        let check = Command::new(python).args(["-c", "import numpy"]).output();
        check.is_ok_and(|output| output.status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_numpy);
    if found.is_none() {
        let message = "skipped: needs python3-numpy (apt install python3-numpy)";
        assert!(
            std::env::var("HWMETER_TEST_REQUIRE").as_deref() != Ok("all"),
            "{message}"
        );
        eprintln!("{message}");
    }
    found
}

/// Records half a second of the board's sensor.
fn record(board: &Board, trace: &Path) {
    let mut measure = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    measure.arg("--root").arg(board.path()).args([
        "measure",
        "--rate",
        "200",
        "--duration",
        "500ms",
        "--csv",
    ]);
    let output = measure.arg(trace).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Compares some intervals of a rail, whole, short and between rows, by both.
fn compare(python: &str, trace: &Path, rail: &str, kind: &str) {
    let mut spans = "name,from_s,to_s\n".to_owned();
    let mut edges = Vec::new();
    let (document, _) = json(trace, &[]);
    let (first, last) = (
        number(&document["spans"][0]["from_s"]),
        number(&document["spans"][0]["to_s"]),
    );
    for (from, to) in [
        (0.0, 1.0),
        (0.1, 0.9),
        (0.3141, 0.3618),
        (0.5, 0.5004),
        (0.77, 1.0),
    ] {
        // Whole nanoseconds: that is how finely time is resolved.
        let at = |share: f64| ((first + share * (last - first)) * 1e9).round() * 1e-9;
        let (from, to) = (at(from).max(first), at(to).min(last));
        spans += &format!("x,{from},{to}\n");
        edges.extend([from.to_string(), to.to_string()]);
    }
    let folder = Folder::new();
    let spans = folder.file("spans.csv", spans);
    let (document, _) = json(trace, &["--spans", spans.to_str().unwrap()]);
    let of_rail = |span: &Value| {
        let rails = span["rails"].as_array().unwrap();
        let rail = rails.iter().find(|found| found["name"] == rail);
        number(&rail.unwrap()["joules"])
    };
    let ours: Vec<f64> = document["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(of_rail)
        .collect();

    let mut command = Command::new(python);
    command.arg(SCRIPT).arg(trace).args([rail, kind]).args(edges);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (library, joules) in theirs.as_object().unwrap() {
        let joules: Vec<f64> = joules.as_array().unwrap().iter().map(number).collect();
        assert_eq!(joules.len(), ours.len());
        for (ours, theirs) in ours.iter().zip(joules) {
            assert!(*ours > 0.0, "{rail}");
            assert!(
                (ours - theirs).abs() <= 1e-9 * ours,
                "{library}, {rail}: {theirs}, not {ours}"
            );
        }
    }
}

#[test]
fn numpy_integrates_power_to_the_same_joules() {
    let Some(python) = python() else { return };
    let board = Board::jetson_nano();
    let chip = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0";
    let files = (0..3).map(|n| board.place(&format!("{chip}/in_power{n}_input")));
    // Milliwatts, always of four digits; what it does is of no matter as long as it never rests.
    let running = Animation::start(files.collect(), |i, t| {
        format!("{:04.0}\n", 2000.0 + 500.0 * i as f64 + 900.0 * (40.0 * t).sin())
    });
    let folder = Folder::new();
    let trace = folder.0.path().join("power.csv");
    record(&board, &trace);
    drop(running);
    for rail in ["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"] {
        compare(python, &trace, rail, "power");
    }
}

#[test]
fn numpy_interpolates_a_counter_to_the_same_joules() {
    let Some(python) = python() else { return };
    let board = Board::rapl();
    let zones = [
        "intel-rapl:0",
        "intel-rapl:0/intel-rapl:0:0",
        "intel-rapl:0/intel-rapl:0:2",
        "intel-rapl-mmio:0",
    ];
    let files = zones.map(|zone| board.place(&format!("/sys/class/powercap/{zone}/energy_uj")));
    let running = Animation::start(files.to_vec(), |i, t| {
        let joules = (i + 1) as f64 * (10.0 * t + 0.2 * (30.0 * t).sin());
        format!("{}\n", 1_000_000_000 + (joules * 1e6) as u64)
    });
    let folder = Folder::new();
    let trace = folder.0.path().join("counter.csv");
    record(&board, &trace);
    drop(running);
    for rail in ["package-0", "core", "dram"] {
        compare(python, &trace, rail, "counter");
    }
}
