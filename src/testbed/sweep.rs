//! Many seeds of a scenario: on threads, each seed on one of them, each device into a folder like that of a real run.
//!
//! ```text
//! OUT/seed-50/device-0-raspberry-pi-4-dqn/   decisions.csv  energy.csv  run.json
//! ```
//!
//! What is written depends on the scenario and the seed alone, not on the threads, the shard or the time of day.

use super::board::OnSample;
use super::run::{Finished, Output, run};
use super::scenario::{DeviceKind, Scenario};
use crate::agent::ledger::Sink;
use crate::agent::summary::Summary;
use crate::agent::training::TrainingSite;
use crate::learn::LearnerName;
use crate::record::{DecisionRecord, EnergySample};
use crate::run_dir::RunDir;
use crate::train::weights::{hex, sha256};
use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is run.
#[derive(Clone, Debug)]
pub struct Sweep<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// Its seeds, those of the shard.
    pub seeds: Vec<u64>,
    /// On so many threads.
    pub threads: NonZeroUsize,
    /// Below this folder.
    pub out: &'a Path,
    /// Whether runs that are there are written over.
    pub force: bool,
    /// Whether every sample goes into `energy.csv`.
    pub trace: bool,
}

/// A part of a sweep: every so many-th of its seeds. From 0, as the index of an array job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 0, of: 1 }
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(index, of)| {
            let (index, of) = (index.trim().parse().ok()?, of.trim().parse().ok()?);
            (index < of).then_some(Self { index, of })
        });
        parsed.ok_or_else(|| format!("{text:?} is no shard; write I/N with I from 0 to N - 1, such as 0/4"))
    }
}

impl Shard {
    /// Its seeds among so many from the first on.
    pub fn seeds(self, first: u64, count: u32) -> Vec<u64> {
        let own = (self.index..count).step_by(self.of as usize);
        own.map(|i| first.wrapping_add(u64::from(i))).collect()
    }
}

/// A device's run.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceRun {
    /// The seed.
    pub seed: u64,
    /// The device's number.
    pub device: u32,
    /// The board.
    pub profile: String,
    /// Who decided.
    pub learner: LearnerName,
    /// Whose costs.
    pub engine: String,
    /// Where it learned.
    pub training: TrainingSite,
    /// Its folder.
    pub out: PathBuf,
    /// What it was like.
    pub summary: Summary,
    /// Tasks whose energy came out, and how many of them lie within two standard uncertainties of the truth.
    pub within_two_u: (u64, u64),
}

