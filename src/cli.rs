//! The command line: clap structs only.

use crate::ui::Color;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

use crate::cmd::values;

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
    Measure(MeasureArgs),
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Sensor to read, as `hwmeter probe` names it; several may be given [default: the best one found]
    #[arg(long, value_name = "SENSOR")]
    pub sensor: Vec<String>,
    /// Samples per second [default: what suits the sensor]
    #[arg(long, value_name = "HZ", value_parser = values::hertz)]
    pub rate: Option<f64>,
    /// Write every sample to this file
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Measure for this long (such as 10s) instead of a command
    #[arg(long, value_name = "T", value_parser = values::duration, required_unless_present = "command")]
    pub duration: Option<Duration>,
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
