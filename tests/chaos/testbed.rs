//! A device, a trainer and a broker as programs of their own, and the lines between them.

use super::common::child::{Started, started};
use super::common::runs::{manifest, replayed, until_done};
use super::common::until_within;
use super::relay::Relay;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Longer than any run takes that goes on at all.
const PATIENCE: Duration = Duration::from_secs(240);
/// Tasks per second, roughly.
const TASKS_PER_S: f64 = 4.0;
/// Seconds of all other disturbances together.
const OTHER_S: f64 = 9.0;

fn hwmeter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hwmeter"))
}

/// A wait of up to 1.5 s.
pub fn pause(rng: &mut ChaCha8Rng) {
    std::thread::sleep(Duration::from_millis(rng.random_range(0..1500)));
}

pub struct Testbed {
    /// From the device to the broker.
    pub line: Relay,
    /// From the trainer to the broker.
    pub trainer_line: Relay,
    dir: TempDir,
    trainer: Option<Started>,
}

impl Testbed {
    pub fn start(broker_port: u16) -> Self {
        let broker = SocketAddr::from(([127, 0, 0, 1], broker_port));
        let mut testbed = Self {
            line: Relay::to(broker),
            trainer_line: Relay::to(broker),
            dir: tempfile::tempdir().unwrap(),
            trainer: None,
        };
        testbed.start_trainer();
        testbed
    }

    pub fn start_trainer(&mut self) {
        let mut command = hwmeter();
        command
            .args(["serve", "--role", "trainer", "--broker"])
            .arg(url(&self.trainer_line))
            .arg("--state")
            .arg(self.dir.path().join("trainer"))
            .stdout(Stdio::null());
        self.trainer = Some(started(&mut command));
    }

    /// As by `kill -9`.
    pub fn kill_trainer(&mut self) {
        if let Some(mut trainer) = self.trainer.take() {
            trainer.kill();
        }
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }
}

fn url(line: &Relay) -> String {
    format!("mqtt://{}", line.address())
}

pub struct Device {
    program: Started,
    run_dir: PathBuf,
}

impl Device {
    /// One whose tasks last for longer than the disturbances with this cut.
    pub fn start(testbed: &Testbed, cut: Duration) -> Self {
        let tasks = ((OTHER_S + cut.as_secs_f64()) * TASKS_PER_S) as u64;
        let mut command = hwmeter();
        command
            .args([
                "run-agent",
                "--gpu",
                "off",
                "--learner",
                "ac",
                "--train",
                "mec",
                "--audit",
                "0",
            ])
            .args(["--record-transitions", "--tasks", &tasks.to_string(), "--broker"])
            .arg(url(&testbed.line))
            .arg("--out")
            .arg(testbed.run_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut program = started(&mut command);
        let errors = BufReader::new(program.stderr.take().unwrap());
        std::thread::spawn(move || {
            errors
                .lines()
                .map_while(Result::ok)
                .for_each(|line| eprintln!("device: {line}"))
        });
        let run_dir = testbed.run_dir();
        until_done(5, &run_dir);
        Self { program, run_dir }
    }

    /// Its folder once it has ended.
    pub fn done(&mut self) -> PathBuf {
        until_within(PATIENCE, "the device ends", || {
            self.program.try_wait().unwrap().is_some()
        });
        let status = self.program.wait().unwrap();
        assert!(status.success(), "the device ended with {status}");
        self.run_dir.clone()
    }
}

/// Everything was learned from exactly once and in order, most of it on the MEC.
pub fn check(run_dir: &Path, seed: u64) {
    let run = manifest(run_dir);
    assert_eq!(run["status"], "done", "seed {seed}");
    let sites = run["training"].as_array().unwrap();
    let mec = sites.iter().find(|site| site["site"] == "mec").unwrap();
    assert_eq!(mec["lost"], 0, "seed {seed}: {mec}");
    assert!(mec["updates"].as_u64() > Some(0), "seed {seed}: {mec}");

    // Shown where the test fails.
    println!("seed {seed}");
    assert_eq!(
        replayed(run_dir)["weights_sha256"],
        run["weights_sha256"],
        "seed {seed}"
    );
}
