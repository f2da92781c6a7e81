//! Machines of the testbed as data files: what a board or a server computes, draws and costs, and where each figure
//! is from.
//!
//! ```toml
//! name = "my-board"
//! [cpu]
//! cores = 4
//! task_hz = { value = 1.5e9, source = "measured with `hwmeter tasks run`" }
//! [power]                       # a server needs none
//! idle_w = { value = 2.3, source = "hwmeter calibrate, SDM120" }
//! # core_w, full_w, radio_tx_w, radio_rx_w; gpu_w where there is a GPU
//! [sensor]
//! id = "ina3221-iio"
//! period_s = 0.05
//! [engine.native.dqn]           # what one decision and one update take
//! decide_s = { value = 1e-4, source = "hwmeter learners --bench" }
//! update_s = { value = 1e-3, source = "hwmeter learners --bench" }
//! ```
//!
//! A figure without a source is an error: who does not know one writes `assumed`, and the run says so.

use super::file::{self, Amount, FileError};
use crate::learn::LearnerName;
use hwmeter_hw::sensor::{Accuracy, Kind, Rail, Role, SensorInfo};
use hwmeter_hw::units::{Seconds, Watts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A number, and where it is from.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The number, in the unit of its key.
    pub value: Amount,
    /// Where it is from; begins with the word `assumed` where nobody has measured it.
    pub source: Source,
}

impl Figure {
    /// The number.
    pub fn get(&self) -> f64 {
        self.value.get()
    }

    /// Whether nobody has measured it.
    pub fn is_assumed(&self) -> bool {
        self.source.0.starts_with("assumed")
    }
}

/// Where a figure is from, in words.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Source(String);

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.trim().is_empty() {
            true => Err("a figure needs a source, or the word assumed".to_owned()),
            false => Ok(Self(text)),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> String {
        source.0
    }
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its processor.
    pub cpu: Cpu,
    /// Matrix products per second, where they are known; for tables, the simulation does not use them.
    #[serde(default)]
    pub gflops: BTreeMap<Gemm, Figure>,
    /// Its memory.
    #[serde(default)]
    pub memory: Memory,
    /// What it draws; a server needs none.
    pub power: Option<Power>,
    /// What its power is measured with; a server needs none.
    pub sensor: Option<Sensor>,
    /// What learners cost on it, by engine and learner.
    #[serde(default)]
    pub engine: BTreeMap<String, BTreeMap<LearnerName, Cost>>,
}

/// A processor.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// Its cores.
    pub cores: u16,
    /// Its clock rate, where it is known; for tables.
    pub clock_hz: Option<Figure>,
    /// How many of the cycles by which tasks are counted one core does in a second. A Raspberry Pi 4 at 1.5 GHz is the
    /// measure: one cycle of a task is one of its cycles.
    pub task_hz: Figure,
}

/// A matrix product: precision and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gemm {
    /// Single precision, one thread.
    SgemmOne,
    /// Single precision, all threads.
    SgemmAll,
    /// Single precision, GPU.
    SgemmGpu,
    /// Double precision, one thread.
    DgemmOne,
    /// Double precision, all threads.
    DgemmAll,
    /// Double precision, GPU.
    DgemmGpu,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Bytes per second that one core moves; what weights that have come are copied with.
    pub bytes_per_s: Option<Figure>,
}

/// Power of a board, in watts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Of the idle board, its radio connected included.
    pub idle_w: Option<Figure>,
    /// On top for each busy core.
    pub core_w: Option<Figure>,
    /// With all cores busy; the penalty of a missed deadline is set by it.
    pub full_w: Option<Figure>,
    /// On top while the GPU computes.
    pub gpu_w: Option<Figure>,
    /// On top while the radio sends.
    pub radio_tx_w: Option<Figure>,
    /// On top while the radio receives.
    pub radio_rx_w: Option<Figure>,
}

/// The sensor that a simulated board is measured with.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sensor {
    /// The real sensor that it stands for.
    pub id: String,
    /// Time between two samples.
    pub period_s: Amount,
    /// Whether a value is the mean since the value before; otherwise it is the power just then.
    #[serde(default)]
    pub is_mean: bool,
    /// Time constant of a first-order low-pass.
    pub lag_s: Option<Amount>,
    /// Relative standard uncertainty of the gain, from which each board's is drawn.
    #[serde(default)]
    pub gain: Amount,
    /// Standard uncertainty of a constant offset, from which each board's is drawn.
    #[serde(default)]
    pub offset_w: Amount,
    /// Smallest step of a reading.
    #[serde(default)]
    pub step_w: Amount,
    /// Standard deviation of a reading's noise.
    #[serde(default)]
    pub noise_w: Amount,
    /// Where these figures are from.
    pub source: Source,
}

/// What a learner costs on a machine.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Seconds of one decision.
    pub decide_s: Figure,
    /// Seconds of one update.
    pub update_s: Figure,
    /// Whether the GPU computes meanwhile.
    #[serde(default)]
    pub gpu: bool,
}

