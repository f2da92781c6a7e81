//! Where the result goes, and what it says.

use crate::boards::Board;
use crate::{NANO_INPUT, number, output, text};
use serde_json::Value;

#[test]
fn a_full_disk_fails_after_the_result() {
    let board = Board::jetson_nano();
    let args = ["measure", "--json", "--duration", "300ms", "--csv", "/dev/full"];
    let done = output(&board, &args);
    assert_eq!(done.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(number(&document["total"]["joules"]) > 0.0);
    assert!(text(&done.stderr).contains("/dev/full"), "{}", text(&done.stderr));
}

#[test]
fn one_screen_tells_what_was_used_and_what_dominates() {
    let board = Board::jetson_nano();
    let done = output(&board, &["measure", "--idle", "500ms", "--", "sleep", "0.5"]);
    let shown = text(&done.stderr);
    for words in [
        "(k=2)",
        "mean 2.24",
        "[ina3221-iio, measured]",
        "without the idle board's 2.24",
        "at 100 Hz",
        "coverage",
        "uncertainty",
        "from offset",
        "POM_5V_IN",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(shown.lines().count() < 24, "{shown}");
    assert!(text(&done.stdout).is_empty());
}

#[test]
fn a_model_does_not_stand_in_silently_for_a_sensor_that_fails() {
    let board = Board::jetson_nano();
    board.file(NANO_INPUT, "garbage\n");
    let done = output(&board, &["measure", "--duration", "100ms"]);
    let shown = text(&done.stderr);
    assert!(
        shown.contains("ina3221-iio is there and cannot be used") && shown.contains("cpu-model (modelled)"),
        "{shown}"
    );
}
