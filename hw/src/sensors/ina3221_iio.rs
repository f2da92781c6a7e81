//! `ina3221-iio`: NVIDIA's `ina3221x` IIO driver of L4T 32 (JetPack 4): Jetson Nano, TX1, TX2, Xavier.
//!
//! Format, from `drivers/staging/iio/meter/ina3221.c` of L4T's kernel 4.9: below
//! `/sys/bus/i2c/drivers/ina3221x/B-00AA/` stands `iio:deviceK/` (older: `iio_device/`) with, per channel N from 0,
//! `rail_name_N` (older: `rail_nameN`) and `in_powerN_input` in mW, computed by the driver from one bus and one
//! shunt conversion. `ui_input_N` (`mV mA`, one conversion) serves where the power file is missing.
//!
//! Since R32.5 the files belong to root (CVE-2021-1070, CVE-2021-1071).

use super::ina3221::{Timing, with_usual_steps};
use super::{Context, Driver, plausible, read_channels, sensor_id};
use crate::error::{ErrorKind, Result};
use crate::rails::{role_of, total_rails};
use crate::root::{Node, Root};
use crate::sensor::{Kind, Rail, Reading, Sensor, SensorInfo, Value};
use crate::units::{Amps, Volts, Watts};
use std::path::{Path, PathBuf};

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "ina3221-iio",
    kind: Kind::Measured,
    open: |context, instance| {
        Ok(Ina3221Iio::open(context, instance)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>))
    },
    expected: |context| {
        context.board.kind.is_jetson() && context.root.exists("/sys/bus/i2c/drivers/ina3221x")
    },
    place: "/sys/bus/i2c/drivers/ina3221x/*-00*/iio:device*",
    hint: |context, _| {
        let mode = context.root.path("/sys/bus/i2c/drivers/ina3221x/*/iio*");
        let mode = mode.display();
        format!("sudo sh -c 'chmod a+r {mode}/rail_name* {mode}/in_power[0-9]_input {mode}/ui_input_*'")
    },
};

const DRIVER_DIR: &str = "/sys/bus/i2c/drivers/ina3221x";
const BUS_DIR: &str = "/sys/bus/i2c/devices";

/// All channels of all INA3221 chips under the IIO driver.
#[derive(Debug)]
pub struct Ina3221Iio {
    channels: Vec<Channel>,
    info: SensorInfo,
}

#[derive(Debug)]
struct Channel {
    node: Node,
    format: Format,
}

/// What the file of a channel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `in_powerN_input`: milliwatts.
    Power,
    /// `ui_input_N`: millivolts and milliamperes.
    VoltageAndCurrent,
}

impl Ina3221Iio {
    /// Opens every chip, or only `instance` (such as `6-0040`).
    pub fn open(context: &Context, instance: Option<&str>) -> Result<Option<Self>> {
        let mut channels = Vec::new();
        let mut rails = Vec::new();
        let mut timing = Timing::default();
        for chip in i2c_devices(&context.root, DRIVER_DIR, "ina3221x")? {
            if instance.is_none_or(|wanted| chip.ends_with(wanted)) {
                let dir = open_chip(&context.root, &chip, &mut channels, &mut rails)?;
                timing = dir.map_or(timing, |dir| timing.slower(self::timing(&context.root, &dir)));
            }
        }
        if channels.is_empty() {
            return Ok(None);
        }
        let total = total_rails(context.board.kind, &rails);
        let info = SensorInfo {
            total,
            accuracy: timing.accuracy("5 mΩ shunt inferred, averaging from running_mode"),
            ..SensorInfo::new(sensor_id(&DRIVER, instance), Kind::Measured, rails)
        };
        Ok(Some(Self { channels, info }))
    }
}

