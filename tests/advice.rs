//! What `hwmeter probe` advises, done word for word by a newcomer.
#![allow(clippy::unwrap_used)]

#[path = "common/boards.rs"]
mod boards;

use boards::Board;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// hwmeter as a user without rights runs it: in a place that this user can reach.
struct Newcomer {
    board: Board,
    program: std::path::PathBuf,
}

impl Newcomer {
    fn at(board: Board) -> Self {
        let program = board.place("/hwmeter");
        // By a process of its own: see `hw/tests/common/program.rs`.
        let mut copy = Command::new("install");
        copy.args(["-m", "755", env!("CARGO_BIN_EXE_hwmeter")])
            .arg(&program);
        assert!(copy.status().unwrap().success());
        Self { board, program }
    }

    fn probe(&self, args: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(self.board.path())
            .arg("probe")
            .args(args);
        command.env("PATH", "/usr/bin:/bin").current_dir("/");
        if nix::unistd::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn default_sensor(&self) -> String {
        let document: serde_json::Value = serde_json::from_str(&self.probe(&["--json"])).unwrap();
        document["default_sensor"].as_str().unwrap_or_default().to_owned()
    }
}

/// What stands behind `try:` below the line about this sensor.
fn advice<'a>(text: &'a str, sensor: &str) -> &'a str {
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with(&format!("  {sensor}: ")));
    let reason = lines
        .next()
        .unwrap_or_else(|| panic!("nothing about {sensor}: {text}"));
    let try_this = lines.next().unwrap();
    try_this
        .trim()
        .strip_prefix("try: ")
        .unwrap_or_else(|| panic!("{reason}: {try_this}"))
}

/// Pastes a line into a shell; `sudo` is us.
fn paste(line: &str) {
    let shell = format!("sudo() {{ \"$@\"; }}; {line}");
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{line}: {output:?}"
    );
}

#[test]
fn a_nano_with_root_only_nodes_is_measured_after_one_pasted_line() {
    let newcomer = Newcomer::at(Board::jetson_nano());
    let chip = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0";
    for n in 0..3 {
        for file in ["rail_name_{}", "in_power{}_input", "ui_input_{}"] {
            newcomer
                .board
                .lock(&format!("{chip}/{}", file.replace("{}", &n.to_string())));
        }
    }
    assert_eq!(newcomer.default_sensor(), "cpu-model");
    let text = newcomer.probe(&[]);
    assert!(
        text.contains("ina3221-iio: cannot read") && text.contains("rail_name_0: Permission denied"),
        "{text}"
    );
    assert!(
        text.contains("For good") && text.contains(" setup  # then log out and in again"),
        "{text}"
    );
    paste(advice(&text, "ina3221-iio"));
    assert_eq!(newcomer.default_sensor(), "ina3221-iio");
    assert!(newcomer.probe(&[]).contains("2.25 W"));
}

#[test]
fn rapl_that_belongs_to_root_is_measured_after_one_pasted_line() {
    let newcomer = Newcomer::at(Board::rapl());
    for zone in ["intel-rapl:0", "intel-rapl-mmio:0"] {
        newcomer
            .board
            .lock(&format!("/sys/class/powercap/{zone}/energy_uj"));
    }
    let text = newcomer.probe(&[]);
    assert!(
        text.contains("intel-rapl:0/energy_uj: Permission denied"),
        "{text}"
    );
    paste(advice(&text, "powercap"));
    assert_eq!(newcomer.default_sensor(), "powercap");
}

#[test]
fn a_plain_virtual_machine_is_told_that_no_command_helps_and_what_does() {
    let text = Newcomer::at(Board::plain_vm()).probe(&[]);
    for words in [
        "powercap: no driver or no device: nothing at /sys/class/powercap/intel-rapl:*",
        "this is a virtual machine",
        "Joules are modelled here (cpu-model), not measured",
        "hwmeter measure --sensor 'modbus:tcp://",
    ] {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    assert!(!text.contains("try:"), "nothing to try: {text}");
}

#[test]
fn a_pi_4_is_modelled_and_told_how_to_be_measured() {
    let text = Newcomer::at(Board::raspberry_pi_4()).probe(&[]);
    for words in [
        "Raspberry Pi 4 Model B Rev 1.2 (raspberry-pi-4, bcm2711)",
        "blind to USB devices, HATs, radio and GPU",
        "Joules are modelled here (rpi-model), not measured",
        "hwmeter measure --sensor 'modbus:tcp://",
    ] {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    assert!(
        !text.contains("Not usable"),
        "a Pi 4 lacks nothing that it could have: {text}"
    );
}

#[test]
fn a_line_of_advice_names_a_sensor_that_exists() {
    // The address is an example; what stands around it must be understood.
    let board = Board::plain_vm();
    let text = Newcomer::at(board).probe(&[]);
    let url = text.split('\'').nth(1).unwrap();
    let mut measure = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    let url = url.replace("192.168.1.7:502", "127.0.0.1:1");
    measure.args(["measure", "--sensor", &url, "--duration", "100ms"]);
    let stderr = String::from_utf8(measure.output().unwrap().stderr).unwrap();
    assert!(stderr.contains("cannot connect to tcp://127.0.0.1:1"), "{stderr}");
}

#[test]
fn every_key_of_the_document_is_there_whatever_the_board() {
    for board in [Board::jetson_nano(), Board::raspberry_pi_4(), Board::plain_vm()] {
        let document: serde_json::Value =
            serde_json::from_str(&Newcomer::at(board).probe(&["--json"])).unwrap();
        let has = |value: &serde_json::Value, keys: &[&str]| {
            for key in keys {
                assert!(value.get(key).is_some(), "{key} is not in {value:#}");
            }
        };
        has(&document, &["board", "cpu", "gpu", "default_sensor", "sensors"]);
        has(&document["board"], &["model", "kind", "soc"]);
        for sensor in document["sensors"].as_array().unwrap() {
            has(
                sensor,
                &[
                    "id",
                    "name",
                    "kind",
                    "status",
                    "reason",
                    "hint",
                    "rails",
                    "update_period_s",
                    "accuracy",
                ],
            );
            for rail in sensor["rails"].as_array().unwrap() {
                has(rail, &["name", "role"]);
            }
        }
    }
}
