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
//! `hwmeter calibrate` writes these too, and keeps whatever else is in the file:
//!
//! ```toml
//! version = 1
//!
//! [made]
//! date = 2026-11-25T14:00:00Z
//! hwmeter = "0.1.0"
//! board = "Raspberry Pi 4 Model B Rev 1.4"
//! kind = "raspberry-pi-4"
//! kernel = "6.12.20"
//! governor = "ondemand"
//!
//! [power_model]                   # used by cpu-model and rpi-model on a board of this kind
//! date = 2026-11-25T14:00:00Z
//! sensor = "modbus:tcp://192.0.2.7"   # what it was fitted against, and the kind of that
//! sensor_kind = "measured"
//! sensor_gain = 0.005             # relative standard uncertainty of that sensor: gain and offset
//! steps = 21                      # load steps
//! fit_error = 0.013               # relative standard error of the fit, cross-validated
//! idle_watts = 2.61
//! knots = [0.0, 0.333, 0.667, 1.0]    # utilisation, 0 to 1
//! constant_watts = [0.41, 0.3, 0.2]   # added over each segment, at any frequency
//! linear_watts = [0.4, 0.4, 0.4]      # the same, times f / max_hz
//! cubic_watts = [0.6, 0.6, 0.6]       # the same, times (f / max_hz)³
//! max_hz = 1800000000.0
//!
//! [[gemm]]
//! provider = "builtin"
//! op = "sgemm"
//! threads = 4
//! n = 1024
//! gflops = 21.3
//! gflops_spread = 0.01
//! watts = 6.4
//! gflops_per_watt = 3.3
//! kind = "measured"               # whether the watts were
//!
//! [bandwidth]
//! bytes_per_s = 4100000000.0
//! threads = 4
//!
//! [[learner]]
//! name = "dqn"
//! variant = "4x256"
//! decide_s = 0.00021
//! update_s = 0.00094
//! decide_j = 0.0013
//! update_j = 0.0058
//! kind = "measured"
//! ```
//!
//! The formula of the power model is that of [`power_model`](crate::power_model). It is used on boards of the same
//! kind, and where the kind is a generic one only on the same model; elsewhere it is left alone, and
//! [`Calibration::warnings`] says so.
//!
//! Every key is optional and overrides what the driver says. A key that is not listed here is an error that names its
//! line, and so are a sensor no driver has, a negative number and a version other than 1: a typo never passes for a
//! calibration.

mod made;
mod sensor_section;
mod write;

pub use made::{Bandwidth, FittedModel, GemmRow, LearnerRow, Made};
pub use toml::value::Datetime;
pub use write::{CalibrationFile, RailFindings, SensorFindings};

use crate::board::Board;
use crate::error::{Error, Result};
use crate::power_model::PowerModel;
use crate::sensor::{Reading, Sensor, SensorInfo};
use crate::small_file;
use crate::units::Watts;
use sensor_section::{Section, SensorName};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The version of the file that this program reads and writes.
pub const VERSION: i64 = 1;

/// Relative standard uncertainty of an idle power of which the file states none (assumed).
pub const ASSUMED_IDLE_UNCERTAINTY: f64 = 0.05;

/// What a calibration file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    path: Option<PathBuf>,
    sensors: BTreeMap<SensorName, Section>,
    made: Option<Made>,
    power_model: Option<PowerModel>,
    gemm: Vec<GemmRow>,
    bandwidth: Option<Bandwidth>,
    learners: Vec<LearnerRow>,
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
        let wrong = |at: Option<usize>, why: &str| {
            let before = at.and_then(|at| text.get(..at)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let what = format!("calibration file {}, line {line}", file.display());
            Error::unsupported(what, why)
        };
        let unreadable = |error: toml::de::Error| wrong(error.span().map(|span| span.start), error.message());
        // The version first: what another one has may be no mistake.
        let versioned: Versioned = toml::from_str(text).map_err(unreadable)?;
        if let Some(version) = versioned.version.filter(|version| *version.get_ref() != VERSION) {
            let why = format!(
                "it is of version {}; this program reads version {VERSION}. Make it anew with `hwmeter calibrate`",
                version.get_ref()
            );
            return Err(wrong(Some(version.span().start), &why));
        }
        let document: Document = toml::from_str(text).map_err(unreadable)?;
        if let (Some(model), None) = (&document.power_model, &document.made) {
            let why = "[power_model] needs a section [made], which says of which board it is";
            return Err(wrong(Some(model.span().start), why));
        }
        Ok(Self {
            path: None,
            sensors: document.sensor,
            made: document.made,
            power_model: document.power_model.map(Spanned::into_inner),
            gemm: document.gemm,
            bandwidth: document.bandwidth,
            learners: document.learner,
        })
    }

    /// When, where and by what it was made, if `hwmeter calibrate` made it.
    pub fn made(&self) -> Option<&Made> {
        self.made.as_ref()
    }

    /// The power model, of whatever board.
    pub fn power_model(&self) -> Option<&PowerModel> {
        self.power_model.as_ref()
    }

    /// The matrix products timed.
    pub fn gemm(&self) -> &[GemmRow] {
        &self.gemm
    }

    /// The memory bandwidth.
    pub fn bandwidth(&self) -> Option<&Bandwidth> {
        self.bandwidth.as_ref()
    }

    /// What the learners cost.
    pub fn learners(&self) -> &[LearnerRow] {
        &self.learners
    }

    /// The file, where it was read from one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Each sensor, or driver, of which the file gives an idle power, with that and its standard uncertainty.
    pub fn idle_powers(&self) -> impl Iterator<Item = (&str, Watts, Watts)> {
        self.sensors.iter().filter_map(|(SensorName(id), section)| {
            let idle = Watts(section.idle_watts?.0);
            Some((id.as_str(), idle, self.idle_uncertainty(id)?))
        })
    }

    /// The power model if it is one of this board.
    pub fn power_model_for(&self, board: &Board) -> Option<FittedModel> {
        let made = self.made.as_ref().filter(|made| made.is_of(board))?;
        let model = self.power_model.clone()?;
        let source = made::source_of(&model, made, self.path.as_deref());
        Some(FittedModel { model, source })
    }

    /// What is different from when and where the file was made, one sentence each; none if nothing is, or if nothing is
    /// known. `governor` is that of the first CPU, where there is one.
    pub fn warnings(&self, board: &Board, kernel: &str, governor: Option<&str>) -> Vec<String> {
        let Some(made) = &self.made else {
            return Vec::new();
        };
        let mut warnings = made.differences(board, kernel, governor);
        if self.power_model.is_some() && !made.is_of(board) {
            warnings.push("its power model is not used here".to_owned());
        }
        let file = self.path.as_deref().map(|path| format!(" {}", path.display()));
        let file = file.unwrap_or_default();
        for warning in &mut warnings {
            *warning = format!("calibration file{file}: {warning}");
        }
        warnings
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

/// The part of the file that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "version")]
    _version: Option<i64>,
    made: Option<Made>,
    power_model: Option<Spanned<PowerModel>>,
    #[serde(default)]
    gemm: Vec<GemmRow>,
    bandwidth: Option<Bandwidth>,
    #[serde(default)]
    learner: Vec<LearnerRow>,
    #[serde(default)]
    sensor: BTreeMap<SensorName, Section>,
}

#[cfg(test)]
mod tests;
