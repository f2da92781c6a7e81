//! A made-up board with every device that the rules know, and some that they must leave alone.

use super::rules::Device;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const NANO: &str = "/devices/50000000.host1x/546c0000.i2c/i2c-6/6-0040/iio:device0";
const ORIN: &str = "/devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/hwmon3";
const PACKAGE: &str = "/devices/virtual/powercap/intel-rapl/intel-rapl:0";
const CORE: &str = "/devices/virtual/powercap/intel-rapl/intel-rapl:0/intel-rapl:0:0";

/// The devices of the fake tree as udev sees them.
pub const DEVICES: &[Device] = &[
    device("powercap", "intel-rapl", "/devices/virtual/powercap/intel-rapl"),
    device("powercap", "intel-rapl:0", PACKAGE),
    device("powercap", "intel-rapl:0:0", CORE),
    device("iio", "iio:device0", NANO),
    device("iio", "iio:device1", "/devices/other/iio:device1"),
    device("hwmon", "hwmon3", ORIN),
    device("hwmon", "hwmon0", "/devices/virtual/thermal/hwmon0"),
    device("vcio", "vcio", "/devices/virtual/vcio/vcio"),
    device("vcio", "vcio_gencmd", "/devices/virtual/vcio/vcio_gencmd"),
    device("vcio", "vcio_crypto", "/devices/virtual/vcio/vcio_crypto"),
    device("tty", "ttyS0", "/devices/ttyS0"),
    Device {
        usb: &[("idVendor", "1a86"), ("idProduct", "7523")],
        ..device("tty", "ttyUSB0", "/devices/usb/ttyUSB0")
    },
    Device {
        usb: &[("idVendor", "10c4"), ("idProduct", "ea60")],
        ..device("tty", "ttyUSB1", "/devices/usb/ttyUSB1")
    },
    Device {
        usb: &[("idVendor", "0403"), ("idProduct", "6001")],
        ..device("tty", "ttyUSB2", "/devices/usb/ttyUSB2")
    },
    Device {
        usb: &[("idVendor", "2341"), ("idProduct", "0043")],
        ..device("tty", "ttyACM0", "/devices/usb/ttyACM0")
    },
];

const fn device(subsystem: &'static str, kernel: &'static str, devpath: &'static str) -> Device {
    Device {
        subsystem,
        kernel,
        devpath,
        usb: &[],
    }
}

/// Files that change: their rights before and after.
pub fn opened() -> Vec<(String, u32, u32)> {
    let mut files = vec![
        (format!("sys{PACKAGE}/energy_uj"), 0o400, 0o440),
        (format!("sys{CORE}/energy_uj"), 0o400, 0o440),
        (format!("sys{ORIN}/samples"), 0o644, 0o664),
        (format!("sys{ORIN}/update_interval"), 0o644, 0o664),
    ];
    for n in 0..3 {
        // Channel 2 in the spelling of older releases.
        let rail_name = if n == 2 { "rail_name" } else { "rail_name_" };
        for name in [
            format!("{rail_name}{n}"),
            format!("in_power{n}_input"),
            format!("ui_input_{n}"),
        ] {
            files.push((format!("sys{NANO}/{name}"), 0o400, 0o440));
        }
    }
    files
}

/// Files beside them that must not change.
pub const CLOSED: &[&str] = &[
    "sys/devices/virtual/powercap/intel-rapl/enabled",
    "sys/devices/virtual/powercap/intel-rapl/intel-rapl:0/constraint_0_power_limit_uw",
    "sys/devices/50000000.host1x/546c0000.i2c/i2c-6/6-0040/iio:device0/running_mode",
    "sys/devices/50000000.host1x/546c0000.i2c/i2c-6/6-0040/iio:device0/in_power0_trigger_input",
    "sys/devices/50000000.host1x/546c0000.i2c/i2c-6/6-0040/iio:device0/crit_power_limit_0",
    "sys/devices/other/iio:device1/in_voltage0_raw",
    "sys/devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/hwmon3/shunt1_resistor",
    "sys/devices/virtual/thermal/hwmon0/update_interval",
    "dev/ttyS0",
    "dev/ttyACM0",
];

/// A board that has everything at once.
pub fn fake_tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = |path: &str, content: &str, mode: u32| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    opened()
        .iter()
        .for_each(|(path, before, _)| file(path, "1\n", *before));
    CLOSED.iter().for_each(|path| file(path, "1\n", 0o600));
    for (path, name) in [
        (NANO, "ina3221x"),
        ("/devices/other/iio:device1", "ads1015"),
        (ORIN, "ina3221"),
        ("/devices/virtual/thermal/hwmon0", "thermal"),
    ] {
        file(&format!("sys{path}/name"), &format!("{name}\n"), 0o444);
    }
    for node in [
        "ttyUSB0",
        "ttyUSB1",
        "ttyUSB2",
        "vcio",
        "vcio_gencmd",
        "vcio_crypto",
    ] {
        file(&format!("dev/{node}"), "", 0o600);
    }
    for (link, goal) in [
        ("sys/class/powercap/intel-rapl:0", PACKAGE),
        ("sys/class/powercap/intel-rapl:0:0", CORE),
        ("sys/bus/iio/devices/iio:device0", NANO),
        ("sys/bus/iio/devices/iio:device1", "/devices/other/iio:device1"),
        ("sys/class/hwmon/hwmon3", ORIN),
    ] {
        let link = dir.path().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        // Relative, as the kernel's are.
        let up = "../".repeat(link.strip_prefix(dir.path()).unwrap().components().count() - 2);
        std::os::unix::fs::symlink(format!("{up}{}", &goal[1..]), link).unwrap();
    }
    dir
}

/// Any group but the files' own where we may choose, else our own.
pub fn group() -> u32 {
    if nix::unistd::geteuid().is_root() {
        4711
    } else {
        nix::unistd::getegid().as_raw()
    }
}

/// Permission bits.
pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// All that had to be opened is, for this group, and nothing beside it.
pub fn assert_minimal(root: &Path, opened: &[(String, u32, u32)], gid: u32) {
    for (path, _, after) in opened {
        let path = root.join(path);
        assert_eq!(
            (mode(&path), fs::metadata(&path).unwrap().gid()),
            (*after, gid),
            "{}",
            path.display()
        );
    }
    for path in CLOSED {
        assert_eq!(mode(&root.join(path)), 0o600, "{path}");
    }
}
