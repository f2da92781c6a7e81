//! Arguments of `hwmeter simulate`.

use clap::Args;
use hwmeter::testbed::Preset;
use hwmeter::testbed::sweep::Shard;
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The scenario: devices, tasks, links, servers, and what changes meanwhile (TOML)
    #[arg(value_name = "SCENARIO.toml", required_unless_present = "preset")]
    pub scenario: Option<PathBuf>,
    /// A scenario that comes with the program
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "scenario")]
    pub preset: Option<Preset>,
    /// Print the preset as a file to start from, and end
    #[arg(long, requires = "preset")]
    pub show: bool,
    /// The first seed [default: that of the scenario, else 50]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// So many seeds, one run for each [default: those of the scenario, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub seeds: Option<u32>,
    /// Only part I of N of the seeds, I from 0: for an array job, each part on another machine
    #[arg(long, value_name = "I/N", default_value = "0/1", hide_default_value = true)]
    pub shard: Shard,
    /// Tasks of each device [default: those of the scenario]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub tasks: Option<u32>,
    /// Threads, each with a seed at a time; results do not depend on them [default: one per core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Where the runs go, one folder per seed and device [default: runs/<UTC time>-simulation]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write over runs of the same seeds in that folder
    #[arg(long)]
    pub force: bool,
    /// Write no energy.csv: the samples of many devices are many
    #[arg(long)]
    pub no_trace: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
