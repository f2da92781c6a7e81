//! Sampling allocates nothing: an allocator that counts watches a thread that reads and integrates.

#![allow(clippy::unwrap_used)] // in tests, helpers included

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/counting.rs"]
mod counting;

use common::{Tree, boards};
use counting::allocations;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::clock::{Clock, ManualClock, Moment};
use hwmeter_hw::discover;
use hwmeter_hw::integrator::Integrator;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::Sensor;
use hwmeter_hw::sensors::Context;
use hwmeter_hw::units::Seconds;
use std::sync::Arc;
use std::time::Duration;

/// A Nano whose chip shows no power files, so that `ui_input_N` is read.
fn nano_with_pairs() -> Tree {
    let tree = boards::nano();
    for n in 0..3 {
        tree.remove(&format!(
            "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power{n}_input"
        ));
    }
    tree
}

fn battery() -> Tree {
    let files = [
        ("type", "Battery\n"),
        ("status", "Discharging\n"),
        ("power_now", "7500000\n"),
    ];
    boards::plain_vm().with_all("/sys/class/power_supply/BAT0", &files)
}

type MakeTree = fn() -> Tree;

/// Every sensor that reads files.
const SENSORS: [(&str, MakeTree); 8] = [
    ("ina3221-hwmon", boards::agx_orin),
    ("ina3221-iio", boards::nano),
    ("ina3221-iio", nano_with_pairs),
    ("hwmon", boards::thor),
    ("powercap", boards::x86_rapl),
    ("power-supply", battery),
    ("cpu-model", boards::plain_vm),
    ("rpi-model", boards::pi4),
];

/// More samples than an integrator keeps, so that the steady state is reached.
const WARM_UP: u64 = 300;
const SAMPLES: u64 = 1000;

#[test]
fn the_counter_counts() {
    let n = allocations(|| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(n, 1);
}

#[test]
fn reading_and_integrating_allocate_nothing() {
    for (name, tree) in SENSORS {
        let tree = tree();
        sample_without_allocating(name, &tree, &Calibration::default());
    }
}

#[test]
fn nor_does_a_model_fitted_on_the_board_that_reads_the_frequency_too() {
    let tree = boards::pi4().with_all(
        "/sys/devices/system/cpu/cpufreq/policy0",
        &[
            ("related_cpus", "0 1 2 3\n"),
            ("scaling_governor", "ondemand\n"),
            ("scaling_min_freq", "600000\n"),
            ("scaling_max_freq", "1800000\n"),
            ("cpuinfo_min_freq", "600000\n"),
            ("cpuinfo_max_freq", "1800000\n"),
            ("scaling_cur_freq", "900000\n"),
        ],
    );
    let text = "[made]\nboard = \"\"\nkind = \"raspberry-pi-4\"\n[power_model]\nsensor = \"hwmon\"\n\
        sensor_kind = \"measured\"\nsensor_gain = 0.01\nsteps = 21\nfit_error = 0.01\nidle_watts = 3.0\n\
        knots = [0.0, 0.5, 1.0]\nconstant_watts = [1.0, 1.0]\nlinear_watts = [1.0, 1.0]\ncubic_watts = [1.0, 1.0]\n\
        max_hz = 1.8e9\n";
    let calibration = Calibration::parse("c.toml".as_ref(), text).unwrap();
    assert!(tree.context().calibrated(&calibration).power_model.is_some());
    sample_without_allocating("rpi-model", &tree, &calibration);
}

fn sample_without_allocating(name: &str, tree: &Tree, calibration: &Calibration) {
    let clock = Arc::new(ManualClock::new());
    let context = Context {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..tree.context().calibrated(calibration)
    };
    let mut sensor = discover::open(&context, name).unwrap();
    let mut integrator = Integrator::new(&sensor.info(), Seconds(0.001));
    let mut sample = |t: u64| {
        // More than an update period of the models, so that each read looks at the file.
        clock.advance(Duration::from_millis(100));
        let reading = sensor.read().unwrap();
        assert!(!reading.is_unchanged(), "{name}");
        integrator.push(Moment(t * 1_000_000), &reading);
    };
    (0..WARM_UP).for_each(&mut sample);
    let n = allocations(|| (WARM_UP..WARM_UP + SAMPLES).for_each(&mut sample));
    assert_eq!(n, 0, "{name}: allocations in {SAMPLES} samples");
}

#[test]
fn a_tick_of_the_meter_allocates_nothing() {
    let tree = boards::agx_orin();
    let sensor = discover::open(&tree.context(), "ina3221-hwmon").unwrap();
    let clock = Arc::new(ManualClock::new());
    let options = MeterOptions {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..MeterOptions::at(1000.0)
    };
    let meter = Meter::start_manual(sensor, options).unwrap();
    let tick = |_: u64| {
        clock.advance(Duration::from_millis(1));
        meter.sample_now();
    };
    (0..WARM_UP).for_each(tick);
    assert_eq!(allocations(|| (0..SAMPLES).for_each(tick)), 0);
    assert_eq!(meter.stats().samples, 1 + WARM_UP + SAMPLES);
}
