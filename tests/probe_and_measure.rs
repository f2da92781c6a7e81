//! `hwmeter probe` and `hwmeter measure` on made-up boards and on this machine.
#![allow(clippy::unwrap_used)]

#[path = "common/boards.rs"]
mod boards;

use assert_cmd::Command;
use boards::{Animation, Board, stat};
use serde_json::Value;
use std::path::Path;

fn hwmeter(root: &Path) -> Command {
    let mut command = Command::cargo_bin("hwmeter").unwrap();
    command.arg("--root").arg(root);
    command
}

fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn probe(board: &Board) -> Value {
    json(hwmeter(board.path()).args(["probe", "--json"]))
}

/// Joules of one second by the board's default sensor, and how long it really took.
fn measure_a_second(board: &Board) -> (Value, f64, f64) {
    let measured = json(hwmeter(board.path()).args(["measure", "--json", "--", "sleep", "1"]));
    let joules = measured["total"]["joules"].as_f64().unwrap();
    let seconds = measured["duration_s"].as_f64().unwrap();
    (measured, joules, seconds)
}

fn assert_power(board: &Board, watts: f64) {
    let (measured, joules, seconds) = measure_a_second(board);
    let mean = joules / seconds;
    assert!(
        (mean - watts).abs() < 0.01 * watts,
        "expected {watts} W, got {mean}: {measured:#}"
    );
    assert!(measured["coverage"].as_f64().unwrap() > 0.9, "{measured:#}");
    assert!(measured["total"]["uncertainty_joules"].as_f64().unwrap() > 0.0);
}

