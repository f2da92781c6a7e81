//! The background sampler: reads a sensor on an absolute schedule and resolves spans.
//!
//! Each meter has its own thread, so that a sensor that blocks delays no other. Ticks come on an absolute schedule (see
//! [`schedule`](crate::schedule)); a late one does not shift those after it. A tick whose whole slot has passed is counted as
//! late and skipped. A read that fails is a lost sample: coverage falls, the reason is counted, sampling goes on.

use crate::clock::{Clock, Moment, MonotonicClock};
use crate::error::{Error, ErrorKind, Result};
use crate::integrator::Point;
use crate::realtime;
use crate::sampler::{Sampler, lock};
use crate::schedule::Schedule;
use crate::sensor::{Sensor, SensorInfo};
use crate::span::{EdgeDesk, PendingSpan, Span};
use crate::units::Seconds;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How to sample.
pub struct MeterOptions {
    /// Samples per second.
    pub rate_hz: f64,
    /// Ask for real-time priority (`SCHED_FIFO`), so that a busy board delays no tick. Where it is not permitted,
    /// sampling goes on without, and [`MeterStats::is_realtime`] says so.
    pub realtime: bool,
    /// Called on the sampler's thread after each sample.
    pub on_sample: Option<OnSample>,
    /// The time; the kernel's monotonic clock unless a test says otherwise.
    pub clock: Arc<dyn Clock>,
}

/// What is called after each sample: the sensor and the cumulative figures.
pub type OnSample = Box<dyn FnMut(&SensorInfo, &Point) + Send>;

impl MeterOptions {
    /// Sampling at `rate_hz`.
    pub fn at(rate_hz: f64) -> Self {
        Self {
            rate_hz,
            realtime: false,
            on_sample: None,
            clock: Arc::new(MonotonicClock),
        }
    }

    /// The same, with a function that sees each sample.
    pub fn with_on_sample(mut self, on_sample: OnSample) -> Self {
        self.on_sample = Some(on_sample);
        self
    }
}

/// Highest sampling rate accepted, in hertz.
pub const MAX_RATE_HZ: f64 = 100_000.0;

/// What a meter has seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeterStats {
    /// Samples that brought a new value.
    pub samples: u64,
    /// Ticks whose slot passed without a read.
    pub late_ticks: u64,
    /// Reads that failed, by reason.
    pub lost: Vec<(ErrorKind, u64)>,
    /// The last failure, in words.
    pub last_error: Option<String>,
    /// Counters that went back without wrapping.
    pub resets: u64,
    /// Whether the sampling thread runs with real-time priority.
    pub is_realtime: bool,
}

impl MeterStats {
    /// Number of reads that failed.
    pub fn lost_samples(&self) -> u64 {
        self.lost.iter().map(|(_, n)| n).sum()
    }
}

/// A sensor being sampled. Dropping it stops the sampling.
pub struct Meter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    sampler: Sampler,
    period: Seconds,
    is_stopping: AtomicBool,
    /// For long waits, which stopping cuts short.
    alarm: Mutex<()>,
    wake: Condvar,
}

/// How long stopping waits for a read in progress.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

