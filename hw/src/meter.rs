//! The background sampler: reads a sensor on an absolute schedule and resolves spans.
//!
//! Each meter has its own thread, so that a sensor that blocks delays no other. Ticks come on an absolute schedule (see
//! [`schedule`](crate::schedule)); a late one does not shift those after it. A tick whose whole slot has passed is counted as
//! late and skipped. A read that fails is a lost sample: coverage falls, the reason is counted, sampling goes on.

use crate::clock::{Clock, Moment, MonotonicClock};
use crate::error::{Error, ErrorKind, Result};
use crate::integrator::{Integrator, Point};
use crate::realtime;
use crate::schedule::Schedule;
use crate::sensor::{Sensor, SensorInfo};
use crate::span::{EdgeDesk, Span};
use crate::units::Seconds;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

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
    sampler: Mutex<Sampler>,
    desk: Arc<EdgeDesk>,
    period: Seconds,
    is_stopping: Mutex<bool>,
    wake: Condvar,
}

impl Meter {
    /// Reads the sensor once (so that one that cannot be read is an error here) and starts to sample it.
    pub fn start(sensor: impl Sensor + 'static, options: MeterOptions) -> Result<Self> {
        let realtime = options.realtime;
        let mut meter = Self::start_manual(sensor, options)?;
        let shared = Arc::clone(&meter.shared);
        let name = format!("meter-{}", shared.desk.info.name());
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
        let info = sensor.info();
        let period = Seconds(1.0 / options.rate_hz);
        let desk = EdgeDesk::new(info.clone(), Arc::clone(&options.clock), patience(&info, period));
        let mut sampler = Sampler {
            integrator: Integrator::new(&info, period),
            sensor: Box::new(sensor),
            info,
            clock: options.clock,
            on_sample: options.on_sample,
            stats: MeterStats::default(),
        };
        sampler.sample()?;
        let shared = Shared {
            sampler: Mutex::new(sampler),
            desk: Arc::new(desk),
            period,
            is_stopping: Mutex::new(false),
            wake: Condvar::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            thread: None,
        })
    }

    /// Begins a span. Costs a clock read and a short lock; never waits for the sensor.
    pub fn span(&self, name: impl Into<String>) -> Span {
        self.shared.desk.begin(name.into())
    }

    /// Takes a sample on the calling thread, now. It waits for a read in progress; a failure is counted like any
    /// other lost sample.
    pub fn sample_now(&self) {
        self.shared.tick();
    }

    /// What is known about the sensor.
    pub fn info(&self) -> &SensorInfo {
        &self.shared.desk.info
    }

    /// The time between two samples.
    pub fn period(&self) -> Seconds {
        self.shared.period
    }

    /// What the meter has seen so far.
    pub fn stats(&self) -> MeterStats {
        self.shared.sampler().stats()
    }

    /// Stops sampling with one last sample. Spans that ended by then are resolved; a part of a span that no
    /// sample follows is not covered.
    pub fn stop(mut self) -> MeterStats {
        self.halt();
        self.stats()
    }

    fn halt(&mut self) {
        *lock(&self.shared.is_stopping) = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic in a user's sensor has been printed already and must not become a second one here.
            let _ = thread.join();
        }
        let mut sampler = self.shared.sampler();
        sampler.try_sample();
        self.shared.desk.resolve(&sampler.integrator, true);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.halt();
        }
    }
}

/// How long a span waits for a sample before it counts as lost.
fn patience(info: &SensorInfo, period: Seconds) -> Seconds {
    let update = info.accuracy.update_period.unwrap_or(Seconds::ZERO);
    Seconds(2.0 + 10.0 * period.0.max(update.0))
}

impl Shared {
    fn run(&self, realtime: bool) {
        sharpen_timer();
        if realtime {
            self.sampler().stats.is_realtime = realtime::ask(&self.desk.info.id);
        }
        let update = self.desk.info.accuracy.update_period;
        let mut now = self.desk.clock.now();
        let schedule = Schedule::new(now, self.period, update);
        let mut n = 1;
        while self.wait_until(schedule.tick(n), now) {
            self.tick();
            now = self.desk.clock.now();
            let next = schedule.next_after(n, now);
            let missed = next - n - 1;
            if missed > 0 {
                self.sampler().count_late(missed);
            }
            n = next;
        }
    }

