//! A script that prints what tegrastats prints, and worse.
//!
//! It has no file that could hold a bad number: a bad number is a word in a line, a missing file is a missing program,
//! and a failing read is a program that ends. `EAGAIN`, `EIO` and `ENODATA` meet tegrastats itself, which leaves the rail
//! out.

use crate::common::program::script;
use hwmeter_hw::board::BoardKind;
use hwmeter_hw::clock::MonotonicClock;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::{Reading, Sensor, Value};
use hwmeter_hw::sensors::tegrastats::Tegrastats;
use hwmeter_hw::units::Watts;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LINE: &str = "RAM 1/2MB (lfb 1x4MB) CPU [1%@729,off] GR3D_FREQ 0% cpu@42C VDD_IN 5000mW/4000mW VDD_SOC 1500mW/1mW NC 7mW/7mW";

fn program(dir: &Path, body: &str) -> PathBuf {
    let file = dir.join("tegrastats");
    script(&file, body);
    file
}

fn start(program: &Path, interval_ms: u64) -> hwmeter_hw::Result<Tegrastats> {
    let interval = Duration::from_millis(interval_ms);
    Tegrastats::start(
        program,
        interval,
        BoardKind::JetsonOrinNano,
        Arc::new(MonotonicClock),
    )
}

/// The next reading that is not "nothing new".
fn next(sensor: &mut Tegrastats) -> hwmeter_hw::Result<Reading> {
    let begin = Instant::now();
    loop {
        match sensor.read() {
            Ok(reading) if reading.is_unchanged() => std::thread::sleep(Duration::from_millis(2)),
            other => return other,
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing came");
    }
}

#[test]
fn current_values_are_read_and_each_line_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        format!("[ \"$1 $2\" = '--interval 100' ] || exit 9\necho banner\necho '{LINE}'\nexec sleep 60");
    let mut sensor = start(&program(dir.path(), &script), 100).unwrap();
    let info = sensor.info();
    let names: Vec<&str> = info.rails.iter().map(|rail| rail.name.as_str()).collect();
    assert_eq!((names, &info.total[..]), (vec!["VDD_IN", "VDD_SOC"], &[0][..]));
    let reading = next(&mut sensor).unwrap();
    assert_eq!(
        reading.values[..],
        [Value::Power(Watts(5.0)), Value::Power(Watts(1.5))]
    );
    assert!(reading.at.is_some(), "stamped at arrival");
    assert!(sensor.read().unwrap().is_unchanged());
    // Silent for more than five intervals.
    std::thread::sleep(Duration::from_millis(550));
    let error = sensor.read().unwrap_err().to_string();
    assert!(error.contains("nothing for"), "{error}");
}

#[test]
fn the_child_is_gone_when_the_sensor_is() {
    let dir = tempfile::tempdir().unwrap();
    let sensor = start(
        &program(dir.path(), &format!("echo '{LINE}'\nexec sleep 60")),
        100,
    )
    .unwrap();
    let process = PathBuf::from(format!("/proc/{}", sensor.pid().unwrap()));
    assert!(process.exists());
    drop(sensor);
    assert!(!process.exists());
}

const PROGRAM: &str = "HWMETER_TEST_PROGRAM";

#[test]
#[ignore = "a process of its own for the test below"]
fn a_process_to_be_killed() {
    if let Some(program) = std::env::var_os(PROGRAM) {
        let sensor = start(Path::new(&program), 100).unwrap();
        println!("child {}", sensor.pid().unwrap());
        std::thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn the_child_is_gone_when_the_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path(), &format!("echo '{LINE}'\nexec sleep 60"));
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "tegrastats::a_process_to_be_killed",
            "--nocapture",
        ])
        .env(PROGRAM, &program)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let pid: u32 = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("child ")?.1.parse().ok())
        .unwrap();
    let is_running = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Its new parent may be slow to reap it: a zombie is dead.
        stat.rsplit_once(") ")
            .is_some_and(|(_, state)| !state.starts_with('Z'))
    };
    assert!(is_running());
    process.kill().unwrap();
    process.wait().unwrap();
    let begin = Instant::now();
    while is_running() {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "process {pid} is left behind"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_child_that_dies_comes_back_and_the_gap_shows() {
    let dir = tempfile::tempdir().unwrap();
    // Five lines, then dead; the second life goes on.
    let body = format!(
        "i=0; while [ $i -lt 5 ]; do echo '{LINE}'; sleep 0.05; i=$((i+1)); done\n\
         [ -e DIR/again ] || {{ touch DIR/again; exit 7; }}\n\
         while echo '{LINE}'; do sleep 0.05; done"
    );
    let body = body.replace("DIR", dir.path().to_str().unwrap());
    // Lines come faster than named, so that a busy machine is not taken for silence.
    let sensor = start(&program(dir.path(), &body), 200).unwrap();
    let meter = Meter::start(sensor, MeterOptions::at(40.0)).unwrap();
    let span = meter.span("life, death, life");
    std::thread::sleep(Duration::from_millis(2000));
    let energy = span.end().wait();
    let stats = meter.stop();
    assert!(stats.lost_samples() > 0, "{stats:?}");
    let error = stats.last_error.unwrap();
    assert!(error.contains("exit status: 7"), "{error}");
    assert!(
        energy.coverage < 0.95 && energy.coverage > 0.2,
        "the gap is half a second or more: {}",
        energy.coverage
    );
}

#[test]
fn a_program_without_rails_or_that_fails_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = start(&program(dir.path(), "exit 4"), 10)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("exit status: 4"), "{error}");
    assert!(start(Path::new("/nonexistent/tegrastats"), 10).is_err());
}

