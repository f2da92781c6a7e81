//! Jetsons with their INA3221 chips, under either driver.

use super::{Tree, device_tree, machine};

const IIO: &str = "/sys/bus/i2c/drivers/ina3221x";
const INA3221: &str = "/sys/bus/i2c/drivers/ina3221";

fn jetson(model: &str, compatible: &[&str]) -> Tree {
    device_tree(
        machine("processor\t: 0\nCPU implementer\t: 0x41\n"),
        model,
        compatible,
    )
}

/// One chip of the JetPack 4 driver: its rails in milliwatts, and the files that must not pass for readings.
pub fn iio_chip(tree: Tree, address: &str, device: &str, rails: &[(&str, u32)]) -> Tree {
    let mut tree = tree;
    for (n, (name, milliwatts)) in rails.iter().enumerate() {
        tree = tree.with_all(
            &format!("{IIO}/{address}/{device}"),
            &[
                (&format!("rail_name_{n}"), &format!("{name}\n")),
                (&format!("in_power{n}_input"), &format!("{milliwatts}\n")),
                (&format!("in_power{n}_trigger_input"), "0\n"),
                (&format!("in_voltage{n}_input"), "5000\n"),
                (&format!("in_current{n}_input"), &format!("{}\n", milliwatts / 5)),
                (&format!("ui_input_{n}"), &format!("5000 {}\n", milliwatts / 5)),
                (&format!("crit_current_limit_{n}"), "32760 ma\n"),
                (&format!("crit_power_limit_{n}"), "65535 mw\n"),
            ],
        );
    }
    tree
}

/// One chip of the mainline driver: per channel label, millivolts and milliamperes. Shunt voltages and their sum
/// stand beside them as the driver has them.
pub fn hwmon_chip(tree: Tree, address: &str, hwmon: &str, shunt: &str, rails: &[(&str, i32, i32)]) -> Tree {
    let dir = format!("{INA3221}/{address}/hwmon/{hwmon}");
    let mut tree = tree.with_all(
        &dir,
        &[
            ("name", "ina3221\n"),
            ("samples", "512\n"),
            ("update_interval", "1\n"),
            ("in7_label", "sum of shunt voltages\n"),
            ("in7_input", "12345\n"),
            ("curr4_input", "2469\n"),
        ],
    );
    for (i, (label, millivolts, milliamps)) in rails.iter().enumerate() {
        let n = i + 1;
        tree = tree.with_all(
            &dir,
            &[
                (&format!("in{n}_label"), &format!("{label}\n")),
                (&format!("in{n}_enable"), "1\n"),
                (&format!("in{n}_input"), &format!("{millivolts}\n")),
                (&format!("curr{n}_input"), &format!("{milliamps}\n")),
                (&format!("shunt{n}_resistor"), &format!("{shunt}\n")),
                (&format!("in{}_input", n + 3), "4115\n"),
            ],
        );
    }
    tree
}

/// Jetson Nano, reComputer J1010 included: JetPack 4, one chip.
pub fn nano() -> Tree {
    let compatible = [
        "nvidia,p3449-0000-b00+p3448-0002-b00",
        "nvidia,jetson-nano",
        "nvidia,tegra210",
    ];
    let tree = jetson("NVIDIA Jetson Nano Developer Kit", &compatible)
        .with("/sys/devices/57000000.gpu/load", "0\n")
        .with_all(
            "/sys/class/devfreq/57000000.gpu",
            &[
                ("governor", "nvhost_podgov\n"),
                ("cur_freq", "76800000\n"),
                ("min_freq", "76800000\n"),
                ("max_freq", "921600000\n"),
            ],
        )
        .with("/sys/bus/i2c/drivers/ina3221x/bind", "")
        .with_all(
            "/sys/module/ina3221x/iio:device9",
            &[
                ("rail_name_0", "BEHIND_MODULE\n"),
                ("in_power0_input", "999999\n"),
            ],
        )
        .with_link(
            "/sys/bus/i2c/drivers/ina3221x/module",
            "../../../../module/ina3221x",
        );
    iio_chip(
        tree,
        "6-0040",
        "iio:device0",
        &[("POM_5V_IN", 2247), ("POM_5V_GPU", 78), ("POM_5V_CPU", 275)],
    )
}

/// The developer kit, which has the same rails.
pub fn nano_kit() -> Tree {
    let tree = nano();
    tree.write(
        "/proc/device-tree/compatible",
        "nvidia,p3449-0000-b00+p3448-0000-b00\0nvidia,jetson-nano\0nvidia,tegra210\0",
    );
    tree
}

/// Module and carrier are on chips of their own, in the older spelling of the driver.
pub fn tx1() -> Tree {
    let tree = jetson("jetson_tx1", &["nvidia,p2371-2180", "nvidia,tegra210"]);
    let tree = iio_chip(
        tree,
        "1-0040",
        "iio_device",
        &[("VDD_IN", 2111), ("VDD_GPU", 40), ("VDD_CPU", 330)],
    );
    iio_chip(
        tree,
        "1-0042",
        "iio_device",
        &[("VDD_MUX", 4400), ("VDD_5V0_IO_SYS", 1200), ("VDD_3V3_SYS", 700)],
    )
}

