//! Scenarios: which devices run which tasks with which learners, and what the world around them does.
//!
//! ```toml
//! [task_set]                     # needed
//! count = 500                    # tasks of each device
//! seed = 50                      # default: that of the run
//! file = "tasks.csv"             # or those of a file, as run-agent --taskset; else drawn by `rule`
//! rule = { median_cycles = 2.4e8 }
//!
//! [[device]]                     # one or more
//! profile = "raspberry-pi-4"     # built in, or a file; paths begin at the scenario's folder
//! count = 1                      # so many of them
//! learner = "dqn"
//! engine = "native"              # whose costs of the profile
//! training = "local"             # or "mec"
//! gap_s = 0                      # idle time before each task
//! busy = 0                       # share of its CPU that other programs take
//!
//! [cell]                         # the base station: what all devices share
//! network = "5g-sa"              # latency, jitter, loss and rate of each device: preset or file of `hwmeter link`
//! capacity_up_bps = 400e6
//! capacity_down_bps = 1e9
//! ues = 50                       # other UEs, and what each asks for in each direction
//! ue_bps = 10e6
//! [[cell.outage]]                # nothing passes
//! t_s = 60
//! for_s = 20
//!
//! [mec]
//! profile = "mec-i7"
//! stress = "walk:0.8..1.0"       # as `hwmeter serve --stress`; a constant share such as "0.9"; "none"
//! [cloud]
//! profile = "cloud-i7"
//! network = "wan-cloud"          # from the MEC to the cloud
//!
//! [training]                     # on the MEC
//! wait = true                    # no task before the weights are there, as in the paper; false: the device goes on
//!
//! [learners.dqn]                 # settings, as in a --learner-config
//! rate = 1e-3
//!
//! [seeds]                        # of a sweep, unless the command line says otherwise
//! first = 50
//! count = 1
//!
//! [[at]]                         # a change at a moment; what is not named stays
//! t_s = 60
//! ues = 200                      # ue_bps, capacity_up_bps, capacity_down_bps, mec_stress
//! ```
//!
//! Every device runs the same set; device n of them begins at its n-th task, so that they do not march in step.

mod tables;

use super::file::FileError;
use super::profile::{LearnerCost, Profile};
use crate::agent::training::TrainingSite;
use crate::learn::{LearnerName, Settings};
use crate::offload::link::profile::Profile as Link;
use crate::serve::{InvalidProfile, StressProfile};
use crate::task::file::TaskFile;
use crate::task::{SetRule, Task};
use serde::Deserialize;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// A scenario, checked: everything it names is there.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name: the preset's, or the file's.
    pub name: String,
    /// The text it was made from.
    pub text: String,
    /// Which tasks.
    pub tasks: TaskSource,
    /// Tasks of each device.
    pub count: usize,
    /// The devices, those of a `count` one after the other.
    pub devices: Vec<DeviceKind>,
    /// The base station.
    pub cell: Cell,
    /// The MEC.
    pub mec: Arc<Profile>,
    /// The cloud.
    pub cloud: Arc<Profile>,
    /// From the MEC to the cloud.
    pub wan: Link,
    /// Whether a device waits for weights that it is sent.
    pub wait: bool,
    /// How learners are built.
    pub settings: Settings,
    /// How things stand from certain moments on, the first at 0.
    pub regimes: Vec<Regime>,
    /// Its seeds.
    pub seeds: Seeds,
}

/// The seeds of a sweep: so many, from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u32,
}

impl Default for Seeds {
    /// The paper's one.
    fn default() -> Self {
        Self { first: 50, count: 1 }
    }
}

/// Where tasks come from.
#[derive(Clone, Debug)]
pub enum TaskSource {
    /// Drawn by a rule, with this seed or that of the run.
    Rule(SetRule, Option<u64>),
    /// From a file; their input from this seed or that of the run.
    File(Arc<TaskFile>, Option<u64>),
}

/// Devices that are alike.
#[derive(Clone, Debug)]
pub struct DeviceKind {
    /// The board.
    pub profile: Arc<Profile>,
    /// How many.
    pub count: usize,
    /// Who decides.
    pub learner: LearnerName,
    /// Whose costs.
    pub engine: String,
    /// Where it learns.
    pub training: TrainingSite,
    /// What deciding and learning take on the board.
    pub cost: LearnerCost,
    /// What learning takes on the MEC.
    pub mec_cost: LearnerCost,
    /// Idle time before each task.
    pub gap_s: f64,
    /// Share of its CPU that other programs take.
    pub busy: f64,
}

/// A base station.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Latency, jitter, loss and rate of one device.
    pub link: Link,
}

/// How things stand from a moment on.
#[derive(Clone, Debug, PartialEq)]
pub struct Regime {
    /// Since when, in seconds.
    pub t_s: f64,
    /// Bits per second of all devices together, up and down.
    pub capacity_bps: [f64; 2],
    /// Other UEs.
    pub ues: u32,
    /// What each of them asks for in each direction.
    pub ue_bps: f64,
    /// How busy others keep the MEC.
    pub mec_stress: Stress,
}

/// How busy others keep a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Stress {
    /// Not at all.
    #[default]
    None,
    /// As this walk says.
    Walk(StressProfile),
}

impl FromStr for Stress {
    type Err = InvalidProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            walk => walk.parse().map(Self::Walk),
        }
    }
}

/// Scenarios that come with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// The paper's first: nothing in the way.
    #[value(name = "scenario-1")]
    Scenario1,
    /// The paper's second: other UEs load the cell, others load the MEC.
    #[value(name = "scenario-2")]
    Scenario2,
    /// A base station that falls silent.
    Outage,
    /// The best placement changes.
    Drift,
}

impl Preset {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Scenario1, Self::Scenario2, Self::Outage, Self::Drift];

    /// The file that describes it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Scenario1 => include_str!("../presets/scenario-1.toml"),
            Self::Scenario2 => include_str!("../presets/scenario-2.toml"),
            Self::Outage => include_str!("../presets/outage.toml"),
            Self::Drift => include_str!("../presets/drift.toml"),
        }
    }

    /// The scenario.
    pub fn scenario(self) -> Result<Scenario, FileError> {
        Scenario::parse(&self.to_string(), self.text(), Path::new("."))
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl Scenario {
    /// How many devices there are.
    pub fn device_count(&self) -> usize {
        self.devices.iter().map(|kind| kind.count).sum()
    }

    /// The tasks of the run with this seed: as many as each device runs, or all of a shorter file, which then begin anew.
    pub fn task_set(&self, seed: u64) -> Vec<Task> {
        match &self.tasks {
            TaskSource::Rule(rule, own) => rule.generate(self.count, own.unwrap_or(seed)).tasks,
            TaskSource::File(file, own) => {
                let rows = file.rows.iter().take(self.count);
                rows.map(|row| row.task(own.unwrap_or(seed))).collect()
            }
        }
    }

    /// The keys of the figures of its machines that nobody has measured, with the machine's name before each.
    pub fn assumed(&self) -> Vec<String> {
        let boards = self.devices.iter().map(|kind| &kind.profile);
        let mut machines: Vec<&Arc<Profile>> = boards.chain([&self.mec, &self.cloud]).collect();
        machines.sort_by(|a, b| a.name.cmp(&b.name));
        machines.dedup_by(|a, b| a.name == b.name);
        let keys = machines.iter().flat_map(|machine| {
            let keys = machine.assumed().into_iter();
            keys.map(|key| format!("{}: {key}", machine.name))
        });
        keys.collect()
    }
}
