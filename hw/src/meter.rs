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
    fn a_read_that_never_comes_back_holds_up_neither_figures_nor_stopping() {
        struct Stuck(bool);
        impl Sensor for Stuck {
            fn read(&mut self) -> Result<Reading> {
                if std::mem::replace(&mut self.0, true) {
                    std::thread::sleep(Duration::from_secs(3600));
                }
                Ok(Reading::of_power(Watts(1.0)))
            }
        }
        let begin = Instant::now();
        let meter = Meter::start(Stuck(false), MeterOptions::at(1000.0)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let span = meter.span("work");
        meter.sample_now();
        let pending = span.end();
        assert_eq!(meter.stats().samples, 1);
        meter.stop();
        assert!(begin.elapsed() < Duration::from_secs(5));
        let Resolution::Resolved(energy) = pending.poll() else {
            panic!("not resolved")
        };
        assert_eq!((energy.total, energy.coverage), (None, 0.0));
    }

    #[test]
    fn spans_come_from_several_threads_and_end_on_others() {
        struct Flat;
        impl Sensor for Flat {
            fn read(&mut self) -> Result<Reading> {
                Ok(Reading::of_power(Watts(3.0)))
            }
        }
        let meter = Meter::start(Flat, MeterOptions::at(1000.0)).unwrap();
        let spans: Vec<Span> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| meter.span("work"))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let pending: Vec<PendingSpan> = spans
            .into_iter()
            .map(|span| std::thread::spawn(move || span.end()).join().unwrap())
            .collect();
        for pending in pending {
            let energy = pending.wait();
            let truth = 3.0 * energy.duration().0;
            assert!(
                (energy.total.unwrap().joules.0 - truth).abs() < 1e-9 * truth,
                "{energy:?}"
            );
        }
    }

    #[test]
    fn a_meter_and_its_spans_may_go_from_thread_to_thread() {
        fn may<T: Send + Sync>() {}
        may::<Meter>();
        may::<Span>();
        may::<PendingSpan>();
    }

    #[test]
    fn a_span_may_begin_and_end_in_the_past() {
        let (meter, clock) = meter(100.0, Some);
        run(&meter, &clock, 500);
        let at = |ms: u64| Moment(ms * 1_000_000);
        let pending = meter.span_from("phase", at(105)).end_at(at(333));
        run(&meter, &clock, 10);
        let Resolution::Resolved(energy) = pending.poll() else {
            panic!("not resolved")
        };
        let truth = (0.333f64.powi(2) - 0.105f64.powi(2)) / 2.0;
        assert!((energy.total.unwrap().joules.0 - truth).abs() < 1e-12);
        let backwards = meter.span_from("phase", at(300)).end_at(at(200));
        run(&meter, &clock, 10);
        assert_eq!(backwards.wait().duration(), Seconds::ZERO);
    }

    #[test]
    fn samples_at_the_edges_make_a_short_span_sure() {
        let (meter, clock) = meter(10.0, |t| Some(if t.rem_euclid(2.0) < 1.0 { 10.0 } else { 0.0 }));
        for _ in 0..45 {
            clock.advance(Duration::from_millis(100));
            meter.sample_now();
        }
        let unsure = {
            let span = meter.span("short");
            clock.advance(Duration::from_millis(10));
            span.end()
        };
        clock.advance(Duration::from_millis(50));
        let span = meter.span_with_sample("short");
        clock.advance(Duration::from_millis(10));
        let sure = meter.end_with_sample(span).wait();
        let unsure = unsure.wait();
        let of = |energy: &crate::span::SpanEnergy| energy.total.unwrap();
        assert!((of(&sure).joules.0 - 0.1).abs() < 1e-12);
        assert!(
            of(&sure).uncertainty.0 < 0.5 * of(&unsure).uncertainty.0,
            "{sure:?} {unsure:?}"
        );
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
