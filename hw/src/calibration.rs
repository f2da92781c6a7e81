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
//!
//! [bandwidth]
//! bytes_per_s = 4100000000.0
//! threads = 4
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

pub use made::{Bandwidth, FittedModel, GemmRow, Made};
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
    sensor: BTreeMap<SensorName, Section>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::BoardKind;
    use crate::sensor::{Accuracy, Kind, Rail, Role};
    use crate::units::{Joules, Seconds};

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

    /// The examples at the top of this file: sensors, and what `hwmeter calibrate` writes.
    fn examples() -> Vec<String> {
        let blocks = include_str!("calibration.rs").split("//! ```toml\n").skip(1);
        let blocks = blocks.take(2).filter_map(|block| block.split("//! ```\n").next());
        blocks.map(|block| block.replace("//!", "")).collect()
    }

    fn board(kind: BoardKind, model: &str) -> Board {
        Board {
            model: model.into(),
            kind,
            soc: String::new(),
            revision: None,
            is_64_bit: true,
            variant: None,
        }
    }

    #[test]
    fn the_documented_example_overrides_everything() {
        let mut info = info("ina3221-hwmon:1-0040");
        let calibration = parse(&examples()[0]);
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

    #[test]
    fn what_calibrate_writes_is_read() {
        let calibration = parse(&examples()[1]);
        let made = calibration.made().unwrap();
        assert_eq!(
            (made.kind.as_str(), made.kernel.as_deref()),
            ("raspberry-pi-4", Some("6.12.20"))
        );
        assert_eq!(calibration.gemm()[0].gflops, 21.3);
        assert_eq!(calibration.bandwidth().unwrap().bytes_per_s, 4.1e9);
        let pi = board(BoardKind::RaspberryPi4, "Raspberry Pi 4 Model B Rev 1.2");
        let fitted = calibration.power_model_for(&pi).unwrap();
        for word in [
            "2026-11-25",
            "modbus:tcp://192.0.2.7",
            "21 load steps",
            "c.toml",
            "1.3 %",
        ] {
            assert!(fitted.source.contains(word), "{word}: {}", fitted.source);
        }
        assert_eq!(
            calibration.power_model_for(&board(BoardKind::RaspberryPi5, &made.board)),
            None
        );
    }

    #[test]
    fn a_generic_board_is_the_same_only_if_it_is_the_same_model() {
        let text = examples()[1].replace("raspberry-pi-4", "generic-x86");
        let calibration = parse(&text);
        assert!(
            calibration
                .power_model_for(&board(BoardKind::GenericX86, "Acme Box"))
                .is_none()
        );
        let same = board(BoardKind::GenericX86, "Raspberry Pi 4 Model B Rev 1.4");
        assert!(calibration.power_model_for(&same).is_some());
    }

    #[test]
    fn another_board_kernel_or_governor_is_told() {
        let calibration = parse(&examples()[1]);
        let pi = board(BoardKind::RaspberryPi4, "Raspberry Pi 4 Model B Rev 1.4");
        assert_eq!(calibration.warnings(&pi, "6.12.20", Some("ondemand")), [""; 0]);
        assert_eq!(Calibration::default().warnings(&pi, "6.1", None), [""; 0]);
        let warnings = calibration.warnings(&pi, "6.18.1", Some("performance"));
        assert!(warnings.len() == 2, "{warnings:?}");
        assert!(warnings[0].contains("6.12.20") && warnings[0].contains("6.18.1"));
        assert!(warnings[1].contains("ondemand") && warnings[1].contains("performance"));
        let nano = board(BoardKind::JetsonNano, "NVIDIA Jetson Nano Developer Kit");
        let warnings = calibration.warnings(&nano, "6.12.20", Some("ondemand"));
        assert!(
            warnings[0].contains("Raspberry Pi 4") && warnings[0].contains("Jetson Nano"),
            "{warnings:?}"
        );
        assert!(warnings[1].contains("not used"), "{warnings:?}");
    }

    #[test]
    fn a_mistake_in_what_calibrate_wrote_names_its_line() {
        let good = &examples()[1];
        for (from, to, word) in [
            ("version = 1", "version = 2", "version 2"),
            ("version = 1", "version = \"one\"", "string"),
            ("kernel = ", "kernle = ", "unknown field `kernle`"),
            ("gflops_spread", "gflops_spraed", "unknown field `gflops_spraed`"),
            ("fit_error = 0.013", "fit_error = -1", "0 or more"),
            ("knots = [0.0,", "knots = [0.4,", "ascend"),
            ("threads = 4\n n", "threads = -4\n n", ""),
        ] {
            assert!(good.contains(from), "{from}");
            let error = Calibration::parse(Path::new("c.toml"), &good.replacen(from, to, 1));
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("c.toml, line ") && error.contains(word),
                "{to}: {error}"
            );
        }
        let future = "[new]\nkey = 1\n".to_owned();
        let error = Calibration::parse(Path::new("c.toml"), &format!("version = 3\n{future}")).unwrap_err();
        assert!(
            error.to_string().contains("line 1: it is of version 3"),
            "{error}"
        );
        let lonely = good.replace(
            &good[good.find(" [made]").unwrap()..good.find(" [power_model]").unwrap()],
            "",
        );
        let error = Calibration::parse(Path::new("c.toml"), &lonely)
            .unwrap_err()
            .to_string();
        assert!(error.contains("[made]"), "{error}");
    }
}
