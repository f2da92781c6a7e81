//! `ina3221-hwmon`: the mainline `ina3221` hwmon driver of JetPack 5 and later (kernel 5.10+).
//!
//! Format, from `Documentation/hwmon/ina3221.rst` and `drivers/hwmon/ina3221.c`: below
//! `/sys/bus/i2c/drivers/ina3221/B-00AA/hwmon/hwmonK/`, per channel N from 1, `inN_label`, `inN_input` (bus voltage,
//! mV) and `currN_input` (mA, signed). There is no power file: P = V x I from two reads. `in4` to `in7` are shunt
//! voltages in µV and `curr4` their sum; none of them is a rail. A disabled channel answers `ENODATA`.

use super::ina3221::{Timing, with_steps};
use super::ina3221_iio::{i2c_devices, is_i2c_device, is_not_connected};
use super::{Context, Driver, plausible, read_channels, sensor_id};
use crate::error::{ErrorKind, Result};
use crate::rails::{role_of, total_rails};
use crate::root::{Node, Root};
use crate::sensor::{Kind, Rail, Reading, Sensor, SensorInfo, Value};
use crate::units::{Amps, Volts};
use std::path::{Path, PathBuf};

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "ina3221-hwmon",
    kind: Kind::Measured,
    open: |context, instance| {
        Ok(Ina3221Hwmon::open(context, instance)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>))
    },
    expected: |context| {
        context.board.kind.is_jetson() && !context.root.exists("/sys/bus/i2c/drivers/ina3221x")
    },
    place: "/sys/bus/i2c/drivers/ina3221/*-00*/hwmon/hwmon*",
    hint: |context, error| match error.and_then(crate::Error::path) {
        Some(path) => format!("sudo chmod a+r {}", path.display()),
        None => format!(
            "sudo modprobe ina3221  # then look for chips in {}",
            context.root.path(DRIVER_DIR).display()
        ),
    },
};

const DRIVER_DIR: &str = "/sys/bus/i2c/drivers/ina3221";
const CLASS_DIR: &str = "/sys/class/hwmon";

/// All channels of all INA3221 chips under the hwmon driver.
#[derive(Debug)]
pub struct Ina3221Hwmon {
    channels: Vec<Channel>,
    info: SensorInfo,
}

#[derive(Debug)]
struct Channel {
    voltage: Node,
    current: Node,
}

/// One chip's directory.
struct Chip {
    instance: String,
    dir: PathBuf,
}

impl Ina3221Hwmon {
    /// Opens every chip, or only `instance` (such as `1-0040`).
    pub fn open(context: &Context, instance: Option<&str>) -> Result<Option<Self>> {
        let root = &context.root;
        let mut channels = Vec::new();
        let mut rails = Vec::new();
        let mut timing = Timing::default();
        for chip in chips(root)? {
            if instance.is_none_or(|wanted| wanted == chip.instance) {
                open_chip(root, &chip.dir, &mut channels, &mut rails)?;
                timing = timing.slower(self::timing(root, &chip.dir));
            }
        }
        if channels.is_empty() {
            return Ok(None);
        }
        let total = total_rails(context.board.kind, &rails);
        let info = SensorInfo {
            total,
            accuracy: timing.accuracy("shunt, samples and update interval from sysfs"),
            ..SensorInfo::new(sensor_id(&DRIVER, instance), Kind::Measured, rails)
        };
        Ok(Some(Self { channels, info }))
    }
}

