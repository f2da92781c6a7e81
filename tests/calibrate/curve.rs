//! A board whose power follows the load of the program by a known curve.

use super::{Board, document, hwmeter, text, turn};
use crate::common::child::started;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SENSOR: &str = "/sys/class/hwmon/hwmon0";

/// What the board takes at a utilisation, in watts.
pub fn truth(u: f64) -> f64 {
    2.4 + 5.0 * u - 1.5 * u * u
}

/// A board's `/proc/stat` and power, kept up with the CPU time of one process, as if that were alone on it.
pub struct FollowingBoard {
    pub board: Board,
    pid: Arc<AtomicI32>,
    /// Microwatts just now.
    pub microwatts: Arc<AtomicU64>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FollowingBoard {
    /// A Raspberry Pi 4, with or without a sensor of its own.
    pub fn start(has_sensor: bool) -> Self {
        let board = Board::raspberry_pi_4();
        if has_sensor {
            board.file(&format!("{SENSOR}/name"), "ina219\n");
            board.file(&format!("{SENSOR}/power1_input"), "2400000\n");
        }
        let files = [
            board.place("/proc/stat"),
            board.place(&format!("{SENSOR}/power1_input")),
        ];
        let (pid, microwatts) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicU64::new(2_400_000)));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let shared = (
            Arc::clone(&pid),
            Arc::clone(&microwatts),
            Arc::clone(&is_stopping),
        );
        let thread = std::thread::spawn(move || follow(&files, has_sensor, &shared.0, &shared.1, &shared.2));
        Self {
            board,
            pid,
            microwatts,
            is_stopping,
            thread: Some(thread),
        }
    }

    /// From now on the board's load is that of this process.
    pub fn follow(&self, pid: u32) {
        self.pid.store(pid.try_into().unwrap(), Ordering::Relaxed);
    }
}

impl Drop for FollowingBoard {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn follow(
    [stat, power]: &[PathBuf; 2],
    has_sensor: bool,
    pid: &AtomicI32,
    microwatts: &AtomicU64,
    is_stopping: &AtomicBool,
) {
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    let begin = Instant::now();
    let (mut last, mut smooth) = ((0.0, 0.0), 0.0);
    while !is_stopping.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
        // What has ended used no more.
        let used = cpu_time(pid.load(Ordering::Relaxed)).unwrap_or(last.1);
        let now = (begin.elapsed().as_secs_f64(), used.max(last.1));
        let u = (now.1 - last.1) / (cores * (now.0 - last.0));
        // The supply's capacitors smooth over a tenth of a second.
        smooth += (1.0 - (-(now.0 - last.0) / 0.1f64).exp()) * (u - smooth);
        last = now;
        microwatts.store((1e6 * truth(smooth)) as u64, Ordering::Relaxed);
        let ticks = |seconds: f64| (100.0 * seconds) as u64;
        let (busy, idle) = (ticks(now.1), ticks((cores * now.0 - now.1).max(0.0)));
        let each = (0..cores as usize).map(|core| format!("cpu{core} 0 0 0 0 0 0 0 0 0 0\n"));
        let each: String = each.collect();
        replace(stat, &format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\n{each}"));
        if has_sensor {
            replace(power, &format!("{}\n", microwatts.load(Ordering::Relaxed)));
        }
    }
}

/// As a whole: a reader never finds half a file.
fn replace(file: &PathBuf, content: &str) {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, content).unwrap();
    std::fs::rename(&draft, file).unwrap();
}

/// CPU time of all threads of a process, in seconds; `None` before there is one and after it has gone.
fn cpu_time(pid: i32) -> Option<f64> {
    let clock = (pid > 0).then(|| clock_getcpuclockid(Pid::from_raw(pid)))?.ok()?;
    let time = clock_gettime(clock).ok()?;
    Some(time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9)
}

/// Runs a calibration whose load the board follows.
fn run(board: &FollowingBoard, args: &[&str]) -> Value {
    let mut command: Command = hwmeter(&board.board, args);
    let child = started(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    board.follow(child.id());
    let output = child.output();
    assert!(output.status.success(), "{}", text(&output.stderr));
    document(&output)
}

#[test]
fn what_the_sensor_does_is_told_beside_what_its_driver_says() {
    let _turn = turn();
    let board = FollowingBoard::start(true);
    let found = run(&board, &["calibrate", "--quick", "--only", "sensor", "--json"]);
    let sensor = &found["sensor"];
    assert_eq!(
        (&sensor["id"], &sensor["kind"]),
        (&Value::from("hwmon"), &Value::from("measured"))
    );
    assert!(sensor["read_latency"].as_f64().unwrap() > 0.0, "{sensor:#}");
    // On a machine that has no time for us the period cannot be told, and that is told.
    let unknown = sensor["unknown"].to_string();
    match sensor["update_period"].as_f64() {
        Some(period) => assert!((0.005..0.2).contains(&period), "{sensor:#}"),
        None => assert!(unknown.contains("update period"), "{sensor:#}"),
    }
    let rates: Vec<f64> = sensor["costs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cost| cost["rate_hz"].as_f64().unwrap())
        .collect();
    assert_eq!(rates, [10.0, 100.0, 1000.0]);
    let idle = &sensor["rails"][0]["idle"];
    assert!(
        (idle["watts"].as_f64().unwrap() - truth(0.0)).abs() < 0.2,
        "{sensor:#}"
    );
    assert!(idle["drift_watts_per_minute"].is_number() && sensor["stated"].is_object());
}
