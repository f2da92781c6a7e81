//! Matrix products: the table, a library that answers wrongly, a quota and a throttle in the middle.

use super::{Board, calibrated, document, hwmeter, read, text, turn};
use crate::boards::Animation;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const GROUP: &str = "/sys/fs/cgroup/x";

/// A board whose control group may use half a core, and runs out of it all the time.
fn held_board() -> (Board, Animation) {
    let board = Board::jetson_nano();
    board.file("/proc/self/cgroup", "0::/x\n");
    board.file(&format!("{GROUP}/cpu.max"), "50000 100000\n");
    board.file(&format!("{GROUP}/cpu.stat"), "nr_throttled 000000\n");
    let file = board.place(&format!("{GROUP}/cpu.stat"));
    let throttled = |_, s: f64| format!("nr_throttled {:06}\n", (100.0 * s) as u64);
    (board, Animation::start(vec![file], throttled))
}

/// An OpenBLAS whose products are wrong, in `dir`. False, with a note, where there is no C compiler.
fn build_wrong_library(dir: &Path) -> bool {
    if !crate::common::have("cc", "gcc") {
        return false;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("hw/src/blas/stubs/cblas.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-DOPENBLAS", "-DWRONG"]);
    cc.arg(format!("-DCALLS=\"{}\"", dir.join("calls").display()));
    cc.arg("-o").arg(dir.join("libopenblas.so.0")).arg(source);
    assert!(cc.status().unwrap().success());
    true
}

#[test]
fn rows_say_what_disturbed_them_and_a_wrong_library_is_told_and_not_timed() {
    let _turn = turn();
    let (board, _throttle) = held_board();
    let libraries = tempfile::tempdir().unwrap();
    let has_stub = build_wrong_library(libraries.path());
    let mut command = hwmeter(&board, &["calibrate", "--quick", "--only", "gemm", "--json"]);
    let output = command.env("LD_LIBRARY_PATH", libraries.path()).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("0.5 of 4 CPUs"), "{said}");
    let found = document(&output);
    let rows = found["gemm"].as_array().unwrap();
    let missing = found["missing"].as_array().unwrap();
    for provider in ["builtin", "openblas", "blis", "cublas"] {
        let is_timed = rows.iter().any(|row| row["provider"] == provider);
        let told = missing.iter().find(|missing| missing["provider"] == provider);
        assert!(is_timed != told.is_some(), "{provider}: {found:#}");
        let package = told.map(|told| told["package"].as_str().unwrap());
        assert!(package.is_none_or(|package| !package.is_empty()), "{found:#}");
        if has_stub && provider == "openblas" {
            let reason = told.unwrap()["reason"].as_str().unwrap();
            assert!(reason.contains("wrong"), "{reason}");
        }
    }
    for row in rows.iter().filter(|row| row["provider"] == "builtin") {
        for key in [
            "threads",
            "n",
            "gflops",
            "gflops_spread",
            "watts",
            "gflops_per_watt",
        ] {
            assert!(row[key].is_number(), "{key}: {row:#}");
        }
        assert!(row["op"] == "sgemm" || row["op"] == "dgemm", "{row:#}");
        assert_eq!(row["kind"], "measured");
        assert_eq!(row["conditions"]["throttled"], true, "{row:#}");
        let (watts, gflops) = (row["watts"].as_f64().unwrap(), row["gflops"].as_f64().unwrap());
        assert!((watts - 2.247).abs() < 0.01 && gflops > 0.0, "{row:#}");
    }
    let repeats = &found["repeats"];
    assert_eq!(
        (&repeats["repeats"], &repeats["op"]),
        (&5.into(), &"sgemm".into()),
        "{found:#}"
    );
    assert_eq!(repeats["agree"], repeats["spread"].as_f64().unwrap() <= 0.02);
    assert_eq!(
        (&found["power_model"], &found["bandwidth_bytes_per_s"]),
        (&Value::Null, &Value::Null)
    );

    // The same rows from the file, with the paper's figures for this board beside them.
    let written = read(&board.path().join("etc/hwmeter/calibration.toml"));
    assert!(
        written.contains("[[gemm]]") && written.contains("note = \"throttled"),
        "{written}"
    );
    let shown = text(&hwmeter(&board, &["calibrate", "show"]).output().unwrap().stdout);
    for word in [
        "paper, J1010 (Nano)",
        "9.11",
        "29.50",
        "28.09",
        "measured",
        "throttled: the control group",
    ] {
        assert!(shown.contains(word), "{word}:\n{shown}");
    }
}

#[test]
fn bandwidth_alone_is_a_calibration_too() {
    let _turn = turn();
    let board = Board::plain_vm();
    let found = document(&calibrated(&board, &["--quick", "--only", "bandwidth", "--json"]));
    let all = found["bandwidth_bytes_per_s"].as_f64().unwrap();
    assert!(all > 1e7, "{found:#}");
    assert_eq!(found["gemm"], Value::Array(Vec::new()));
    assert_eq!(found["steps"], serde_json::json!(["bandwidth"]));
    let shown = text(&hwmeter(&board, &["calibrate", "show"]).output().unwrap().stdout);
    assert!(shown.contains("triad"), "{shown}");
}
