//! `hwmon`: any chip of the kernel's hwmon class that reports power or energy.
//!
//! Format, from `Documentation/hwmon/sysfs-interface.rst`: below `/sys/class/hwmon/hwmonK/` (K is not stable) stands
//! `name` and, per channel N, `powerN_input` or `powerN_average` (µW), `energyN_input` (µJ, cumulative) and
//! `powerN_label`/`energyN_label`. `powerN_average_interval` is in ms. A disabled channel answers `ENODATA`.
//!
//! Not looked at: `ina3221` chips (a driver of their own: they have no power file) and the chips that the
//! power-supply class registers for each battery (the sensor `power-supply` reads those).
//!
//! Chips know nothing of each other, so their rails are never simply added: see `hwmon_rails.rs`.

use super::hwmon_rails::{role_of_channel, total};
use super::ina3221_iio::is_i2c_device;
use super::{Driver, plausible, read_channels, sensor_id};
use crate::error::{ErrorKind, Result};
use crate::root::{Node, Root};
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::units::{Joules, Seconds, Watts};
use std::path::{Path, PathBuf};

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "hwmon",
    kind: Kind::Measured,
    open: |context, instance| {
        Ok(Hwmon::open(&context.root, instance)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>))
    },
    expected: |_| false,
    place: "/sys/class/hwmon/hwmon*/{power,energy}*_input",
    hint: |context, error| match error.and_then(crate::Error::path) {
        Some(path) => format!("sudo chmod a+r {}", path.display()),
        None => format!(
            "sudo modprobe ina238  # or the driver of your chip, such as acpi_power_meter; then look for power*_input in {}",
            context.root.path(CLASS_DIR).join("hwmon*").display()
        ),
    },
};

const CLASS_DIR: &str = "/sys/class/hwmon";
const SUPPLY_DIR: &str = "/sys/class/power_supply";

/// Relative standard uncertainty where the chip's datasheet is not known to us (assumed).
const GAIN: f64 = 0.02;

/// All power and energy channels of all hwmon chips.
#[derive(Debug)]
pub struct Hwmon {
    channels: Vec<Channel>,
    info: SensorInfo,
}

#[derive(Debug)]
struct Channel {
    node: Node,
    quantity: Quantity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    /// `powerN_input`, `powerN_average`: microwatts.
    Power,
    /// `energyN_input`: microjoules since some origin.
    Energy,
}

/// One chip's directory.
#[derive(Debug)]
struct Chip {
    /// The driver's name for it, such as `ina238`.
    name: String,
    /// The name made unique: `ina238-1-0044` where two chips share a name.
    instance: String,
    dir: PathBuf,
}

/// What a channel is called and measures, before its file is opened.
#[derive(Debug, PartialEq)]
struct Found {
    label: String,
    file: String,
    quantity: Quantity,
}

impl Hwmon {
    /// Opens every chip, or only `instance`: a chip's name (`ina238`), or its directory (`hwmon3`).
    pub fn open(root: &Root, instance: Option<&str>) -> Result<Option<Self>> {
        let is_wanted = |chip: &Chip| {
            instance.is_none_or(|wanted| {
                chip.instance == wanted || chip.name == wanted || chip.dir.ends_with(wanted)
            })
        };
        let mut found = Vec::new();
        for chip in chips(root)?.into_iter().filter(is_wanted) {
            let channels = channels_of(root, &chip.dir)?;
            if !channels.is_empty() {
                found.push((chip, channels));
            }
        }
        let is_one = found.len() == 1;
        let mut channels = Vec::new();
        let mut rails = Vec::new();
        let mut chip_of_rail = Vec::new();
        let mut interval = None;
        for (chip, parts) in &found {
            for part in parts {
                let node = root.open(chip.dir.join(&part.file))?;
                let name = if is_one {
                    part.label.clone()
                } else {
                    format!("{}.{}", chip.instance, part.label)
                };
                rails.push(rail(
                    name,
                    role_of_channel(&chip.name, &part.label),
                    part.quantity,
                ));
                channels.push(Channel {
                    node,
                    quantity: part.quantity,
                });
                chip_of_rail.push(chip.instance.as_str());
            }
            interval = interval.max(average_interval_ms(root, &chip.dir));
        }
        if channels.is_empty() {
            return Ok(None);
        }
        let (total, note) = total(&rails, &chip_of_rail);
        let info = SensorInfo {
            total,
            note,
            accuracy: accuracy(interval),
            ..SensorInfo::new(sensor_id(&DRIVER, instance), Kind::Measured, rails)
        };
        Ok(Some(Self { channels, info }))
    }
}

