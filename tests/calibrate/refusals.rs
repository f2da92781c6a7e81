//! What is refused before minutes are spent.

use super::{Board, calibrated, hwmeter, text};

#[track_caller]
fn refused(board: &Board, args: &[&str], code: i32, words: &[&str]) {
    let output = hwmeter(board, &[&["calibrate"], args].concat()).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}, {word}: {said}");
    }
    assert!(output.stdout.is_empty(), "{args:?}");
}

#[test]
fn a_battery_that_is_nearly_empty_stops_us_unless_forced() {
    let board = Board::plain_vm();
    for (file, content) in [
        ("type", "Battery\n"),
        ("status", "Discharging\n"),
        ("capacity", "12\n"),
    ] {
        board.file(&format!("/sys/class/power_supply/BAT0/{file}"), content);
    }
    refused(&board, &["--quick"], 1, &["BAT0 is at 12 %", "--force"]);
    calibrated(&board, &["--quick", "--only", "bandwidth", "--force"]);
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_is_measured() {
    let board = Board::plain_vm();
    board.file("/broken.toml", "version = 1\n[sensor.hwmon]\ngian = 1\n");
    let broken = board.place("/broken.toml");
    refused(
        &board,
        &["--quick", "--out", broken.to_str().unwrap()],
        1,
        &["line 3", "`gian`"],
    );
    let below_a_file = broken.join("calibration.toml");
    refused(
        &board,
        &["--quick", "--out", below_a_file.to_str().unwrap()],
        1,
        &["broken.toml/calibration.toml"],
    );
}

#[test]
fn bad_usage_is_told() {
    let board = Board::plain_vm();
    refused(&board, &["--quick", "--full"], 2, &["cannot be used with"]);
    refused(&board, &["--only", "everything"], 2, &["power-model"]);
    refused(&board, &["--quick", "show"], 2, &["show"]);
    refused(&board, &["--quick", "--sensor", "no-such"], 1, &["no-such"]);
}
