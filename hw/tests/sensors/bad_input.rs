//! What every sensor that reads sysfs does with bad input: no panic and no silent zero.
//!
//! The same for the sensors that read something else stands in `load_models.rs` (`/proc/stat`), `tegrastats.rs`,
//! `rpi_pmic.rs`, `nvml.rs`, `perf_rapl.rs`, `replay.rs` and `modbus/faults.rs`; each says which kinds of bad input
//! cannot occur there. A read that blocks is the meter's concern and the same for all: `blocking.rs`.

use crate::common::{Tree, boards, faults};
use hwmeter_hw::ErrorKind;
use hwmeter_hw::discover;
use hwmeter_hw::sensor::{Reading, Sensor, Value};

/// A sensor and one of the files it reads.
struct Case {
    sensor: &'static str,
    tree: fn() -> Tree,
    node: &'static str,
    /// What stands there, without a line end.
    good: &'static str,
    /// Whether it may be below zero.
    is_signed: bool,
    /// Whether it is the sensor's only rail, so that nothing is left without it.
    is_alone: bool,
}

const CASES: [Case; 7] = [
    Case {
        sensor: "ina3221-iio",
        tree: boards::nano,
        node: "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power2_input",
        good: "275",
        is_signed: true,
        is_alone: false,
    },
    Case {
        sensor: "ina3221-hwmon",
        tree: boards::orin_nano,
        node: "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/curr2_input",
        good: "104",
        is_signed: true,
        is_alone: false,
    },
    Case {
        sensor: "ina3221-hwmon",
        tree: boards::agx_orin,
        node: "/sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon4/in2_input",
        good: "5000",
        is_signed: true,
        is_alone: false,
    },
    Case {
        sensor: "hwmon",
        tree: boards::thor,
        node: "/sys/class/hwmon/hwmon2/power1_input",
        good: "43850000",
        is_signed: true,
        is_alone: true,
    },
    Case {
        sensor: "powercap",
        tree: boards::x86_rapl,
        node: "/sys/class/powercap/intel-rapl:0/energy_uj",
        good: "1000000",
        is_signed: false,
        is_alone: false,
    },
    Case {
        sensor: "power-supply",
        tree: battery,
        node: "/sys/class/power_supply/BAT0/power_now",
        good: "7500000",
        is_signed: true,
        is_alone: true,
    },
    Case {
        sensor: "power-supply",
        tree: ups,
        node: "/sys/class/power_supply/ups/current_now",
        good: "-1500000",
        is_signed: true,
        is_alone: true,
    },
];

fn battery() -> Tree {
    let files = [
        ("type", "Battery\n"),
        ("status", "Discharging\n"),
        ("power_now", "7500000\n"),
    ];
    boards::plain_vm().with_all("/sys/class/power_supply/BAT0", &files)
}

fn ups() -> Tree {
    let files = [
        ("type", "UPS\n"),
        ("status", "Discharging\n"),
        ("voltage_now", "5000000\n"),
        ("current_now", "-1500000\n"),
    ];
    boards::plain_vm().with_all("/sys/class/power_supply/ups", &files)
}

fn open(case: &Case, tree: &Tree) -> Box<dyn Sensor> {
    discover::open(&tree.context(), case.sensor).unwrap_or_else(|error| panic!("{}: {error}", case.sensor))
}

fn values(reading: &Reading) -> usize {
    reading
        .values
        .iter()
        .filter(|value| **value != Value::Missing)
        .count()
}

#[test]
fn junk_in_a_file_loses_the_sample_and_the_next_good_one_counts() {
    for case in &CASES {
        let tree = (case.tree)();
        let mut sensor = open(case, &tree);
        let good = sensor.read().unwrap();
        for junk in [
            "",
            "\n",
            "abc\n",
            "12 34\n",
            "0x10\n",
            "99999999999999999999999999\n",
            "9223372036854775807\n", // fits the type, and is no power and no count
            "nan\n",
            "inf\n",
            "5 ma\n",
            "\u{0}\u{1}",
        ] {
            tree.write(case.node, junk);
            let error = sensor.read().expect_err(&format!("{}: {junk:?}", case.sensor));
            assert_eq!(error.kind(), ErrorKind::Malformed, "{}: {junk:?}", case.sensor);
            assert!(error.to_string().contains(case.node), "{error}");
        }
        tree.write(case.node, "-5");
        assert_eq!(
            sensor.read().is_ok(),
            case.is_signed,
            "{}: a negative number",
            case.sensor
        );
        tree.write(case.node, case.good); // no line end
        assert_eq!(sensor.read().unwrap(), good, "{}", case.sensor);
    }
}

