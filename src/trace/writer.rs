//! Writes samples to `energy.csv` while they come, without ever holding up the sampler.
//!
//! A thread of its own formats and writes what the samplers send through a bounded queue. The file is flushed whenever
//! the queue is empty: a killed run keeps all but the last moments. Samples that find the queue full, or that the
//! disk does not take, are counted as lost and reported at the end.

use super::feed::{Batch, Feed, Shared};
use super::metadata::{self, TracedSensor};
use crate::record::EnergySample;
use anyhow::Context;
use hwmeter_hw::clock::Moment;
use hwmeter_hw::meter::OnSample;
use hwmeter_hw::sensor::SensorInfo;
use hwmeter_hw::units::Watts;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Batches that may wait for the disk: 10 s of sampling, however fast.
const QUEUE: usize = 512;

/// Bytes collected before they are written.
const BUFFER: usize = 64 * 1024;

/// A trace being written.
pub struct TraceWriter {
    path: PathBuf,
    queue: Option<SyncSender<Batch>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
    metadata_error: OnceLock<io::Error>,
}

/// What became of a trace.
#[derive(Debug)]
pub struct TraceReport {
    /// Rows on disk.
    pub rows: u64,
    /// Samples that are missing in the file.
    pub lost_samples: u64,
    /// Why, if the disk refused them or the file beside the trace.
    pub error: Option<io::Error>,
}

