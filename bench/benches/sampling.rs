//! What one sweep of three INA3221 rails costs, beside a `pread` of the same six files on kept-open descriptors.
//!
//! The goal is a ratio of at most 1.3. Both are timed in turns in the same run, because the cost of a system call
//! drifts with the machine's clock rate. On a board the six reads wait for the I2C bus (0.5 ms), and the ratio is
//! nearer to 1 than it is here.

use criterion::{Criterion, criterion_group, criterion_main};
use hwmeter_bench::{Backing, BareFiles, median, three_rails};
use hwmeter_hw::clock::{Clock, MonotonicClock};
use hwmeter_hw::discover;
use hwmeter_hw::integrator::Integrator;
use hwmeter_hw::sensor::Sensor;
use hwmeter_hw::sensors::Context;
use hwmeter_hw::units::Seconds;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A sensor and the same files without it.
struct Pair {
    sensor: Box<dyn Sensor>,
    bare: BareFiles,
}

impl Pair {
    fn new(dir: &Path, backing: Backing) -> Self {
        let root = three_rails(dir, backing).expect("a tree of files");
        let context = Context::new(root.clone(), Arc::new(MonotonicClock));
        Self {
            sensor: discover::open(&context, "ina3221-hwmon").expect("three rails"),
            bare: BareFiles::open(&root).expect("six files"),
        }
    }

    fn read(&mut self) {
        black_box(self.sensor.read().expect("a reading"));
    }

    fn sweep(&self) {
        black_box(self.bare.sweep().expect("six numbers"));
    }

    /// Seconds per sweep of the sensor over those of the bare reads: the median of many short turns.
    fn ratio(&mut self) -> f64 {
        const TURNS: usize = 101;
        median(
            (0..TURNS)
                .map(|_| seconds(|| self.read()) / seconds(|| self.sweep()))
                .collect(),
        )
    }
}

fn seconds(mut work: impl FnMut()) -> f64 {
    const SWEEPS: usize = 200;
    let begin = Instant::now();
    (0..SWEEPS).for_each(|_| work());
    begin.elapsed().as_secs_f64()
}

fn sweeps(criterion: &mut Criterion) {
    for backing in Backing::ALL {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut pair = Pair::new(dir.path(), backing);
        let mut group = criterion.benchmark_group(format!("three rails, {}", backing.name()));
        group.bench_function("pread", |b| b.iter(|| pair.sweep()));
        group.bench_function("sensor", |b| b.iter(|| pair.read()));
        group.finish();
        println!(
            "three rails, {}: sensor / pread = {:.2} (goal: at most 1.3)",
            backing.name(),
            pair.ratio()
        );
    }
}

/// What follows a read: one push, with a clock that is not asked.
fn push(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut pair = Pair::new(dir.path(), Backing::Files);
    let mut integrator = Integrator::new(&pair.sensor.info(), Seconds(0.001));
    let reading = pair.sensor.read().expect("a reading");
    let mut t = MonotonicClock.now();
    criterion.bench_function("integrate three rails", |b| {
        b.iter(|| {
            t.0 += 1_000_000;
            integrator.push(t, black_box(&reading))
        })
    });
}

criterion_group!(benches, sweeps, push);
criterion_main!(benches);
