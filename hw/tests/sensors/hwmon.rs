//! Chips of the hwmon class.

use crate::common::{Tree, boards};
use hwmeter_hw::discover;
use hwmeter_hw::sensor::{Role, Sensor, SensorInfo, Value};
use hwmeter_hw::sensors::hwmon::Hwmon;
use hwmeter_hw::units::{Joules, Seconds, Watts};

fn open(tree: &Tree, instance: Option<&str>) -> Hwmon {
    Hwmon::open(&tree.root(), instance).unwrap().expect("a chip")
}

fn names(info: &SensorInfo) -> Vec<&str> {
    info.rails.iter().map(|rail| rail.name.as_str()).collect()
}

fn power(watts: f64) -> Value {
    Value::Power(Watts(watts))
}

#[test]
fn thor_has_its_total_on_an_ina238_and_the_ina3221_is_left_to_its_own_driver() {
    let tree = boards::thor();
    let mut sensor = open(&tree, None);
    let info = sensor.info();
    assert_eq!((names(&info), &info.total[..]), (vec!["VIN"], &[0][..]));
    assert_eq!(info.rails[0].role, Role::Total);
    assert_eq!(sensor.read().unwrap().values[..], [power(43.85)]);
}

#[test]
fn an_acpi_power_meter_tells_its_averaging_interval() {
    let files = [
        ("name", "power_meter\n"),
        ("power1_average", "182000000\n"),
        ("power1_average_interval", "1000\n"),
        ("power1_average_interval_max", "9000\n"),
        ("power1_cap", "500000000\n"),
    ];
    let tree = Tree::new().with_all("/sys/class/hwmon/hwmon0", &files);
    let mut sensor = open(&tree, None);
    let info = sensor.info();
    assert_eq!((names(&info), info.rails[0].role), (vec!["power1"], Role::Total));
    assert_eq!(info.accuracy.update_period, Some(Seconds(1.0)));
    assert_eq!(sensor.read().unwrap().values[..], [power(182.0)]);
}

#[test]
fn sockets_of_amd_energy_contain_their_cores() {
    let mut tree = Tree::new().with("/sys/class/hwmon/hwmon2/name", "amd_energy\n");
    for (n, label, energy) in [
        (1, "Ecore000", "5"),
        (2, "Ecore001", "6"),
        (3, "Esocket0", "20000000"),
    ] {
        tree = tree
            .with(&format!("/sys/class/hwmon/hwmon2/energy{n}_label"), label)
            .with(&format!("/sys/class/hwmon/hwmon2/energy{n}_input"), energy);
    }
    let mut sensor = open(&tree, Some("amd_energy"));
    let info = sensor.info();
    assert_eq!(
        (info.total.as_slice(), info.id.as_str()),
        (&[2][..], "hwmon:amd_energy")
    );
    let counter = Value::Energy {
        counter: Joules(20.0),
        wraps_at: None,
    };
    assert_eq!(sensor.read().unwrap().values[2], counter);
}

#[test]
fn several_chips_are_told_apart_and_the_sum_is_said_to_be_one() {
    let chip = |tree: Tree, n: u32, name: &str, label: &str, microwatts: &str| {
        let dir = format!("/sys/class/hwmon/hwmon{n}");
        tree.with_all(
            &dir,
            &[
                ("name", name),
                ("power1_label", label),
                ("power1_input", microwatts),
            ],
        )
    };
    let tree = chip(Tree::new(), 0, "ina226", "main", "1000000");
    let tree = chip(tree, 1, "ina226", "aux", "2000000").with("/sys/devices/i2c-1/1-0041/x", "");
    let tree = tree.with_link("/sys/class/hwmon/hwmon1/device", "../../../devices/i2c-1/1-0041");
    let tree = chip(tree, 10, "amdgpu", "PPT", "-3000000");
    let mut sensor = open(&tree, None);
    let info = sensor.info();
    assert_eq!(
        names(&info),
        ["ina226-hwmon0.main", "ina226-1-0041.aux", "amdgpu.PPT"]
    );
    assert_eq!(info.total, [0, 1, 2]);
    assert!(info.note.unwrap().contains("counted twice"));
    assert_eq!(info.rails[2].role, Role::Gpu);
    assert_eq!(
        sensor.read().unwrap().values[..],
        [power(1.0), power(2.0), power(-3.0)]
    );
    // One chip alone, by its stable name.
    assert_eq!(names(&open(&tree, Some("ina226-1-0041")).info()), ["aux"]);

    // A chip for the whole board makes the others parts.
    let tree = chip(tree, 11, "ina238", "VIN", "9000000");
    assert_eq!(open(&tree, None).info().total, [3]);
}

#[test]
fn a_counter_replaces_the_power_reading_of_the_same_supply() {
    let files = [
        ("name", "ina228"),
        ("power1_input", "1000"),
        ("energy1_input", "77"),
        ("power2_input", "5"),
    ];
    let tree = Tree::new().with_all("/sys/class/hwmon/hwmon0", &files);
    assert_eq!(names(&open(&tree, None).info()), ["power2", "energy1"]);
}

#[test]
fn batteries_and_chips_without_power_are_not_ours() {
    let tree = Tree::new()
        .with_all(
            "/sys/class/hwmon/hwmon0",
            &[("name", "BAT_0"), ("power1_input", "1")],
        )
        .with("/sys/class/power_supply/BAT-0/type", "Battery")
        .with_all(
            "/sys/class/hwmon/hwmon1",
            &[("name", "coretemp"), ("temp1_input", "40000")],
        )
        .with("/sys/class/hwmon/hwmon2/uevent", "");
    assert!(Hwmon::open(&tree.root(), None).unwrap().is_none());
    assert!(discover::open(&tree.context(), "hwmon").is_err());
}