/// Prints the file `line` beside it, over and over.
fn parrot(dir: &Path) -> PathBuf {
    let file = dir.join("line");
    std::fs::write(&file, format!("{LINE}\n")).unwrap();
    let place = file.display();
    program(
        dir,
        &format!("while :; do [ -e {place} ] && cat {place}; sleep 0.02; done"),
    )
}

/// Puts new text in front of the parrot, whole from one moment to the next.
fn say(dir: &Path, text: &[u8]) {
    std::fs::write(dir.join("next"), text).unwrap();
    std::fs::rename(dir.join("next"), dir.join("line")).unwrap();
}

/// Readings until one is as `good`.
fn wait_until_good_again(sensor: &mut Tegrastats, good: &Reading) {
    wait_for(sensor, "good again", |outcome| {
        outcome
            .as_ref()
            .is_ok_and(|reading| reading.values == good.values)
    });
}

/// Readings until one is as wanted; panics at what is never right: a rail of 0 W that no line has told.
fn wait_for(sensor: &mut Tegrastats, what: &str, is_it: impl Fn(&hwmeter_hw::Result<Reading>) -> bool) {
    let begin = Instant::now();
    loop {
        let outcome = sensor.read();
        if let Ok(reading) = &outcome {
            let zero = Value::Power(Watts(0.0));
            assert!(!reading.values.contains(&zero), "{what}: {reading:?}");
        }
        if is_it(&outcome) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_bad_word_in_a_line_loses_its_rail_and_the_next_good_line_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut sensor = start(&parrot(dir.path()), 20).unwrap();
    let good = next(&mut sensor).unwrap();
    for junk in [
        "",
        "abc/1",
        "-5000mW/1mW",
        "99999999999999999999mW/1mW",
        "nan/nan",
        "5000",
        "5000mW",
    ] {
        say(
            dir.path(),
            format!("VDD_IN {junk} VDD_SOC 1500mW/1mW\n").as_bytes(),
        );
        let only_soc = [Value::Missing, Value::Power(Watts(1.5))];
        wait_for(&mut sensor, junk, |outcome| {
            outcome
                .as_ref()
                .is_ok_and(|reading| reading.values[..] == only_soc)
        });
        say(dir.path(), format!("{LINE}\n").as_bytes());
        wait_until_good_again(&mut sensor, &good);
    }
}

#[test]
fn lines_without_rails_are_silence_and_silence_is_an_error_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut sensor = start(&parrot(dir.path()), 20).unwrap();
    let good = next(&mut sensor).unwrap();
    // The file disappears, is empty, holds noise, or a line that never ends.
    for noise in [
        None,
        Some(&b""[..]),
        Some(b"\xff\xfe\0\x01\n"),
        Some(b"VDD_IN 5000mW/1mW"),
    ] {
        match noise {
            Some(noise) => say(dir.path(), noise),
            None => std::fs::remove_file(dir.path().join("line")).unwrap(),
        }
        wait_for(&mut sensor, "an error", |outcome| {
            outcome
                .as_ref()
                .is_err_and(|error| error.to_string().contains("nothing for"))
        });
        // The first line end closes the line that had none.
        say(dir.path(), format!("\n{LINE}\n").as_bytes());
        wait_until_good_again(&mut sensor, &good);
    }
}

#[test]
fn a_program_that_may_not_be_run_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = program(dir.path(), "exec sleep 60");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = start(&file, 20).err().unwrap().to_string();
    assert!(
        error.contains("ermission denied") && error.contains("tegrastats"),
        "{error}"
    );
}
