//! `[sensor.ID]`: what a user knows better about a sensor.

use crate::error::{Error, Result};
use crate::sensor::SensorInfo;
use crate::sensors::DRIVERS;
use crate::units::{Joules, Seconds, Watts};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A sensor's id or a driver's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct SensorName(pub(super) String);

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
pub(super) struct Size(pub(super) f64);

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
pub(super) struct Section {
    pub(super) gain: Option<Size>,
    pub(super) lag_s: Option<Size>,
    pub(super) lag_uncertainty: Option<Size>,
    pub(super) window_s: Option<Size>,
    pub(super) update_period_s: Option<Size>,
    pub(super) clock_s: Option<Size>,
    pub(super) source: Option<String>,
    pub(super) idle_watts: Option<Size>,
    pub(super) idle_uncertainty_watts: Option<Size>,
    pub(super) full_watts: Option<Size>,
    pub(super) rail: BTreeMap<String, RailSection>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RailSection {
    offset_w: Option<Size>,
    power_step_w: Option<Size>,
    energy_step_j: Option<Size>,
}

impl Section {
    pub(super) fn apply(&self, info: &mut SensorInfo) -> Result<()> {
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
