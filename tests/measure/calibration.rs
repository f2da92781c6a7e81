//! The calibration file.

use crate::boards::Board;
use crate::{NANO_WATTS, json, number, output, status, text};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn a_typo_in_the_calibration_names_its_line() {
    let board = Board::jetson_nano();
    board.file(
        "/etc/hwmeter/calibration.toml",
        "# mine\n[sensor.ina3221-iio]\ngian = 0.002\n",
    );
    for args in [
        &["measure", "--duration", "1"][..],
        &["probe"],
        &["calibrate", "--quick"],
    ] {
        let failed = output(&board, args);
        assert_eq!(failed.status.code(), Some(1), "{args:?}");
        let said = text(&failed.stderr);
        assert!(
            said.contains("calibration.toml, line 3") && said.contains("`gian`"),
            "{said}"
        );
    }
    assert_eq!(
        status(&board, &["mark", "x"]),
        Some(1),
        "marks need no calibration"
    );
}

#[test]
fn the_calibration_of_the_system_is_used_and_told() {
    let board = Board::jetson_nano();
    board.file(
        "/etc/hwmeter/calibration.toml",
        "[sensor.ina3221-iio]\ngain = 0.1\nlag_s = 0.4\nlag_uncertainty = 0.3\nwindow_s = 0.2\nclock_s = 0.001\n\
         [sensor.ina3221-iio.rail.POM_5V_IN]\noffset_w = 0.5\n",
    );
    let document: Value = serde_json::from_slice(&output(&board, &["probe", "--json"]).stdout).unwrap();
    let sensor = &document["sensors"][0];
    let accuracy = &sensor["accuracy"];
    for (key, value) in [
        ("gain", 0.1),
        ("lag_s", 0.4),
        ("lag_uncertainty", 0.3),
        ("window_s", 0.2),
        ("clock_s", 0.001),
        ("offset_watts", 0.5),
    ] {
        assert_eq!(accuracy[key], value, "{key}: {sensor:#}");
    }
    let source = accuracy["source"].as_str().unwrap();
    assert!(source.contains("calibration.toml"), "{source}");
    let shown = text(&output(&board, &["probe"]).stdout);
    assert!(
        shown.contains("±20.0 %") && shown.contains("Calibration used"),
        "{shown}"
    );
    let measured = json(&board, &["--duration", "500ms"]);
    let gain = number(&measured["budget"]["gain"]) / number(&measured["total"]["joules"]);
    assert!((gain - 0.1).abs() < 1e-6, "{measured:#}");
}

#[test]
fn the_users_own_calibration_comes_first() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("hwmeter/calibration.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "[sensor.cpu-model]\nidle_watts = 1.5\n").unwrap();
    let probe = |variable: &str, dir: &Path| -> Value {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("hwmeter"));
        command.args(["probe", "--json"]).env_remove("XDG_CONFIG_HOME");
        let probed = command.env(variable, dir).output().unwrap();
        serde_json::from_slice(&probed.stdout).unwrap()
    };
    let of_xdg = probe("XDG_CONFIG_HOME", home.path());
    assert_eq!(of_xdg["calibration"], file.to_str().unwrap());
    let sensors = of_xdg["sensors"].as_array().unwrap();
    let model = sensors.iter().find(|s| s["id"] == "cpu-model").unwrap();
    assert_eq!(model["idle_watts"], 1.5);
    let dot_config = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(home.path(), dot_config.path().join(".config")).unwrap();
    let of_home = probe("HOME", dot_config.path());
    let expected = dot_config.path().join(".config/hwmeter/calibration.toml");
    assert_eq!(of_home["calibration"], expected.to_str().unwrap());
}

#[test]
fn calibrate_writes_idle_power_and_keeps_what_else_the_file_says() {
    let board = Board::jetson_nano();
    let file = board.path().join("calibration.toml");
    std::fs::write(&file, "# by hand\n[sensor.ina3221-iio]\ngain = 0.004 # good\n").unwrap();
    let file = file.to_str().unwrap();
    let done = output(
        &board,
        &["calibrate", "--quick", "--only", "idle", "--json", "--out", file],
    );
    assert!(done.status.success(), "{}", text(&done.stderr));
    let written = std::fs::read_to_string(file).unwrap();
    assert!(
        written.contains("# by hand") && written.contains("gain = 0.004 # good"),
        "{written}"
    );
    let measured = json(&board, &["--calibration", file, "--duration", "500ms"]);
    assert!(
        (number(&measured["idle_watts"]) - NANO_WATTS).abs() < 0.01,
        "{measured:#}"
    );
    assert_eq!(measured["idle"]["source"], "calibration file");
    let net = &measured["net"];
    assert!(
        number(&net["joules"]).abs() <= 2.0 * number(&net["uncertainty_joules"]),
        "{measured:#}"
    );
}
