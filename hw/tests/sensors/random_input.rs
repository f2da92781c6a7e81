//! Random and damaged input for every parser: never a panic, and a value only where a naive reading of the same text
//! finds it too. Bounded, so that it runs with all other tests; the samples stand in `hw/tests/corpus/`.

use super::corpus;
use crate::common::{Tree, boards};
use hwmeter_hw::discover;
use hwmeter_hw::sensor::{Reading, Value};
use hwmeter_hw::sensors::{pmic_parse, tegrastats_parse};
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

/// Does `NAME VALUE/` stand in the line, with digits that mean this number?
fn line_says(line: &str, name: &str, milliwatts: f64) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).any(|pair| {
        let digits = pair[1]
            .split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches("mW");
        pair[0] == name
            && digits
                .parse()
                .is_ok_and(|number: u64| number as f64 == milliwatts)
    })
}

#[test]
fn damaged_lines_of_tegrastats() {
    corpus::run("tegrastats", 2000, |bytes| {
        let line = String::from_utf8_lossy(bytes);
        tegrastats_parse::tokens(&line).for_each(drop);
        for (name, milliwatts) in tegrastats_parse::rails(&line) {
            prop_assert!(
                line_says(&line, name, milliwatts),
                "{name} {milliwatts} in {line:?}"
            );
            prop_assert!(
                name != "RAM" && name != "SWAP" && name != "NC",
                "{name} in {line:?}"
            );
        }
        Ok(())
    });
}

/// The number behind `NAME_A current(..)=` or `NAME_V volt(..)=`, by the plainest means.
fn pmic_value(text: &str, name: &str, unit: char) -> Vec<f64> {
    let wanted = format!("{name}_{unit}");
    let lines = text
        .lines()
        .filter(|line| line.split_whitespace().next() == Some(&wanted));
    let values = lines.filter_map(|line| line.split_once('=')?.1.trim().strip_suffix(unit)?.parse().ok());
    values.collect()
}

#[test]
fn damaged_answers_of_the_power_chip() {
    corpus::run("pmic", 2000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        for (name, watts) in pmic_parse::rails(&text) {
            prop_assert!(
                watts.0.is_finite() && watts.0 >= 0.0,
                "{name} {watts} in {text:?}"
            );
            let volts = pmic_value(&text, name, 'V');
            let is_product = |amps: f64| volts.iter().any(|volts| volts * amps == watts.0);
            let is_there = pmic_value(&text, name, 'A').into_iter().any(is_product);
            prop_assert!(is_there, "{name} {watts} in {text:?}");
        }
        Ok(())
    });
}

#[cfg(feature = "modbus")]
#[test]
fn damaged_answers_and_parameters_of_meters() {
    use hwmeter_hw::sensors::modbus::{codec, url::Config};
    // A sample is the parameters of a URL, a line end, and the registers as they come over the wire.
    corpus::run("modbus", 4000, |bytes| {
        let end = bytes.iter().position(|&b| b == b'\n').unwrap_or(bytes.len());
        let (query, data) = bytes.split_at(end);
        let url = format!("tcp://meter:502?{}", String::from_utf8_lossy(query));
        let Ok(config) = url.parse::<Config>() else {
            return Ok(());
        };
        let data = data.get(1..).unwrap_or_default();
        let words: Vec<u16> = data
            .chunks_exact(2)
            .map(|w| u16::from_be_bytes([w[0], w[1]]))
            .collect();
        let format = config.meter.format;
        for request in codec::requests(&config.fields, format.number, config.meter.block) {
            for field in &config.fields {
                let Some(cut) = codec::cut(request, &words, field, format.number) else {
                    continue;
                };
                let watts = codec::watts(cut, format);
                prop_assert!(watts.is_some() && cut.len() == usize::from(format.number.words()));
                if watts.is_some_and(|watts| codec::is_plausible(watts, config.meter.max_w)) {
                    prop_assert!(watts.is_some_and(f64::is_finite), "{url}: {watts:?}");
                }
            }
        }
        Ok(())
    });
}

#[test]
fn damaged_files_of_sysfs() {
    let iio = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0";
    let (nano, pairs) = (boards::nano(), boards::nano());
    pairs.remove(&format!("{iio}/in_power0_input"));
    let cases = [
        (&nano, "ina3221-iio", format!("{iio}/in_power0_input")),
        (
            &boards::thor(),
            "hwmon",
            "/sys/class/hwmon/hwmon2/power1_input".to_owned(),
        ),
        (
            &boards::x86_rapl(),
            "powercap",
            "/sys/class/powercap/intel-rapl:0/energy_uj".to_owned(),
        ),
    ];
    corpus::run("sysfs", 256, |content| {
        for (tree, sensor, node) in &cases {
            check(tree, sensor, node, content)?;
        }
        // Two numbers make a pair; anything else none.
        pairs.write(&format!("{iio}/ui_input_0"), content);
        let text = String::from_utf8_lossy(content);
        let numbers: Option<Vec<i32>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        let is_pair = match numbers.as_deref() {
            // Millivolts by milliamperes, and no megawatts.
            Some(&[mv, ma]) => (i64::from(mv) * i64::from(ma)).abs() <= 1_000_000_000_000,
            _ => false,
        };
        let opened = discover::open(&pairs.context(), "ina3221-iio");
        prop_assert_eq!(
            opened.and_then(|mut sensor| sensor.read()).is_ok(),
            is_pair,
            "{:?}",
            text
        );
        Ok(())
    });
}

#[test]
fn damaged_load_of_the_cpu() {
    let tree = boards::pi4();
    corpus::run("stat", 512, |content| {
        tree.write("/proc/stat", content);
        let opened = discover::open(&tree.context(), "rpi-model");
        if opened.is_ok() {
            let text = String::from_utf8_lossy(content);
            let mut words = text.split_whitespace();
            let is_load =
                words.next() == Some("cpu") && words.take(4).all(|word| word.parse::<u64>().is_ok());
            prop_assert!(is_load, "{text:?}");
        }
        Ok(())
    });
}