    fn tick(&self) {
        let mut sampler = self.sampler();
        if sampler.try_sample() {
            self.desk.resolve(&sampler.integrator, false);
        }
    }

    /// Waits for the tick; false when the meter is stopping. Each tick is one wake-up: a second one would cost as much
    /// as the sample. A short wait is a plain sleep to the absolute moment, the cheapest there is; stopping waits
    /// for it. A long one can be interrupted.
    fn wait_until(&self, due: Moment, mut now: Moment) -> bool {
        const SHORT: Duration = Duration::from_millis(20);
        let mut is_stopping = lock(&self.is_stopping);
        while !*is_stopping && now < due {
            let left = Duration::from_nanos(due.0 - now.0);
            if left <= SHORT {
                drop(is_stopping);
                self.desk.clock.sleep_until(due);
                return !*lock(&self.is_stopping);
            }
            is_stopping = self
                .wake
                .wait_timeout(is_stopping, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            now = self.desk.clock.now();
        }
        !*is_stopping
    }

    fn sampler(&self) -> MutexGuard<'_, Sampler> {
        lock(&self.sampler)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By default the kernel may delay a thread's timers by 50 µs to save wake-ups; a sampler wants them on time.
fn sharpen_timer() {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) };
}

struct Sampler {
    sensor: Box<dyn Sensor>,
    info: SensorInfo,
    integrator: Integrator,
    clock: Arc<dyn Clock>,
    on_sample: Option<OnSample>,
    stats: MeterStats,
}

impl Sampler {
    /// Reads once; the sample's time is the middle of the read unless the source tells a better one. True if it
    /// brought something new.
    fn sample(&mut self) -> Result<bool> {
        let before = self.clock.now();
        let reading = self.sensor.read()?;
        let after = self.clock.now();
        let middle = Moment(before.0 + (after.0 - before.0) / 2);
        let is_new = self.integrator.push(reading.at.unwrap_or(middle), &reading);
        if is_new {
            self.stats.samples += 1;
            if let (Some(on_sample), Some(point)) = (&mut self.on_sample, self.integrator.last()) {
                on_sample(&self.info, point);
            }
        }
        Ok(is_new)
    }

    fn try_sample(&mut self) -> bool {
        match self.sample() {
            Ok(is_new) => is_new,
            Err(error) => {
                self.count(&error);
                false
            }
        }
    }

    fn count_late(&mut self, ticks: u64) {
        self.stats.late_ticks += ticks;
        self.integrator.miss();
    }

