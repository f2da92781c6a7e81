//! Arguments about learners: what does their arithmetic, their settings; `hwmeter learners` and `hwmeter evaluate`.

use super::RunAgentArgs;
use clap::Args;
use clap::ValueEnum;
use hwmeter::learn::LearnerName;
use std::path::PathBuf;

/// What does the arithmetic of learners.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Whether this process and its children may use a GPU; learners use it with --engine torch
    #[arg(
        long,
        value_enum,
        value_name = "on|off",
        default_value = "off",
        hide_possible_values = true
    )]
    pub gpu: Switch,
    /// What does the arithmetic of the learner: ours on the CPU, or libtorch (ac and dqn, in builds that have it)
    #[arg(
        long,
        value_enum,
        value_name = "native|torch",
        default_value = "native",
        hide_possible_values = true
    )]
    pub engine: EngineName,
}

/// The engines on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    Native,
    Torch,
}

/// Settings of the learners.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Settings of learners, as `hwmeter learners` prints them (TOML); what is not in the file keeps its default
    #[arg(long, value_name = "FILE")]
    pub learner_config: Option<PathBuf>,
    /// One setting, such as dqn.rate=1e-3; wins over the file; may be given several times
    #[arg(long, value_name = "LEARNER.KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LearnersArgs {
    /// Let each decide and learn on a simulated device whose MEC and link change, beside the oracle
    #[arg(long)]
    pub compare: bool,
    /// Measure seconds and joules of a decision and of an update on this machine
    #[arg(long, conflicts_with = "compare")]
    pub bench: bool,
    /// Begin with published settings where ours are others: ac as in Nieto et al. (2024). Without --compare and --bench this
    /// prints a file for --learner-config
    #[arg(long)]
    pub published: bool,
    /// Only these; may be given several times [default: all that the engine has]
    #[arg(long, value_enum)]
    pub learner: Vec<LearnerName>,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Runs per learner, each with another seed (--compare)
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub seeds: u32,
    /// Tasks per run (--compare)
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub tasks: u32,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 50)]
    pub seed: u64,
    /// Sensor to read, as `hwmeter probe` names it [default: the best one found]
    #[arg(long, value_name = "SENSOR")]
    pub sensor: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The saved learner, such as runs/DIR/learner.safetensors, or the folder of its run
    #[arg(value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,
    /// What it decides about: the simulated device of `learners --compare`, or real tasks, with the options of run-agent
    #[arg(long, value_enum, default_value = "environment")]
    pub on: EvaluateOn,
    /// Runs on the simulated device, each with another seed
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub seeds: u32,
    #[command(flatten)]
    pub run: RunAgentArgs,
}

/// What a saved learner is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EvaluateOn {
    Environment,
    Tasks,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}
