//! Batteries, UPS HATs and mains supplies.

use crate::common::Tree;
use hwmeter_hw::sensor::{Sensor, Value};
use hwmeter_hw::sensors::power_supply::PowerSupply;
use hwmeter_hw::units::Watts;

const CLASS: &str = "/sys/class/power_supply";

fn watts(sensor: &mut PowerSupply) -> Vec<f64> {
    let values = sensor.read().unwrap().values;
    values
        .iter()
        .map(|value| match value {
            Value::Power(Watts(watts)) => *watts,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_battery_is_positive_while_it_discharges_and_negative_while_it_charges() {
    let files = [
        ("type", "Battery\n"),
        ("status", "Discharging\n"),
        ("voltage_now", "12000000\n"),
        ("current_now", "-500000\n"),
    ];
    let tree = Tree::new().with_all(&format!("{CLASS}/BAT0"), &files);
    let mut sensor = PowerSupply::open(&tree.root(), Some("BAT0")).unwrap().unwrap();
    assert_eq!(watts(&mut sensor), [6.0]);
    assert_eq!(sensor.info().id, "power-supply:BAT0");
    tree.write(&format!("{CLASS}/BAT0/status"), "Charging\n");
    assert_eq!(watts(&mut sensor), [-6.0]);
    tree.write(&format!("{CLASS}/BAT0/status"), "\n");
    assert!(sensor.read().is_err(), "no direction, no power");
}

#[test]
fn only_supplies_of_the_machine_that_tell_their_power_are_rails() {
    let tree = Tree::new()
        .with_all(
            &format!("{CLASS}/AC"),
            &[("type", "Mains"), ("online", "1"), ("power_now", "30000000")],
        )
        .with_all(&format!("{CLASS}/AC2"), &[("type", "Mains"), ("online", "1")])
        .with_all(
            &format!("{CLASS}/BAT0"),
            &[
                ("type", "Battery"),
                ("status", "Charging"),
                ("power_now", "10000000"),
            ],
        )
        .with_all(
            &format!("{CLASS}/hid-mouse"),
            &[
                ("type", "Battery"),
                ("scope", "Device"),
                ("status", "Discharging"),
                ("power_now", "1"),
            ],
        )
        .with_all(
            &format!("{CLASS}/ucsi-source-psy-1"),
            &[
                ("type", "USB"),
                ("voltage_now", "5000000"),
                ("current_now", "3000000"),
                ("power_now", "1"),
            ],
        )
        .with_all(
            &format!("{CLASS}/wireless"),
            &[("type", "Wireless"), ("power_now", "1")],
        );
    let mut sensor = PowerSupply::open(&tree.root(), None).unwrap().unwrap();
    let info = sensor.info();
    let names: Vec<&str> = info.rails.iter().map(|rail| rail.name.as_str()).collect();
    assert_eq!(names, ["AC", "BAT0"]);
    // 30 W come in and 10 W of them charge the battery.
    assert_eq!(watts(&mut sensor).iter().sum::<f64>(), 20.0);
    assert!(info.note.unwrap().contains("charges the battery"));
}