#[test]
fn a_file_that_disappears_is_an_error_until_it_comes_back() {
    for case in &CASES {
        let tree = (case.tree)();
        let mut sensor = open(case, &tree);
        let good = sensor.read().unwrap();
        // A driver that is unloaded fails reads of files still open; here that is an emptied file.
        tree.write(case.node, "");
        assert!(sensor.read().is_err(), "{}", case.sensor);
        tree.remove(case.node);
        assert_eq!(
            sensor.read().unwrap_err().kind(),
            ErrorKind::Gone,
            "{}",
            case.sensor
        );
        tree.write(case.node, case.good);
        assert_eq!(sensor.read().unwrap(), good, "{}", case.sensor);
    }
}

#[test]
fn a_file_that_was_never_there_is_no_rail_or_an_error_but_no_panic() {
    for case in &CASES {
        let tree = (case.tree)();
        let all = open(case, &tree).info().rails.len();
        tree.remove(case.node);
        if let Ok(mut sensor) = discover::open(&tree.context(), case.sensor) {
            let is_fewer = sensor.info().rails.len() < all;
            let has_other_file = case.sensor == "ina3221-iio";
            assert!(
                is_fewer || has_other_file || sensor.read().is_err(),
                "{}",
                case.sensor
            );
        }
        // And a file that never was good.
        for junk in ["", "abc", "-99999999999999999999"] {
            tree.write(case.node, junk);
            if let Ok(mut sensor) = discover::open(&tree.context(), case.sensor) {
                assert!(sensor.read().is_err(), "{}: {junk:?}", case.sensor);
            }
        }
    }
}

#[test]
fn a_value_that_is_not_ready_loses_its_rail_only() {
    for errno in [libc::ENODATA, libc::EAGAIN, libc::EBUSY] {
        for case in &CASES {
            let tree = (case.tree)();
            let mut sensor = open(case, &tree);
            let all = values(&sensor.read().unwrap());
            let path = tree.path(case.node);
            let result = faults::failing_reads(&path, errno, || sensor.read());
            match result {
                Ok(reading) => assert_eq!(
                    (values(&reading), case.is_alone),
                    (all - 1, false),
                    "{}",
                    case.sensor
                ),
                Err(error) => assert_eq!(
                    (error.kind(), case.is_alone),
                    (ErrorKind::Busy, true),
                    "{}: {error}",
                    case.sensor
                ),
            }
            assert_eq!(
                values(&sensor.read().unwrap()),
                all,
                "{}: it recovers",
                case.sensor
            );
        }
    }
}

#[test]
fn a_failing_device_loses_the_sample() {
    for (errno, kind) in [
        (libc::EIO, ErrorKind::Failed),
        (libc::ENODEV, ErrorKind::Gone),
        (libc::EACCES, ErrorKind::Denied),
    ] {
        for case in &CASES {
            let tree = (case.tree)();
            let mut sensor = open(case, &tree);
            let path = tree.path(case.node);
            let error = faults::failing_reads(&path, errno, || sensor.read()).expect_err(case.sensor);
            assert_eq!(error.kind(), kind, "{}", case.sensor);
            assert!(error.to_string().contains(case.node), "{error}");
            assert!(sensor.read().is_ok(), "{}: it recovers", case.sensor);
        }
    }
}

#[test]
fn a_file_we_may_not_read_is_denied_and_the_hint_is_a_command() {
    for case in &CASES {
        let tree = (case.tree)();
        tree.lock(case.node);
        let (error, found) = faults::without_rights(|| {
            let context = tree.context();
            (
                discover::open(&context, case.sensor).err(),
                discover::discover(&context),
            )
        });
        let error = error.unwrap_or_else(|| panic!("{}: opened", case.sensor));
        assert_eq!(error.kind(), ErrorKind::Denied, "{}: {error}", case.sensor);
        let found = found
            .iter()
            .find(|found| found.name == case.sensor)
            .expect(case.sensor);
        let discover::Status::Unusable { hint, reason, .. } = &found.status else {
            panic!("{found:?}")
        };
        assert!(
            hint.starts_with("sudo ") && reason.contains(case.node),
            "{hint} / {reason}"
        );
    }
}