/// The profiles that come with the program.
const BUILT_IN: [(&str, &str); 5] = [
    ("raspberry-pi-4", include_str!("profiles/raspberry-pi-4.toml")),
    ("jetson-j1010", include_str!("profiles/jetson-j1010.toml")),
    ("jetson-agx-orin", include_str!("profiles/jetson-agx-orin.toml")),
    ("mec-i7", include_str!("profiles/mec-i7.toml")),
    ("cloud-i7", include_str!("profiles/cloud-i7.toml")),
];

/// A sensor is read at most this often, as a real one: beyond, the simulation would do little else.
const SHORTEST_PERIOD_S: f64 = 1e-4;

impl Profile {
    /// The names of the profiles that come with the program.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A built-in profile by its name, or that of a file, whose path begins at `folder`.
    pub fn find(name: &str, folder: &Path) -> Result<Self, FileError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text);
        }
        let path = folder.join(name);
        if !path.is_file() {
            let known: Vec<&str> = Self::built_in().collect();
            return Err(FileError::Value {
                file: format!("profile {name}"),
                what: format!("neither a built-in profile ({}) nor a file", known.join(", ")),
            });
        }
        Self::parse(&path.display().to_string(), &file::read(&path)?)
    }

    /// From the text of a file; `name` is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Self, FileError> {
        let profile: Self = file::parse(name, text)?;
        profile.check().map_err(|what| FileError::Value {
            file: format!("profile {name}"),
            what,
        })?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), String> {
        if self.cpu.cores == 0 {
            return Err("cpu.cores is 0; a machine has at least one".to_owned());
        }
        if self.cpu.task_hz.get() == 0.0 {
            return Err("cpu.task_hz is 0; nothing would ever be done".to_owned());
        }
        if let Some(sensor) = &self.sensor
            && sensor.period_s.get() < SHORTEST_PERIOD_S
        {
            return Err(format!(
                "sensor.period_s is {}, expected at least {SHORTEST_PERIOD_S}",
                sensor.period_s.get()
            ));
        }
        Ok(())
    }

    /// Seconds of `cycles` of a task on one core.
    pub fn task_s(&self, cycles: f64) -> f64 {
        cycles / self.cpu.task_hz.get()
    }

    /// What a learner costs here; fixed policies compute nothing.
    pub fn cost(&self, engine: &str, learner: LearnerName) -> Result<LearnerCost, String> {
        let cost = self.engine.get(engine).and_then(|costs| costs.get(&learner));
        match cost {
            Some(cost) => Ok(LearnerCost {
                decide_s: cost.decide_s.get(),
                update_s: cost.update_s.get(),
                gpu: cost.gpu,
            }),
            None if is_fixed(learner) => Ok(LearnerCost::default()),
            None => Err(format!(
                "profile {} has no engine.{engine}.{learner}; `hwmeter learners --bench` on such a machine tells what it takes",
                self.name
            )),
        }
    }

    /// What a device draws; an error names the figure that is missing.
    pub fn device_power(&self) -> Result<DevicePower, String> {
        let missing = |key: &str| {
            format!(
                "profile {} lacks {key}, which a device needs; measure it with `hwmeter calibrate`, or assume it",
                self.name
            )
        };
        let power = self.power.as_ref().ok_or_else(|| missing("[power]"))?;
        let need =
            |figure: &Option<Figure>, key: &str| figure.as_ref().map(Figure::get).ok_or_else(|| missing(key));
        Ok(DevicePower {
            idle_w: need(&power.idle_w, "power.idle_w")?,
            core_w: need(&power.core_w, "power.core_w")?,
            full_w: need(&power.full_w, "power.full_w")?,
            radio_tx_w: need(&power.radio_tx_w, "power.radio_tx_w")?,
            radio_rx_w: need(&power.radio_rx_w, "power.radio_rx_w")?,
            gpu_w: power.gpu_w.as_ref().map(Figure::get),
        })
    }

    /// What the meter is told about the simulated sensor.
    pub fn sensor_info(&self) -> Result<SensorInfo, String> {
        let sensor = self
            .sensor
            .as_ref()
            .ok_or_else(|| format!("profile {} lacks [sensor], which a device needs", self.name))?;
        let rail = Rail::new("total", Role::Total)
            .with_offset(Watts(sensor.offset_w.get()))
            .with_power_step(Watts(sensor.step_w.get()));
        let power = self.device_power()?;
        let seconds = |amount: Amount| Seconds(amount.get());
        Ok(SensorInfo {
            accuracy: Accuracy {
                gain: sensor.gain.get(),
                lag: sensor.lag_s.map(seconds),
                window: sensor.is_mean.then_some(seconds(sensor.period_s)),
                source: sensor.source.0.clone(),
                ..Accuracy::default()
            },
            idle: Some(Watts(power.idle_w)),
            full: Some(Watts(power.full_w)),
            note: Some(format!("simulated after {}", sensor.id)),
            ..SensorInfo::new(format!("simulated:{}", sensor.id), Kind::Simulated, vec![rail])
        })
    }

    /// The keys of the figures that nobody has measured.
    pub fn assumed(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut note = |key: String, figure: &Figure| {
            if figure.is_assumed() {
                keys.push(key);
            }
        };
        note("cpu.task_hz".to_owned(), &self.cpu.task_hz);
        if let Some(figure) = &self.memory.bytes_per_s {
            note("memory.bytes_per_s".to_owned(), figure);
        }
        let power = self.power.iter().flat_map(|power| {
            [
                ("idle_w", &power.idle_w),
                ("core_w", &power.core_w),
                ("full_w", &power.full_w),
                ("gpu_w", &power.gpu_w),
                ("radio_tx_w", &power.radio_tx_w),
                ("radio_rx_w", &power.radio_rx_w),
            ]
        });
        for (key, figure) in power {
            if let Some(figure) = figure {
                note(format!("power.{key}"), figure);
            }
        }
        for (engine, costs) in &self.engine {
            for (learner, cost) in costs {
                note(format!("engine.{engine}.{learner}.decide_s"), &cost.decide_s);
                note(format!("engine.{engine}.{learner}.update_s"), &cost.update_s);
            }
        }
        keys
    }
}