impl Sensor for Ina3221Iio {
    fn read(&mut self) -> Result<Reading> {
        read_channels(&mut self.channels, Channel::read)
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Channel {
    fn read(&mut self) -> Result<Value> {
        let power = match self.format {
            Format::Power => self
                .node
                .read_number::<i64>()
                .map(|mw| Watts::from_milli(mw as f64)),
            Format::VoltageAndCurrent => self.read_pair(),
        };
        plausible(power?, &mut self.node)
    }

    fn read_pair(&mut self) -> Result<Watts> {
        match parse_pair(self.node.read()?) {
            Some(power) => Ok(power),
            None => Err(self.node.malformed("millivolts and milliamperes")),
        }
    }
}

/// `"5000 400"`: mV and mA of one conversion.
fn parse_pair(bytes: &[u8]) -> Option<Watts> {
    let mut numbers = std::str::from_utf8(bytes).ok()?.split_whitespace();
    let millivolts: f64 = numbers.next()?.parse::<i32>().ok()?.into();
    let milliamps: f64 = numbers.next()?.parse::<i32>().ok()?.into();
    numbers
        .next()
        .is_none()
        .then(|| Volts::from_milli(millivolts) * Amps::from_milli(milliamps))
}

/// The directories of the chips under a driver, each once: in the driver's own directory, and on the I2C bus by their
/// `name`. The driver's directory also holds a link into `module`, which is not one.
pub(super) fn i2c_devices(root: &Root, driver_dir: &str, name: &str) -> Result<Vec<PathBuf>> {
    let is_chip = |device: &String| is_i2c_device(device);
    let mut found: Vec<String> = root.list(driver_dir)?.into_iter().filter(is_chip).collect();
    let mut dirs: Vec<PathBuf> = found
        .iter()
        .map(|device| PathBuf::from(driver_dir).join(device))
        .collect();
    for device in root.list(BUS_DIR)?.into_iter().filter(is_chip) {
        let dir = PathBuf::from(BUS_DIR).join(&device);
        if !found.contains(&device) && root.read_text(dir.join("name")).is_ok_and(|found| found == name) {
            found.push(device);
            dirs.push(dir);
        }
    }
    Ok(dirs)
}

/// `NC` as a word: a channel that is wired to nothing.
pub(super) fn is_not_connected(label: &str) -> bool {
    label.split_whitespace().any(|word| word == "NC")
}

/// `B-00AA`: bus in decimal, address in hexadecimal.
pub(super) fn is_i2c_device(name: &str) -> bool {
    name.split_once('-').is_some_and(|(bus, address)| {
        !bus.is_empty()
            && bus.bytes().all(|b| b.is_ascii_digit())
            && address.len() == 4
            && address.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// Adds the channels of a chip; the directory they are in, if it has any.
fn open_chip(
    root: &Root,
    chip_dir: &Path,
    channels: &mut Vec<Channel>,
    rails: &mut Vec<Rail>,
) -> Result<Option<PathBuf>> {
    // Both spellings may exist side by side and show the same channels: the first that has any is enough.
    for device in root
        .list(chip_dir)?
        .iter()
        .filter(|n| n.starts_with("iio:device") || *n == "iio_device")
    {
        let dir = chip_dir.join(device);
        let before = channels.len();
        for n in 0..3 {
            let Some(name) = rail_name(root, &dir, n)? else {
                continue;
            };
            if name.is_empty() || is_not_connected(&name) {
                continue;
            }
            if let Some(channel) = open_channel(root, &dir, n)? {
                channels.push(channel);
                rails.push(rail(name));
            }
        }
        if channels.len() > before {
            return Ok(Some(dir));
        }
    }
    Ok(None)
}

fn rail_name(root: &Root, dir: &Path, n: usize) -> Result<Option<String>> {
    for spelling in [format!("rail_name_{n}"), format!("rail_name{n}")] {
        match root.read_text(dir.join(spelling)) {
            Ok(name) => return Ok(Some(name)),
            Err(error) if error.kind() == ErrorKind::Gone => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn open_channel(root: &Root, dir: &Path, n: usize) -> Result<Option<Channel>> {
    let files = [
        (format!("in_power{n}_input"), Format::Power),
        (format!("ui_input_{n}"), Format::VoltageAndCurrent),
    ];
    for (file, format) in files {
        match root.open(dir.join(file)) {
            Ok(node) => return Ok(Some(Channel { node, format })),
            Err(error) if error.kind() == ErrorKind::Gone => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn rail(name: String) -> Rail {
    let role = role_of(&name);
    with_usual_steps(Rail::new(name, role))
}

/// In triggered mode every read is a conversion of its own; in continuous mode the chip averages 64 of them at 1.1 ms
/// (configuration 0x7727 of NVIDIA's driver).
fn timing(root: &Root, dir: &Path) -> Timing {
    let is_continuous = root
        .read_number::<u8>(dir.join("running_mode"))
        .is_ok_and(|mode| mode == 1);
    if is_continuous {
        Timing::of_hwmon(Some(7.0), Some(64.0), 3)
    } else {
        Timing::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_i2c_addresses_are_chips() {
        assert!(is_i2c_device("6-0040"));
        for other in ["module", "bind", "uevent", "6-40", "x-0040", "6-00zz", "-0040"] {
            assert!(!is_i2c_device(other), "{other}");
        }
    }

    #[test]
    fn a_pair_is_two_numbers_and_nothing_else() {
        assert_eq!(parse_pair(b"5000 400\n"), Some(Watts(2.0)));
        assert_eq!(parse_pair(b"5000 -400\n"), Some(Watts(-2.0)));
        for bad in [
            &b""[..],
            b"5000",
            b"5000 400 1",
            b"a b",
            b"5000 400ma",
            b"99999999999 1",
        ] {
            assert_eq!(parse_pair(bad), None, "{bad:?}");
        }
    }
}
