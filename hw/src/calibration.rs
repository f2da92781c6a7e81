//! The calibration file: what a user knows about a sensor better than we do.
//!
//! ```toml
//! # A section per sensor: one chip by its id, or all of a driver by its name. Both apply, the id wins.
//! [sensor.ina3221-hwmon]
//! idle_watts = 2.10               # what this sensor reads while the board is idle
//! idle_uncertainty_watts = 0.02   # one standard uncertainty; without it 5 % is assumed
//! full_watts = 9.8                # the same with all cores busy
//!
//! [sensor."ina3221-hwmon:1-0040"]
//! gain = 0.004                    # relative standard uncertainty: 0.4 %
//! lag_s = 0.42                    # time constant of a first-order low-pass
//! lag_uncertainty = 0.1           # its relative standard uncertainty
//! window_s = 0.1                  # each value is the mean of this time before it
//! update_period_s = 0.1           # time between two new values
//! clock_s = 0.002                 # standard uncertainty of the moment a value belongs to
//! source = "compared with an SDM630, May 2026"
//!
//! [sensor."ina3221-hwmon:1-0040".rail.VDD_IN]
//! offset_w = 0.008                # standard uncertainty of a constant offset
//! power_step_w = 0.004            # smallest step of a power reading
//! energy_step_j = 0.000061        # smallest step of an energy counter
//! ```
//!
//! Every key is optional and overrides what the driver says. A key that is not listed here is an error that names its
//! line, and so are a sensor no driver has and a negative number: a typo never passes for a calibration.

use crate::error::{Error, Result};
use crate::sensor::{Reading, Sensor, SensorInfo};
use crate::sensors::DRIVERS;
use crate::small_file;
use crate::units::{Joules, Seconds, Watts};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Relative standard uncertainty of an idle power of which the file states none (assumed).
pub const ASSUMED_IDLE_UNCERTAINTY: f64 = 0.05;

/// What a calibration file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    path: Option<PathBuf>,
    sensors: BTreeMap<SensorName, Section>,
}

impl Calibration {
    /// Reads a file. `file` is an ordinary path, not one below the root.
    pub fn read(file: &Path) -> Result<Self> {
        let text = small_file::read_text(file).map_err(|e| Error::io("read", file, e))?;
        Ok(Self {
            path: Some(file.to_owned()),
            ..Self::parse(file, &text)?
        })
    }

    /// The file's content; `file` is for messages.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let document: Document = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
            let what = format!("calibration file {}, line {line}", file.display());
            Error::unsupported(what, error.message().to_owned())
        })?;
        Ok(Self {
            path: None,
            sensors: document.sensor,
        })
    }

    /// The file, if it says anything about this sensor.
    pub fn path_for(&self, id: &str) -> Option<&Path> {
        let path = self.path.as_deref()?;
        self.sections(id).next().map(|_| path)
    }

    /// Standard uncertainty of the idle power that the file gives for this sensor; `None` if it gives no idle power.
    pub fn idle_uncertainty(&self, id: &str) -> Option<Watts> {
        let idle = self.sections(id).filter_map(|s| s.idle_watts).last()?.0;
        let stated = self.sections(id).filter_map(|s| s.idle_uncertainty_watts).last();
        Some(Watts(
            stated.map_or(ASSUMED_IDLE_UNCERTAINTY * idle, |stated| stated.0),
        ))
    }

    /// Overrides what the file gives for this sensor; an error if it names a rail the sensor does not have.
    pub fn apply(&self, info: &mut SensorInfo) -> Result<()> {
        let id = info.id.clone();
        for section in self.sections(&id) {
            section.apply(info)?;
        }
        if let Some(path) = self.path_for(&id) {
            let said = self.sections(&id).filter_map(|s| s.source.as_deref()).last();
            let by = format!("calibration file {}", path.display());
            info.accuracy.source = match said {
                Some(said) => format!("{said} ({by})"),
                None => format!("{}; overridden by {by}", info.accuracy.source),
            };
        }
        Ok(())
    }

    /// The same sensor with what the file gives for it.
    pub fn applied_to(&self, sensor: Box<dyn Sensor>) -> Result<Box<dyn Sensor>> {
        let mut info = sensor.info();
        if self.sections(&info.id).next().is_none() {
            return Ok(sensor);
        }
        self.apply(&mut info)?;
        Ok(Box::new(Calibrated { sensor, info }))
    }

    /// That of the driver, then that of the very sensor.
    fn sections(&self, id: &str) -> impl Iterator<Item = &Section> {
        let driver = id.split(':').next().filter(|driver| *driver != id);
        let keys = driver.into_iter().chain([id]);
        keys.filter_map(|key| self.sensors.get(&SensorName(key.to_owned())))
    }
}

