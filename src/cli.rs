//! The command line: clap structs only.

mod broker;
mod link;
mod load;
mod tasks;
mod trainer;
mod training;

pub use broker::BrokerArgs;
pub use link::LinkArgs;
pub use load::LoadArgs;
pub use tasks::{CostsArg, GenerateArgs, ListArgs, RunTaskArgs, TasksCommand};
pub use trainer::{ReplayArgs, StatusArgs, TrainerCommand, TrainingArg, TrainingArgs};
pub use training::{CodecArg, ProtocolArg, TrainArg, TrainArgs};

use crate::cmd::run_agent::options::Given;
use crate::cmd::values;
use crate::ui::Color;
use clap::{Args, Parser, Subcommand, ValueEnum};
use hwmeter::learn::LearnerName;
use hwmeter::marks::PhaseName;
use hwmeter::offload::link::presets::Network;
use hwmeter::offload::url::Url;
use hwmeter::serve::{DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_PAYLOAD, DEFAULT_QUEUE, StressProfile};
use hwmeter::task::Speed;
use hwmeter_hw::sensors::radio::Radio;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

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
    /// Matrix products per second and per joule of this board
    Calibrate(CalibrateArgs),
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

/// How the CPU is clocked meanwhile.
#[derive(Debug, Args)]
pub struct FrequencyArgs {
    /// Frequency governor of all cores meanwhile, such as performance; put back at the end (root)
    #[arg(long, value_name = "NAME")]
    pub governor: Option<String>,
    /// Lowest frequency of all cores meanwhile, in kHz
    #[arg(long, value_name = "KHZ")]
    pub cpu_min_khz: Option<u64>,
    /// Highest frequency of all cores meanwhile, in kHz
    #[arg(long, value_name = "KHZ")]
    pub cpu_max_khz: Option<u64>,
}

#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Sensor to read, as `hwmeter probe` names it; several may be given [default: the best one found]
    #[arg(long, value_name = "SENSOR")]
    pub sensor: Vec<String>,
    /// Samples per second [default: what suits the sensor]
    #[arg(long, value_name = "HZ", value_parser = values::hertz)]
    pub rate: Option<f64>,
    /// Rails that make up the total, separated by commas, instead of what this board's map says
    #[arg(long, value_name = "RAILS", value_delimiter = ',')]
    pub total: Vec<String>,
    /// Add the modelled power of a modem that the sensor does not see, such as
    /// wwan0:idle=0.5,send=2.5,receive=1.5 (watts)
    #[arg(long, value_name = "IFACE:WATTS")]
    pub radio: Option<Radio>,
    /// Let the sampling thread run before all others (SCHED_FIFO), where permitted
    #[arg(long)]
    pub realtime: bool,
    #[command(flatten)]
    pub frequencies: FrequencyArgs,
    /// Write every sample to this file
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Measure for this long (such as 10s) instead of a command
    #[arg(long, value_name = "T", value_parser = values::duration, required_unless_present = "command")]
    pub duration: Option<Duration>,
    /// Measure idle power for this long before anything runs, and show joules without it too
    #[arg(long, value_name = "T", value_parser = values::duration)]
    pub idle: Option<Duration>,
    /// Only the command's own share of the board's joules, by CPU time of it and all it starts (modelled)
    #[arg(long, conflicts_with = "duration")]
    pub share: bool,
    /// Measure this many times
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub repeat: u32,
    /// Print one JSON document; the command's own output goes to stderr
    #[arg(long)]
    pub json: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD", conflicts_with = "duration")]
    pub command: Vec<std::ffi::OsString>,
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

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Smaller matrices and less time: under 30 s
    #[arg(long)]
    pub quick: bool,
    #[command(flatten)]
    pub frequencies: FrequencyArgs,
    /// Sensor to read, as `hwmeter probe` names it [default: the best one found]
    #[arg(long, value_name = "SENSOR")]
    pub sensor: Option<String>,
    /// Write the idle power to this calibration file; what else it says stays
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

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

/// What becomes of a task whose server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FallbackArg {
    None,
    Local,
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

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What this server is: an edge server; a cloud, which the agent assumes to be always free; or the trainer alone,
    /// which an edge server starts by itself
    #[arg(long, value_enum)]
    pub role: RoleArg,

    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Share of this machine's speed at which tasks run, more than 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = values::speed)]
    pub speed: Speed,

    /// Tasks that run at once [default: one per CPU]
    #[arg(long, value_name = "N")]
    pub workers: Option<NonZeroUsize>,

    /// Tasks that may wait for a worker; further ones are refused
    #[arg(long, value_name = "N", default_value_t = DEFAULT_QUEUE)]
    pub queue: usize,

    /// Largest payload in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_PAYLOAD)]
    pub max_payload: usize,

    /// CPU time one task may use
    #[arg(long, value_name = "T", default_value = "30s", value_parser = values::task_limit)]
    pub task_cpu: Duration,

    /// Memory one task may use with its payload, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub task_memory_mib: u64,

    /// How long one task may run
    #[arg(long, value_name = "T", default_value = "30s", value_parser = values::task_limit)]
    pub task_wall: Duration,

    /// Connections that may be open at once; beyond them the one that was idle for longest is closed
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS)]
    pub max_connections: usize,

    /// Who may use the server: one bearer token a line, such as `openssl rand -hex 32` makes. Must not be readable
    /// by everybody. Needed unless only this machine is served
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// The server's certificate (PEM, followed by those between it and the authority)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key (PEM, without a password). Must not be readable by everybody
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// A proxy in front of this server does TLS. Tokens are asked for even on a loopback address
    #[arg(long, conflicts_with = "tls_cert")]
    pub behind_proxy: bool,

    #[command(flatten)]
    pub training: TrainingArgs,

    /// End when the process that started this one ends
    #[arg(long)]
    pub exit_with_parent: bool,

    /// Keep the CPU busy, as other users would, for experiments: by a share such as 0.9, or by one that wanders, such as
    /// walk:0.8..1.0,seed=5,step=0.05,every=1s
    #[arg(long, value_name = "PROFILE")]
    pub stress: Option<StressProfile>,

    /// Keep all rights of the user who starts this server. Otherwise it gives up, before it serves, to write files,
    /// to read most of them, to start programs and to open connections, as far as the kernel has the means
    #[arg(long)]
    pub no_sandbox: bool,
}

/// The roles on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    Mec,
    Cloud,
    Trainer,
}
