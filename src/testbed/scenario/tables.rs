//! A scenario's file: its tables, what may stand in them, and the scenario that they make.

use super::{Cell, DeviceKind, Regime, Scenario, Seeds, Stress, TaskSource};
use crate::agent::training::TrainingSite;
use crate::learn::{LearnerName, Settings};
use crate::offload::link::presets::Network;
use crate::offload::link::profile::{Outage, Profile as Link};
use crate::task::SetRule;
use crate::task::file::TaskFile;
use crate::testbed::file::{self, Amount, FileError, Share};
use crate::testbed::profile::{LearnerCost, Profile};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Scenario {
    /// From a file.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&path.display().to_string(), &file::read(path)?, folder)
    }

    /// From the text of a file; `name` is for messages, and paths in it begin at `folder`.
    pub fn parse(name: &str, text: &str, folder: &Path) -> Result<Self, FileError> {
        let file: File = file::parse(name, text)?;
        let value = |what: String| FileError::Value {
            file: name.to_owned(),
            what,
        };
        if file.device.is_empty() {
            return Err(value(
                "there is no [[device]]; a scenario needs at least one".to_owned(),
            ));
        }
        let mec = Arc::new(Profile::find(&file.mec.profile, folder)?);
        let cloud = Arc::new(Profile::find(&file.cloud.profile, folder)?);
        let devices = file
            .device
            .iter()
            .map(|device| device.checked(&mec, folder, name));
        let devices: Vec<DeviceKind> = devices.collect::<Result<_, _>>()?;
        let regimes = file.regimes().map_err(value)?;
        let link = network(&file.cell.network, folder).map_err(value)?;
        let link = link
            .with_outages(&file.cell.outage)
            .map_err(|why| value(format!("cell.outage: {why}")))?;
        let settings = file.learners;
        settings
            .check()
            .map_err(|why| value(format!("learners: {why}")))?;
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            count: file.task_set.count,
            tasks: file.task_set.source(folder).map_err(value)?,
            devices,
            cell: Cell { link },
            wan: network(&file.cloud.network, folder).map_err(value)?,
            mec,
            cloud,
            wait: file.training.wait,
            settings,
            regimes,
            seeds: file.seeds,
        })
    }
}

