//! The two INA3221 drivers, beyond what the boards' trees show.

use crate::common::{Tree, boards, faults};
use hwmeter_hw::discover;
use hwmeter_hw::sensor::{Sensor, SensorInfo, Value};
use hwmeter_hw::units::{Seconds, Watts};

fn open(tree: &Tree, id: &str) -> Box<dyn Sensor> {
    discover::open(&tree.context(), id).unwrap_or_else(|error| panic!("{id}: {error}"))
}

fn names(info: &SensorInfo) -> Vec<&str> {
    info.rails.iter().map(|rail| rail.name.as_str()).collect()
}

fn power(watts: f64) -> Value {
    Value::Power(Watts(watts))
}

#[test]
fn old_spellings_and_the_atomic_pair_are_read() {
    let dir = "/sys/bus/i2c/drivers/ina3221x/1-0040/iio_device";
    let tree = boards::plain_vm()
        .with_all(
            dir,
            &[
                ("rail_name0", "VDD_IN\n"),
                ("ui_input_0", "5000 400\n"),
                ("in_power0_trigger_input", "0\n"),
            ],
        )
        .with_all(
            dir,
            &[
                ("rail_name1", "VDD_SYNC\n"),
                ("in_power1_input", "-17\n"),
                ("ui_input_1", "5000 1\n"),
            ],
        )
        .with_all(dir, &[("rail_name2", "NC\n"), ("in_power2_input", "3\n")]);
    let mut sensor = open(&tree, "ina3221-iio");
    assert_eq!(names(&sensor.info()), ["VDD_IN", "VDD_SYNC"]);
    assert_eq!(sensor.read().unwrap().values[..], [power(2.0), power(-0.017)]);
    // A limit file's suffix where a reading is due.
    tree.write(&format!("{dir}/in_power1_input"), "65535 mw\n");
    assert!(sensor.read().is_err());
}

#[test]
fn chips_are_found_on_the_bus_too_and_only_once() {
    let iio = "/sys/bus/i2c/devices/7-0040";
    let hwmon = "/sys/bus/i2c/devices/1-0041";
    let tree = boards::nano()
        .with(&format!("{iio}/name"), "ina3221x\n")
        .with_all(
            &format!("{iio}/iio:device3"),
            &[("rail_name_0", "EXTRA\n"), ("in_power0_input", "9\n")],
        )
        .with("/sys/bus/i2c/devices/6-0040/name", "ina3221x\n")
        .with("/sys/bus/i2c/devices/9-0050/name", "24c02\n")
        .with(&format!("{hwmon}/name"), "ina3221\n")
        .with_all(
            &format!("{hwmon}/hwmon/hwmon5"),
            &[
                ("name", "ina3221\n"),
                ("in1_input", "5000\n"),
                ("curr1_input", "100\n"),
            ],
        );
    assert_eq!(
        names(&open(&tree, "ina3221-iio").info()),
        ["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU", "EXTRA"]
    );
    assert_eq!(names(&open(&tree, "ina3221-iio:7-0040").info()), ["EXTRA"]);
    // No label in the device tree: the channel's number.
    assert_eq!(names(&open(&tree, "ina3221-hwmon:1-0041").info()), ["ch1"]);
}

#[test]
fn in_the_hwmon_class_a_chip_goes_by_its_address() {
    let tree = Tree::new()
        .with_all(
            "/sys/class/hwmon/hwmon0",
            &[
                ("name", "ina3221\n"),
                ("in2_input", "5000\n"),
                ("curr2_input", "-200\n"),
            ],
        )
        .with("/sys/devices/i2c-1/1-0040/uevent", "")
        .with_link("/sys/class/hwmon/hwmon0/device", "../../../devices/i2c-1/1-0040");
    let mut sensor = open(&tree, "ina3221-hwmon:1-0040");
    assert_eq!(names(&sensor.info()), ["ch2"]);
    assert_eq!(sensor.read().unwrap().values[..], [power(-1.0)]);
}

#[test]
fn a_disabled_channel_is_left_out_and_one_disabled_later_goes_missing_alone() {
    let tree = boards::orin_nano();
    let dir = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1";
    tree.write(&format!("{dir}/in2_enable"), "0\n");
    let mut sensor = open(&tree, "ina3221-hwmon");
    let info = sensor.info();
    assert_eq!(names(&info), ["VDD_IN", "VDD_SOC"]);
    let node = tree.path(&format!("{dir}/in3_input"));
    let reading = faults::failing_reads(&node, libc::ENODATA, || sensor.read()).unwrap();
    assert_eq!(reading.values[..], [power(4.825), Value::Missing]);
}

#[test]
fn resolution_and_lag_come_from_shunt_samples_and_interval() {
    let info = open(&boards::agx_orin(), "ina3221-hwmon").info();
    // 40 µV over 2 mΩ are 20 mA; at 20 V that is 0.4 W, at 5 V 0.1 W.
    let steps: Vec<f64> = info
        .rails
        .iter()
        .map(|rail| (rail.power_step.0 * 1e6).round() / 1e6)
        .collect();
    assert_eq!(steps, [0.4, 0.4, 0.1, 0.1]);
    // 512 samples, an interval that reads 1 ms and stands for 0.84 ms.
    assert!((info.accuracy.lag.unwrap().0 - 0.00084 * 511.5).abs() < 1e-9);
    assert!((info.accuracy.update_period.unwrap().0 - 0.00084).abs() < 1e-9);
    // Junk in the knobs says nothing, and is not taken for a figure.
    let tree = boards::agx_orin();
    for knob in ["samples", "update_interval", "shunt1_resistor"] {
        for chip in ["1-0040/hwmon/hwmon3", "1-0041/hwmon/hwmon4"] {
            tree.write(&format!("/sys/bus/i2c/drivers/ina3221/{chip}/{knob}"), "inf\n");
        }
    }
    let info = open(&tree, "ina3221-hwmon").info();
    assert_eq!((info.accuracy.lag, info.accuracy.update_period), (None, None));
    assert!(
        info.rails
            .iter()
            .all(|rail| rail.offset.0 > 0.0 && rail.offset.0.is_finite())
    );
}

#[test]
fn the_iio_driver_averages_in_continuous_mode_only() {
    let tree = boards::nano();
    let lag = |tree: &Tree| open(tree, "ina3221-iio").info().accuracy.lag;
    assert_eq!(lag(&tree), None);
    let mode = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/running_mode";
    tree.write(mode, "0\n");
    assert_eq!(lag(&tree), None);
    tree.write(mode, "1\n");
    assert!((lag(&tree).unwrap().0 - 0.0066 * 63.5).abs() < 1e-9);
}

#[test]
fn tegrastats_smooths_as_the_chip_below_it_does() {
    use hwmeter_hw::sensors::tegrastats::accuracy;
    let interval = Seconds(0.1);
    let orin = accuracy(&boards::agx_orin().root(), interval);
    assert!((orin.lag.unwrap().0 - 0.00084 * 511.5).abs() < 1e-9);
    assert_eq!(orin.update_period, Some(interval));
    assert_eq!(accuracy(&boards::nano().root(), interval).lag, None);
}
