//! How fast a trace is written while sampling, and how fast it is integrated again.
//!
//! The goals: at least 500,000 rows/s written without a lost sample and without the sampler ever waiting, and 10 million
//! rows integrated in under 3 s. `--test` takes a hundredth of the rows.

use hwmeter::integrate::{Interval, integrate};
use hwmeter::trace::TraceWriter;
use hwmeter_hw::clock::Moment;
use hwmeter_hw::integrator::{Integrator, Point};
use hwmeter_hw::sensor::{Kind, Rail, Reading, Role, SensorInfo, Value};
use hwmeter_hw::trace::TraceReader;
use hwmeter_hw::units::{Seconds, Watts};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows per second that a sampler is made to bring: twice the goal.
const PACE: f64 = 1e6;

/// Samples are brought in bursts of this many, then the pace is waited for.
const BURST: u64 = 100;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let rows = if is_test { 100_000 } else { 10_000_000 };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let two_columns = dir.path().join("power.csv");
    let energy = dir.path().join("energy.csv");
    for rails in [1, 3] {
        written(&energy, rails, rows);
        integrated(&energy, rows);
    }
    write_two_columns(&two_columns, rows);
    integrated(&two_columns, rows);
}

/// What a sensor with so many rails says at sample `i`: powers with all their digits.
fn samples(info: &SensorInfo) -> impl FnMut(u64) -> Point {
    let period = Duration::from_micros(100);
    let mut integrator = Integrator::new(info, period.into());
    let rails = info.rails.len() as u64;
    move |i| {
        let reading: Reading = (0..rails)
            .map(|rail| Value::Power(Watts(power(i + rail))))
            .collect();
        integrator.push(Moment((i + 1) * period.as_nanos() as u64), &reading);
        integrator.last().expect("a sample").clone()
    }
}

fn power(i: u64) -> f64 {
    4.0 + (i * 7919 % 977) as f64 / 977.0
}

/// Brings samples at [`PACE`]; tells what was lost and how long the longest hand-over held up the sampler.
fn written(path: &Path, rails: usize, rows: u64) {
    let rails: Vec<Rail> = (0..rails)
        .map(|i| Rail::new(format!("VDD_{i}"), Role::Cpu))
        .collect();
    let rows_per_sample = rails.len() as u64;
    let info = SensorInfo::new("ina3221-hwmon", Kind::Measured, rails);
    let mut next = samples(&info);
    let writer = TraceWriter::create(path).expect("a file");
    let mut on_sample = writer.on_sample(Moment(0));
    let (mut longest, mut sampling) = (Duration::ZERO, Duration::ZERO);
    let count = rows / rows_per_sample;
    let begin = Instant::now();
    for i in 0..count {
        let point = next(i);
        let before = Instant::now();
        on_sample(&info, &point);
        let took = before.elapsed();
        longest = longest.max(took);
        sampling += took;
        let due = Duration::from_secs_f64((i * rows_per_sample) as f64 / PACE);
        if i % BURST == 0 {
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
    }
    drop(on_sample);
    let report = writer.finish();
    println!(
        "written: {} rows of {rows_per_sample} rails at {:.0} rows/s (goal: 500000), {} samples lost; a sample \
         costs the sampler {:.0} ns, the longest {:.0} µs",
        report.rows,
        report.rows as f64 / begin.elapsed().as_secs_f64(),
        report.lost_samples,
        sampling.as_nanos() as f64 / count as f64,
        longest.as_secs_f64() * 1e6,
    );
}

fn write_two_columns(path: &Path, rows: u64) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    writeln!(file, "t_s,power_w").expect("space on the disk");
    for i in 0..rows {
        writeln!(file, "{},{}", i as f64 / 1e4, power(i)).expect("space on the disk");
    }
    file.flush().expect("space on the disk");
}

fn integrated(path: &Path, rows: u64) {
    let intervals = [Interval {
        name: "all but the first second".into(),
        from: Some(Seconds(1.0)),
        to: None,
    }];
    let begin = Instant::now();
    let trace = TraceReader::open(path).expect("a trace");
    let layout = trace.layout();
    let found = integrate(trace, &[], &intervals, None).expect("joules");
    let took = begin.elapsed().as_secs_f64();
    println!(
        "integrated: {layout:?}, {} samples in {took:.2} s: {:.0} ns per row, 10 million in {:.2} s (goal: 3 s)",
        found.sensors[0].spans[0].samples,
        took / rows as f64 * 1e9,
        took / rows as f64 * 1e7,
    );
}
