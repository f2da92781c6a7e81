//! Arguments of `hwmeter measure`.

use crate::cmd::values;
use clap::Args;
use hwmeter_hw::sensors::radio::Radio;
use std::path::PathBuf;
use std::time::Duration;

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