/// A sensor with a calibration.
struct Calibrated {
    sensor: Box<dyn Sensor>,
    info: SensorInfo,
}

impl Sensor for Calibrated {
    fn read(&mut self) -> Result<Reading> {
        self.sensor.read()
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    sensor: BTreeMap<SensorName, Section>,
}

/// A sensor's id or a driver's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct SensorName(String);

impl TryFrom<String> for SensorName {
    type Error = String;

    fn try_from(id: String) -> std::result::Result<Self, String> {
        let driver = id.split(':').next().unwrap_or_default();
        let mut known: Vec<&str> = DRIVERS.iter().map(|driver| driver.name).collect();
        known.extend(["modbus", "replay"]);
        if known.contains(&driver) {
            Ok(Self(id))
        } else {
            Err(format!(
                "there is no sensor `{id}`; known are {}",
                known.join(", ")
            ))
        }
    }
}

/// A finite number that is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
struct Size(f64);

impl TryFrom<f64> for Size {
    type Error = String;

    fn try_from(number: f64) -> std::result::Result<Self, String> {
        if number >= 0.0 && number.is_finite() {
            Ok(Self(number))
        } else {
            Err(format!("{number} must be a finite number, 0 or more"))
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    gain: Option<Size>,
    lag_s: Option<Size>,
    lag_uncertainty: Option<Size>,
    window_s: Option<Size>,
    update_period_s: Option<Size>,
    clock_s: Option<Size>,
    source: Option<String>,
    idle_watts: Option<Size>,
    idle_uncertainty_watts: Option<Size>,
    full_watts: Option<Size>,
    rail: BTreeMap<String, RailSection>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RailSection {
    offset_w: Option<Size>,
    power_step_w: Option<Size>,
    energy_step_j: Option<Size>,
}

impl Section {
    fn apply(&self, info: &mut SensorInfo) -> Result<()> {
        // A rail that is not there first: an error must leave nothing half done.
        for name in self.rail.keys() {
            rail_of(info, name)?;
        }
        let accuracy = &mut info.accuracy;
        override_with(&mut accuracy.gain, self.gain, |x| x);
        override_with(&mut accuracy.lag, self.lag_s, |x| Some(Seconds(x)));
        override_with(&mut accuracy.lag_uncertainty, self.lag_uncertainty, |x| x);
        override_with(&mut accuracy.window, self.window_s, |x| Some(Seconds(x)));
        override_with(&mut accuracy.update_period, self.update_period_s, |x| {
            Some(Seconds(x))
        });
        override_with(&mut accuracy.clock, self.clock_s, Seconds);
        override_with(&mut info.idle, self.idle_watts, |x| Some(Watts(x)));
        override_with(&mut info.full, self.full_watts, |x| Some(Watts(x)));
        for (name, given) in &self.rail {
            let i = rail_of(info, name)?;
            let rail = &mut info.rails[i];
            override_with(&mut rail.offset, given.offset_w, Watts);
            override_with(&mut rail.power_step, given.power_step_w, Watts);
            override_with(&mut rail.energy_step, given.energy_step_j, Joules);
        }
        Ok(())
    }
}

fn override_with<T>(place: &mut T, given: Option<Size>, make: impl Fn(f64) -> T) {
    if let Some(Size(number)) = given {
        *place = make(number);
    }
}

fn rail_of(info: &SensorInfo, name: &str) -> Result<usize> {
    let found = info.rails.iter().position(|rail| rail.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = info.rails.iter().map(|rail| rail.name.as_str()).collect();
        let why = format!(
            "the calibration file names it; the sensor has {}",
            known.join(", ")
        );
        Error::unsupported(format!("rail {name} of {}", info.id), why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::{Accuracy, Kind, Rail, Role};

    fn info(id: &str) -> SensorInfo {
        SensorInfo {
            accuracy: Accuracy {
                gain: 0.01,
                lag_uncertainty: 0.2,
                source: "datasheet".into(),
                ..Accuracy::default()
            },
            ..SensorInfo::new(id, Kind::Measured, vec![Rail::new("VDD_IN", Role::Total)])
        }
    }

    fn parse(text: &str) -> Calibration {
        Calibration {
            path: Some("c.toml".into()),
            ..Calibration::parse(Path::new("c.toml"), text).unwrap()
        }
    }

    /// The example at the top of this file.
    fn example() -> String {
        let lines = include_str!("calibration.rs").lines();
        let from = lines.skip_while(|line| *line != "//! ```toml").skip(1);
        from.take_while(|line| *line != "//! ```")
            .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
            .collect()
    }

    #[test]
    fn the_documented_example_overrides_everything() {
        let mut info = info("ina3221-hwmon:1-0040");
        let calibration = parse(&example());
        calibration.apply(&mut info).unwrap();
        let expected = Accuracy {
            gain: 0.004,
            lag: Some(Seconds(0.42)),
            lag_uncertainty: 0.1,
            window: Some(Seconds(0.1)),
            update_period: Some(Seconds(0.1)),
            clock: Seconds(0.002),
            source: "compared with an SDM630, May 2026 (calibration file c.toml)".into(),
        };
        assert_eq!(info.accuracy, expected);
        assert_eq!((info.idle, info.full), (Some(Watts(2.1)), Some(Watts(9.8))));
        let rail = &info.rails[0];
        assert_eq!((rail.offset, rail.power_step), (Watts(0.008), Watts(0.004)));
        assert_eq!(rail.energy_step, Joules(0.000061));
        assert_eq!(calibration.idle_uncertainty(&info.id), Some(Watts(0.02)));
    }

    #[test]
    fn what_is_not_given_stays_and_other_sensors_are_left_alone() {
        let calibration = parse("[sensor.hwmon]\ngain = 0.5\nidle_watts = 2\n");
        let mut changed = info("hwmon:hwmon3");
        calibration.apply(&mut changed).unwrap();
        assert_eq!(
            (changed.accuracy.gain, changed.accuracy.lag_uncertainty),
            (0.5, 0.2)
        );
        assert_eq!(
            changed.accuracy.source,
            "datasheet; overridden by calibration file c.toml"
        );
        assert_eq!(calibration.idle_uncertainty("hwmon:hwmon3"), Some(Watts(0.1)));
        let mut other = info("powercap");
        calibration.apply(&mut other).unwrap();
        assert_eq!(other, info("powercap"));
        assert_eq!(calibration.path_for("powercap"), None);
    }

    #[test]
    fn a_mistake_names_its_line() {
        let error = |text| {
            Calibration::parse(Path::new("c.toml"), text)
                .unwrap_err()
                .to_string()
        };
        for (text, line, word) in [
            ("\n[sensor.hwmon]\ngian = 0.1\n", 3, "unknown field `gian`"),
            ("[sensors.hwmon]\n", 1, "unknown field `sensors`"),
            ("[sensor.hwmon]\ngain = -0.1\n", 2, "0 or more"),
            ("[sensor.hwmon]\n\ngain = nan\n", 3, "0 or more"),
            ("[sensor.hwmon]\ngain = \"1 %\"\n", 2, "f64"),
            ("# x\n[sensor.hwmoon]\ngain = 1\n", 2, "no sensor `hwmoon`"),
            ("[sensor.hwmon]\ngain = 1\ngain = 2\n", 3, "duplicate"),
            ("[sensor.hwmon.rail.a]\noffset = 1\n", 2, "unknown field `offset`"),
            ("[sensor.hwmon\n", 1, ""),
        ] {
            let said = error(text);
            assert!(
                said.contains(&format!("c.toml, line {line}:")) && said.contains(word),
                "{text:?}: {said}"
            );
        }
    }

    #[test]
    fn a_rail_that_is_not_there_is_an_error_and_changes_nothing() {
        let calibration = parse("[sensor.hwmon]\ngain = 0.5\n[sensor.hwmon.rail.VDD_MOON]\noffset_w = 1\n");
        let mut info = info("hwmon");
        let error = calibration.apply(&mut info).unwrap_err().to_string();
        assert!(error.contains("VDD_MOON") && error.contains("VDD_IN"), "{error}");
        assert_eq!(info.accuracy.gain, 0.01);
    }
}