pub fn tx2_nx() -> Tree {
    let compatible = ["nvidia,p3509-0000+p3636-0001", "nvidia,tegra186"];
    iio_chip(
        jetson("NVIDIA Jetson TX2 NX Developer Kit", &compatible),
        "7-0040",
        "iio:device0",
        &[("VDD_IN", 2760), ("VDD_CPU_GPU_CV", 420), ("VDD_SOC", 810)],
    )
}

pub fn tx2() -> Tree {
    let tree = jetson(
        "quill",
        &["nvidia,p2597-0000+p3310-1000", "nvidia,quill", "nvidia,tegra186"],
    );
    let tree = iio_chip(
        tree,
        "0-0040",
        "iio:device0",
        &[("VDD_SYS_GPU", 152), ("VDD_SYS_SOC", 687), ("VDD_4V0_WIFI", 0)],
    );
    iio_chip(
        tree,
        "0-0041",
        "iio:device1",
        &[("VDD_IN", 3056), ("VDD_SYS_CPU", 152), ("VDD_SYS_DDR", 883)],
    )
}

pub fn xavier_nx() -> Tree {
    let compatible = [
        "nvidia,p3509-0000+p3668-0000",
        "nvidia,p3668-0000",
        "nvidia,tegra194",
    ];
    let tree = jetson("NVIDIA Jetson Xavier NX Developer Kit", &compatible);
    iio_chip(
        tree,
        "7-0040",
        "iio:device0",
        &[("VDD_IN", 4067), ("VDD_CPU_GPU_CV", 738), ("VDD_SOC", 1353)],
    )
}

pub fn agx_xavier() -> Tree {
    let tree = jetson(
        "Jetson-AGX",
        &["nvidia,p2972-0000", "nvidia,p2888-0001", "nvidia,tegra194"],
    );
    let tree = iio_chip(
        tree,
        "1-0040",
        "iio:device0",
        &[("GPU", 10), ("CPU", 311), ("SOC", 932)],
    );
    iio_chip(
        tree,
        "1-0041",
        "iio:device1",
        &[("CV", 20), ("VDDRQ", 621), ("SYS5V", 1482)],
    )
}

pub fn orin_nano() -> Tree {
    let compatible = [
        "nvidia,p3768-0000+p3767-0005",
        "nvidia,p3767-0005",
        "nvidia,tegra234",
    ];
    let tree = jetson("NVIDIA Jetson Orin Nano Developer Kit", &compatible);
    let rails = [
        ("VDD_IN", 5000, 965),
        ("VDD_CPU_GPU_CV", 5000, 104),
        ("VDD_SOC", 5000, 295),
    ];
    hwmon_chip(tree, "1-0040", "hwmon1", "5000", &rails)
}

pub fn orin_nx() -> Tree {
    let compatible = [
        "nvidia,p3768-0000+p3767-0000",
        "nvidia,p3767-0000",
        "nvidia,tegra234",
    ];
    let tree = jetson("NVIDIA Orin NX Developer Kit", &compatible);
    let rails = [
        ("VDD_IN", 5000, 1060),
        ("VDD_CPU_GPU_CV", 5000, 155),
        ("VDD_SOC", 5000, 285),
    ];
    hwmon_chip(tree, "1-0040", "hwmon1", "5000", &rails)
}

pub fn agx_orin() -> Tree {
    let compatible = [
        "nvidia,p3737-0000+p3701-0005",
        "nvidia,p3701-0005",
        "nvidia,tegra234",
    ];
    let tree = jetson("NVIDIA Jetson AGX Orin Developer Kit", &compatible);
    let rails = [
        ("VDD_GPU_SOC", 20000, 200),
        ("VDD_CPU_CV", 20000, 50),
        ("VIN_SYS_5V0", 5000, 1000),
    ];
    let tree = hwmon_chip(tree, "1-0040", "hwmon3", "2000", &rails);
    let rails = [("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 100), ("NC", 0, 0)];
    hwmon_chip(tree, "1-0041", "hwmon4", "2000", &rails)
}

/// Its total is on a chip of another kind.
pub fn thor() -> Tree {
    let compatible = [
        "nvidia,p4071-0000+p3834-0008",
        "nvidia,p3834-0008",
        "nvidia,tegra264",
    ];
    let tree = jetson("NVIDIA Jetson AGX Thor Developer Kit", &compatible);
    let rails = [
        ("VDD_GPU", 12000, 500),
        ("VDD_CPU_SOC_MSS", 12000, 600),
        ("VIN_SYS_5V0", 5000, 900),
    ];
    hwmon_chip(tree, "2-0040", "hwmon1", "2000", &rails)
        .with_all(
            "/sys/class/hwmon/hwmon1",
            &[
                ("name", "ina3221\n"),
                ("in1_input", "12000\n"),
                ("curr1_input", "500\n"),
            ],
        )
        .with_all(
            "/sys/class/hwmon/hwmon2",
            &[
                ("name", "ina238\n"),
                ("power1_label", "VIN\n"),
                ("power1_input", "43850000\n"),
                ("in1_input", "20000\n"),
            ],
        )
}
