//! What the models that follow `/proc/stat` do with bad input: no panic and no silent zero; and with a model that was
//! fitted on the board.

use crate::common::{Tree, boards, faults};
use hwmeter_hw::ErrorKind;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::clock::{Clock, ManualClock};
use hwmeter_hw::discover;
use hwmeter_hw::sensor::{Kind, Reading, Sensor, Value};
use hwmeter_hw::sensors::Context;
use hwmeter_hw::units::Watts;
use std::sync::Arc;
use std::time::Duration;

const STAT: &str = "/proc/stat";
const GOOD: &str = "cpu  200 0 200 1600 0 0 0 0 0 0\ncpu0 200 0 200 1600 0 0 0 0 0 0\n";

type MakeTree = fn() -> Tree;

const MODELS: [(&str, MakeTree); 2] = [("rpi-model", boards::pi4), ("cpu-model", boards::plain_vm)];

const JUNK: [&str; 8] = [
    "",
    "\n",
    "abc\n",
    "cpu\n",
    "cpu  one two three four\n",
    "cpu  100 0 100 99999999999999999999999 0 0 0 0 0 0\n",
    "cpu  -100 0 100 800 0 0 0 0 0 0\n",
    "intr 1 2 3\n",
];

fn open(name: &str, tree: &Tree) -> Box<dyn Sensor> {
    discover::open(&tree.context(), name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The models look at the file only once per update period, and again at every read after a failure.
fn wait_for_update() {
    std::thread::sleep(Duration::from_millis(60));
}

#[test]
fn junk_loses_the_sample_and_the_next_good_one_counts() {
    for (name, tree) in MODELS {
        let tree = tree();
        let mut sensor = open(name, &tree);
        sensor.read().unwrap();
        wait_for_update();
        for junk in JUNK {
            tree.write(STAT, junk);
            let error = sensor.read().expect_err(junk);
            assert_eq!(error.kind(), ErrorKind::Malformed, "{name}: {junk:?}");
            assert!(error.to_string().contains(STAT), "{error}");
            assert!(
                discover::open(&tree.context(), name).is_err(),
                "{name}: {junk:?} is no sensor"
            );
        }
        tree.write(STAT, GOOD.trim_end()); // no line end
        assert!(sensor.read().is_ok(), "{name}");
    }
}

#[test]
fn a_file_that_disappears_is_an_error_until_it_comes_back() {
    for (name, tree) in MODELS {
        let tree = tree();
        let mut sensor = open(name, &tree);
        sensor.read().unwrap();
        wait_for_update();
        tree.write(STAT, "");
        assert!(sensor.read().is_err(), "{name}");
        tree.remove(STAT);
        assert_eq!(sensor.read().unwrap_err().kind(), ErrorKind::Gone, "{name}");
        assert!(
            discover::open(&tree.context(), name).is_err(),
            "{name}: without {STAT}"
        );
        tree.write(STAT, GOOD);
        assert!(sensor.read().is_ok(), "{name}");
    }
}

#[test]
fn a_read_that_fails_loses_the_sample_for_its_reason() {
    for (name, tree) in MODELS {
        for (errno, kind) in [
            (libc::EIO, ErrorKind::Failed),
            (libc::EAGAIN, ErrorKind::Busy),
            (libc::EACCES, ErrorKind::Denied),
        ] {
            let tree = tree();
            let mut sensor = open(name, &tree);
            let error = faults::failing_reads(&tree.path(STAT), errno, || sensor.read()).expect_err(name);
            assert_eq!(error.kind(), kind, "{name}: {error}");
            assert!(sensor.read().is_ok(), "{name}: it recovers");
        }
    }
}

/// A calibration file with a model of a board, seen up to a load of `highest`: 3 W, and 5 W more with all cores busy at the highest frequency.
fn calibration_up_to(highest: f64, kind: &str, model: &str) -> Calibration {
    let text = format!(
        "version = 1\n[made]\ndate = 2026-11-25T14:00:00Z\nboard = \"{model}\"\nkind = \"{kind}\"\n\
         [power_model]\nsensor = \"modbus:tcp://192.0.2.7\"\nsensor_kind = \"measured\"\nsensor_gain = 0.003\n\
         steps = 21\nfit_error = 0.004\nidle_watts = 3.0\nknots = [0.0, {highest:?}]\nconstant_watts = [1.0]\n\
         linear_watts = [2.0]\ncubic_watts = [2.0]\nmax_hz = 1800000000.0\n"
    );
    Calibration::parse("c.toml".as_ref(), &text).unwrap()
}

fn calibration(kind: &str, model: &str) -> Calibration {
    calibration_up_to(1.0, kind, model)
}

/// A Pi 4 at half of its highest frequency.
fn pi4_with_frequency() -> Tree {
    boards::pi4().with_all(
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
    )
}

/// Mean power that a sensor gives while all cores are busy.
fn power_when_busy(context: &Context, tree: &Tree, name: &str) -> f64 {
    let clock = Arc::new(ManualClock::new());
    let context = Context {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..context.clone()
    };
    let mut sensor = discover::open(&context, name).unwrap();
    let energy = |reading: Reading| match reading.values[0] {
        Value::Energy { counter, .. } => counter.0,
        other => panic!("{other:?}"),
    };
    tree.write(STAT, "cpu  1000 0 0 1000 0 0 0 0 0 0\n");
    let before = energy(sensor.read().unwrap());
    clock.advance(Duration::from_secs(2));
    tree.write(STAT, "cpu  1800 0 0 1000 0 0 0 0 0 0\n");
    (energy(sensor.read().unwrap()) - before) / 2.0
}

#[test]
fn a_model_fitted_on_this_board_takes_the_place_of_other_peoples_with_its_own_error() {
    let tree = pi4_with_frequency();
    let plain = tree.context();
    let model = plain.board.model.clone();
    let fitted = plain.clone().calibrated(&calibration("raspberry-pi-4", &model));
    for name in ["rpi-model", "cpu-model"] {
        let info = discover::open(&fitted, name).unwrap().info();
        assert_eq!(info.kind, Kind::Modelled);
        assert!((info.accuracy.gain - 0.005).abs() < 1e-12, "{info:?}");
        assert_eq!((info.idle, info.full), (Some(Watts(3.0)), Some(Watts(8.0))));
        for word in ["2026-11-25", "modbus:tcp://192.0.2.7", "21 load steps", "0.4 %"] {
            assert!(
                info.accuracy.source.contains(word),
                "{word}: {}",
                info.accuracy.source
            );
        }
        // Half the frequency: 3 + 1 + 2/2 + 2/8.
        let power = power_when_busy(&fitted, &tree, name);
        assert!((power - 5.25).abs() < 1e-9, "{name}: {power}");
        let otherwise = discover::open(&plain, name).unwrap().info();
        assert!(otherwise.accuracy.gain >= 0.1 && !otherwise.accuracy.source.contains("fitted on 2026"));
    }
    // Without cpufreq the highest frequency is assumed, and that is said.
    let tree = boards::pi4();
    let blind = tree.context().calibrated(&calibration("raspberry-pi-4", &model));
    assert!((power_when_busy(&blind, &tree, "rpi-model") - 8.0).abs() < 1e-9);
    let note = discover::open(&blind, "rpi-model").unwrap().info().note.unwrap();
    assert!(
        note.contains("the highest is assumed") && !note.contains("extrapolated"),
        "{note}"
    );
}

#[test]
fn a_model_that_saw_little_load_says_so() {
    let tree = pi4_with_frequency();
    let context = tree.context();
    let calibration = calibration_up_to(0.25, "raspberry-pi-4", &context.board.model);
    let info = discover::open(&context.calibrated(&calibration), "rpi-model")
        .unwrap()
        .info();
    let note = info.note.unwrap();
    assert!(note.contains("up to a load of 25 %"), "{note}");
    assert_eq!(info.full, Some(Watts(23.0)));
}

#[test]
fn a_model_of_another_board_is_left_alone() {
    let tree = pi4_with_frequency();
    let plain = tree.context();
    let other = calibration("raspberry-pi-5", "Raspberry Pi 5 Model B Rev 1.0");
    let context = plain.clone().calibrated(&other);
    for name in ["rpi-model", "cpu-model"] {
        let info = |context| discover::open(context, name).unwrap().info();
        assert_eq!(info(&context), info(&plain));
    }
    let warnings = other.warnings(&plain.board, "6.12.20", None);
    assert!(
        warnings.iter().any(|warning| warning.contains("Raspberry Pi 5")),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|warning| warning.contains("not used here")),
        "{warnings:?}"
    );
}
