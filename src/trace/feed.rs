//! The sampler's end of a trace: collects samples in batches and hands them over without ever waiting.
//!
//! The writer hands empty batches back, so that sampling allocates nothing once enough are in circulation. A batch
//! leaves at the latest [`LONGEST_STAY`] after the one before.

use hwmeter_hw::clock::Moment;
use hwmeter_hw::integrator::{Point, Read};
use hwmeter_hw::sensor::SensorInfo;
use hwmeter_hw::units::{Joules, Seconds, Watts};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

/// A sensor sampled less often than this has every sample sent at once.
const LONGEST_STAY: Seconds = Seconds(0.02);

/// Numbers in a full batch: about 32 KiB.
const BATCH: usize = 2048;

/// What sampler and writer both see.
#[derive(Default)]
pub(super) struct Shared {
    /// Empty batches on their way back.
    spare: Mutex<Vec<Batch>>,
    pub samples_seen: AtomicU64,
    pub samples_written: AtomicU64,
    pub rows_written: AtomicU64,
}

/// Some samples of one sensor on their way to the disk.
pub(super) struct Batch {
    pub sensor: Arc<SensorInfo>,
    pub times: Vec<Seconds>,
    /// For each time, every rail: its power where it had a value, and its energy so far.
    pub values: Vec<(Option<Watts>, Joules)>,
}

/// The sampler's end: one per sensor. What it still holds when it is dropped is sent, too.
pub(super) struct Feed {
    sensor: Arc<SensorInfo>,
    origin: Moment,
    queue: SyncSender<Batch>,
    shared: Arc<Shared>,
    batch: Batch,
    /// An empty batch that was not needed after all.
    reserve: Option<Batch>,
    last_sent: Option<Moment>,
}

impl Feed {
    pub fn new(info: &SensorInfo, origin: Moment, queue: SyncSender<Batch>, shared: Arc<Shared>) -> Self {
        let sensor = Arc::new(info.clone());
        Self {
            batch: Batch::new(&sensor),
            sensor,
            origin,
            queue,
            shared,
            reserve: None,
            last_sent: None,
        }
    }

    pub fn push(&mut self, point: &Point) {
        self.shared.samples_seen.fetch_add(1, Ordering::Relaxed);
        if !self.batch.is_full() {
            self.add(point);
        }
        let is_due = self
            .last_sent
            .is_none_or(|sent| (point.t - sent).0 >= LONGEST_STAY.0);
        if is_due || self.batch.is_full() {
            self.send(point.t);
        }
    }

    fn add(&mut self, point: &Point) {
        self.batch.times.push(point.t - self.origin);
        for now in &point.rails {
            let has_power = matches!(now.read, Read::Power | Read::Counter { first: false });
            self.batch
                .values
                .push((has_power.then_some(now.power), now.energy));
        }
    }

    /// Hands the batch over. If the queue is full it stays, and later samples join it while there is room.
    fn send(&mut self, now: Moment) {
        let empty = self.reserve.take();
        let empty = empty.unwrap_or_else(|| self.shared.empty_batch(&self.sensor));
        let batch = std::mem::replace(&mut self.batch, empty);
        match self.queue.try_send(batch) {
            Ok(()) => self.last_sent = Some(now),
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                self.reserve = Some(std::mem::replace(&mut self.batch, batch));
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let rest = std::mem::replace(&mut self.batch, Batch::new(&self.sensor));
        // Sampling is over: now there is time to wait. If the writer has given up, these samples count as lost.
        let _ = self.queue.send(rest);
    }
}

impl Batch {
    pub fn new(sensor: &Arc<SensorInfo>) -> Self {
        Self {
            sensor: Arc::clone(sensor),
            times: Vec::new(),
            values: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.times.len() + self.values.len() >= BATCH
    }
}

impl Shared {
    /// A batch that has come back, or a new one. The sampler does not wait, not even for this lock.
    fn empty_batch(&self, sensor: &Arc<SensorInfo>) -> Batch {
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        match spare {
            Some(batch) => Batch {
                sensor: Arc::clone(sensor),
                ..batch
            },
            None => Batch::new(sensor),
        }
    }

    pub fn give_back(&self, mut batch: Batch) {
        batch.times.clear();
        batch.values.clear();
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(batch);
    }
}