impl Sensor for Ina3221Hwmon {
    fn read(&mut self) -> Result<Reading> {
        read_channels(&mut self.channels, Channel::read)
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Channel {
    fn read(&mut self) -> Result<Value> {
        let millivolts = self.voltage.read_number::<i32>()?;
        let milliamps = self.current.read_number::<i32>()?;
        let power = Volts::from_milli(millivolts.into()) * Amps::from_milli(milliamps.into());
        plausible(power, &mut self.current)
    }
}

/// Every chip once, by its I2C address: from the driver's directory, from the bus, and from the hwmon class.
/// On a real system all three show the same; a packed tree may hold only one.
fn chips(root: &Root) -> Result<Vec<Chip>> {
    let mut chips: Vec<Chip> = Vec::new();
    for device in i2c_devices(root, DRIVER_DIR, "ina3221")? {
        let instance = device
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        for name in root.list(device.join("hwmon"))? {
            let dir = device.join("hwmon").join(name);
            chips.push(Chip {
                instance: instance.to_owned(),
                dir,
            });
        }
    }
    for name in root.list(CLASS_DIR)? {
        let dir = PathBuf::from(CLASS_DIR).join(&name);
        let driver = root.read_text(dir.join("name"));
        let is_new = match i2c_address(root, &dir) {
            Some(address) => chips.iter().all(|chip| chip.instance != address),
            None => chips.is_empty(),
        };
        if is_new && driver.is_ok_and(|driver| driver == "ina3221") {
            let instance = i2c_address(root, &dir).unwrap_or(name);
            chips.push(Chip { instance, dir });
        }
    }
    Ok(chips)
}

/// `1-0040`, from the `device` link of a hwmon directory.
fn i2c_address(root: &Root, dir: &Path) -> Option<String> {
    let target = std::fs::canonicalize(root.path(dir.join("device"))).ok()?;
    let name = target.file_name()?.to_str()?.to_owned();
    is_i2c_device(&name).then_some(name)
}

fn open_chip(root: &Root, dir: &Path, channels: &mut Vec<Channel>, rails: &mut Vec<Rail>) -> Result<()> {
    for n in 1..=3 {
        let label = match root.read_text(dir.join(format!("in{n}_label"))) {
            Ok(label) => label,
            Err(error) if matches!(error.kind(), ErrorKind::Gone | ErrorKind::Busy) => format!("ch{n}"),
            Err(error) => return Err(error),
        };
        if is_not_connected(&label) || !is_enabled(root, dir, n) {
            continue;
        }
        let voltage = root.open(dir.join(format!("in{n}_input")));
        let current = root.open(dir.join(format!("curr{n}_input")));
        let (mut voltage, current) = match (voltage, current) {
            (Ok(voltage), Ok(current)) => (voltage, current),
            (Err(error), _) | (_, Err(error)) if error.kind() == ErrorKind::Gone => continue,
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        // A rail that is off just now would seem to have no offset and no step: take the usual 5 V for it.
        let millivolts = voltage.read_number::<i32>().ok().filter(|&mv| mv > 0);
        let volts = millivolts.map_or(Volts(5.0), |mv| Volts::from_milli(mv.into()));
        rails.push(rail(label, volts, shunt_ohms(root, dir, n)));
        channels.push(Channel { voltage, current });
    }
    Ok(())
}

fn is_enabled(root: &Root, dir: &Path, n: usize) -> bool {
    root.read_number::<u8>(dir.join(format!("in{n}_enable")))
        .map_or(true, |enabled| enabled != 0)
}

fn shunt_ohms(root: &Root, dir: &Path, n: usize) -> Option<f64> {
    let micro_ohms = root
        .read_number::<f64>(dir.join(format!("shunt{n}_resistor")))
        .ok()?;
    (micro_ohms > 0.0 && micro_ohms.is_finite()).then_some(micro_ohms * 1e-6)
}

/// Offset and step of the shunt voltage become watts at this rail's voltage and shunt.
fn rail(name: String, volts: Volts, shunt_ohms: Option<f64>) -> Rail {
    let role = role_of(&name);
    with_steps(Rail::new(name, role), volts, shunt_ohms.unwrap_or(0.005))
}

/// The timing of the slowest chip on this board; unknown where the driver is not there.
pub(super) fn slowest_timing(root: &Root) -> Timing {
    let chips = chips(root).unwrap_or_default();
    let timings = chips.iter().map(|chip| timing(root, &chip.dir));
    timings.fold(Timing::default(), Timing::slower)
}

/// The timing of the chip at `dir`, as far as its knobs tell.
fn timing(root: &Root, dir: &Path) -> Timing {
    let number = |name: &str| {
        root.read_number::<f64>(dir.join(name))
            .ok()
            .filter(|&x| x > 0.0 && x.is_finite())
    };
    let channels = (1..=3).filter(|&n| is_enabled(root, dir, n)).count();
    Timing::of_hwmon(number("update_interval"), number("samples"), channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_and_step_follow_voltage_and_shunt() {
        let rail = rail("VDD_IN".into(), Volts(5.0), Some(0.005));
        assert!((rail.power_step.0 - 0.040).abs() < 1e-9, "{rail:?}");
        assert!((rail.offset.0 - 0.080 / 3f64.sqrt()).abs() < 1e-9);
    }
}
