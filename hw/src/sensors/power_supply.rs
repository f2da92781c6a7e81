//! `power-supply`: batteries, UPS HATs and mains supplies that the kernel's power-supply class knows.
//!
//! Format, from `Documentation/ABI/testing/sysfs-class-power`: `/sys/class/power_supply/NAME/` with `type` (`Battery`,
//! `UPS`, `Mains`, `USB`), `status`, `power_now` (µW), or `voltage_now` (µV) and `current_now` (µA). Drivers disagree
//! about the sign of a current, so its size is taken and `status` tells the direction: power drawn from a battery is
//! positive, power that charges it negative. `scope` `Device` is the battery of a mouse or a headset; it is left out, as
//! are `ucsi-source-psy-*`, which show what a USB-C port has negotiated and not what flows.

use super::{Driver, plausible, read_channels, sensor_id};
use crate::error::{Error, ErrorKind, Result};
use crate::root::{Node, Root};
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::units::{Amps, Seconds, Volts, Watts};
use std::path::{Path, PathBuf};

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "power-supply",
    kind: Kind::Measured,
    open: |context, instance| {
        Ok(PowerSupply::open(&context.root, instance)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>))
    },
    expected: |_| false,
    place: "/sys/class/power_supply/*",
    hint: |context, error| match error.and_then(Error::path) {
        Some(path) => format!("sudo chmod a+r {}", path.display()),
        None => format!(
            "ls {}  # empty until the driver of the battery or UPS is loaded",
            context.root.path(CLASS_DIR).display()
        ),
    },
};

const CLASS_DIR: &str = "/sys/class/power_supply";

/// All supplies that tell their power.
#[derive(Debug)]
pub struct PowerSupply {
    supplies: Vec<Supply>,
    info: SensorInfo,
}

#[derive(Debug)]
struct Supply {
    measure: Measure,
    /// Only batteries have a direction.
    status: Option<Node>,
}

#[derive(Debug)]
enum Measure {
    Power(Node),
    VoltageAndCurrent(Node, Node),
}

impl PowerSupply {
    /// Opens every supply, or only `instance` (such as `BAT0`).
    pub fn open(root: &Root, instance: Option<&str>) -> Result<Option<Self>> {
        let mut supplies = Vec::new();
        let mut rails = Vec::new();
        for name in root.list(CLASS_DIR)? {
            let is_wanted = instance.is_none_or(|wanted| wanted == name);
            if !is_wanted || name.starts_with("ucsi-source-psy") {
                continue;
            }
            if let Some(supply) = open_supply(root, &PathBuf::from(CLASS_DIR).join(&name))? {
                supplies.push(supply);
                rails.push(Rail::new(name, Role::Other));
            }
        }
        if supplies.is_empty() {
            return Ok(None);
        }
        let note = if supplies.iter().all(|supply| supply.status.is_some()) {
            "positive while discharging: the machine's power only while it runs from the battery alone"
        } else {
            "supplies in, minus what charges the battery; a supply that does not tell its power is not in it"
        };
        let info = SensorInfo {
            accuracy: Accuracy {
                gain: 0.05,
                update_period: Some(Seconds(1.0)),
                source: "5 % gain and a new value every second assumed: fuel gauges do not tell".to_owned(),
                ..Accuracy::default()
            },
            note: Some(note.to_owned()),
            ..SensorInfo::new(sensor_id(&DRIVER, instance), Kind::Measured, rails)
        };
        Ok(Some(Self { supplies, info }))
    }
}

impl Sensor for PowerSupply {
    fn read(&mut self) -> Result<Reading> {
        read_channels(&mut self.supplies, Supply::read)
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Supply {
    fn read(&mut self) -> Result<Value> {
        let (power, node) = match &mut self.measure {
            Measure::Power(node) => (Watts::from_micro(node.read_number::<i64>()? as f64), node),
            Measure::VoltageAndCurrent(voltage, current) => {
                let volts = Volts::from_micro(voltage.read_number::<i64>()? as f64);
                let amps = Amps::from_micro(current.read_number::<i64>()? as f64);
                (volts * amps, current)
            }
        };
        let value = plausible(power, node)?;
        let Some(status) = &mut self.status else {
            return Ok(value);
        };
        match signed(power, status.read()?) {
            Some(power) => Ok(Value::Power(power)),
            None => Err(status.malformed("a battery status such as Discharging")),
        }
    }
}

/// Power drawn from the battery is positive, by `status` and not by the driver's sign.
/// A status without direction leaves the sign the driver gives; by the ABI's text negative is discharging.
fn signed(power: Watts, status: &[u8]) -> Option<Watts> {
    let size = Watts(power.0.abs());
    match status.trim_ascii() {
        b"Discharging" => Some(size),
        b"Charging" => Some(-size),
        b"Full" | b"Not charging" | b"Unknown" => Some(Watts::ZERO - power),
        _ => None,
    }
}

/// `None` for a supply that is not the machine's, or does not tell its power.
fn open_supply(root: &Root, dir: &Path) -> Result<Option<Supply>> {
    let text = |name: &str| match root.read_text(dir.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::Gone => Ok(None),
        Err(error) => Err(error),
    };
    let kind = text("type")?.unwrap_or_default();
    if text("scope")?.is_some_and(|scope| scope == "Device") {
        return Ok(None);
    }
    let is_battery = matches!(kind.as_str(), "Battery" | "UPS");
    if !is_battery && !kind.starts_with("Mains") && !kind.starts_with("USB") {
        return Ok(None);
    }
    let open = |name: &str| match root.open(dir.join(name)) {
        Ok(node) => Ok(Some(node)),
        Err(error) if error.kind() == ErrorKind::Gone => Ok(None),
        Err(error) => Err(error),
    };
    let measure = match (open("power_now")?, open("voltage_now")?, open("current_now")?) {
        (Some(power), _, _) => Measure::Power(power),
        (None, Some(voltage), Some(current)) if is_battery => Measure::VoltageAndCurrent(voltage, current),
        _ => return Ok(None),
    };
    let status = if is_battery { open("status")? } else { None };
    Ok(Some(Supply { measure, status }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_tells_the_direction_whatever_the_drivers_sign() {
        for drivers in [7.5, -7.5] {
            assert_eq!(signed(Watts(drivers), b"Discharging\n"), Some(Watts(7.5)));
            assert_eq!(signed(Watts(drivers), b"Charging\n"), Some(Watts(-7.5)));
        }
        assert_eq!(signed(Watts(0.0), b"Full"), Some(Watts(0.0)));
        assert_eq!(signed(Watts(-2.0), b"Unknown"), Some(Watts(2.0)));
        assert_eq!(signed(Watts(1.0), b""), None);
        assert_eq!(signed(Watts(1.0), b"Exploding"), None);
    }
}