impl Sweep<'_> {
    /// Runs all; `done` is told of each task, on any thread. The results are in the order of seeds and devices.
    pub fn run(&self, done: &(dyn Fn() + Sync)) -> anyhow::Result<Vec<DeviceRun>> {
        self.check_folders()?;
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let results = Mutex::new(Vec::new());
        let work = || {
            while !failed.load(Ordering::Relaxed)
                && let i = next.fetch_add(1, Ordering::Relaxed)
                && let Some(seed) = self.seeds.get(i)
            {
                let result = self.run_seed(*seed, done).with_context(|| format!("seed {seed}"));
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                lock(&results).push((i, result));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.get().min(self.seeds.len()) {
                scope.spawn(work);
            }
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(i, _)| *i);
        let all: anyhow::Result<Vec<_>> = results.into_iter().map(|(_, result)| result).collect();
        Ok(all?.into_iter().flatten().collect())
    }

    fn folder(&self, seed: u64, number: u32, kind: &DeviceKind) -> PathBuf {
        let site = match kind.training {
            TrainingSite::Local => "",
            TrainingSite::Mec => "-mec",
        };
        // The name of a user's own profile may be anything.
        let board: String = kind
            .profile
            .name
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        let device = format!("device-{number}-{board}-{}{site}", kind.learner);
        self.out.join(format!("seed-{seed}")).join(device)
    }

    /// An error before anything is run, if a run would be written over.
    fn check_folders(&self) -> anyhow::Result<()> {
        if self.force {
            return Ok(());
        }
        for seed in &self.seeds {
            let folder = self.out.join(format!("seed-{seed}"));
            if folder.exists() {
                anyhow::bail!(
                    "{} is there already; choose another --out, or write over it with --force",
                    folder.display()
                );
            }
        }
        Ok(())
    }

    fn run_seed(&self, seed: u64, done: &(dyn Fn() + Sync)) -> anyhow::Result<Vec<DeviceRun>> {
        let folder = self.out.join(format!("seed-{seed}"));
        if self.force && folder.exists() {
            // All of it: a run with fewer devices must not leave those of another between its own.
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {} to write it anew", folder.display()))?;
        }
        let mut files = Vec::with_capacity(self.scenario.device_count());
        let mut output = |number, kind: &DeviceKind| {
            let of_device = Files::create(&self.folder(seed, number, kind), self.trace)?;
            let output = of_device.output();
            files.push(of_device);
            Ok(output)
        };
        let finished = run(self.scenario, seed, &mut output, &|| done())?;
        let pairs = finished.iter().zip(&files);
        pairs
            .map(|(device, files)| {
                files.finish()?;
                files.dir.write_manifest(&manifest(self.scenario, seed, device))?;
                Ok(DeviceRun {
                    seed,
                    device: device.number,
                    profile: device.kind.profile.name.clone(),
                    learner: device.kind.learner,
                    engine: device.kind.engine.clone(),
                    training: device.kind.training,
                    out: files.dir.path().to_owned(),
                    summary: device.summary.clone(),
                    within_two_u: device.within_two_u,
                })
            })
            .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `run.json`, with the keys of a real run's where it has them.
fn manifest(scenario: &Scenario, seed: u64, device: &Finished) -> Value {
    let (profile, kind) = (&device.kind.profile, &device.kind);
    json!({
        "hwmeter": env!("CARGO_PKG_VERSION"),
        "status": "done",
        "seed": seed,
        "board": { "model": profile.name, "kind": profile.name },
        "sensor": device.sensor,
        "kind": device.sensor.kind,
        "sampling_hz": device.sampling_hz,
        "power": {
            "idle_watts": device.sensor.idle,
            "full_watts": device.sensor.full,
            "is_measured": false,
        },
        "reward": device.reward,
        "learner": device.learner,
        "tasks": scenario.count,
        "first_task": 0,
        "summary": device.summary,
        "weights_sha256": hex(&sha256(&device.weights)),
        "learner_faults": device.learner_faults,
        "meter": { "samples": device.samples },
        "simulation": {
            "scenario": scenario.name,
            "scenario_text": scenario.text,
            "device": device.number,
            "devices": scenario.device_count(),
            "profile": profile.name,
            "engine": kind.engine,
            "training": kind.training,
            "cost": kind.cost,
            "mec_cost": (kind.training == TrainingSite::Mec).then_some(kind.mec_cost),
            "device_power": profile.device_power().ok(),
            "truth": device.truth,
            "tasks_with_energy": device.within_two_u.0,
            "tasks_within_two_u": device.within_two_u.1,
            "assumed": scenario.assumed(),
        },
    })
}

/// The files of a device while it runs.
struct Files {
    dir: RunDir,
    decisions: Shared,
    energy: Option<Shared>,
}

/// A CSV file that several hold; the first error stays.
type Shared = Arc<Mutex<Table>>;

struct Table {
    csv: csv::Writer<Appending>,
    path: PathBuf,
    failed: Option<csv::Error>,
}

/// Appends to a file that is open only while it is written to: a sweep may have more devices than a process may have
/// files open.
struct Appending(PathBuf);

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OpenOptions::new().append(true).open(&self.0)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that are written at once.
const BUFFER: usize = 16 << 10;

impl Table {
    fn create(path: PathBuf) -> anyhow::Result<Shared> {
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let csv = csv::WriterBuilder::new()
            .buffer_capacity(BUFFER)
            .from_writer(Appending(path.clone()));
        Ok(Arc::new(Mutex::new(Self {
            csv,
            path,
            failed: None,
        })))
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let outcome = match self.failed.take() {
            Some(error) => Err(error),
            None => self.csv.flush().map_err(csv::Error::from),
        };
        outcome.with_context(|| {
            format!(
                "{} could not be written; is there room on the disk?",
                self.path.display()
            )
        })
    }
}

impl Files {
    fn create(folder: &Path, trace: bool) -> anyhow::Result<Self> {
        let dir = RunDir::create(folder)?;
        Ok(Self {
            decisions: Table::create(dir.decisions())?,
            energy: trace.then(|| Table::create(dir.energy())).transpose()?,
            dir,
        })
    }

    fn output(&self) -> Output {
        let on_sample = self.energy.as_ref().map(|energy| {
            let energy = Arc::clone(energy);
            let on_sample: OnSample = Box::new(move |sample: &EnergySample<'_>| {
                let mut table = lock(&energy);
                if table.failed.is_none() {
                    table.failed = table.csv.serialize(sample).err();
                }
            });
            on_sample
        });
        Output {
            rows: Box::new(Rows(Arc::clone(&self.decisions))),
            on_sample,
        }
    }

    fn finish(&self) -> anyhow::Result<()> {
        lock(&self.decisions).finish()?;
        match &self.energy {
            Some(energy) => lock(energy).finish(),
            None => Ok(()),
        }
    }
}

struct Rows(Shared);

impl Sink for Rows {
    fn write(&mut self, record: &DecisionRecord) -> anyhow::Result<()> {
        let mut table = lock(&self.0);
        let written = table.csv.serialize(record);
        written.with_context(|| format!("cannot write {}", table.path.display()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testbed::Preset;
    use std::collections::BTreeMap;

    fn sweep(
        scenario: &Scenario,
        out: &Path,
        seeds: Vec<u64>,
        threads: usize,
    ) -> anyhow::Result<Vec<DeviceRun>> {
        let sweep = Sweep {
            scenario,
            seeds,
            threads: threads.try_into().unwrap(),
            out,
            force: false,
            trace: true,
        };
        sweep.run(&|| ())
    }

    fn small() -> Scenario {
        let mut scenario = Preset::Drift.scenario().unwrap();
        scenario.count = 25;
        scenario
    }

    /// Every file below a folder, by its path in it.
    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
                }
            }
        }
        found
    }

    #[test]
    fn the_same_seeds_give_the_same_bytes_on_any_number_of_threads_and_in_shards() {
        let [one, four, shards] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let scenario = small();
        let seeds = Shard::default().seeds(50, 5);
        let results = sweep(&scenario, one.path(), seeds.clone(), 1).unwrap();
        assert_eq!(results.len(), 10);
        sweep(&scenario, four.path(), seeds, 4).unwrap();
        for index in 0..2 {
            let seeds = Shard { index, of: 2 }.seeds(50, 5);
            sweep(&scenario, shards.path(), seeds, 2).unwrap();
        }
        let files = [&one, &four, &shards].map(|folder| files(folder.path()));
        assert_eq!(files[0].len(), 30);
        assert!(files[0] == files[1] && files[0] == files[2]);
    }

    #[test]
    fn a_folder_is_that_of_a_run_and_integrate_reads_its_trace() {
        let folder = tempfile::tempdir().unwrap();
        let results = sweep(&small(), folder.path(), vec![50], 1).unwrap();
        let dir = RunDir::open(&results[0].out);
        let manifest = dir.read_manifest().unwrap();
        assert_eq!(
            (&manifest["kind"], &manifest["status"]),
            (&json!("simulated"), &json!("done"))
        );
        let assumed = manifest["simulation"]["assumed"].as_array().unwrap();
        assert!(
            assumed
                .iter()
                .any(|key| key == "raspberry-pi-4: power.radio_tx_w")
        );
        let rows = std::fs::read_to_string(dir.decisions()).unwrap();
        assert_eq!(rows.lines().count(), 26);
        assert!(
            rows.lines()
                .skip(1)
                .all(|row| row.contains(",simulated,simulated:rpi-model,"))
        );
        let sensors = crate::trace::read_metadata(&dir.energy()).unwrap();
        assert_eq!(sensors[0].sensor.kind.as_str(), "simulated");
        // The trace's energy is that of the truth, within the model's gain.
        let energy = std::fs::read_to_string(dir.energy()).unwrap();
        let last: f64 = energy
            .lines()
            .last()
            .unwrap()
            .rsplit(',')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let truth = manifest["simulation"]["truth"]["total_j"].as_f64().unwrap();
        assert!((last / truth - 1.0).abs() < 0.2, "{last} {truth}");
    }

    #[test]
    fn nothing_is_written_over_unless_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let scenario = small();
        sweep(&scenario, folder.path(), vec![7], 1).unwrap();
        let error = sweep(&scenario, folder.path(), vec![6, 7], 1).unwrap_err();
        assert!(error.to_string().contains("seed-7") && error.to_string().contains("--force"));
        assert!(
            !folder.path().join("seed-6").exists(),
            "told before anything is run"
        );
        let forced = Sweep {
            scenario: &scenario,
            seeds: vec![7],
            threads: NonZeroUsize::MIN,
            out: folder.path(),
            force: true,
            trace: false,
        };
        let results = forced.run(&|| ()).unwrap();
        assert!(!RunDir::open(&results[0].out).energy().exists());
    }

    #[test]
    fn shards_have_every_seed_once() {
        let mut all: Vec<u64> = (0..3)
            .flat_map(|index| Shard { index, of: 3 }.seeds(50, 10))
            .collect();
        all.sort_unstable();
        assert_eq!(all, (50..60).collect::<Vec<_>>());
        assert_eq!("1/4".parse(), Ok(Shard { index: 1, of: 4 }));
        for bad in ["4/4", "1", "a/b", "-1/2", "0/0"] {
            assert!(bad.parse::<Shard>().unwrap_err().contains("0/4"), "{bad}");
        }
    }
}
