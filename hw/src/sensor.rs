//! What a sensor is: something that can be read, and what is known about its readings.

use crate::clock::Moment;
use crate::error::Result;
use crate::units::{Joules, Seconds, Watts};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// A source of power or energy.
///
/// One method is required. A new sensor is one file under `sensors/` (or any type of yours):
///
/// ```
/// use hwmeter_hw::sensor::{Reading, Sensor};
/// use hwmeter_hw::units::Watts;
///
/// struct Bench; // say, a bench supply read over its own protocol
/// impl Sensor for Bench {
///     fn read(&mut self) -> hwmeter_hw::Result<Reading> {
///         Ok(Reading::of_power(Watts(4.2)))
///     }
/// }
/// assert_eq!(Bench.info().rails[0].name, "total");
/// ```
pub trait Sensor: Send {
    /// Reads every rail once, in the order of [`SensorInfo::rails`].
    ///
    /// An error means that the whole sample is lost; a rail that alone has no value is [`Value::Missing`].
    fn read(&mut self) -> Result<Reading>;

    /// What is known about the readings. By default one measured rail named `total` of unknown accuracy.
    fn info(&self) -> SensorInfo {
        SensorInfo::new("custom", Kind::Measured, vec![Rail::new("total", Role::Total)])
    }
}

impl<S: Sensor + ?Sized> Sensor for Box<S> {
    fn read(&mut self) -> Result<Reading> {
        (**self).read()
    }
    fn info(&self) -> SensorInfo {
        (**self).info()
    }
}

/// Where a number comes from. It travels with the number everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// From a physical sensor.
    Measured,
    /// Computed from load, or a share of a measured total given to one process tree.
    Modelled,
    /// From the virtual testbed.
    Simulated,
}

impl Kind {
    /// `measured`, `modelled` or `simulated`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Modelled => "modelled",
            Self::Simulated => "simulated",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a rail feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The whole board or module. Parts are never added to it.
    Total,
    /// Processor cores (or a package of them).
    Cpu,
    /// Graphics processor.
    Gpu,
    /// The system on chip apart from CPU and GPU.
    Soc,
    /// Memory.
    Memory,
    /// Peripherals, carrier board, radio.
    Io,
    /// Anything else.
    Other,
}

impl Role {
    /// The name in `probe --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Soc => "soc",
            Self::Memory => "memory",
            Self::Io => "io",
            Self::Other => "other",
        }
    }
}

/// One named supply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rail {
    /// The name the board gives it, such as `POM_5V_IN`.
    pub name: String,
    /// What it feeds.
    pub role: Role,
    /// Standard uncertainty of a constant offset.
    pub offset: Watts,
    /// Smallest step of a power reading; zero where it does not apply.
    pub power_step: Watts,
    /// Smallest step of an energy counter; zero where it does not apply.
    pub energy_step: Joules,
}

impl Rail {
    /// A rail with no stated offset or resolution.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self {
            name: name.into(),
            role,
            offset: Watts::ZERO,
            power_step: Watts::ZERO,
            energy_step: Joules::ZERO,
        }
    }

    /// The same rail with a stated offset (standard uncertainty).
    pub fn with_offset(mut self, offset: Watts) -> Self {
        self.offset = offset;
        self
    }

    /// The same rail with a stated step of its power reading.
    pub fn with_power_step(mut self, step: Watts) -> Self {
        self.power_step = step;
        self
    }

    /// The same rail with a stated step of its energy counter.
    pub fn with_energy_step(mut self, step: Joules) -> Self {
        self.energy_step = step;
        self
    }
}

/// How good a sensor's readings are: all as standard uncertainties (k = 1). A bound `±a` of a datasheet within which
/// everything is equally likely is one of a/sqrt(3). Offsets and steps stand with each [`Rail`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Accuracy {
    /// Relative uncertainty of the gain (a model's error included): 0.01 is 1 %.
    pub gain: f64,
    /// Time constant of a first-order low-pass in the sensor, where there is one.
    pub lag: Option<Seconds>,
    /// Relative uncertainty of that time constant.
    pub lag_uncertainty: f64,
    /// A value is the mean of this much time before it was made, where that is known.
    pub window: Option<Seconds>,
    /// Time between two new values, where it is known; each is then repeated until the next.
    pub update_period: Option<Seconds>,
    /// How far the moment a value belongs to may lie from the moment it is given, as one standard uncertainty,
    /// beyond what follows from `window` and `update_period`.
    pub clock: Seconds,
    /// Where these figures come from: a datasheet, sysfs, or the word "assumed".
    pub source: String,
}