/// Seconds of a decision and of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LearnerCost {
    /// Of a decision.
    pub decide_s: f64,
    /// Of an update.
    pub update_s: f64,
    /// Whether the GPU computes meanwhile.
    pub gpu: bool,
}

/// What a device draws, in watts; all of it on top of `idle_w`, but `full_w`, which is the whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DevicePower {
    /// The idle board.
    pub idle_w: f64,
    /// Each busy core.
    pub core_w: f64,
    /// All cores busy.
    pub full_w: f64,
    /// The radio while it sends.
    pub radio_tx_w: f64,
    /// The radio while it receives.
    pub radio_rx_w: f64,
    /// The GPU while it computes, if there is one.
    pub gpu_w: Option<f64>,
}

fn is_fixed(learner: LearnerName) -> bool {
    use LearnerName::{Cloud, Local, Mec, Random};
    matches!(learner, Local | Mec | Cloud | Random)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SMALL: &str =
        "name = \"small\"\n[cpu]\ncores = 1\ntask_hz = { value = 1e9, source = \"assumed\" }\n";

    fn fails(text: &str) -> String {
        Profile::parse("my.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn every_built_in_profile_is_one_and_the_boards_are_devices() {
        for name in Profile::built_in() {
            let profile = Profile::find(name, Path::new("/")).unwrap();
            assert_eq!(profile.name, name);
            for engine in ["native", "tensorflow"] {
                for learner in [LearnerName::Ac, LearnerName::Dqn] {
                    assert!(profile.cost(engine, learner).unwrap().update_s > 0.0);
                }
            }
            if profile.power.is_some() {
                let power = profile.device_power().unwrap();
                assert!(power.full_w > power.idle_w + power.core_w);
                assert_eq!(profile.sensor_info().unwrap().kind, Kind::Simulated);
                assert!(!profile.gflops.is_empty());
            }
        }
    }

    #[test]
    fn a_typo_and_a_negative_power_are_told_with_line_and_key() {
        let error = fails(&format!(
            "{SMALL}[power]\nidel_w = {{ value = 2.0, source = \"assumed\" }}\n"
        ));
        assert!(
            error.contains("my.toml, line 6") && error.contains("idel_w"),
            "{error}"
        );
        let error = fails(&format!(
            "{SMALL}[power]\nidle_w = {{ value = -2.0, source = \"assumed\" }}\n"
        ));
        assert!(
            error.contains("line 6") && error.contains("idle_w") && error.contains("-2"),
            "{error}"
        );
        let error = fails(&format!(
            "{SMALL}[power]\nidle_w = {{ value = 2.0, source = \" \" }}\n"
        ));
        assert!(error.contains("line 6") && error.contains("source"), "{error}");
        let error = fails("name = \"x\"\n[cpu]\ncores = 1\n");
        assert!(error.contains("task_hz"), "{error}");
    }

    #[test]
    fn a_figure_that_is_needed_and_missing_is_named() {
        let profile = Profile::parse("small", SMALL).unwrap();
        let error = profile.device_power().unwrap_err();
        assert!(error.contains("small") && error.contains("[power]"), "{error}");
        let error = profile.cost("native", LearnerName::Dqn).unwrap_err();
        assert!(error.contains("engine.native.dqn"), "{error}");
        assert_eq!(
            profile.cost("native", LearnerName::Mec),
            Ok(LearnerCost::default())
        );
        assert_eq!(profile.assumed(), ["cpu.task_hz"]);
        let error = Profile::find("raspberry-pi-5", Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("raspberry-pi-4"), "{error}");
    }
}