fn network(name: &str, folder: &Path) -> Result<Link, String> {
    let network = match name.parse::<Network>() {
        Ok(preset @ Network::Preset(_)) => preset,
        _ => Network::File(folder.join(name)),
    };
    let of = |error: &dyn std::error::Error| match error.source() {
        Some(source) => format!("network {name}: {error}: {source}"),
        None => format!("network {name}: {error}"),
    };
    network.profile().map_err(|error| of(&error))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    task_set: TaskSetTable,
    #[serde(default)]
    device: Vec<DeviceTable>,
    cell: CellTable,
    mec: MecTable,
    cloud: CloudTable,
    #[serde(default)]
    training: TrainingTable,
    #[serde(default)]
    learners: Settings,
    #[serde(default)]
    seeds: Seeds,
    #[serde(default)]
    at: Vec<AtTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskSetTable {
    count: usize,
    seed: Option<u64>,
    file: Option<PathBuf>,
    rule: Option<SetRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceTable {
    profile: String,
    #[serde(default = "one")]
    count: usize,
    learner: LearnerName,
    #[serde(default = "native")]
    engine: String,
    #[serde(default)]
    training: SiteName,
    #[serde(default)]
    gap_s: Amount,
    #[serde(default)]
    busy: Share,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SiteName {
    #[default]
    Local,
    Mec,
}

fn one() -> usize {
    1
}

fn native() -> String {
    "native".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CellTable {
    network: String,
    capacity_up_bps: Amount,
    capacity_down_bps: Amount,
    #[serde(default)]
    ues: u32,
    #[serde(default)]
    ue_bps: Amount,
    #[serde(default)]
    outage: Vec<Outage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MecTable {
    profile: String,
    #[serde(default = "none")]
    stress: String,
}

fn none() -> String {
    "none".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudTable {
    profile: String,
    network: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainingTable {
    wait: bool,
}

impl Default for TrainingTable {
    fn default() -> Self {
        Self { wait: true }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AtTable {
    t_s: Amount,
    capacity_up_bps: Option<Amount>,
    capacity_down_bps: Option<Amount>,
    ues: Option<u32>,
    ue_bps: Option<Amount>,
    mec_stress: Option<String>,
}

/// Below this many bits per second nothing comes to an end.
const SLOWEST_BPS: f64 = 1e3;

impl File {
    fn regimes(&self) -> Result<Vec<Regime>, String> {
        let stress = |text: &str| text.parse::<Stress>().map_err(|why| format!("stress: {why}"));
        let mut now = Regime {
            t_s: 0.0,
            capacity_bps: [&self.cell.capacity_up_bps, &self.cell.capacity_down_bps].map(|bps| bps.get()),
            ues: self.cell.ues,
            ue_bps: self.cell.ue_bps.get(),
            mec_stress: stress(&self.mec.stress)?,
        };
        let mut regimes = vec![now.clone()];
        for at in &self.at {
            if at.t_s.get() <= now.t_s {
                let t_s = at.t_s.get();
                return Err(format!("[[at]] t_s = {t_s} must come after {}", now.t_s));
            }
            let set = |value: &mut f64, given: Option<Amount>| *value = given.map_or(*value, Amount::get);
            now.t_s = at.t_s.get();
            set(&mut now.capacity_bps[0], at.capacity_up_bps);
            set(&mut now.capacity_bps[1], at.capacity_down_bps);
            set(&mut now.ue_bps, at.ue_bps);
            now.ues = at.ues.unwrap_or(now.ues);
            if let Some(text) = &at.mec_stress {
                now.mec_stress = stress(text)?;
            }
            regimes.push(now.clone());
        }
        match regimes
            .iter()
            .find(|r| r.capacity_bps.iter().any(|bps| *bps < SLOWEST_BPS))
        {
            Some(bad) => Err(format!(
                "the cell's capacity is {:?} bit/s at {} s, expected at least {SLOWEST_BPS}; for an outage write [[cell.outage]]",
                bad.capacity_bps, bad.t_s
            )),
            None => Ok(regimes),
        }
    }
}

impl TaskSetTable {
    fn source(&self, folder: &Path) -> Result<TaskSource, String> {
        if self.count == 0 {
            return Err("task_set.count is 0; there would be nothing to run".to_owned());
        }
        match (&self.file, self.rule) {
            (Some(_), Some(_)) => Err("task_set has a file and a rule; give one of them".to_owned()),
            (Some(path), None) => {
                let file = TaskFile::read(&folder.join(path)).map_err(|why| format!("task_set: {why}"))?;
                Ok(TaskSource::File(Arc::new(file), self.seed))
            }
            (None, rule) => Ok(TaskSource::Rule(rule.unwrap_or_default(), self.seed)),
        }
    }
}

impl DeviceTable {
    fn checked(&self, mec: &Profile, folder: &Path, scenario: &str) -> Result<DeviceKind, FileError> {
        let profile = Profile::find(&self.profile, folder)?;
        let kind = self.kind(profile, mec);
        kind.map_err(|what| FileError::Value {
            file: scenario.to_owned(),
            what,
        })
    }

    fn kind(&self, profile: Profile, mec: &Profile) -> Result<DeviceKind, String> {
        let power = profile.device_power()?;
        profile.sensor_info()?;
        let cost = profile.cost(&self.engine, self.learner)?;
        if cost.gpu && power.gpu_w.is_none() {
            return Err(format!(
                "profile {} lacks power.gpu_w, which engine {} needs",
                profile.name, self.engine
            ));
        }
        let training = match self.training {
            SiteName::Local => TrainingSite::Local,
            SiteName::Mec => TrainingSite::Mec,
        };
        if training == TrainingSite::Mec && profile.memory.bytes_per_s.is_none() {
            return Err(format!(
                "profile {} lacks memory.bytes_per_s, with which weights from the MEC are put to use",
                profile.name
            ));
        }
        let mec_cost = match training {
            TrainingSite::Local => LearnerCost::default(),
            TrainingSite::Mec => mec.cost(&self.engine, self.learner)?,
        };
        Ok(DeviceKind {
            profile: Arc::new(profile),
            count: self.count,
            learner: self.learner,
            engine: self.engine.clone(),
            training,
            cost,
            mec_cost,
            gap_s: self.gap_s.get(),
            busy: self.busy.get(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testbed::Preset;

    fn fails(text: &str) -> String {
        let error = Scenario::parse("my.toml", text, Path::new("/nonexistent")).unwrap_err();
        error.to_string()
    }

    /// The first preset with a part of it replaced.
    fn with(part: &str, other: &str) -> String {
        let text = Preset::Scenario1.text();
        assert!(text.contains(part), "{part}");
        text.replacen(part, other, 1)
    }

    #[test]
    fn every_preset_is_a_scenario() {
        for preset in Preset::ALL {
            let scenario = preset.scenario().unwrap();
            assert!(scenario.device_count() >= 2 && scenario.count == 500, "{preset}");
        }
        let second = Preset::Scenario2.scenario().unwrap();
        let regime = &second.regimes[0];
        assert_eq!((regime.ues, regime.ue_bps), (50, 10e6));
        assert_ne!(regime.mec_stress, Stress::None);
        assert!(
            second
                .assumed()
                .iter()
                .any(|key| key.starts_with("raspberry-pi-4: power.radio_tx_w"))
        );
        let drift = Preset::Drift.scenario().unwrap();
        assert_eq!((drift.regimes.len(), drift.regimes[2].ues), (5, 0));
    }

    #[test]
    fn what_cannot_be_is_told_with_line_and_key() {
        for (text, words) in [
            (
                with("count = 500", "cuont = 500"),
                vec!["my.toml, line 4", "cuont"],
            ),
            (with("count = 500", "count = 0"), vec!["task_set.count"]),
            (with("[task_set]", "[tasks]"), vec!["line 3", "tasks"]),
            (
                with("learner = \"dqn\"", "learner = \"dqm\""),
                vec!["line 8", "dqm"],
            ),
            (
                with("engine = \"tensorflow\"", "engine = \"jax\""),
                vec!["engine.jax.dqn"],
            ),
            (
                with("\"raspberry-pi-4\"", "\"mec-i7\""),
                vec!["mec-i7", "[power]"],
            ),
            (
                with("\"raspberry-pi-4\"", "\"pi.toml\""),
                vec!["pi.toml", "jetson-j1010"],
            ),
            (with("400e6", "-400e6"), vec!["capacity_up_bps", "-400000000"]),
            (with("400e6", "0.0"), vec!["capacity", "outage"]),
            (with("\"5g-sa\"", "\"6g\""), vec!["network 6g"]),
            (
                with("profile = \"mec-i7\"", "profile = \"mec-i7\"\nstress = \"2\""),
                vec!["stress", "2"],
            ),
            (
                with("count = 500", "count = 500\nfile = \"no.csv\""),
                vec!["no.csv"],
            ),
        ] {
            let error = fails(&text);
            assert!(
                words.iter().all(|word| error.contains(word)),
                "{words:?}: {error}"
            );
        }
        let end = "\n[[at]]\nt_s = 5.0\nues = 1\n[[at]]\nt_s = 5.0\nues = 2\n";
        let error = fails(&format!("{}{end}", Preset::Scenario1.text()));
        assert!(error.contains("t_s = 5 must come after 5"), "{error}");
        let text = Preset::Scenario1.text();
        let (begin, devices) = text.split_once("[[device]]").unwrap();
        let (_, cell) = devices.split_once("[cell]").unwrap();
        assert!(fails(&format!("{begin}[cell]{cell}")).contains("[[device]]"));
        let (_, without) = text.split_once("[[device]]").unwrap();
        assert!(fails(&format!("[[device]]{without}")).contains("task_set"));
    }

    #[test]
    fn a_profile_of_ones_own_joins_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let board = include_str!("../profiles/raspberry-pi-4.toml").replace("\"raspberry-pi-4\"", "\"mine\"");
        std::fs::write(folder.path().join("mine.toml"), board).unwrap();
        let text = with("\"raspberry-pi-4\"", "\"mine.toml\"");
        let path = folder.path().join("scenario.toml");
        std::fs::write(&path, text).unwrap();
        let scenario = Scenario::read(&path).unwrap();
        assert_eq!(scenario.devices[0].profile.name, "mine");
    }
}
