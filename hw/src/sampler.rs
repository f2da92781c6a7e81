//! One read of a sensor and all that follows from it: the sample integrated, spans resolved, losses counted.
//!
//! A read may block for as long as the sensor likes, so it holds a lock of its own: spans, figures and stopping never
//! wait for it.

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::integrator::Integrator;
use crate::meter::{MeterOptions, MeterStats, OnSample};
use crate::sensor::{Reading, Sensor, SensorInfo};
use crate::span::EdgeDesk;
use crate::units::Seconds;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// A sensor and what has been read from it.
pub(crate) struct Sampler {
    sensor: Mutex<Box<dyn Sensor>>,
    book: Mutex<Book>,
    desk: Arc<EdgeDesk>,
}

/// What the readings add up to.
struct Book {
    integrator: Integrator,
    stats: MeterStats,
    on_sample: Option<OnSample>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sampler {
    /// Takes the first sample; an error if it fails.
    pub fn start(mut sensor: Box<dyn Sensor>, period: Seconds, options: MeterOptions) -> Result<Self> {
        let info = sensor.info();
        let desk = EdgeDesk::new(info.clone(), options.clock, patience(&info, period));
        let mut book = Book {
            integrator: Integrator::new(&info, period),
            stats: MeterStats::default(),
            on_sample: options.on_sample,
        };
        let (read, reading) = read(&mut *sensor, &desk)?;
        book.enter(&info, read.middle(), &reading);
        Ok(Self {
            sensor: Mutex::new(sensor),
            book: Mutex::new(book),
            desk: Arc::new(desk),
        })
    }

    /// Reads once, unless somebody is just reading; the moment after the read, if it succeeded.
    pub fn sample(&self) -> Option<Moment> {
        let mut sensor = match self.sensor.try_lock() {
            Ok(sensor) => sensor,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let result = read(&mut **sensor, &self.desk);
        // The sensor stays locked, so that readings are entered in their order.
        let mut book = lock(&self.book);
        match result {
            Ok((read, reading)) => {
                if book.enter(&self.desk.info, read.middle(), &reading) {
                    self.desk.resolve(&book.integrator, false);
                }
                Some(read.after)
            }
            Err(error) => {
                book.count(&self.desk.info, &error);
                None
            }
        }
    }

    /// Ticks passed without a read.
    pub fn count_late(&self, ticks: u64) {
        let mut book = lock(&self.book);
        book.stats.late_ticks += ticks;
        book.integrator.miss();
    }

    pub fn set_realtime(&self, is_realtime: bool) {
        lock(&self.book).stats.is_realtime = is_realtime;
    }

    /// Where spans leave their edges.
    pub fn desk(&self) -> &Arc<EdgeDesk> {
        &self.desk
    }

    pub fn stats(&self) -> MeterStats {
        let book = lock(&self.book);
        MeterStats {
            resets: book.integrator.resets(),
            ..book.stats.clone()
        }
    }

    /// No sample will follow: resolves what has ended, and lets go of whatever listens to samples.
    pub fn close(&self) {
        let mut book = lock(&self.book);
        self.desk.resolve(&book.integrator, true);
        book.on_sample = None;
    }
}

/// When a read took place.
struct ReadTime {
    before: Moment,
    after: Moment,
}

impl ReadTime {
    fn middle(&self) -> Moment {
        Moment(self.before.0 + (self.after.0 - self.before.0) / 2)
    }
}

fn read(sensor: &mut dyn Sensor, desk: &EdgeDesk) -> Result<(ReadTime, Reading)> {
    let before = desk.clock.now();
    let reading = sensor.read()?;
    let after = desk.clock.now();
    if !reading.is_finite() {
        let nonsense = io::Error::new(io::ErrorKind::InvalidData, "a value is not a finite number");
        return Err(Error::os(format!("reading {}", desk.info.id), nonsense));
    }
    Ok((ReadTime { before, after }, reading))
}

/// How long a span waits for a sample before it counts as lost.
fn patience(info: &SensorInfo, period: Seconds) -> Seconds {
    let update = info.accuracy.update_period.unwrap_or(Seconds::ZERO).0;
    let window = info.accuracy.window.unwrap_or(Seconds::ZERO).0;
    Seconds(2.0 + 10.0 * period.0.max(update) + window)
}

impl Book {
    /// True if the reading brought something new.
    fn enter(&mut self, info: &SensorInfo, moment: Moment, reading: &Reading) -> bool {
        let is_new = self.integrator.push(moment, reading);
        if is_new {
            self.stats.samples += 1;
            if let (Some(on_sample), Some(point)) = (&mut self.on_sample, self.integrator.last()) {
                on_sample(info, point);
            }
        }
        is_new
    }

    fn count(&mut self, info: &SensorInfo, error: &Error) {
        self.integrator.miss();
        let kind = error.kind();
        match self.stats.lost.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, n)) => *n += 1,
            None => {
                tracing::warn!("{}: sample lost: {error}", info.id);
                self.stats.lost.push((kind, 1));
            }
        }
        self.stats.last_error = Some(error.to_string());
    }
}
