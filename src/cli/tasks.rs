//! The command line of `hwmeter tasks`.

use crate::cmd::values;
use clap::{Args, Subcommand, ValueEnum};
use hwmeter::task::Content;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum TasksCommand {
    /// Draw a task set with UUniFast; the defaults give the published set
    Generate(GenerateArgs),
    /// List the kernels, and what a round of each costs here
    List(ListArgs),
    /// Run a kernel or a WebAssembly module on this machine: its time, its joules, its checksum
    Run(RunTaskArgs),
}

#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Sum of the utilisations of all tasks, in cores
    #[arg(long, value_name = "U", default_value_t = 3.9, allow_negative_numbers = true)]
    pub utilisation: f64,
    /// Number of tasks
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub tasks: usize,
    /// Shortest period in microseconds
    #[arg(long, value_name = "US", default_value_t = 100_000)]
    pub period_min: u64,
    /// Longest period in microseconds
    #[arg(long, value_name = "US", default_value_t = 100_000_000)]
    pub period_max: u64,
    /// Periods are multiples of this many microseconds
    #[arg(long, value_name = "US", default_value_t = 1000)]
    pub period_step: u64,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "SEED", default_value_t = 50)]
    pub seed: u64,
    /// Clock rate of the nominal core, by which execution times become cycles
    #[arg(long, value_name = "MHZ", default_value_t = 1200.048)]
    pub mhz: f64,
    /// Cores of the nominal device: the most that the utilisation may be
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub cores: u32,
    /// A deadline is 20 ms + F x execution time, with F uniform between these
    #[arg(long, value_name = "MIN..MAX", default_value = "0.4..2", value_parser = values::range)]
    pub deadline_factor: (f64, f64),
    /// Payloads in bytes, log-uniform between these
    #[arg(long, value_name = "MIN..MAX", default_value = "300000..3000000", value_parser = values::whole_range)]
    pub payload: (u64, u64),
    /// What a round of a kernel takes when execution times are filled with kernels: the same everywhere, so that the
    /// file is the same on every machine, or what it takes here
    #[arg(long, value_enum, default_value = "reference")]
    pub costs: CostsArg,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write JSON lines instead of CSV
    #[arg(long)]
    pub json: bool,
}

/// Whose costs of a round count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CostsArg {
    /// Those of the reference processor
    Reference,
    /// Measured now, on this machine
    Here,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RunTaskArgs {
    /// A kernel, as `hwmeter tasks list` names it, steps such as "sha256:12 fft:3", or the file of a module, FILE.wasm
    #[arg(value_name = "KERNEL", value_parser = values::content)]
    pub kernel: Content,
    /// Rounds of the kernel
    #[arg(long, value_name = "N")]
    pub rounds: Option<u64>,
    /// About as many rounds as take this many seconds here [default: 1]
    #[arg(long, value_name = "S", conflicts_with = "rounds", value_parser = values::positive)]
    pub seconds: Option<f64>,
    /// Seed of a kernel's input; a module gets none
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// What the task gets as its payload [default: nothing]
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// Sensor to read, as `hwmeter probe` names it [default: the best one found]
    #[arg(long, value_name = "SENSOR")]
    pub sensor: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
