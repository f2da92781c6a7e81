//! `hwmeter measure` and `hwmeter mark` as a user runs them, on made-up boards.
#![allow(clippy::unwrap_used)]

#[path = "common/boards.rs"]
mod boards;

use boards::Board;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What the made-up Jetson Nano draws, in watts.
const NANO_WATTS: f64 = 2.247;
const NANO_INPUT: &str = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input";

/// The program on a board, with itself in PATH: measured scripts call `hwmeter mark`.
fn hwmeter(board: &Board, args: &[&str]) -> Command {
    let program = assert_cmd::cargo::cargo_bin!("hwmeter");
    let mut path = vec![program.parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut command = Command::new(program);
    command
        .arg("--root")
        .arg(board.path())
        .args(args)
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("TMPDIR", board.path())
        .env_remove("HWMETER_MARKS");
    command
}

fn output(board: &Board, args: &[&str]) -> Output {
    hwmeter(board, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(board: &Board, args: &[&str]) -> Value {
    let output = output(board, &[&["measure", "--json"], args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn status(board: &Board, args: &[&str]) -> Option<i32> {
    output(board, args).status.code()
}

/// Waits until a file is there.
#[track_caller]
fn until_there(file: &Path) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !file.exists() {
        assert!(Instant::now() < give_up, "no {}", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Directories of marks that are left over.
fn leftovers(board: &Board) -> usize {
    let entries = std::fs::read_dir(board.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| text(name.as_encoded_bytes()).starts_with("hwmeter-"))
        .count()
}

// Idle power

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

// Calibration file

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
    let done = output(&board, &["calibrate", "--quick", "--json", "--out", file]);
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

// Repeats

#[test]
fn repeated_runs_have_mean_deviation_and_interval() {
    let board = Board::jetson_nano();
    let measured = json(
        &board,
        &["--repeat", "4", "--idle", "500ms", "--duration", "200ms"],
    );
    let runs = measured["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    let joules: Vec<f64> = runs.iter().map(|run| number(&run["total"]["joules"])).collect();
    let mean = joules.iter().sum::<f64>() / 4.0;
    let deviation = (joules.iter().map(|j| (j - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
    assert!(
        (number(&measured["mean_joules"]) - mean).abs() < 1e-9,
        "{measured:#}"
    );
    assert!(
        (number(&measured["stddev_joules"]) - deviation).abs() < 1e-9,
        "{measured:#}"
    );
    let [low, high] = [0, 1].map(|i| number(&measured["interval_joules"][i]));
    assert!(((low + high) / 2.0 - mean).abs() < 1e-9);
    // Gain and offset are the same in all runs: no number of them makes the mean surer than that.
    let common = runs.iter().map(|run| {
        let term = |name: &str| number(&run["budget"][name]);
        term("gain").hypot(term("offset"))
    });
    let common = common.fold(f64::INFINITY, f64::min);
    assert!((high - low) / 2.0 >= 1.95 * common, "{measured:#}");
    assert!((high - low) / 2.0 < 0.2 * mean, "{measured:#}");
    let net = &measured["net"];
    let [low, high] = [0, 1].map(|i| number(&net["interval_joules"][i]));
    assert!(low <= 0.0 && 0.0 <= high, "{net:#}");
    let shown = text(&output(&board, &["measure", "--repeat", "2", "--duration", "100ms"]).stderr);
    assert!(
        shown.contains("over 2 runs") && shown.contains("(95 %)"),
        "{shown}"
    );
}

#[test]
fn a_run_that_failed_is_not_hidden_by_those_after_it() {
    let board = Board::jetson_nano();
    let flag = board.path().join("flag");
    let script = format!("test -e {0} || {{ touch {0}; exit 3; }}", flag.display());
    let done = output(&board, &["measure", "--repeat", "3", "--", "sh", "-c", &script]);
    assert_eq!(done.status.code(), Some(3));
    assert!(
        text(&done.stderr).contains("1 of 3 runs"),
        "{}",
        text(&done.stderr)
    );
}

// Phases

/// A script that sets the board's power itself, in one step, and says where its phases begin.
fn phases_script(board: &Board, mark: impl Fn(&str) -> String) -> String {
    let input = board.place(NANO_INPUT);
    let power = |milliwatts: u32| format!("echo {milliwatts} > {0}.new; mv {0}.new {0}\n", input.display());
    [("load", 2000), ("work", 6000), ("save", 4000)]
        .iter()
        .map(|(name, milliwatts)| format!("{}{}\nsleep 0.5\n", power(*milliwatts), mark(name)))
        .collect()
}

fn assert_phases(measured: &Value) {
    let phases = measured["phases"].as_array().unwrap();
    let names: Vec<&str> = phases
        .iter()
        .map(|phase| phase["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["(start)", "load", "work", "save"]);
    for (phase, watts) in phases[1..].iter().zip([2.0, 6.0, 4.0]) {
        let mean = number(&phase["total"]["mean_watts"]);
        assert!((mean - watts).abs() < 0.06 * watts, "{watts} W: {phase:#}");
        assert!(number(&phase["duration_s"]) >= 0.5, "{phase:#}");
        assert!(
            number(&phase["coverage"]) > 0.9 && number(&phase["samples"]) > 30.0,
            "{phase:#}"
        );
        assert!(number(&phase["total"]["uncertainty_joules"]) > 0.0);
        assert_eq!(phase["rails"].as_array().unwrap().len(), 3);
    }
    let sum: f64 = phases.iter().map(|phase| number(&phase["total"]["joules"])).sum();
    let total = number(&measured["total"]["joules"]);
    assert!((sum - total).abs() < 0.01 * total, "{sum} {total}");
}

#[test]
fn phases_by_hwmeter_mark() {
    let board = Board::jetson_nano();
    let script = phases_script(&board, |name| format!("hwmeter mark {name}"));
    assert_phases(&json(&board, &["--", "sh", "-c", &script]));
    assert_eq!(leftovers(&board), 0);
}

#[test]
fn phases_by_plain_shell_in_json_and_as_a_table() {
    let board = Board::jetson_nano();
    let script = phases_script(&board, |name| format!("echo {name} > \"$HWMETER_MARKS\""));
    assert_phases(&json(&board, &["--", "sh", "-c", &script]));
    let twice = "for i in 1 2; do hwmeter mark 'read file'; sleep 0.1; hwmeter mark rest; sleep 0.1; done";
    let shown = text(&output(&board, &["measure", "--", "sh", "-c", twice]).stderr);
    for words in [
        "PHASE",
        "(start)",
        "read file",
        "read file, 2 times",
        "rest, 2 times",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn thousands_of_marks_lose_none() {
    let board = Board::jetson_nano();
    let script = "i=0; while [ $i -lt 3000 ]; do echo p$((i % 3)) > \"$HWMETER_MARKS\"; i=$((i+1))
        j=0; while [ $j -lt 200 ]; do j=$((j+1)); done; done";
    let measured = json(&board, &["--", "sh", "-c", script]);
    let phases = measured["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 3001);
    let sum: f64 = phases.iter().map(|phase| number(&phase["duration_s"])).sum();
    let seconds = number(&measured["duration_s"]);
    assert!((sum - seconds).abs() < 0.1 * seconds, "{sum} {seconds}");
    let shown = text(&output(&board, &["measure", "--", "sh", "-c", script]).stderr);
    assert!(shown.lines().count() < 24, "one screen: {shown}");
}

#[test]
fn junk_in_the_pipe_is_counted_and_begins_nothing() {
    let board = Board::jetson_nano();
    let script =
        "head -c 100000 /dev/zero > \"$HWMETER_MARKS\"; echo > \"$HWMETER_MARKS\"; hwmeter mark good";
    let measured = json(&board, &["--", "sh", "-c", script]);
    assert_eq!(measured["phases"].as_array().unwrap().len(), 2, "{measured:#}");
    let warnings = measured["warnings"].to_string();
    assert!(warnings.contains("1 marks began no phase"), "{warnings}");
}

#[test]
fn a_mark_where_nothing_is_measured_says_so() {
    let board = Board::jetson_nano();
    let failure = |command: &mut Command| {
        let failed = command.output().unwrap();
        assert_eq!(failed.status.code(), Some(1));
        text(&failed.stderr)
    };
    let outside = failure(&mut hwmeter(&board, &["mark", "x"]));
    assert!(
        outside.contains("nothing is being measured") && outside.contains("measure --"),
        "{outside}"
    );
    let gone = failure(hwmeter(&board, &["mark", "x"]).env("HWMETER_MARKS", "/no/such/pipe"));
    assert!(gone.contains("has ended"), "{gone}");
    let bad = failure(&mut hwmeter(&board, &["mark", "a\tb"]));
    assert!(bad.contains("control characters"), "{bad}");
}

/// Killed without a chance to clean up, it leaves the command alone, and no mark waits for ever.
#[test]
fn the_command_survives_measure_and_so_do_its_marks() {
    let board = Board::jetson_nano();
    let place = |name: &str| board.path().join(name);
    let script = format!(
        "echo begin > \"$HWMETER_MARKS\"; touch {0}; while [ ! -e {1} ]; do sleep 0.01; done
         hwmeter mark late; echo $? > {2}; echo later > \"$HWMETER_MARKS\"; touch {3}",
        place("ready").display(),
        place("go").display(),
        place("status").display(),
        place("done").display(),
    );
    let mut measure = hwmeter(&board, &["measure", "--", "sh", "-c", &script])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_there(&place("ready"));
    measure.kill().unwrap();
    measure.wait().unwrap();
    let give_up = Instant::now() + Duration::from_secs(10);
    while leftovers(&board) > 0 {
        assert!(
            Instant::now() < give_up,
            "the directory of the pipe is still there"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::write(place("go"), "").unwrap();
    until_there(&place("done"));
    assert_eq!(std::fs::read_to_string(place("status")).unwrap(), "1\n");
}

// Exit status and signals

#[test]
fn a_command_keeps_its_exit_status_and_its_output_leaves_stdout_to_the_document() {
    let board = Board::jetson_nano();
    let done = output(
        &board,
        &["measure", "--json", "--", "sh", "-c", "echo hello; exit 7"],
    );
    assert_eq!(done.status.code(), Some(7));
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(document["exit_status"], 7);
    assert!(text(&done.stderr).contains("hello"));
}

#[test]
fn exit_statuses_are_those_of_a_shell() {
    let board = Board::jetson_nano();
    assert_eq!(
        status(&board, &["measure", "--", "sh", "-c", "kill -9 $$"]),
        Some(137)
    );
    assert_eq!(
        status(&board, &["measure", "--", "sh", "-c", "kill -TERM $$"]),
        Some(143)
    );
    assert_eq!(status(&board, &["measure", "--", "/no/such/program"]), Some(127));
    board.file("/script", "not executable\n");
    let script = board.place("/script");
    let refused = output(&board, &["measure", "--", script.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(126));
    assert!(
        text(&refused.stderr).contains("/script"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(leftovers(&board), 0);
}

#[test]
fn stdin_and_stdout_are_those_of_the_command() {
    let board = Board::jetson_nano();
    let mut measure = hwmeter(&board, &["measure", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut measure.stdin.take().unwrap(), b"through\n").unwrap();
    assert_eq!(text(&measure.wait_with_output().unwrap().stdout), "through\n");
}

/// Starts a script under `measure --json` and waits until it has made the file `ready`.
fn start(board: &Board, script: &str) -> Child {
    let ready = board.path().join("ready");
    let script = script.replace("READY", &format!("touch {}", ready.display()));
    let measure = hwmeter(board, &["measure", "--json", "--", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_there(&ready);
    measure
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

#[test]
fn a_signal_to_measure_alone_reaches_the_command_and_the_result_is_printed() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        let board = Board::jetson_nano();
        let name = &signal.as_str()[3..];
        let script = format!("trap 'exit 5' {name}; READY; while :; do sleep 0.01; done");
        let measure = start(&board, &script);
        send(&measure, signal);
        let done = measure.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(5), "{signal}");
        let document: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(document["exit_status"], 5, "{signal}");
        assert_eq!(leftovers(&board), 0);
    }
}

#[test]
fn signals_that_mean_something_to_the_command_alone_end_nothing() {
    let board = Board::jetson_nano();
    let script =
        "n=0; trap 'n=$((n+1))' USR1 USR2 WINCH; READY; while [ $n -lt 3 ]; do sleep 0.01; done; exit 6";
    let measure = start(&board, script);
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH] {
        send(&measure, signal);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(measure.wait_with_output().unwrap().status.code(), Some(6));
}

#[test]
fn stopping_measure_stops_the_command_and_both_go_on() {
    let board = Board::jetson_nano();
    let counter = board.path().join("counter");
    let script = format!(
        "READY; i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo $i > {}; sleep 0.01; done; exit 4",
        counter.display()
    );
    let measure = start(&board, &script);
    send(&measure, Signal::SIGTSTP);
    std::thread::sleep(Duration::from_millis(200));
    let count = || std::fs::read_to_string(&counter).unwrap_or_default();
    let stopped_at = count();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(count(), stopped_at, "the command stands still");
    send(&measure, Signal::SIGCONT);
    let done = measure.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(4));
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(number(&document["coverage"]) < 0.9, "nobody sampled meanwhile");
    assert!(document["warnings"].to_string().contains("backed by samples"));
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let board = Board::jetson_nano();
    let ready = board.path().join("ready");
    let inner = format!("touch {}; sleep 0.5; exit 3", ready.display());
    let mut nohup = hwmeter(&board, &[]);
    let program = nohup.get_program().to_owned();
    nohup = Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(program)
        .arg("--root")
        .arg(board.path())
        .args(["measure", "--", "sh", "-c", &inner])
        .stderr(Stdio::null());
    let mut measure = nohup.spawn().unwrap();
    until_there(&ready);
    send(&measure, Signal::SIGHUP);
    assert_eq!(measure.wait().unwrap().code(), Some(3));
}

#[test]
fn a_duration_can_be_cut_short() {
    let board = Board::jetson_nano();
    let measure = hwmeter(&board, &["measure", "--json", "--duration", "60s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(700));
    send(&measure, Signal::SIGINT);
    let done = measure.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0));
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(number(&document["duration_s"]) < 30.0);
}

// The rest

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

/// The work of a grandchild, at 2 J per CPU second, on a board that idles at 2 W.
#[test]
fn a_share_is_idle_power_and_the_cpu_time_of_the_whole_tree() {
    let threads = Path::new("/proc/self/task");
    if !threads
        .join(std::process::id().to_string())
        .join("children")
        .exists()
    {
        eprintln!("skipped: this kernel has no CONFIG_PROC_CHILDREN");
        return;
    }
    let board = Board::jetson_nano();
    board.file(
        "/etc/hwmeter/calibration.toml",
        "[sensor.ina3221-iio]\nidle_watts = 2\nfull_watts = 4\n",
    );
    let times = board.path().join("times");
    let work = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
    let script = format!("sh -c '{work}'; times > {}; sleep 0.2", times.display());
    let measured = json(&board, &["--share", "--", "sh", "-c", &script]);
    assert_eq!(measured["kind"], "modelled");
    let rail = |name: &str| {
        let rails = measured["rails"].as_array().unwrap();
        number(&rails.iter().find(|rail| rail["name"] == name).unwrap()["joules"])
    };
    let seconds = number(&measured["duration_s"]);
    let cores = 1.0; // of the made-up board
    let price = (4.0 - 2.0) / cores;
    assert!(
        (rail("idle") - 2.0 * seconds).abs() < 0.02 * seconds,
        "{measured:#}"
    );
    let (seen, used) = (rail("dynamic") / price, cpu_seconds(&times));
    let tolerance = 0.05 + 0.05 * used;
    assert!(
        used > 0.1 && (seen - used).abs() < tolerance,
        "{seen} of {used}: {measured:#}"
    );
    assert!(
        (rail("device") - rail("idle") - rail("dynamic")).abs() < 1e-6,
        "{measured:#}"
    );
    let net = number(&measured["net"]["joules"]);
    assert!((net - rail("dynamic")).abs() < 0.02, "{measured:#}");
    let asleep = json(&board, &["--share", "--", "sleep", "0.5"]);
    assert!(number(&asleep["net"]["joules"]).abs() < 0.1, "{asleep:#}");
}

/// All that the shell's `times` says: its own time and that of its children, such as `0m0.25s 0m0.01s` twice.
fn cpu_seconds(times: &Path) -> f64 {
    let said = std::fs::read_to_string(times).unwrap();
    let seconds = |text: &str| {
        let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap();
        60.0 * minutes.parse::<f64>().unwrap() + seconds.parse::<f64>().unwrap()
    };
    said.split_whitespace().map(seconds).sum()
}
