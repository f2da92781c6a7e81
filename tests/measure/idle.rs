//! Idle power and joules without it.

use crate::boards::Board;
use crate::{NANO_WATTS, json, number, output, text};
use serde_json::Value;

#[test]
fn what_an_idle_board_uses_is_nothing_without_idle() {
    let board = Board::jetson_nano();
    let measured = json(&board, &["--idle", "1s", "--", "sleep", "1"]);
    assert!(
        (number(&measured["idle_watts"]) - NANO_WATTS).abs() < 0.01,
        "{measured:#}"
    );
    let (net, total) = (&measured["net"], &measured["total"]);
    let sure = number(&net["uncertainty_joules"]);
    assert!(number(&net["joules"]).abs() <= 2.0 * sure, "{measured:#}");
    assert!(
        sure > 0.0 && sure < number(&total["uncertainty_joules"]),
        "{measured:#}"
    );
    // The same gain and the same offset are in both.
    let term = |name: &str| number(&net["budget"][name]);
    assert!(
        term("gain") < 0.01 * number(&measured["budget"]["gain"]),
        "{measured:#}"
    );
    assert!(term("offset") < 1e-9, "{measured:#}");
    assert!(number(&total["joules"]) > 2.0);
}

#[test]
fn idle_power_nobody_knows_is_null() {
    let board = Board::jetson_nano();
    let measured = json(&board, &["--duration", "300ms"]);
    assert_eq!(measured["idle_watts"], Value::Null);
    assert!(measured.get("net").is_none() && measured.get("idle").is_none());
    assert_eq!(measured["suspended_s"], 0.0);
}

#[test]
fn less_than_idle_stays_negative() {
    let board = Board::jetson_nano();
    let file = board.path().join("calibration.toml");
    std::fs::write(&file, "[sensor.ina3221-iio]\nidle_watts = 3.247\n").unwrap();
    let file = file.to_str().unwrap();
    let measured = json(&board, &["--calibration", file, "--duration", "500ms"]);
    let seconds = number(&measured["duration_s"]);
    assert!(
        (number(&measured["net"]["joules"]) + seconds).abs() < 0.01,
        "{measured:#}"
    );
    assert_eq!(measured["calibration"], file);
    let shown = output(&board, &["measure", "--calibration", file, "--duration", "300ms"]);
    let shown = text(&shown.stderr);
    assert!(shown.contains(file) && shown.contains("-0.3"), "{shown}");
}