impl TraceWriter {
    /// Creates the file with its header.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| {
            format!(
                "cannot create {}; is the directory there and writable?",
                path.display()
            )
        })?;
        let (queue, batches) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let of_writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("trace-writer".into())
            .spawn(move || write_all(file, &batches, &of_writer))
            .context("cannot start the thread that writes the trace")?;
        Ok(Self {
            path: path.to_owned(),
            queue: Some(queue),
            shared,
            thread: Some(thread),
            metadata_error: OnceLock::new(),
        })
    }

    /// Writes beside the trace what its rows do not say: the sensors with their rates in hertz, and the wall-clock
    /// time of `origin`. A failure does not stop the run; [`TraceWriter::finish`] reports it.
    pub fn describe<'a>(&self, origin: Moment, sensors: impl IntoIterator<Item = (&'a SensorInfo, f64)>) {
        let sensors: Vec<TracedSensor> = sensors
            .into_iter()
            .map(|(sensor, sampling_hz)| TracedSensor {
                sensor: sensor.clone(),
                sampling_hz,
            })
            .collect();
        if let Err(error) = metadata::write(&self.path, origin, &sensors) {
            let _ = self.metadata_error.set(error); // the first one tells enough
        }
    }

    /// A function for a meter to call after each sample; times count from `origin`.
    pub fn on_sample(&self, origin: Moment) -> OnSample {
        let queue = self.queue.clone();
        let shared = Arc::clone(&self.shared);
        let mut feed: Option<Feed> = None;
        Box::new(move |info, point| {
            if feed.is_none() {
                feed = queue
                    .clone()
                    .map(|queue| Feed::new(info, origin, queue, Arc::clone(&shared)));
            }
            if let Some(feed) = &mut feed {
                feed.push(point);
            }
        })
    }

    /// Waits until everything is on disk. The meters that feed this trace must have been stopped.
    pub fn finish(mut self) -> TraceReport {
        drop(self.queue.take());
        let written = self.thread.take().map(JoinHandle::join);
        let error = match written {
            Some(Ok(Err(error))) => Some(error),
            _ => self.metadata_error.take(),
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        TraceReport {
            rows: count(&shared.rows_written),
            lost_samples: count(&shared.samples_seen) - count(&shared.samples_written),
            error,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl TraceReport {
    /// An error that says what is missing, if anything is.
    pub fn check(self, path: &Path) -> anyhow::Result<u64> {
        let (rows, lost) = (self.rows, self.lost_samples);
        if let Some(error) = self.error {
            return Err(error).with_context(|| {
                format!(
                    "{} ends early, after {rows} rows; {lost} samples are lost: free some space there and run again",
                    path.display()
                )
            });
        }
        if lost > 0 {
            anyhow::bail!(
                "{} lacks {lost} samples: the disk was too slow; lower --rate or write elsewhere",
                path.display(),
            );
        }
        Ok(rows)
    }
}

/// After an error the queue is drained no more: its samples count as lost.
fn write_all(file: File, batches: &Receiver<Batch>, shared: &Shared) -> io::Result<()> {
    let mut csv = csv::WriterBuilder::new()
        .has_headers(false)
        .buffer_capacity(BUFFER)
        .from_writer(file);
    csv.write_record(["t_s", "sensor", "rail", "power_w", "energy_j"])?;
    csv.flush()?;
    let (mut samples, mut rows) = (0, 0);
    loop {
        let batch = match batches.try_recv() {
            Ok(batch) => batch,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                csv.flush()?;
                shared.samples_written.store(samples, Ordering::Relaxed);
                shared.rows_written.store(rows, Ordering::Relaxed);
                match batches.recv() {
                    Ok(batch) => batch,
                    Err(_) => break,
                }
            }
        };
        write_batch(&batch, &mut csv)?;
        samples += batch.times.len() as u64;
        rows += batch.values.len() as u64;
        shared.give_back(batch);
    }
    csv.flush()?;
    shared.samples_written.store(samples, Ordering::Relaxed);
    shared.rows_written.store(rows, Ordering::Relaxed);
    Ok(())
}

fn write_batch<W: io::Write>(batch: &Batch, csv: &mut csv::Writer<W>) -> io::Result<()> {
    let rails = &batch.sensor.rails;
    for (t, values) in batch.times.iter().zip(batch.values.chunks(rails.len().max(1))) {
        for (rail, (power, energy)) in rails.iter().zip(values) {
            csv.serialize(EnergySample {
                t_s: t.0,
                sensor: &batch.sensor.id,
                rail: &rail.name,
                power_w: power.map(Watts::value),
                energy_j: energy.0,
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hwmeter_hw::integrator::Integrator;
    use hwmeter_hw::sensor::{Kind, Rail, Reading, Role, Value};
    use hwmeter_hw::units::{Joules, Seconds};
    use std::time::{Duration, Instant};

    /// Two power rails and a counter.
    fn info() -> SensorInfo {
        let rails = vec![
            Rail::new("total", Role::Total),
            Rail::new("a, \"b\"", Role::Cpu),
            Rail::new("core", Role::Cpu).with_energy_step(Joules(1e-6)),
        ];
        SensorInfo::new("test", Kind::Measured, rails)
    }

    fn reading(second: Value, counter: f64) -> Reading {
        let counter = Value::Energy {
            counter: Joules(counter),
            wraps_at: None,
        };
        [Value::Power(Watts(2.0)), second, counter].into_iter().collect()
    }

    #[test]
    fn rows_survive_exactly_and_what_is_not_known_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy.csv");
        let writer = TraceWriter::create(&path).unwrap();
        let mut on_sample = writer.on_sample(Moment(0));
        let mut integrator = Integrator::new(&info(), Seconds(0.1));
        let third = Value::Power(Watts(1.0 / 3.0));
        for (i, second) in [third, Value::Missing, third].into_iter().enumerate() {
            let t = Moment(i as u64 * 100_000_001);
            integrator.push(t, &reading(second, 5.0 + 0.25 * i as f64));
            on_sample(&info(), integrator.last().unwrap());
        }
        drop(on_sample);
        assert_eq!(writer.finish().check(&path).unwrap(), 9);
        let text = std::fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> = text.lines().collect();
        let name = "test,\"a, \"\"b\"\"\"";
        assert_eq!(rows[0], "t_s,sensor,rail,power_w,energy_j");
        assert_eq!(rows[1], "0.0,test,total,2.0,0.0");
        assert_eq!(rows[2], format!("0.0,{name},{:?},0.0", 1.0 / 3.0));
        assert_eq!(rows[3], "0.0,test,core,,0.0", "a counter has no power yet");
        assert_eq!(rows[5], format!("0.100000001,{name},,0.0"));
        assert!(rows[6].starts_with("0.100000001,test,core,2.4999999"));
        let energy: f64 = rows[8].rsplit(',').next().unwrap().parse().unwrap();
        assert_eq!(energy, integrator.last().unwrap().rails[1].energy.0);
    }

    #[test]
    fn a_slow_sensor_is_on_disk_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy.csv");
        let writer = TraceWriter::create(&path).unwrap();
        let mut on_sample = writer.on_sample(Moment(0));
        let mut integrator = Integrator::new(&info(), Seconds(1.0));
        for i in 0..3 {
            integrator.push(Moment(i * 1_000_000_000), &reading(Value::Missing, 1.0));
            on_sample(&info(), integrator.last().unwrap());
        }
        let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
        let give_up = Instant::now() + Duration::from_secs(5);
        while lines() < 10 {
            assert!(Instant::now() < give_up, "{} lines", lines());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A disk that takes nothing: a pipe that nobody reads.
    #[test]
    fn a_disk_that_hangs_holds_up_no_sample_and_every_lost_one_is_counted() {
        const SAMPLES: u64 = 1_000_000;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut both_ends = File::options();
        let pipe = both_ends.read(true).write(true).open(&path).unwrap();
        let writer = TraceWriter::create(&path).unwrap();
        let mut on_sample = writer.on_sample(Moment(0));
        let mut integrator = Integrator::new(&info(), Seconds(1e-5));
        integrator.push(Moment(1), &reading(Value::Missing, 1.0));
        let mut point = integrator.last().unwrap().clone();
        let begin = Instant::now();
        for i in 0..SAMPLES {
            point.t = Moment(i * 10_000);
            on_sample(&info(), &point);
        }
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        drop(pipe);
        drop(on_sample);
        let report = writer.finish();
        // The pipe itself took a little.
        let lost = report.lost_samples;
        assert!(lost > SAMPLES * 9 / 10 && lost <= SAMPLES, "{report:?}");
        let text = report.check(&path).unwrap_err().to_string();
        assert!(
            text.contains("pipe ends early") && text.contains(&format!("{lost} samples are lost")),
            "{text}"
        );
    }
}
