//! Arguments of `hwmeter run-agent`.

use super::{EngineArgs, FrequencyArgs, SettingsArgs, TrainArgs};
use crate::cmd::run_agent::options::Given;
use crate::cmd::values;
use clap::Args;
use clap::ValueEnum;
use hwmeter::learn::LearnerName;
use hwmeter::offload::link::presets::Network;
use hwmeter::offload::url::Url;
use hwmeter::task::Speed;
use hwmeter_hw::sensors::radio::Radio;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct RunAgentArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Who decides [default: dqn]
    #[arg(long, value_enum)]
    pub learner: Option<LearnerName>,
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub training: TrainArgs,
    /// Build a learner anew when it diverges, instead of only saying so
    #[arg(long)]
    pub reset_on_divergence: bool,
    /// Go on where the run in DIR stopped: its learner, its tasks and its options, from its last checkpoint on. Options
    /// given here win over its own. Results go to a new folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["learner", "learner_config", "set", "seed"])]
    pub resume: Option<PathBuf>,
    /// Tasks between two checkpoints of the learner
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,
    /// Tasks of this file (CSV or JSON lines, as `hwmeter tasks generate` writes them) instead of the built-in set
    #[arg(long, value_name = "FILE")]
    pub taskset: Option<PathBuf>,
    /// Number of tasks, those of a resumed run included [default: 500, or all of --taskset]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: Option<u32>,
    /// Seed of the task set (of its inputs, with --taskset), the learner and the audit [default: 50]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Folder for the results [default: runs/<UTC time>-<learner>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Sensor to read, as `hwmeter probe` names it [default: the best one found]
    #[arg(long, value_name = "SENSOR")]
    pub sensor: Option<String>,
    /// Samples per second [default: what suits the sensor]
    #[arg(long, value_name = "HZ", value_parser = values::hertz)]
    pub rate: Option<f64>,
    /// Add the modelled power of a modem that the sensor does not see, such as
    /// wwan0:idle=0.5,send=2.5,receive=1.5 (watts)
    #[arg(long, value_name = "IFACE:WATTS")]
    pub radio: Option<Radio>,
    /// Cores the agent and its local tasks may use, such as 0-3,5 [default: all]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<String>,
    #[command(flatten)]
    pub frequencies: FrequencyArgs,
    /// The MEC server, such as http://10.0.0.2:8080 [default: one on this machine, behind an emulated link]
    #[arg(long, value_name = "URL", requires = "cloud")]
    pub mec: Option<Url>,
    /// The cloud server [default: one on this machine, behind an emulated link]
    #[arg(long, value_name = "URL", requires = "mec")]
    pub cloud: Option<Url>,
    /// PEM file of the authority that signed the certificates of https servers [default: those this system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// File with the token that the servers ask for (`hwmeter serve --token-file`), readable by nobody else
    #[arg(long, value_name = "FILE", requires = "mec")]
    pub token_file: Option<PathBuf>,
    /// What becomes of a task whose server fails: it has failed, or it runs on the device in the time that is left
    #[arg(
        long,
        value_enum,
        value_name = "none|local",
        default_value = "none",
        hide_possible_values = true
    )]
    pub fallback: FallbackArg,
    /// The emulated link to the MEC: a preset of `hwmeter link`, or a file with a profile; its time counts from the
    /// first connection, just before the first task [default: 5 ms each way, 200 Mbit/s]
    #[arg(long, value_name = "PRESET|FILE", conflicts_with = "mec")]
    pub mec_link: Option<Network>,
    /// The emulated link to the cloud [default: 25 ms each way, 100 Mbit/s]
    #[arg(long, value_name = "PRESET|FILE", conflicts_with = "cloud")]
    pub cloud_link: Option<Network>,
    /// Share of this machine's speed at which local tasks run [default: 0.25, or 1 with --mec and --cloud]
    #[arg(long, value_name = "SHARE", value_parser = values::speed)]
    pub device_speed: Option<Speed>,
    /// Reward of a failed task is minus this many joules [default: 1.5 x full-load power x its deadline]
    #[arg(long, value_name = "J", value_parser = values::positive)]
    pub penalty: Option<f64>,
    /// Keep all that the learner learns from in transitions.csv, for `hwmeter trainer replay`
    #[arg(long)]
    pub record_transitions: bool,
    /// Share of the results that is recomputed: those of servers between tasks, those of the device after the run
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = values::share)]
    pub audit: f64,
    /// Print the summary as one JSON document
    #[arg(long)]
    pub json: bool,
    /// All of these as they were typed, those of a resumed run included
    #[arg(skip)]
    pub given: Given,
}

/// What becomes of a task whose server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FallbackArg {
    None,
    Local,
}