/// What is known about a sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorInfo {
    /// The name a user selects it by, instance included: `ina3221-hwmon:1-0040`.
    pub id: String,
    /// Measured, modelled or simulated.
    pub kind: Kind,
    /// Its rails, in the order of the readings.
    pub rails: Vec<Rail>,
    /// Which rails add up to the sensor's total: indices into `rails`, no part counted twice.
    pub total: Vec<usize>,
    /// How good the readings are.
    pub accuracy: Accuracy,
    /// Power of the idle board, where a model or a calibration tells it.
    pub idle: Option<Watts>,
    /// Power of the board with all cores busy, where a model or a calibration tells it.
    pub full: Option<Watts>,
    /// What a user should know in one sentence, such as what the sensor does not cover.
    pub note: Option<String>,
}

impl SensorInfo {
    /// A sensor whose total is its rails of role `total`, or the sum of all rails where no rail has that role.
    pub fn new(id: impl Into<String>, kind: Kind, rails: Vec<Rail>) -> Self {
        let mut total: Vec<usize> = (0..rails.len())
            .filter(|&i| rails[i].role == Role::Total)
            .take(1)
            .collect();
        if total.is_empty() {
            total = (0..rails.len()).collect();
        }
        Self {
            id: id.into(),
            kind,
            rails,
            total,
            accuracy: Accuracy::default(),
            idle: None,
            full: None,
            note: None,
        }
    }

    /// The driver's name: the id without its instance.
    pub fn name(&self) -> &str {
        self.id.split(':').next().unwrap_or(&self.id)
    }

    /// The sampling rate worth using in hertz: twice per update where the update period is known, at most 100.
    pub fn default_rate_hz(&self) -> f64 {
        match self.accuracy.update_period {
            Some(period) if period.0 > 0.0 => (2.0 / period.0).clamp(1.0, 100.0),
            _ => 100.0,
        }
    }
}

/// The value of one rail at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Power just now.
    Power(Watts),
    /// A cumulative energy counter, and the value at which it starts again from zero, if it does.
    Energy {
        /// The counter.
        counter: Joules,
        /// Where it wraps.
        wraps_at: Option<Joules>,
    },
    /// This rail has no value just now (`ENODATA`, channel switched off).
    Missing,
}

/// What one read gave: a value per rail. Holds eight rails without allocating.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The values, in the order of [`SensorInfo::rails`]. Empty means that the source has not
    /// updated since the last read: nothing went wrong, and nothing is new.
    pub values: SmallVec<[Value; 8]>,
    /// When the values were true, where the source itself tells (a line that arrived earlier). Otherwise they
    /// belong to the middle of the read.
    pub at: Option<Moment>,
}

impl Reading {
    /// A reading of one rail's power.
    pub fn of_power(power: Watts) -> Self {
        [Value::Power(power)].into_iter().collect()
    }

    /// A reading of one rail's energy counter that never wraps.
    pub fn of_energy(counter: Joules) -> Self {
        [Value::Energy {
            counter,
            wraps_at: None,
        }]
        .into_iter()
        .collect()
    }

    /// The same reading, true at a moment before the read.
    pub fn taken_at(mut self, moment: Moment) -> Self {
        self.at = Some(moment);
        self
    }

    /// Whether all values are finite numbers.
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| match value {
            Value::Power(power) => power.0.is_finite(),
            Value::Energy { counter, .. } => counter.0.is_finite(),
            Value::Missing => true,
        })
    }

    /// "Nothing new since the last read."
    pub fn unchanged() -> Self {
        Self::default()
    }

    /// Whether the source has not updated since the last read.
    pub fn is_unchanged(&self) -> bool {
        self.values.is_empty()
    }
}

impl FromIterator<Value> for Reading {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self {
            values: values.into_iter().collect(),
            at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_rail_is_the_total_and_its_parts_are_not_added() {
        let rails = vec![
            Rail::new("POM_5V_GPU", Role::Gpu),
            Rail::new("POM_5V_IN", Role::Total),
            Rail::new("POM_5V_CPU", Role::Cpu),
        ];
        assert_eq!(SensorInfo::new("ina3221-iio", Kind::Measured, rails).total, [1]);
        let parts = vec![Rail::new("a", Role::Cpu), Rail::new("b", Role::Io)];
        assert_eq!(SensorInfo::new("x:1-0040", Kind::Measured, parts).total, [0, 1]);
    }

    #[test]
    fn the_name_is_the_id_without_its_instance() {
        let info = SensorInfo::new("ina3221-hwmon:1-0040", Kind::Measured, vec![]);
        assert_eq!(info.name(), "ina3221-hwmon");
    }
}
