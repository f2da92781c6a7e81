//! The meter on a manual clock, and a few times on the real one.

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
