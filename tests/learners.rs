//! `hwmeter learners` as a user runs it, and every learner by name.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::process::{Command, Output, Stdio};

const NAMES: [&str; 11] = [
    "ac",
    "dqn",
    "stream-q",
    "stream-ac",
    "linucb",
    "d-linucb",
    "greedy",
    "local",
    "mec",
    "cloud",
    "random",
];

fn hwmeter(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

fn document(args: &[&str]) -> Vec<Value> {
    let output = hwmeter(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[test]
fn the_list_is_a_settings_file_of_all_defaults() {
    let list = document(&["learners", "--json"]);
    assert_eq!(names(&list), NAMES);
    let text = hwmeter(&["learners"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.toml");
    std::fs::write(&file, &text.stdout).unwrap();
    let again = document(&["learners", "--json", "--learner-config", file.to_str().unwrap()]);
    assert_eq!(list, again);
    let changed = document(&[
        "learners",
        "--json",
        "--learner",
        "dqn",
        "--set",
        "dqn.hidden=[8]",
    ]);
    assert_eq!(
        (names(&changed), &changed[0]["variant"]),
        (vec!["dqn"], &"1x8".into())
    );
}

#[test]
fn a_comparison_has_all_its_figures() {
    let args = [
        "learners",
        "--compare",
        "--seeds",
        "2",
        "--tasks",
        "60",
        "--sensor",
        "cpu-model",
        "--json",
        "--set",
        "dqn.hidden=[32]",
    ];
    let some = ["dqn", "greedy", "random"];
    let learners = some.iter().flat_map(|name| ["--learner", name]);
    let rows = document(&args.into_iter().chain(learners).collect::<Vec<_>>());
    assert_eq!(names(&rows)[0], "oracle");
    assert_eq!(names(&rows)[1..], some);
    for row in &rows {
        for key in ["mean_reward", "ci95", "regret", "miss_rate"] {
            assert!(row[key].is_number(), "{key}: {row}");
        }
        let keys = [
            "decide_s",
            "update_s",
            "decide_j",
            "decide_u_j",
            "update_j",
            "update_u_j",
            "kind",
        ];
        for key in keys {
            // A busy machine spoils joules.
            let is_spoilt = key.contains("_j") || key.contains("_u_j");
            let is_null = row["name"] == "oracle" || (is_spoilt && row["disturbed"] == true);
            assert!(
                row[key].is_null() == is_null || (is_spoilt && is_null),
                "{key}: {row}"
            );
        }
    }
}

#[test]
fn a_bench_has_times_and_joules_and_says_what_kind_they_are() {
    let args = [
        "learners",
        "--bench",
        "--learner",
        "stream-q",
        "--learner",
        "greedy",
        "--sensor",
        "cpu-model",
        "--json",
    ];
    let rows = document(&args);
    assert_eq!(names(&rows), ["stream-q", "greedy"]);
    for row in &rows {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"));
        for of in ["decide", "update"] {
            let (median, p99) = (number(&format!("{of}_median_s")), number(&format!("{of}_p99_s")));
            assert!(0.0 < median && median <= p99 && p99 < 1.0, "{row}");
            if row["disturbed"] == true && row[format!("{of}_j")].is_null() {
                continue;
            }
            // No board takes less than 0.1 W, nor this model more than 1 kW, at twice the median or half of it.
            let joules = number(&format!("{of}_j"));
            assert!((0.01 * median..5e3 * median).contains(&joules), "{row}");
            assert!(number(&format!("{of}_u_j")) > 0.0);
        }
        assert_eq!(row["diverged"], false);
        assert_eq!(
            (&row["kind"], &row["engine"]),
            (&"modelled".into(), &"native".into())
        );
    }
    assert_eq!(
        (&rows[0]["variant"], &rows[0]["parameters"]),
        (&"2x32".into(), &1347.into())
    );
}

#[test]
fn a_learner_that_diverges_is_marked_in_text_and_json_and_published_settings_can_be_had() {
    let args = [
        "learners",
        "--compare",
        "--learner",
        "ac",
        "--seeds",
        "2",
        "--tasks",
        "100",
    ];
    let args = [
        &args[..],
        &["--set", "ac.actor_rate=1e6", "--sensor", "cpu-model"],
    ]
    .concat();
    let text = hwmeter(&args);
    let said = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(said.contains("ac (diverged in 2 runs)"), "{said}");
    let rows = document(&[&args[..], &["--json"]].concat());
    assert_eq!(
        (&rows[0]["diverged_runs"], &rows[1]["diverged_runs"]),
        (&0.into(), &2.into())
    );
    let published = hwmeter(&["learners", "--published", "--learner", "ac"]);
    let said = String::from_utf8_lossy(&published.stdout).into_owned();
    for line in ["hidden = [256,256]", "gamma = 0.99"] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn every_name_runs_as_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    for name in NAMES {
        let out = dir.path().join(name);
        let args = [
            "run-agent",
            "--sensor",
            "cpu-model",
            "--tasks",
            "2",
            "--json",
            "--learner",
            name,
            "--out",
        ];
        let output = hwmeter(&[&args[..], &[out.to_str().unwrap()]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {said}");
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["summary"]["tasks"], 2, "{name}");
        assert_eq!(summary["learner_faults"]["rejected_transitions"], 0, "{name}");
        assert!(summary.get("energy_per_update").is_some(), "{name}");
    }
}