    fn count(&mut self, error: &Error) {
        self.integrator.miss();
        let kind = error.kind();
        match self.stats.lost.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, n)) => *n += 1,
            None => {
                tracing::warn!("{}: sample lost: {error}", self.info.id);
                self.stats.lost.push((kind, 1));
            }
        }
        self.stats.last_error = Some(error.to_string());
    }

    fn stats(&self) -> MeterStats {
        MeterStats {
            resets: self.integrator.resets(),
            ..self.stats.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::sensor::{Reading, Value};
    use crate::span::Resolution;
    use crate::units::{Joules, Watts};

    /// Power that follows the clock: `f(seconds)`; `None` is a failing read.
    struct Source {
        clock: Arc<ManualClock>,
        power: fn(f64) -> Option<f64>,
    }

    impl Sensor for Source {
        fn read(&mut self) -> Result<Reading> {
            let t = self.clock.now().0 as f64 * 1e-9;
            match (self.power)(t) {
                Some(watts) => Ok(Reading::of_power(Watts(watts))),
                None => Err(Error::os("read", std::io::Error::from_raw_os_error(libc::EIO))),
            }
        }
    }

    fn meter(rate_hz: f64, power: fn(f64) -> Option<f64>) -> (Meter, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        let options = MeterOptions {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..MeterOptions::at(rate_hz)
        };
        let source = Source {
            clock: Arc::clone(&clock),
            power,
        };
        (Meter::start_manual(source, options).unwrap(), clock)
    }

    fn run(meter: &Meter, clock: &ManualClock, milliseconds: u64) {
        for _ in 0..milliseconds / 10 {
            clock.advance(Duration::from_millis(10));
            meter.sample_now();
        }
    }

    #[test]
    fn a_span_between_samples_is_exact_for_a_ramp() {
        let (meter, clock) = meter(100.0, Some);
        run(&meter, &clock, 50);
        clock.advance(Duration::from_millis(3));
        let span = meter.span("work");
        clock.advance(Duration::from_millis(7));
        meter.sample_now();
        run(&meter, &clock, 40);
        clock.advance(Duration::from_millis(4));
        let pending = span.end();
        assert_eq!(pending.poll(), Resolution::Pending);
        clock.advance(Duration::from_millis(6));
        meter.sample_now();
        let Resolution::Resolved(energy) = pending.poll() else {
            panic!("not resolved")
        };
        // Integral of t from 0.053 to 0.104.
        let truth = (0.104f64.powi(2) - 0.053f64.powi(2)) / 2.0;
        assert!(
            (energy.total.unwrap().joules.0 - truth).abs() < 1e-12,
            "{energy:?}"
        );
        assert!((energy.coverage - 1.0).abs() < 1e-9);
        assert_eq!(energy.samples, 5);
    }

    #[test]
    fn lost_samples_lower_coverage_and_are_counted() {
        let (meter, clock) = meter(100.0, |t| (!(0.1..0.2).contains(&t)).then_some(1.0));
        let span = meter.span("work");
        run(&meter, &clock, 400);
        let pending = span.end();
        let stats = meter.stop();
        assert_eq!(stats.lost, [(ErrorKind::Failed, 10)]);
        let Resolution::Resolved(energy) = pending.poll() else {
            panic!("not resolved")
        };
        assert!((energy.coverage - 0.75).abs() < 1e-6, "{}", energy.coverage);
        assert!((energy.total.unwrap().joules.0 - 0.4).abs() < 1e-9);
    }

    #[test]
    fn a_sensor_that_is_gone_loses_the_span_and_not_the_program() {
        let (meter, clock) = meter(100.0, |t| (t < 0.1).then_some(1.0));
        run(&meter, &clock, 200);
        let pending = meter.span("late").end();
        run(&meter, &clock, 3000);
        let Resolution::Lost(lost) = pending.poll() else {
            panic!("still waiting")
        };
        assert_eq!((lost.total, lost.coverage), (None, 0.0));
    }

    #[test]
    fn stopping_resolves_what_has_ended() {
        let (meter, clock) = meter(1.0, |_| Some(2.0));
        let span = meter.span("short");
        clock.advance(Duration::from_millis(100));
        let pending = span.end();
        clock.advance(Duration::from_millis(100));
        meter.stop();
        let Resolution::Resolved(energy) = pending.poll() else {
            panic!("not resolved")
        };
        assert!((energy.total.unwrap().joules - Joules(0.2)).0.abs() < 1e-12);
    }

    #[test]
    fn spans_nest_and_a_dropped_one_is_forgotten() {
        let (meter, clock) = meter(100.0, |_| Some(1.0));
        let outer = meter.span("outer");
        run(&meter, &clock, 20);
        let inner = meter.span("inner");
        drop(meter.span("dropped"));
        run(&meter, &clock, 30);
        let inner = inner.end();
        run(&meter, &clock, 50);
        let outer = outer.end();
        meter.stop();
        assert!((inner.wait().total.unwrap().joules.0 - 0.03).abs() < 1e-12);
        assert!((outer.wait().total.unwrap().joules.0 - 0.10).abs() < 1e-12);
    }

    #[test]
    fn a_thread_samples_in_real_time_and_counts_what_it_missed() {
        struct Slow;
        impl Sensor for Slow {
            fn read(&mut self) -> Result<Reading> {
                std::thread::sleep(Duration::from_millis(8));
                Ok([Value::Power(Watts(1.0))].into_iter().collect())
            }
        }
        let meter = Meter::start(Slow, MeterOptions::at(500.0)).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let stats = meter.stop();
        assert!(stats.late_ticks >= 3 * (stats.samples - 5), "{stats:?}");
    }

    #[test]
    fn nonsensical_rates_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            let clock = Arc::new(ManualClock::new());
            let source = Source {
                clock,
                power: |_| Some(1.0),
            };
            assert!(
                Meter::start_manual(source, MeterOptions::at(rate)).is_err(),
                "{rate}"
            );
        }
    }
}
