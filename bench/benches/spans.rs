//! What a span costs the thread that begins and ends it, and what resolving thousands of them costs the sampler.
//!
//! The goals: 200 ns each for beginning and ending; resolving does not grow with the length of the span.

use hwmeter_bench::median;
use hwmeter_hw::Result;
use hwmeter_hw::clock::{Clock, ManualClock, MonotonicClock};
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::{Reading, Sensor};
use hwmeter_hw::span::PendingSpan;
use hwmeter_hw::units::Watts;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Flat;

impl Sensor for Flat {
    fn read(&mut self) -> Result<Reading> {
        Ok(Reading::of_power(Watts(2.0)))
    }
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let turns = if is_test { 3 } else { 301 };
    edges(turns);
    resolving(if is_test { 100 } else { 10_000 });
}

/// Beginning and ending while a meter samples at 100 Hz. The clock read is part of both.
fn edges(turns: usize) {
    const SPANS: usize = 200;
    let meter = Meter::start(Flat, MeterOptions::at(100.0)).expect("a meter");
    let each = |elapsed: Duration| elapsed.as_secs_f64() * 1e9 / SPANS as f64;
    let (mut begin_ns, mut end_ns) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let started = Instant::now();
        let spans: Vec<_> = (0..SPANS).map(|_| meter.span("work")).collect();
        begin_ns.push(each(started.elapsed()));
        let started = Instant::now();
        let pending: Vec<PendingSpan> = spans.into_iter().map(|span| span.end()).collect();
        end_ns.push(each(started.elapsed()));
        drop(pending);
        meter.sample_now();
    }
    println!("begin a span  {:>6.0} ns", median(begin_ns));
    println!("end a span    {:>6.0} ns", median(end_ns));
}

/// One sample after `spans` of them have ended, long and short ones.
fn resolving(spans: usize) {
    for (name, length) in [("10 ms", 10), ("10 s", 10_000)] {
        let clock = Arc::new(ManualClock::new());
        let mut options = MeterOptions::at(100.0);
        options.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let meter = Meter::start_manual(Flat, options).expect("a meter");
        let open: Vec<_> = (0..spans).map(|_| meter.span("work")).collect();
        for _ in 0..length / 10 {
            clock.advance(Duration::from_millis(10));
            meter.sample_now();
        }
        let pending: Vec<PendingSpan> = open.into_iter().map(|span| span.end()).collect();
        clock.advance(Duration::from_millis(10));
        let started = MonotonicClock.now();
        meter.sample_now();
        let resolved = MonotonicClock.now() - started;
        let energies = pending.iter().filter_map(|span| span.wait().total).count();
        assert_eq!(energies, spans, "every span has its energy");
        let each = resolved.0 * 1e9 / spans as f64;
        println!("resolve a span of {name:<5}  {each:>6.0} ns each, {spans} at once");
    }
}
