//! `hwmeter integrate` as a user runs it.
#![allow(clippy::unwrap_used)]

#[path = "../common/boards.rs"]
mod boards;
mod numpy;
mod recorded;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HEADER: &str = "t_s,sensor,rail,power_w,energy_j\n";

/// A folder with traces.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn integrate(trace: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command.arg("integrate").arg(trace).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The document, and what was said beside it.
#[track_caller]
fn json(trace: &Path, args: &[&str]) -> (Value, String) {
    let output = integrate(trace, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    (serde_json::from_slice(&output.stdout).unwrap(), stderr(&output))
}

#[track_caller]
fn fails(trace: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let output = integrate(trace, args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty(), "{output:?}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn assert_close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * a.abs().max(b.abs()), "{a} {b}");
}

#[test]
fn two_columns_without_anything_else() {
    let folder = Folder::new();
    let trace = folder.file("power.csv", "t_s,power_w\r\n0,2\r\n1,4\r\n2,4\r\n");
    let (document, notes) = json(&trace, &[]);
    assert_eq!(notes, "");
    let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["sensor", "kind", "spans"]);
    assert_eq!(
        (&document["sensor"], &document["kind"]),
        (&Value::Null, &Value::Null)
    );
    let span = &document["spans"][0];
    let keys: Vec<&String> = span.as_object().unwrap().keys().collect();
    let expected = [
        "name", "from_s", "to_s", "coverage", "samples", "total", "rails", "budget",
    ];
    assert_eq!(keys, expected);
    assert_eq!((number(&span["from_s"]), number(&span["to_s"])), (0.0, 2.0));
    assert_eq!(
        (number(&span["coverage"]), &span["samples"]),
        (1.0, &Value::from(3))
    );
    assert_close(number(&span["total"]["joules"]), 7.0);
    assert_close(number(&span["total"]["mean_watts"]), 3.5);
    assert!(number(&span["total"]["uncertainty_joules"]) > 0.0);
    assert_eq!(
        (number(&span["budget"]["gain"]), number(&span["budget"]["offset"])),
        (0.0, 0.0)
    );
    assert_eq!(span["rails"][0]["name"], "total");
    assert_close(number(&span["rails"][0]["joules"]), 7.0);

    let text = stdout(&integrate(&trace, &["--from", "-1", "--to", "1"]));
    for part in ["trace (kind unknown)", "-1.000 s", "3.0 J ± ", "50.0 %", "(k=2)"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn an_interval_beyond_the_trace_is_seen_in_its_coverage() {
    let folder = Folder::new();
    let trace = folder.file("power.csv", "t_s,power_w\n0,2\n1,2\n2,2\n");
    let (document, _) = json(&trace, &["--from", "1", "--to", "5"]);
    let span = &document["spans"][0];
    assert_close(number(&span["coverage"]), 0.25);
    assert_close(number(&span["total"]["joules"]), 2.0);
    let (document, _) = json(&trace, &["--from", "5"]);
    let span = &document["spans"][0];
    assert_eq!((number(&span["coverage"]), &span["total"]), (0.0, &Value::Null));
    assert_eq!(span["rails"][0]["joules"], Value::Null, "unknown is not 0");
    let text = stdout(&integrate(&trace, &["--from", "5"]));
    assert!(text.contains("unknown") && text.contains("0.0 %"), "{text}");
}

#[test]
fn a_file_of_spans_in_any_order_and_overlapping() {
    let folder = Folder::new();
    let trace = folder.file("power.csv", "t_s,power_w\n0,0\n10,10\n");
    let spans = folder.file(
        "spans.csv",
        "name,from_s,to_s\nlate,5,10\n\"a, b\",0,10\ninner,2.5,5\n",
    );
    let (document, _) = json(&trace, &["--spans", spans.to_str().unwrap()]);
    let found: Vec<(&str, f64)> = document["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| (span["name"].as_str().unwrap(), number(&span["total"]["joules"])))
        .collect();
    assert_eq!(found, [("late", 37.5), ("a, b", 50.0), ("inner", 9.375)]);
    let text = stdout(&integrate(&trace, &["--spans", spans.to_str().unwrap()]));
    assert_eq!(text.lines().count(), 5, "{text}");
}

#[test]
fn several_sensors_are_reported_side_by_side_and_one_can_be_chosen() {
    let folder = Folder::new();
    let rows = "0,ina:1,total,2,0\n0.5,wall,total,9,0\n1,ina:1,total,2,2\n1.5,wall,total,9,9\n";
    let trace = folder.file("both.csv", format!("{HEADER}{rows}"));
    let (document, notes) = json(&trace, &[]);
    assert!(notes.contains("ina:1") && notes.contains("accurate"), "{notes}");
    let sensors = document["sensors"].as_array().unwrap();
    let joules: Vec<f64> = sensors
        .iter()
        .map(|sensor| number(&sensor["spans"][0]["total"]["joules"]))
        .collect();
    assert_eq!(joules, [2.0, 9.0]);
    for id in ["wall", "ina", "ina:1"] {
        let (one, _) = json(&trace, &["--sensor", id]);
        assert!(one["sensor"].as_str().unwrap().starts_with(id), "{one}");
        assert!(one["spans"][0]["total"]["joules"].is_number(), "{one}");
    }
    fails(
        &trace,
        &["--sensor", "sun"],
        1,
        &["sensor sun", "the trace has ina:1, wall"],
    );
    let two = folder.file("two.csv", "t_s,power_w\n0,1\n1,1\n");
    fails(&two, &["--sensor", "x"], 1, &["sensor x", "leave --sensor out"]);
}

#[test]
fn a_last_row_cut_short_is_dropped_and_told() {
    let folder = Folder::new();
    let trace = folder.file("cut.csv", "t_s,power_w\n0,1\n1,1\n2,");
    let (document, notes) = json(&trace, &[]);
    assert_eq!(number(&document["spans"][0]["to_s"]), 1.0);
    assert!(notes.contains("cut.csv, line 4: cut short, dropped"), "{notes}");
    let whole = folder.file("whole.csv", "t_s,power_w\n0,1\n1,1\n2,1");
    let (document, notes) = json(&whole, &[]);
    assert_eq!((number(&document["spans"][0]["to_s"]), notes.as_str()), (2.0, ""));
    let energy = folder.file("energy.csv", format!("{HEADER}0,s,a,1,0\n1,s,a,1,1\n2,s,a,1,"));
    assert_eq!(number(&json(&energy, &["-q"]).0["spans"][0]["to_s"]), 1.0);
}

#[test]
fn a_file_that_is_no_trace_is_named_with_its_line() {
    let cases: [(&[u8], &str); 14] = [
        (b"", "line 1: the file is empty"),
        (b"t_s,power_w\n", "line 2: no row below the header"),
        (b"t_s,power_w\n1", "line 2: no row below the header"),
        (b"t_s,watts\n1,2\n", "line 1: found \"t_s,watts\""),
        (b"time,power\n", "line 1"),
        (b"\x7fELF\x02\x01\x00\n\n\n", "line 1"),
        (b"t_s,power_w\n0,1\n1\n2,1\n", "line 3: found \"1\""),
        (b"t_s,power_w\n0,1\n1,1,1\n", "line 3"),
        (b"t_s,power_w\n0,1\n1,much\n", "line 3: power_w is \"much\""),
        (b"t_s,power_w\n0,1\n,1\n", "line 3: t_s is \"\""),
        (
            b"t_s,power_w\n0,1\n2,1\n1,1\n",
            "line 4: time 1 goes back behind 2",
        ),
        (
            b"t_s,power_w\n0,1\n1,1\n1,1\n",
            "line 4: time 1 of rail total repeats",
        ),
        (b"t_s,power_w\n0,1\nnan,1\n", "line 3"),
        (b"t_s,power_w\n0,1\n\x00\x01\x02\xff\n", "line 3"),
    ];
    let folder = Folder::new();
    for (content, problem) in cases {
        let trace = folder.file("bad.csv", content);
        fails(&trace, &[], 1, &["error:", "bad.csv, ", problem]);
        fails(&trace, &["--json"], 1, &[problem]);
    }
    fails(
        &folder.0.path().join("none.csv"),
        &[],
        1,
        &["none.csv", "No such file"],
    );
    fails(folder.0.path(), &[], 1, &["directory"]);
}

#[test]
fn a_bad_span_is_named_with_its_line() {
    let folder = Folder::new();
    let trace = folder.file("power.csv", "t_s,power_w\n0,1\n1,1\n");
    for (content, problem) in [
        ("", "line 1"),
        ("name,from_s,to_s\n", "line 2: no span"),
        ("a,0,1\n", "line 1"),
        (
            "name,from_s,to_s\na,0,1\nb,1,1\n",
            "line 3: span \"b\" ends at 1 s",
        ),
        ("name,from_s,to_s\na,NaN,1\n", "line 2: from_s is \"NaN\""),
        ("name,from_s,to_s\na,0\n", "line 2: 2 columns"),
    ] {
        let spans = folder.file("spans.csv", content);
        fails(
            &trace,
            &["--spans", spans.to_str().unwrap()],
            1,
            &["spans.csv, ", problem],
        );
    }
    fails(&trace, &["--spans", "/no/such.csv"], 1, &["/no/such.csv"]);
    fails(&trace, &["--from", "2", "--to", "1"], 2, &["--from 2"]);
    fails(&trace, &["--from", "1", "--to", "1"], 2, &["--from 1"]);
    fails(&trace, &["--from", "nan"], 2, &["finite"]);
    fails(&trace, &["--to", "soon"], 2, &["finite"]);
    fails(&trace, &["--from", "0", "--spans", "x"], 2, &["--spans"]);
}

#[test]
fn what_stands_beside_the_trace_counts() {
    let folder = Folder::new();
    let trace = folder.file(
        "energy.csv",
        format!("{HEADER}0,rpi-model,total,3,0\n1,rpi-model,total,3,3\n"),
    );
    let sensor = serde_json::json!({
        "id": "rpi-model", "kind": "modelled", "total": [0], "idle": null, "full": null, "note": null,
        "rails": [{ "name": "total", "role": "total", "offset": 0.1, "power_step": 0.0, "energy_step": 0.0 }],
        "accuracy": serde_json::to_value(hwmeter_hw::sensor::Accuracy { gain: 0.2, ..Default::default() }).unwrap(),
    });
    let manifest = serde_json::json!({ "sensor": sensor, "sampling_hz": 1.0, "seed": 7 });
    folder.file("run.json", manifest.to_string());
    let (document, notes) = json(&trace, &[]);
    assert_eq!(
        (document["kind"].as_str(), notes.as_str()),
        (Some("modelled"), "")
    );
    let budget = &document["spans"][0]["budget"];
    assert_close(number(&budget["gain"]), 0.6);
    assert_close(number(&budget["offset"]), 0.1);
    let text = stdout(&integrate(&trace, &[]));
    assert!(
        text.contains("rpi-model (modelled)") && text.contains("not measured"),
        "{text}"
    );
    assert!(
        text.contains("3.0 J ± 1.5 J") && text.contains("mostly from: gain"),
        "{text}"
    );
    folder.file("run.json", "{ \"sensor\":");
    fails(&trace, &[], 1, &["run.json", "move it away"]);
}
