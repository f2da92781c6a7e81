//! The command line: clap structs only.

mod broker;
mod calibrate;
mod learners;
mod link;
mod load;
mod measure;
mod report;
mod run_agent;
mod serve;
mod simulate;
mod tasks;
mod trainer;
mod training;

pub use broker::BrokerArgs;
pub use calibrate::{CalibrateArgs, CalibrateCommand, CalibrateRunArgs, StepName};
pub use learners::{EngineArgs, EngineName, EvaluateArgs, EvaluateOn, LearnersArgs, SettingsArgs, Switch};
pub use link::LinkArgs;
pub use load::LoadArgs;
pub use measure::{FrequencyArgs, MeasureArgs};
pub use report::ReportArgs;
pub use run_agent::{FallbackArg, RunAgentArgs};
pub use serve::{RoleArg, ServeArgs};
pub use simulate::SimulateArgs;
pub use tasks::{CostsArg, GenerateArgs, ListArgs, RunTaskArgs, TasksCommand};
pub use trainer::{ReplayArgs, StatusArgs, TrainerCommand, TrainingArg, TrainingArgs};
pub use training::{CodecArg, ProtocolArg, TrainArg, TrainArgs};

use crate::cmd::values;
use crate::ui::Color;
use clap::{Args, Parser, Subcommand};
use hwmeter::marks::PhaseName;
use std::path::PathBuf;

/// What things cost in joules on a Raspberry Pi, a Jetson or a Linux box, and an agent that decides by it where
/// work should run.
#[derive(Debug, Parser)]
#[command(name = "hwmeter", version, about, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Look for /sys, /proc and the device tree below DIR instead of /
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/",
        hide_default_value = true
    )]
    pub root: PathBuf,
    /// What you know about your sensors: accuracy, idle power [default: ~/.config/hwmeter/calibration.toml,
    /// else /etc/hwmeter/calibration.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Say more on stderr (-vv: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub color: Color,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the board and every sensor: its rails, its accuracy, and why one cannot be used
    Probe(ProbeArgs),
    /// Joules of a command, or of a duration
    Measure(Box<MeasureArgs>),
    /// Inside a measured command: a new phase begins
    Mark(MarkArgs),
    /// Joules of any interval of a recorded trace
    Integrate(IntegrateArgs),
    /// Know this board: matrix products per second and per joule, its sensor, idle power, a model of its power
    Calibrate(Box<CalibrateArgs>),
    /// Decide for each of a set of tasks where to run it, run it there, measure and learn
    RunAgent(Box<RunAgentArgs>),
    /// List the learners with their settings; compare how well they decide, or measure what they cost
    Learners(LearnersArgs),
    /// Run a saved learner without exploration or training
    Evaluate(Box<EvaluateArgs>),
    /// Run tasks for devices, and (MEC) tell them how busy this server is
    Serve(Box<ServeArgs>),
    /// Generate task sets, list the kernels, run and measure one
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Give a group access to power nodes, so that measuring needs no root
    Setup(SetupArgs),
    /// Put a slow network between a device and a server: latency, jitter, rate, loss, outages, changing over time
    Link(Box<LinkArgs>),
    /// Traffic of other devices toward a server, such as the MEC behind its link
    Load(LoadArgs),
    /// Train a run's learner once more and compare
    #[command(subcommand)]
    Trainer(TrainerCommand),
    /// A page with figures and tables of runs, side by side
    Report(ReportArgs),
    /// Simulate devices, base station, MEC and cloud with the real learners, faster than time
    Simulate(SimulateArgs),
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Pack the files that discovery looks at, without serial numbers, to attach to a bug report
    #[arg(long, value_name = "FILE.tar", conflicts_with = "json")]
    pub bundle: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Show what would be installed, and install nothing
    #[arg(long, conflicts_with = "remove")]
    pub print: bool,
    /// Take it away again
    #[arg(long)]
    pub remove: bool,
}

#[derive(Debug, Args)]
pub struct IntegrateArgs {
    /// The trace: t_s,sensor,rail,power_w,energy_j as `measure --csv` and `run-agent` write it, or t_s,power_w
    #[arg(value_name = "TRACE.csv")]
    pub trace: PathBuf,
    /// Where the interval begins, in seconds on the trace's clock [default: at the first sample]
    #[arg(long, value_name = "T", value_parser = values::number, allow_negative_numbers = true)]
    pub from: Option<f64>,
    /// Where it ends [default: at the last sample]
    #[arg(long, value_name = "T", value_parser = values::number, allow_negative_numbers = true)]
    pub to: Option<f64>,
    /// Integrate every span of this file instead: name,from_s,to_s
    #[arg(long, value_name = "SPANS.csv", conflicts_with_all = ["from", "to"])]
    pub spans: Option<PathBuf>,
    /// Only this sensor of the trace, by its id or driver name [default: each one for itself]
    #[arg(long, value_name = "ID")]
    pub sensor: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct MarkArgs {
    /// The phase's name: up to 100 bytes on one line
    #[arg(value_name = "NAME")]
    pub name: PhaseName,
}
