//! Random bytes in the files of sysfs sensors: never a panic, and a value only where a number stands.

use crate::common::{Tree, boards};
use hwmeter_hw::discover;
use hwmeter_hw::sensor::{Reading, Value};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// What a file of sysfs could hold, from nothing over near-numbers to noise.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|n| format!("{n}\n").into_bytes()),
        "[-+]?[0-9]{0,25}\\.?[0-9]{0,3}[ a-z\n]{0,4}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

/// The number of a file, by the plainest means.
fn number(content: &[u8]) -> Option<i128> {
    String::from_utf8(content.to_vec()).ok()?.trim().parse().ok()
}

fn are_finite(reading: &Reading) -> bool {
    reading.values.iter().all(|value| match value {
        Value::Power(power) => power.0.is_finite(),
        Value::Energy { counter, .. } => counter.0.is_finite() && counter.0 >= 0.0,
        Value::Missing => false, // a file that can be read has a value or is an error
    })
}

/// A node with random content, read through discovery: `Ok` only for a number.
fn check(tree: &Tree, sensor: &str, node: &str, content: &[u8]) -> Result<(), TestCaseError> {
    tree.write(node, content);
    let context = tree.context();
    let reading = discover::open(&context, sensor).and_then(|mut sensor| sensor.read());
    if let Ok(reading) = reading {
        prop_assert!(
            number(content).is_some(),
            "{sensor}: {content:?} gave {reading:?}"
        );
        prop_assert!(are_finite(&reading), "{sensor}: {reading:?}");
    }
    Ok(())
}

/// Runs `test` on random contents; the trees it uses are built once.
fn for_contents(test: impl Fn(Vec<u8>) -> Result<(), TestCaseError>) {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(128));
    if let Err(error) = runner.run(&content(), test) {
        panic!("{error}");
    }
}

#[test]
fn readings() {
    let iio = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input";
    let hwmon = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in1_input";
    let cases = [
        (boards::thor(), "hwmon", "/sys/class/hwmon/hwmon2/power1_input"),
        (
            boards::x86_rapl(),
            "powercap",
            "/sys/class/powercap/intel-rapl:0/energy_uj",
        ),
        (boards::orin_nano(), "ina3221-hwmon", hwmon),
        (boards::nano(), "ina3221-iio", iio),
    ];
    for_contents(|content| {
        cases
            .iter()
            .try_for_each(|(tree, sensor, node)| check(tree, sensor, node, &content))
    });
}

#[test]
fn knobs_and_names_never_panic_and_never_make_figures_infinite() {
    let chip = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1";
    let (orin, rapl) = (boards::orin_nano(), boards::x86_rapl());
    for_contents(|content| {
        for knob in [
            "in1_label",
            "samples",
            "update_interval",
            "shunt1_resistor",
            "in1_enable",
        ] {
            orin.write(&format!("{chip}/{knob}"), &content);
        }
        if let Ok(sensor) = discover::open(&orin.context(), "ina3221-hwmon") {
            let info = sensor.info();
            prop_assert!(
                info.rails
                    .iter()
                    .all(|r| r.offset.0.is_finite() && r.offset.0 > 0.0),
                "{info:?}"
            );
            prop_assert!(
                info.accuracy
                    .lag
                    .is_none_or(|lag| lag.0.is_finite() && lag.0 > 0.0),
                "{info:?}"
            );
        }
        rapl.write("/sys/class/powercap/intel-rapl:0/max_energy_range_uj", &content);
        rapl.write("/sys/class/powercap/intel-rapl:0/name", &content);
        let _ = discover::open(&rapl.context(), "powercap").and_then(|mut sensor| sensor.read());
        Ok(())
    });
}
