//! What `cpu-model` and `rpi-model` share: energy computed from CPU load.

use super::Context;
use crate::calibration::FittedModel;
use crate::clock::{Clock, Moment};
use crate::cpu::{CpuTimes, CpuTimesReader};
use crate::current_frequency::CurrentFrequency;
use crate::error::Result;
use crate::sensor::{Accuracy, Reading, SensorInfo};
use crate::units::{Joules, Seconds, Watts};
use std::sync::Arc;

/// `/proc/stat` counts in ticks of 10 ms: over less than this, utilisation is mostly rounding.
pub(super) const UPDATE_PERIOD: Seconds = Seconds(0.05);

/// A fit that saw less load than this says so.
const SEEN: f64 = 0.8;

/// An energy counter that grows by P dt, with the power that a [`Curve`] gives for the load since the last update.
pub(super) struct LoadCounter {
    stat: CpuTimesReader,
    clock: Arc<dyn Clock>,
    curve: Curve,
    last: Option<(Moment, CpuTimes)>,
    last_power: Watts,
    energy: Joules,
}

/// How a published model defines utilisation: the share of the time between two looks, or `None` if no tick passed.
pub(super) type Utilisation = fn(earlier: &CpuTimes, now: &CpuTimes) -> Option<f64>;

/// Power as a function of load.
pub(super) enum Curve {
    /// P(u) = idle + u x (full - idle): published, or a guess.
    Line {
        utilisation: Utilisation,
        idle: Watts,
        full: Watts,
    },
    /// Fitted on this board, with the frequency where it is shown.
    Fitted {
        fitted: Arc<FittedModel>,
        frequency: Option<CurrentFrequency>,
    },
}

impl Curve {
    /// The model that the calibration file has for this board, if it has one.
    pub fn fitted(context: &Context) -> Option<Self> {
        let fitted = Arc::clone(context.power_model.as_ref()?);
        let frequency = fitted
            .model
            .needs_frequency()
            .then(|| CurrentFrequency::open(&context.root))
            .flatten();
        Some(Self::Fitted { fitted, frequency })
    }

    /// Power between two looks; `None` if no tick passed.
    fn power(&mut self, earlier: &CpuTimes, now: &CpuTimes) -> Option<Watts> {
        match self {
            Self::Line {
                utilisation,
                idle,
                full,
            } => {
                let u = utilisation(earlier, now)?.clamp(0.0, 1.0);
                Some(*idle + (*full - *idle) * u)
            }
            Self::Fitted { fitted, frequency } => {
                let u = now.utilisation_since(earlier)?;
                let hz = frequency.as_mut().and_then(CurrentFrequency::read_hz);
                Some(fitted.model.power(u, hz))
            }
        }
    }

    fn idle(&self) -> Watts {
        match self {
            Self::Line { idle, .. } => *idle,
            Self::Fitted { fitted, .. } => fitted.model.idle(),
        }
    }

    /// What a sensor with a fitted curve says about itself; `info` is what it says otherwise.
    pub fn describe(&self, info: SensorInfo) -> SensorInfo {
        let Self::Fitted { fitted, frequency } = self else {
            return info;
        };
        let model = &fitted.model;
        let mut note =
            "modelled from CPU load by a fit on this board: blind to USB devices, radio and GPU; no power \
            sensor was read"
                .to_owned();
        if model.needs_frequency() && frequency.is_none() {
            note += "; the CPU's frequency is not shown here, the highest is assumed";
        }
        if model.highest_load() < SEEN {
            note += &format!(
                "; fitted up to a load of {:.0} %, beyond that it is extrapolated",
                100.0 * model.highest_load()
            );
        }
        SensorInfo {
            accuracy: Accuracy {
                gain: model.gain(),
                source: fitted.source.clone(),
                ..info.accuracy
            },
            idle: Some(model.idle()),
            full: Some(model.full()),
            note: Some(note),
            ..info
        }
    }
}

impl LoadCounter {
    pub fn open(context: &Context, curve: Curve) -> Result<Self> {
        let mut stat = CpuTimesReader::open(&context.root)?;
        stat.read()?; // a file that cannot be parsed is an unusable sensor, not a lost sample
        Ok(Self {
            stat,
            clock: Arc::clone(&context.clock),
            last: None,
            last_power: curve.idle(),
            curve,
            energy: Joules::ZERO,
        })
    }

    pub fn read(&mut self) -> Result<Reading> {
        let now = self.clock.now();
        if self
            .last
            .is_some_and(|(then, _)| (now - then).0 < UPDATE_PERIOD.0)
        {
            return Ok(Reading::unchanged());
        }
        let times = self.stat.read()?;
        if let Some((then, earlier)) = self.last {
            if let Some(power) = self.curve.power(&earlier, &times) {
                self.last_power = power;
            }
            self.energy += self.last_power * (now - then);
        }
        self.last = Some((now, times));
        Ok(Reading::of_energy(self.energy).taken_at(now))
    }

    /// See [`Curve::describe`].
    pub fn describe(&self, info: SensorInfo) -> SensorInfo {
        self.curve.describe(info)
    }
}
