//! The file: where it is, what stays in it, whose it is; `show` and `compare`.

use super::{Board, calibrated, document, hwmeter, read, text};
use serde_json::Value;

/// As `hwmeter calibrate` writes it, on another board than the made-up ones.
const OTHER: &str = r#"version = 1

[made]
date = 2026-11-25T14:00:00Z
hwmeter = "0.1.0"
board = "Raspberry Pi 4 Model B Rev 1.4"
kind = "raspberry-pi-4"
kernel = "6.12.20"
governor = "ondemand"

[[gemm]]
provider = "builtin"
op = "sgemm"
threads = 1
n = 256
gflops = 8.0

[[gemm]]
provider = "builtin"
op = "sgemm"
threads = 4
n = 512
gflops = 20.0
watts = 5.0
gflops_per_watt = 4.0
gflops_per_watt_uncertainty = 0.1
kind = "measured"

[bandwidth]
bytes_per_s = 4e9
threads = 4

[[learner]]
name = "dqn"
variant = "4x256"
decide_s = 0.0002
update_s = 0.001
update_j = 0.005
kind = "modelled"
"#;

#[test]
fn a_file_of_another_board_or_kernel_warns_once() {
    let board = Board::jetson_nano();
    board.file("/etc/hwmeter/calibration.toml", OTHER);
    board.file("/proc/sys/kernel/osrelease", "4.9.253-tegra\n");
    board.file(
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "schedutil\n",
    );
    for args in [&["measure", "--duration", "100ms"][..], &["probe"]] {
        let output = hwmeter(&board, args).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        for word in [
            "it was made on Raspberry Pi 4",
            "it was made with kernel 6.12.20, this is 4.9.253-tegra",
            "it was made with the governor ondemand, now it is schedutil",
        ] {
            assert_eq!(said.matches(word).count(), 1, "{word}: {said}");
        }
    }
    let quiet = hwmeter(&board, &["-q", "measure", "--duration", "100ms"])
        .output()
        .unwrap();
    let said = text(&quiet.stderr);
    assert!(!said.contains("was made"), "{said}");
}

#[test]
fn another_boards_figures_go_and_the_users_own_lines_stay() {
    let board = Board::jetson_nano();
    let file = board.path().join("mine.toml");
    std::fs::write(
        &file,
        format!("# by hand\n{OTHER}\n[sensor.ina3221-iio]\ngain = 0.004 # good\n"),
    )
    .unwrap();
    calibrated(
        &board,
        &["--quick", "--only", "idle", "--out", file.to_str().unwrap()],
    );
    let written = read(&file);
    for line in [
        "# by hand",
        "gain = 0.004 # good",
        "kind = \"jetson-nano\"",
        "idle_watts = 2.247",
    ] {
        assert!(written.contains(line), "{line}:\n{written}");
    }
    assert!(
        !written.contains("[[gemm]]") && !written.contains("Raspberry"),
        "{written}"
    );
    let rest: Vec<_> = std::fs::read_dir(board.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !rest.iter().any(|name| name.to_string_lossy().ends_with(".tmp")),
        "{rest:?}"
    );
}

#[test]
fn a_model_of_the_board_is_not_written_down_as_a_finding() {
    let board = Board::raspberry_pi_4();
    let found = document(&calibrated(
        &board,
        &["--quick", "--only", "idle,power-model", "--json"],
    ));
    assert_eq!(
        (&found["sensor"]["kind"], &found["power_model"]),
        (&"modelled".into(), &Value::Null)
    );
    let notes = found["notes"].to_string();
    assert!(
        notes.contains("is a model itself") && notes.contains("--reference"),
        "{notes}"
    );
    let written = read(&board.path().join("etc/hwmeter/calibration.toml"));
    assert!(
        written.contains("[made]") && !written.contains("[sensor"),
        "{written}"
    );
}

#[test]
fn show_prints_a_file_with_the_papers_figures_for_its_board() {
    let board = Board::plain_vm();
    board.file("/pi.toml", OTHER);
    let file = board.place("/pi.toml");
    let file = file.to_str().unwrap();
    let shown = hwmeter(&board, &["calibrate", "show", file]).output().unwrap();
    let shown_text = text(&shown.stdout);
    for word in [
        "Raspberry Pi 4 Model B Rev 1.4 (raspberry-pi-4), kernel 6.12.20, governor ondemand, 2026-11-25T14:00:00Z",
        "paper, Raspberry Pi 4",
        "20.06",
        "0.94 x",
        "1.00 x",
        "4.00 ± 0.20",
        "4.00 GB/s",
        "5.00 mJ",
        "modelled",
    ] {
        assert!(shown_text.contains(word), "{word}:\n{shown_text}");
    }
    let json = document(
        &hwmeter(&board, &["calibrate", "show", "--json", file])
            .output()
            .unwrap(),
    );
    assert_eq!(json["gemm"][1]["gflops"], 20.0);
    assert_eq!(json["made"]["kind"], "raspberry-pi-4");
    let none = hwmeter(&board, &["calibrate", "show"]).output().unwrap();
    assert!(none.status.code() == Some(1) && text(&none.stderr).contains("no calibration file"));
}

#[test]
fn compare_puts_two_files_side_by_side_with_their_ratio() {
    let board = Board::plain_vm();
    board.file("/a.toml", OTHER);
    board.file(
        "/b.toml",
        &OTHER
            .replace("gflops = 20.0", "gflops = 25.0")
            .replace("[bandwidth]\nbytes_per_s = 4e9\nthreads = 4\n", ""),
    );
    let (a, b) = (board.place("/a.toml"), board.place("/b.toml"));
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let shown = text(
        &hwmeter(&board, &["calibrate", "compare", a, b])
            .output()
            .unwrap()
            .stdout,
    );
    let line = |what: &str| {
        let line = shown
            .lines()
            .find(|line| line.contains(what))
            .unwrap_or_else(|| panic!("{what}:\n{shown}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        line("builtin sgemm 4 threads  ")[4..],
        ["GFLOPS", "20.00", "25.00", "1.250"]
    );
    assert_eq!(line("triad"), ["triad", "GB/s", "4.00"]);
    let rows = document(
        &hwmeter(&board, &["calibrate", "compare", "--json", a, b])
            .output()
            .unwrap(),
    );
    let rows = rows["rows"].as_array().unwrap();
    let triad = rows.iter().find(|row| row["what"] == "triad").unwrap();
    assert_eq!((&triad["b"], &triad["ratio"]), (&Value::Null, &Value::Null));
    let missing = hwmeter(&board, &["calibrate", "compare", a, "/no/such.toml"])
        .output()
        .unwrap();
    assert!(missing.status.code() == Some(1) && text(&missing.stderr).contains("/no/such.toml"));
}

#[test]
fn the_users_own_file_is_written_for_the_machine_itself() {
    let config = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("hwmeter"));
    command.args(["calibrate", "--quick", "--only", "bandwidth"]);
    let output = command.env("XDG_CONFIG_HOME", config.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let file = config.path().join("hwmeter/calibration.toml");
    assert!(text(&output.stdout).contains(file.to_str().unwrap()));
    let written = read(&file);
    assert!(
        written.contains("version = 1") && written.contains("[bandwidth]"),
        "{written}"
    );
    // Nothing that names the unit or its owner.
    for name in ["/etc/machine-id", "/etc/hostname"] {
        let secret = std::fs::read_to_string(name).unwrap_or_default();
        let secret = secret.trim();
        assert!(secret.len() < 5 || !written.contains(secret), "{name}: {written}");
    }
}
