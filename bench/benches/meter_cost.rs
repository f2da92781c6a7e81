//! What the meter costs in CPU time, beside a bare loop: a sleep to an absolute time and the same reads.
//!
//! The goal is a ratio of at most 1.3 and at most 1 % late ticks. Meter and bare loop run in turns in one process,
//! and the CPU time is the whole process's. `--test` runs each for a moment only.

use hwmeter_bench::{Backing, BareFiles, median, three_rails};
use hwmeter_hw::clock::{Clock, Moment, MonotonicClock};
use hwmeter_hw::discover;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensors::Context;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So many sensors of three rails each at this rate.
struct Case {
    name: &'static str,
    sensors: usize,
    rate_hz: f64,
    /// Whether both ask for `SCHED_FIFO`.
    realtime: bool,
}

const CASES: [Case; 4] = [
    Case {
        name: "10 sensors at 100 Hz",
        sensors: 10,
        rate_hz: 100.0,
        realtime: false,
    },
    Case {
        name: "1 sensor at 1 kHz",
        sensors: 1,
        rate_hz: 1000.0,
        realtime: false,
    },
    Case {
        name: "1 sensor at 10 kHz",
        sensors: 1,
        rate_hz: 10_000.0,
        realtime: false,
    },
    Case {
        name: "the same, SCHED_FIFO",
        sensors: 1,
        rate_hz: 10_000.0,
        realtime: true,
    },
];

/// What one turn cost.
#[derive(Clone, Copy)]
struct Turn {
    cpu_share: f64,
    ticks: u64,
    late: u64,
}

struct Plan {
    turns: usize,
    length: Duration,
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let plan = match is_test {
        true => Plan {
            turns: 1,
            length: Duration::from_millis(100),
        },
        false => Plan {
            turns: 9,
            length: Duration::from_secs(1),
        },
    };
    println!("case                  files        CPU meter  CPU bare  ratio  late ticks meter  bare");
    for backing in Backing::ALL {
        for case in &CASES {
            report(case, backing, &plan);
        }
    }
}

fn report(case: &Case, backing: Backing, plan: &Plan) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = three_rails(dir.path(), backing).expect("a tree of files");
    let context = Context::new(root, Arc::new(MonotonicClock));
    // In turns, so that a busy neighbour or a changed clock rate meets both.
    let turns: Vec<(Turn, Turn)> = (0..plan.turns)
        .map(|_| {
            (
                metered(case, &context, plan.length),
                bare(case, &context, plan.length),
            )
        })
        .collect();
    let middle = |value: fn(&(Turn, Turn)) -> f64| median(turns.iter().map(value).collect());
    println!(
        "{:<20}  {:<11}  {:>7.2} %  {:>6.2} %  {:>5.2}  {:>14.2} %  {:>2.2} %",
        case.name,
        backing.name(),
        100.0 * middle(|(meter, _)| meter.cpu_share),
        100.0 * middle(|(_, bare)| bare.cpu_share),
        middle(|(meter, bare)| meter.cpu_share / bare.cpu_share),
        late_percent(turns.iter().map(|(meter, _)| meter)),
        late_percent(turns.iter().map(|(_, bare)| bare)),
    );
}

fn late_percent<'a>(turns: impl Iterator<Item = &'a Turn>) -> f64 {
    let (late, ticks) = turns.fold((0, 0), |(late, ticks), turn| {
        (late + turn.late, ticks + turn.ticks)
    });
    100.0 * late as f64 / (ticks as f64).max(1.0)
}

/// CPU share of this process while `length` passes.
fn cpu_share_over(length: Duration) -> f64 {
    let (cpu, begin) = (process_cpu(), Instant::now());
    std::thread::sleep(length);
    (process_cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64()
}

fn metered(case: &Case, context: &Context, length: Duration) -> Turn {
    let start = |_| {
        let sensor = discover::open(context, "ina3221-hwmon").expect("three rails");
        let mut options = MeterOptions::at(case.rate_hz);
        options.realtime = case.realtime;
        Meter::start(sensor, options).expect("a meter")
    };
    let meters: Vec<Meter> = (0..case.sensors).map(start).collect();
    let cpu_share = cpu_share_over(length);
    let stats: Vec<_> = meters.into_iter().map(Meter::stop).collect();
    let late = stats.iter().map(|stats| stats.late_ticks).sum();
    Turn {
        cpu_share,
        ticks: late + stats.iter().map(|stats| stats.samples).sum::<u64>(),
        late,
    }
}

fn bare(case: &Case, context: &Context, length: Duration) -> Turn {
    let is_stopping = Arc::new(AtomicBool::new(false));
    let period = Duration::from_secs_f64(1.0 / case.rate_hz);
    let start = |_| {
        let files = BareFiles::open(&context.root).expect("six files");
        let is_stopping = Arc::clone(&is_stopping);
        let realtime = case.realtime;
        std::thread::spawn(move || bare_loop(&files, period, realtime, &is_stopping))
    };
    let loops: Vec<JoinHandle<(u64, u64)>> = (0..case.sensors).map(start).collect();
    let cpu_share = cpu_share_over(length);
    is_stopping.store(true, Ordering::Relaxed);
    let counts = loops.into_iter().map(|thread| thread.join().expect("no panic"));
    let (ticks, late) = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    Turn {
        cpu_share,
        ticks,
        late,
    }
}

/// The least that samples on an absolute schedule and knows when it was late: ticks, and how many were late.
fn bare_loop(files: &BareFiles, period: Duration, realtime: bool, is_stopping: &AtomicBool) -> (u64, u64) {
    if realtime {
        let parameters = libc::sched_param { sched_priority: 10 };
        // SAFETY: 0 is the calling thread; the kernel copies the parameters, which live through the call. Where it
        // is not permitted, the loop runs without, as the meter does.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    }
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) };
    let period = period.as_nanos() as u64;
    let (mut ticks, mut late) = (0, 0);
    let mut due = Moment(MonotonicClock.now().0 + period);
    while !is_stopping.load(Ordering::Relaxed) {
        MonotonicClock.sleep_until(due);
        files.sweep().expect("six numbers");
        let missed = MonotonicClock.now().0.saturating_sub(due.0) / period;
        ticks += 1 + missed;
        late += missed;
        due.0 += (missed + 1) * period;
    }
    (ticks, late)
}

/// CPU time of the process so far.
fn process_cpu() -> Duration {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid timespec to write to; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut ts) };
    Duration::new(ts.tv_sec as u64, ts.tv_nsec as u32)
}