impl Meter {
    /// Reads the sensor once (so that one that cannot be read is an error here) and starts to sample it.
    pub fn start(sensor: impl Sensor + 'static, options: MeterOptions) -> Result<Self> {
        let realtime = options.realtime;
        let mut meter = Self::start_manual(sensor, options)?;
        let shared = Arc::clone(&meter.shared);
        let name = format!("meter-{}", meter.info().name());
        let thread = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || shared.run(realtime))
            .map_err(|e| Error::os("starting the sampling thread", e))?;
        meter.thread = Some(thread);
        Ok(meter)
    }

    /// The same without a thread: samples are taken when [`Meter::sample_now`] is called. For tests with a manual
    /// clock, and for callers with a loop of their own.
    pub fn start_manual(sensor: impl Sensor + 'static, options: MeterOptions) -> Result<Self> {
        if !(options.rate_hz > 0.0 && options.rate_hz <= MAX_RATE_HZ) {
            return Err(Error::unsupported(
                format!("a sampling rate of {} Hz", options.rate_hz),
                format!("choose one above 0 and at most {MAX_RATE_HZ} Hz"),
            ));
        }
        let period = Seconds(1.0 / options.rate_hz);
        let shared = Shared {
            sampler: Sampler::start(Box::new(sensor), period, options)?,
            period,
            is_stopping: AtomicBool::new(false),
            alarm: Mutex::new(()),
            wake: Condvar::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            thread: None,
        })
    }

    /// Begins a span now. Costs a clock read and a short lock; never waits for the sensor.
    pub fn span(&self, name: impl Into<String>) -> Span {
        self.desk().begin(name.into(), self.desk().clock.now())
    }

    /// Begins a span that has begun already, at `begin` on this meter's clock. The meter remembers its last 64 samples, or those
    /// of the last 0.1 s if these are more; of a span that began before them only the part since then is covered.
    pub fn span_from(&self, name: impl Into<String>, begin: Moment) -> Span {
        self.desk().begin(name.into(), begin)
    }

    /// Begins a span with a sample right before it. The caller waits for the read; worth it for spans of a few samples.
    /// End such a span with [`Meter::end_with_sample`].
    pub fn span_with_sample(&self, name: impl Into<String>) -> Span {
        self.sample_now();
        self.span(name)
    }

    /// Ends a span now, with a sample right after it.
    pub fn end_with_sample(&self, span: Span) -> PendingSpan {
        let pending = span.end();
        self.sample_now();
        pending
    }

    /// Takes a sample on the calling thread, now; a failure is counted like any other lost sample. If the sampling
    /// thread is just reading, nothing is done: its sample is as good.
    pub fn sample_now(&self) {
        self.shared.sampler.sample();
    }

    /// What is known about the sensor.
    pub fn info(&self) -> &SensorInfo {
        &self.desk().info
    }

    /// The time between two samples, on average.
    pub fn period(&self) -> Seconds {
        self.shared.period
    }

    /// What the meter has seen so far.
    pub fn stats(&self) -> MeterStats {
        self.shared.sampler.stats()
    }

    /// Stops sampling with one last sample. Spans that ended by then are resolved; a part of a span that no
    /// sample follows is not covered. A read that blocks is waited for for two seconds and then left behind.
    pub fn stop(mut self) -> MeterStats {
        self.halt();
        self.stats()
    }

    fn desk(&self) -> &Arc<EdgeDesk> {
        self.shared.sampler.desk()
    }

    fn halt(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        drop(lock(&self.shared.alarm));
        self.shared.wake.notify_all();
        match self.thread.take() {
            Some(thread) => self.wait_for(&thread),
            None => drop(self.shared.sampler.sample()),
        }
        self.shared.sampler.close();
    }

    /// Waits for the thread and its last sample, but not for ever. A panic in a user's sensor has been printed already
    /// and must not become a second one here.
    fn wait_for(&self, thread: &JoinHandle<()>) {
        let given_up = Instant::now() + STOP_PATIENCE;
        while !thread.is_finished() {
            if Instant::now() >= given_up {
                tracing::warn!(
                    "{}: a read has not come back; stopping without it",
                    self.info().id
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.halt();
        }
    }
}

impl Shared {
    fn run(&self, realtime: bool) {
        sharpen_timer();
        let desk = self.sampler.desk();
        if realtime {
            self.sampler.set_realtime(realtime::ask(&desk.info.id));
        }
        let mut now = desk.clock.now();
        let schedule = Schedule::new(now, self.period, desk.info.accuracy.update_period);
        let mut n = 1;
        while self.wait_until(schedule.tick(n), now) {
            now = self.sampler.sample().unwrap_or_else(|| desk.clock.now());
            let next = schedule.next_after(n, now);
            if next > n + 1 {
                self.sampler.count_late(next - n - 1);
            }
            n = next;
        }
        self.sampler.sample();
    }

    /// Waits for the tick; false when the meter is stopping. Each tick is one wake-up: a second one would cost as much
    /// as the sample. A short wait is a plain sleep to the absolute moment, the cheapest there is; stopping waits
    /// for it. A long one can be interrupted.
    fn wait_until(&self, due: Moment, mut now: Moment) -> bool {
        const SHORT: Duration = Duration::from_millis(20);
        let clock = &self.sampler.desk().clock;
        while !self.is_stopping() && now < due {
            let left = Duration::from_nanos(due.0 - now.0);
            if left <= SHORT {
                clock.sleep_until(due);
                break;
            }
            let guard = lock(&self.alarm);
            if !self.is_stopping() {
                drop(self.wake.wait_timeout(guard, left));
            }
            now = clock.now();
        }
        !self.is_stopping()
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

/// By default the kernel may delay a thread's timers by 50 µs to save wake-ups; a sampler wants them on time.
fn sharpen_timer() {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) };
}

#[cfg(test)]
mod tests;
