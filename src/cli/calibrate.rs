//! Arguments of `hwmeter calibrate`.

use super::FrequencyArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CalibrateArgs {
    #[command(subcommand)]
    pub command: Option<CalibrateCommand>,
    #[command(flatten)]
    pub run: CalibrateRunArgs,
}

#[derive(Debug, Subcommand)]
pub enum CalibrateCommand {
    /// Print a calibration file
    Show(ShowArgs),
    /// Print two calibration files side by side
    Compare(CompareArgs),
}

#[derive(Debug, Args)]
pub struct CalibrateRunArgs {
    /// Fewer and shorter steps: under 30 s
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// More and longer steps: about a quarter of an hour
    #[arg(long)]
    pub full: bool,
    /// Only these steps, separated by commas; what the file says of the others stays [default: all]
    #[arg(long, value_enum, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<StepName>,
    #[command(flatten)]
    pub frequencies: FrequencyArgs,
    /// Sensor to read, as `hwmeter probe` names it [default: the best one found]
    #[arg(long, value_name = "SENSOR")]
    pub sensor: Option<String>,
    /// A meter to read joules from in its place, such as modbus:tcp://192.168.1.7:502?meter=shelly-em1: the power model
    /// of a board without a sensor is fitted against it
    #[arg(long, value_name = "SENSOR")]
    pub reference: Option<String>,
    /// Run on a battery below 20 % too
    #[arg(long)]
    pub force: bool,
    /// Write to this file; what else it says stays [default: ~/.config/hwmeter/calibration.toml]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// The steps of a calibration, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum StepName {
    /// What the sensor really does
    Sensor,
    /// Idle power
    Idle,
    /// Matrix products
    Gemm,
    /// Memory bandwidth
    Bandwidth,
    /// Load steps, and the power model fitted to them
    PowerModel,
    /// Seconds and joules of the learners
    Learners,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The file [default: the one that the other commands use]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The first file
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The second; ratios are of its figures to those of the first
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
