//! Writes samples to `energy.csv` while they come, without ever holding up the sampler.
//!
//! The sampler hands rows to a writer thread through a bounded queue. Rows that find it full, or that the disk does
//! not take, are counted as lost and reported at the end. The file is flushed whenever the queue is empty, so that
//! a killed run keeps every finished row.

use crate::record::EnergySample;
use anyhow::Context;
use hwmeter_hw::clock::Moment;
use hwmeter_hw::meter::OnSample;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

/// Samples that may wait for the disk: 80 s at 100 Hz.
const QUEUE: usize = 8192;

/// A trace being written.
pub struct TraceWriter {
    path: PathBuf,
    queue: Option<SyncSender<Sample>>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    rows: Arc<AtomicU64>,
}

/// One sample on its way to the disk.
struct Sample {
    t_s: f64,
    sensor: Arc<str>,
    rails: Vec<(Arc<str>, f64, f64)>,
}

/// What became of a trace.
#[derive(Debug)]
pub struct TraceReport {
    /// Rows on disk.
    pub rows: u64,
    /// Samples that are missing in the file.
    pub lost_samples: u64,
    /// Why, if the disk refused them.
    pub error: Option<std::io::Error>,
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
        let (queue, samples) = sync_channel(QUEUE);
        let rows = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&rows);
        let thread = std::thread::Builder::new()
            .name("trace-writer".into())
            .spawn(move || write_all(file, &samples, &counter))
            .context("cannot start the thread that writes the trace")?;
        Ok(Self {
            path: path.to_owned(),
            queue: Some(queue),
            lost: Arc::default(),
            thread: Some(thread),
            rows,
        })
    }

    /// A function for a meter to call after each sample; times count from `origin`.
    pub fn on_sample(&self, origin: Moment) -> OnSample {
        let queue = self.queue.clone();
        let lost = Arc::clone(&self.lost);
        let mut names: Option<(Arc<str>, Vec<Arc<str>>)> = None;
        Box::new(move |info, point| {
            let (sensor, rails) = names.get_or_insert_with(|| {
                let rails = info
                    .rails
                    .iter()
                    .map(|rail| Arc::from(rail.name.as_str()))
                    .collect();
                (Arc::from(info.id.as_str()), rails)
            });
            let sample = Sample {
                t_s: (point.t - origin).0,
                sensor: Arc::clone(sensor),
                rails: (rails.iter().zip(&point.rails))
                    .map(|(rail, at)| (Arc::clone(rail), at.power.0, at.energy.0))
                    .collect(),
            };
            if queue.as_ref().is_none_or(|queue| queue.try_send(sample).is_err()) {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Waits until everything is on disk. The meters that feed this trace must have been stopped.
    pub fn finish(mut self) -> TraceReport {
        drop(self.queue.take());
        let written = self.thread.take().map(JoinHandle::join);
        let error = match written {
            Some(Ok(Err(error))) => Some(error),
            _ => None,
        };
        TraceReport {
            rows: self.rows.load(Ordering::Relaxed),
            lost_samples: self.lost.load(Ordering::Relaxed),
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
        if let Some(error) = self.error {
            return Err(error).with_context(|| {
                format!(
                    "{} ends early: free some space there and run again",
                    path.display()
                )
            });
        }
        if self.lost_samples > 0 {
            anyhow::bail!(
                "{} lacks {} samples: the disk was too slow; lower --rate or write elsewhere",
                path.display(),
                self.lost_samples
            );
        }
        Ok(self.rows)
    }
}

/// After an error the queue is drained no more: its samples count as lost.
fn write_all(file: File, samples: &Receiver<Sample>, rows: &AtomicU64) -> std::io::Result<()> {
    let mut csv = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(BufWriter::new(file));
    csv.write_record(["t_s", "sensor", "rail", "power_w", "energy_j"])?;
    csv.flush()?;
    loop {
        let sample = match samples.try_recv() {
            Ok(sample) => sample,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                csv.flush()?;
                match samples.recv() {
                    Ok(sample) => sample,
                    Err(_) => break,
                }
            }
        };
        for (rail, power_w, energy_j) in &sample.rails {
            let row = EnergySample {
                t_s: sample.t_s,
                sensor: &sample.sensor,
                rail,
                power_w: *power_w,
                energy_j: *energy_j,
            };
            csv.serialize(row)?;
        }
        rows.fetch_add(sample.rails.len() as u64, Ordering::Relaxed);
    }
    csv.flush()?;
    csv.into_inner().map_err(|e| e.into_error())?.flush()
}