impl Sensor for Hwmon {
    fn read(&mut self) -> Result<Reading> {
        read_channels(&mut self.channels, Channel::read)
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Channel {
    fn read(&mut self) -> Result<Value> {
        match self.quantity {
            Quantity::Power => {
                let microwatts = self.node.read_number::<i64>()?;
                plausible(Watts::from_micro(microwatts as f64), &mut self.node)
            }
            Quantity::Energy => {
                let microjoules = self.node.read_number::<u64>()?;
                Ok(Value::Energy {
                    counter: Joules::from_micro(microjoules as f64),
                    wraps_at: None,
                })
            }
        }
    }
}

/// Every chip that is not some other sensor's.
fn chips(root: &Root) -> Result<Vec<Chip>> {
    // The hwmon class writes `_` where a supply's name has `-`.
    let supplies: Vec<String> = root
        .list(SUPPLY_DIR)?
        .iter()
        .map(|name| name.replace('-', "_"))
        .collect();
    let mut chips = Vec::new();
    for entry in root.list(CLASS_DIR)? {
        let dir = PathBuf::from(CLASS_DIR).join(&entry);
        let name = match root.read_text(dir.join("name")) {
            Ok(name) => name,
            Err(error) if error.kind() == ErrorKind::Gone => continue,
            Err(error) => return Err(error),
        };
        if name != "ina3221" && !supplies.contains(&name.replace('-', "_")) {
            chips.push(Chip {
                instance: name.clone(),
                name,
                dir,
            });
        }
    }
    let names: Vec<String> = chips.iter().map(|chip| chip.name.clone()).collect();
    for chip in &mut chips {
        if names.iter().filter(|name| **name == chip.name).count() > 1 {
            chip.instance = format!("{}-{}", chip.name, place(root, &chip.dir));
        }
    }
    Ok(chips)
}

/// Where a chip sits: its I2C address or PCI slot, which stay the same, else its hwmon number, which may not.
fn place(root: &Root, dir: &Path) -> String {
    let device = std::fs::canonicalize(root.path(dir.join("device"))).ok();
    let device = device
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let is_stable = |name: &&str| is_i2c_device(name) || name.contains(':');
    device
        .filter(is_stable)
        .or_else(|| dir.file_name().and_then(|name| name.to_str()))
        .unwrap_or_default()
        .to_owned()
}

/// The channels of a chip in order; one file per channel, a counter before a power reading of the same channel.
fn channels_of(root: &Root, dir: &Path) -> Result<Vec<Found>> {
    let names = root.list(dir)?;
    let mut found = Vec::new();
    for kind in ["power", "energy"] {
        let is_counter = kind == "energy";
        let numbers = names.iter().filter_map(|name| channel_number(name, kind));
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        numbers.dedup();
        for n in numbers {
            let has = |file: &String| names.contains(file);
            let spellings = [format!("{kind}{n}_input"), format!("{kind}{n}_average")];
            let Some(file) = spellings.into_iter().find(has) else {
                continue;
            };
            let own = root.read_text(dir.join(format!("{kind}{n}_label")));
            let label = own
                .ok()
                .filter(|label| !label.is_empty())
                .unwrap_or_else(|| format!("{kind}{n}"));
            let quantity = if is_counter {
                Quantity::Energy
            } else {
                Quantity::Power
            };
            // INA228 and some GPUs show one supply as power1 and energy1: the counter misses nothing between reads.
            if is_counter {
                found.retain(|other: &Found| {
                    other.label != label
                        && !(label == format!("energy{n}") && other.label == format!("power{n}"))
                });
            }
            found.push(Found {
                label,
                file,
                quantity,
            });
        }
    }
    Ok(found)
}

/// 3 for `power3_input` and `power3_average`; `None` for limits, alarms and everything else.
fn channel_number(file: &str, kind: &str) -> Option<u32> {
    let rest = file.strip_prefix(kind)?;
    let number = rest
        .strip_suffix("_input")
        .or_else(|| rest.strip_suffix("_average"))?;
    number.parse().ok()
}

fn average_interval_ms(root: &Root, dir: &Path) -> Option<u64> {
    root.read_number::<u64>(dir.join("power1_average_interval"))
        .ok()
        .filter(|&ms| ms > 0)
}

fn rail(name: String, role: Role, quantity: Quantity) -> Rail {
    let rail = Rail::new(name, role);
    match quantity {
        Quantity::Power => rail,
        Quantity::Energy => rail.with_energy_step(Joules::from_micro(1.0)),
    }
}

fn accuracy(interval_ms: Option<u64>) -> Accuracy {
    let interval = interval_ms.map(|ms| Seconds(ms as f64 * 1e-3));
    Accuracy {
        gain: GAIN,
        // powerN_average is the mean of this interval.
        update_period: interval,
        window: interval,
        source: "2 % gain assumed: hwmon does not tell a chip's accuracy".to_owned(),
        ..Accuracy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readings_are_channels() {
        assert_eq!(channel_number("power3_input", "power"), Some(3));
        assert_eq!(channel_number("power12_average", "power"), Some(12));
        for other in [
            "power1_cap",
            "power1_average_interval",
            "power1_input_highest",
            "power_input",
            "in1_input",
            "powerx_input",
        ] {
            assert_eq!(channel_number(other, "power"), None, "{other}");
        }
    }
}