/// `(name, role)` of a sensor's rails.
fn rails(document: &Value, sensor: &str) -> Vec<(String, String)> {
    let sensors = document["sensors"].as_array().unwrap();
    let found = sensors
        .iter()
        .find(|s| s["name"] == sensor)
        .unwrap_or_else(|| panic!("no {sensor}: {document:#}"));
    assert_eq!(found["status"], "ok", "{found:#}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found["rails"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (text(&r["name"]), text(&r["role"])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(name, role)| (name.to_string(), role.to_string()))
        .collect()
}

#[test]
fn jetson_nano() {
    let board = Board::jetson_nano();
    let document = probe(&board);
    assert_eq!(document["board"]["kind"], "jetson-nano");
    assert_eq!(document["board"]["soc"], "tegra210");
    assert_eq!(document["default_sensor"], "ina3221-iio");
    assert_eq!(
        rails(&document, "ina3221-iio"),
        pairs(&[
            ("POM_5V_IN", "total"),
            ("POM_5V_GPU", "gpu"),
            ("POM_5V_CPU", "cpu")
        ])
    );
    assert_power(&board, 2.247);
}

#[test]
fn agx_orin_adds_three_rails_and_not_the_fourth() {
    let board = Board::agx_orin();
    let document = probe(&board);
    assert_eq!(document["board"]["kind"], "jetson-agx-orin");
    assert_eq!(document["default_sensor"], "ina3221-hwmon");
    assert_eq!(
        rails(&document, "ina3221-hwmon"),
        pairs(&[
            ("VDD_GPU_SOC", "gpu"),
            ("VDD_CPU_CV", "cpu"),
            ("VIN_SYS_5V0", "io"),
            ("VDDQ_VDD2_1V8AO", "memory")
        ])
    );
    assert_power(&board, 10.0);
}

#[test]
fn one_chip_alone_by_its_address() {
    let board = Board::agx_orin();
    let measured = json(hwmeter(board.path()).args([
        "measure",
        "--sensor",
        "ina3221-hwmon:1-0041",
        "--duration",
        "300ms",
        "--json",
    ]));
    assert_eq!(measured["sensor"], "ina3221-hwmon:1-0041");
    assert_eq!(measured["rails"].as_array().unwrap().len(), 1);
    assert!((measured["total"]["mean_watts"].as_f64().unwrap() - 0.5).abs() < 0.005);
}

#[test]
fn raspberry_pi_4_is_modelled_and_says_so() {
    let board = Board::raspberry_pi_4();
    let document = probe(&board);
    assert_eq!(document["board"]["kind"], "raspberry-pi-4");
    assert_eq!(document["default_sensor"], "rpi-model");
    assert_eq!(rails(&document, "rpi-model"), pairs(&[("total", "total")]));
    assert_eq!(document["sensors"][0]["kind"], "modelled");
    // A constant half of the time busy, counted in ticks as the kernel does.
    let _running = Animation::start(vec![board.place("/proc/stat")], |_, t| {
        let ticks = (t * 100.0) as u64;
        stat(1_000_000 + ticks, 1_000_000 + ticks)
    });
    assert_power(&board, 2.2856926184722672 + 0.5 * 4.534426720546654);
    let text = hwmeter(board.path()).arg("probe").output().unwrap().stdout;
    assert!(String::from_utf8(text).unwrap().contains("modelled"));
}

#[test]
fn rapl_counts_packages_and_memory_once() {
    let board = Board::rapl();
    let watts = [10.0, 6.0, 1.0, 2.0, 10.0];
    let zones = [
        "intel-rapl:0",
        "intel-rapl:0/intel-rapl:0:0",
        "intel-rapl:0/intel-rapl:0:1",
        "intel-rapl:0/intel-rapl:0:2",
        "intel-rapl-mmio:0",
    ];
    let files = zones
        .iter()
        .map(|zone| board.place(&format!("/sys/class/powercap/{zone}/energy_uj")))
        .collect();
    let _running = Animation::start(files, move |i, t| {
        format!("{}\n", 1_000_000_000 + (t * watts[i] * 1e6) as u64)
    });
    let document = probe(&board);
    assert_eq!(document["board"]["kind"], "generic-x86");
    assert_eq!(document["default_sensor"], "powercap");
    assert_eq!(
        rails(&document, "powercap"),
        pairs(&[
            ("package-0", "cpu"),
            ("core", "cpu"),
            ("uncore", "gpu"),
            ("dram", "memory")
        ])
    );
    assert_power(&board, 12.0);
}

#[test]
fn sensors_side_by_side_are_not_summed() {
    let board = Board::jetson_nano();
    let measured = json(hwmeter(board.path()).args([
        "measure",
        "--sensor",
        "ina3221-iio",
        "--sensor",
        "cpu-model",
        "--duration",
        "300ms",
        "--json",
    ]));
    let sensors = measured["sensors"].as_array().unwrap();
    assert_eq!(sensors.len(), 2);
    assert_eq!(
        (sensors[0]["kind"].as_str(), sensors[1]["kind"].as_str()),
        (Some("measured"), Some("modelled"))
    );
    assert!((sensors[0]["total"]["mean_watts"].as_f64().unwrap() - 2.247).abs() < 0.02);
}

#[test]
fn a_trace_has_a_row_per_rail_and_sample_and_integrates_to_the_same_joules() {
    let board = Board::jetson_nano();
    let file = board.path().join("energy.csv");
    let measured = json(
        hwmeter(board.path())
            .args(["measure", "--duration", "500ms", "--json", "--csv"])
            .arg(&file),
    );
    let mut rows = csv::Reader::from_path(&file).unwrap();
    let header: Vec<String> = rows.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(header, ["t_s", "sensor", "rail", "power_w", "energy_j"]);
    let total: Vec<csv::StringRecord> = rows
        .records()
        .map(Result::unwrap)
        .filter(|row| &row[2] == "POM_5V_IN")
        .collect();
    let number = |row: &csv::StringRecord, i: usize| row[i].parse::<f64>().unwrap();
    let (first, last) = (&total[0], &total[total.len() - 1]);
    let power = (number(last, 4) - number(first, 4)) / (number(last, 0) - number(first, 0));
    let mean = measured["total"]["mean_watts"].as_f64().unwrap();
    assert!((power - mean).abs() < 1e-6 * mean, "{power} {mean}");
}

#[test]
fn a_node_without_permission_says_which_and_what_to_do() {
    if nix::unistd::geteuid().is_root() {
        // Root may read everything; a directory in place of the file fails for root as well.
        let board = Board::jetson_nano();
        let node = board.place("/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input");
        std::fs::remove_file(&node).unwrap();
        std::fs::create_dir(&node).unwrap();
        let document = probe(&board);
        let sensor = &document["sensors"][0];
        assert_eq!(
            (sensor["name"].as_str(), sensor["status"].as_str()),
            (Some("ina3221-iio"), Some("error"))
        );
        assert!(
            sensor["reason"].as_str().unwrap().contains("in_power0_input"),
            "{sensor:#}"
        );
        assert_eq!(document["default_sensor"], "cpu-model");
        return;
    }
    let board = Board::jetson_nano();
    use std::os::unix::fs::PermissionsExt;
    let node = board.place("/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input");
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o000)).unwrap();
    let document = probe(&board);
    let sensor = &document["sensors"][0];
    assert_eq!(sensor["status"], "denied");
    assert!(sensor["hint"].as_str().unwrap().contains("chmod"), "{sensor:#}");
}

