//! Each board kind as a whole: which sensors it has, which is the default, what its total is.

use crate::common::{Tree, boards};
use hwmeter_hw::board::BoardKind;
use hwmeter_hw::discover::{self, Status};
use hwmeter_hw::sensor::{Reading, SensorInfo, Value};
use hwmeter_hw::units::Watts;

struct Expected {
    tree: fn() -> Tree,
    kind: BoardKind,
    default: &'static str,
    rails: usize,
    total: &'static [&'static str],
    /// Watts of the total, where the sensor reads power.
    watts: Option<f64>,
}

const fn measured(
    tree: fn() -> Tree,
    kind: BoardKind,
    default: &'static str,
    rails: usize,
    total: &'static [&'static str],
    watts: f64,
) -> Expected {
    Expected {
        tree,
        kind,
        default,
        rails,
        total,
        watts: Some(watts),
    }
}

const fn counted(
    tree: fn() -> Tree,
    kind: BoardKind,
    default: &'static str,
    rails: usize,
    total: &'static [&'static str],
) -> Expected {
    Expected {
        tree,
        kind,
        default,
        rails,
        total,
        watts: None,
    }
}

use BoardKind::*;

const BOARDS: [Expected; 23] = [
    counted(boards::pi1, RaspberryPi1, "rpi-model", 1, &["total"]),
    counted(boards::pi2, RaspberryPi2, "rpi-model", 1, &["total"]),
    counted(boards::pi_zero, RaspberryPiZero, "rpi-model", 1, &["total"]),
    counted(boards::pi_zero_2, RaspberryPiZero2, "cpu-model", 1, &["total"]),
    counted(boards::pi400, RaspberryPi400, "rpi-model", 1, &["total"]),
    counted(boards::tinker_board, AsusTinkerBoard, "rpi-model", 1, &["total"]),
    counted(boards::generic_arm, GenericArm, "cpu-model", 1, &["total"]),
    measured(
        boards::nano_kit,
        JetsonNano,
        "ina3221-iio",
        3,
        &["POM_5V_IN"],
        2.247,
    ),
    measured(boards::tx1, JetsonTx1, "ina3221-iio", 6, &["VDD_IN"], 2.111),
    measured(boards::tx2_nx, JetsonTx2Nx, "ina3221-iio", 3, &["VDD_IN"], 2.76),
    counted(boards::pi3, RaspberryPi3, "rpi-model", 1, &["total"]),
    counted(boards::pi4, RaspberryPi4, "rpi-model", 1, &["total"]),
    counted(boards::pi5, RaspberryPi5, "rpi-model", 1, &["total"]),
    measured(boards::nano, JetsonNano, "ina3221-iio", 3, &["POM_5V_IN"], 2.247),
    measured(boards::tx2, JetsonTx2, "ina3221-iio", 6, &["VDD_IN"], 3.056),
    measured(
        boards::xavier_nx,
        JetsonXavierNx,
        "ina3221-iio",
        3,
        &["VDD_IN"],
        4.067,
    ),
    measured(
        boards::agx_xavier,
        JetsonAgxXavier,
        "ina3221-iio",
        6,
        &["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"],
        3.376,
    ),
    measured(
        boards::orin_nano,
        JetsonOrinNano,
        "ina3221-hwmon",
        3,
        &["VDD_IN"],
        4.825,
    ),
    measured(
        boards::orin_nx,
        JetsonOrinNx,
        "ina3221-hwmon",
        3,
        &["VDD_IN"],
        5.3,
    ),
    measured(
        boards::agx_orin,
        JetsonAgxOrin,
        "ina3221-hwmon",
        4,
        &["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"],
        10.0,
    ),
    measured(boards::thor, JetsonThor, "hwmon", 1, &["VIN"], 43.85),
    counted(
        boards::x86_rapl,
        GenericX86,
        "powercap",
        4,
        &["package-0", "dram"],
    ),
    counted(boards::plain_vm, GenericX86, "cpu-model", 1, &["total"]),
];

fn total(info: &SensorInfo, reading: &Reading) -> Option<f64> {
    let watts = info.total.iter().map(|&i| match reading.values[i] {
        Value::Power(Watts(watts)) => Some(watts),
        _ => None,
    });
    watts.sum()
}

#[test]
fn every_board_has_its_default_sensor_and_total() {
    for board in &BOARDS {
        let tree = (board.tree)();
        let context = tree.context();
        assert_eq!(context.board.kind, board.kind);
        let found = discover::discover(&context);
        let info = discover::default_sensor(&found).expect("a sensor");
        assert_eq!(info.id, board.default, "{:?}: {found:#?}", board.kind);
        let total_names: Vec<&str> = info.total.iter().map(|&i| info.rails[i].name.as_str()).collect();
        assert_eq!(
            (info.rails.len(), &total_names[..]),
            (board.rails, board.total),
            "{:?}",
            board.kind
        );
        let reading = discover::open(&context, &info.id).unwrap().read().unwrap();
        let watts = total(info, &reading);
        let is_right = match (watts, board.watts) {
            (Some(read), Some(expected)) => (read - expected).abs() < 1e-9,
            (None, None) => true,
            _ => false,
        };
        assert!(is_right, "{:?}: {watts:?}", board.kind);
    }
}

#[test]
fn every_kind_of_board_has_a_tree() {
    let has_tree = |kind: &BoardKind| BOARDS.iter().any(|board| board.kind == *kind);
    // `Generic` is what is neither x86 nor ARM.
    let without: Vec<&BoardKind> = BoardKind::ALL.iter().filter(|kind| !has_tree(kind)).collect();
    assert_eq!(without, [&Generic]);
}

#[test]
fn a_j1010_and_a_developer_kit_differ_in_their_module() {
    let variant = |tree: Tree| tree.context().board.variant.unwrap();
    assert!(variant(boards::nano()).contains("J1010"));
    assert!(variant(boards::nano_kit()).starts_with("developer kit"));
    assert_eq!(boards::orin_nano().context().board.variant, None);
}

/// A machine that is no guest of another and has loaded no driver.
fn bare_x86() -> Tree {
    boards::plain_vm().with("/proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t: fpu tsc\n")
}

#[test]
fn a_board_without_its_sensor_says_what_to_do() {
    for (tree, name, word) in [
        (boards::pi5(), "rpi-pmic", "apt install"),
        (boards::plain_vm(), "powercap", "wall meter"),
        (bare_x86(), "powercap", "sudo modprobe intel_rapl_msr"),
        (boards::nano(), "tegrastats", "sudo apt install nvidia-l4t-tools"),
    ] {
        let found = discover::discover(&tree.context());
        let found = found.iter().find(|found| found.name == name).expect(name);
        let Status::Unusable { hint, reason, .. } = &found.status else {
            panic!("{found:?}")
        };
        assert!(hint.contains(word), "{hint}");
        assert!(
            reason.starts_with("no driver or no device: nothing at "),
            "{reason}"
        );
    }
}

#[test]
fn swapped_labels_are_told() {
    let tree = boards::nano();
    tree.write(
        "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power1_input",
        "8949\n",
    );
    let found = discover::discover(&tree.context());
    let note = discover::default_sensor(&found).and_then(|info| info.note.clone());
    assert!(note.is_some_and(|note| note.contains("POM_5V_IN reads 2.25 W") && note.contains("--total")));
}