#[test]
fn bad_usage_is_exit_2_and_what_cannot_be_done_exit_1() {
    let board = Board::jetson_nano();
    let code = |args: &[&str]| hwmeter(board.path()).args(args).output().unwrap().status.code();
    assert_eq!(code(&["measure"]), Some(2));
    assert_eq!(code(&["measure", "--duration", "soon"]), Some(2));
    assert_eq!(code(&["measure", "--rate", "0", "--duration", "1"]), Some(2));
    assert_eq!(code(&["measure", "--rate", "nan", "--duration", "1"]), Some(2));
    assert_eq!(code(&["measure", "--duration", "1", "--", "true"]), Some(2));
    assert_eq!(code(&["nonsense"]), Some(2));
    let failure = |args: &[&str]| {
        let output = hwmeter(board.path()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(failure(&["measure", "--sensor", "crystal-ball", "--duration", "1"]).contains("known are"));
    assert!(failure(&["measure", "--sensor", "powercap", "--duration", "1"]).contains("not found"));
    assert!(
        failure(&["measure", "--duration", "1", "--csv", "/no/such/dir/x.csv"])
            .contains("/no/such/dir/x.csv")
    );
}

#[test]
fn a_machine_with_nothing_is_told_so() {
    let nothing = tempfile::tempdir().unwrap();
    let document = json(hwmeter(nothing.path()).args(["probe", "--json"]));
    assert_eq!(document["default_sensor"], Value::Null);
    let output = hwmeter(nothing.path())
        .args(["measure", "--duration", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("no usable sensor") && text.contains("/proc/stat"),
        "{text}"
    );
}

#[test]
fn a_bundle_is_the_board_again_without_its_serial_number() {
    let board = Board::agx_orin();
    board.file(
        "/proc/cpuinfo",
        "processor\t: 0\nCPU implementer\t: 0x41\nSerial\t\t: 1421022077731\n",
    );
    board
        .file("/sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")
        .file("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
        .file(
            "/proc/driver/nvidia/gpus/0000:01:00.0/information",
            "Model: \t NVIDIA Made-up 9\nGPU UUID: \t GPU-00112233\n",
        );
    let tar = board.path().join("bundle.tar");
    let packed = hwmeter(board.path())
        .args(["probe", "--bundle"])
        .arg(&tar)
        .output()
        .unwrap();
    assert!(
        packed.status.success(),
        "{}",
        String::from_utf8_lossy(&packed.stderr)
    );
    let unpacked = tempfile::tempdir().unwrap();
    tar::Archive::new(std::fs::File::open(&tar).unwrap())
        .unpack(unpacked.path())
        .unwrap();
    let again = json(hwmeter(unpacked.path()).args(["probe", "--json"]));
    assert_eq!(again, probe(&board));
    let cpuinfo = std::fs::read_to_string(unpacked.path().join("proc/cpuinfo")).unwrap();
    assert!(cpuinfo.contains("implementer") && !cpuinfo.contains("1421022077731"));
    let card = "proc/driver/nvidia/gpus/0000:01:00.0/information";
    let card = std::fs::read_to_string(unpacked.path().join(card)).unwrap();
    assert!(card.contains("Made-up 9") && !card.contains("00112233"), "{card}");
}

#[test]
fn a_modem_that_the_sensor_does_not_see_is_added_and_makes_the_total_modelled() {
    let board = Board::raspberry_pi_4();
    for (file, bytes) in [("rx_bytes", "1000\n"), ("tx_bytes", "500\n")] {
        board.file(&format!("/sys/class/net/wwan0/statistics/{file}"), bytes);
    }
    let measure = |radio: &[&str]| {
        let args = ["measure", "--duration", "300ms", "--json"];
        json(hwmeter(board.path()).args(args).args(radio))
    };
    let watts = |document: &Value| document["total"]["mean_watts"].as_f64().unwrap();
    let (without, with) = (
        measure(&[]),
        measure(&["--radio", "wwan0:idle=0.5,send=2.5,receive=1.5"]),
    );
    assert_eq!(with["kind"], "modelled");
    let radio = &with["rails"][1];
    assert_eq!(radio["name"], "radio", "{with:#}");
    assert!(
        (watts(&with) - watts(&without) - 0.5).abs() < 0.05,
        "{with:#} {without:#}"
    );
    let unknown = hwmeter(board.path())
        .args([
            "measure",
            "--duration",
            "1s",
            "--radio",
            "wwan9:idle=0.5,send=2.5,receive=1.5",
        ])
        .output()
        .unwrap();
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("wwan9"));
}

#[test]
fn a_total_can_be_chosen() {
    let board = Board::agx_orin();
    let measure = |total: &str| {
        hwmeter(board.path())
            .args(["measure", "--duration", "300ms", "--json", "--total", total])
            .output()
            .unwrap()
    };
    let chosen = measure("VDD_CPU_CV,VDDQ_VDD2_1V8AO");
    let document: Value = serde_json::from_slice(&chosen.stdout).unwrap();
    assert!(
        (document["total"]["mean_watts"].as_f64().unwrap() - 1.5).abs() < 0.02,
        "{document:#}"
    );
    let unknown = measure("VDD_MOON");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("VDD_GPU_SOC"));
}

#[test]
fn setup_shows_installs_and_removes_its_rules() {
    let system = tempfile::tempdir().unwrap();
    let setup = |args: &[&str]| hwmeter(system.path()).arg("setup").args(args).output().unwrap();
    let shown = setup(&["--print"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.contains("CVE-2020-8694") && text.contains("udevadm"),
        "{text}"
    );
    assert_eq!(
        std::fs::read_dir(system.path()).unwrap().count(),
        0,
        "--print touches nothing"
    );
    assert!(setup(&[]).status.success());
    assert!(system.path().join("etc/udev/rules.d/60-hwmeter.rules").is_file());
    assert!(setup(&["--remove"]).status.success());
    assert!(!system.path().join("etc/udev/rules.d/60-hwmeter.rules").exists());
    assert!(
        String::from_utf8(setup(&["--remove"]).stdout)
            .unwrap()
            .contains("nothing was installed")
    );
}
