//! Arguments of `hwmeter load`.

use super::{BrokerArgs, CodecArg};
use crate::cmd::values;
use clap::Args;
use hwmeter::learn::LearnerName;
use hwmeter::offload::url::Url;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Number of UEs, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub ues: u32,

    /// Bits per second that each UE sends
    #[arg(long, value_name = "RATE", default_value = "10M", value_parser = values::rate_bps)]
    pub rate: f64,

    /// The server, or the link before it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub to: Url,

    /// PEM file of the authority that signed an https server's certificate [default: those this system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// File with the token that the server asks for, readable by nobody else
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// End after this long [default: at SIGTERM or Ctrl-C]
    #[arg(long, value_name = "T", value_parser = values::duration)]
    pub duration: Option<Duration>,

    /// Bytes that a UE sends at once [default: 50 ms of its rate, within 1 kB and 1 MB]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub payload: Option<u32>,

    /// Seed of the payload, and of when each UE sends
    #[arg(long, value_name = "SEED", default_value_t = 50)]
    pub seed: u64,

    /// Instead: so many devices that train on the MEC, by way of --broker
    #[arg(long, value_name = "N", requires = "broker", conflicts_with_all = ["ues", "rate", "to", "ca", "token_file", "payload"],
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub devices: Option<u32>,

    #[command(flatten)]
    pub broker: BrokerArgs,

    /// Experiences of each device per second
    #[arg(long, value_name = "HZ", default_value = "1", value_parser = values::hertz, requires = "devices")]
    pub device_rate: f64,

    /// What each of them has trained
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        default_value = "ac",
        requires = "devices"
    )]
    pub learner: LearnerName,

    /// How weights come back
    #[arg(
        long,
        value_enum,
        value_name = "CODEC",
        default_value = "f32",
        requires = "devices"
    )]
    pub codec: CodecArg,

    /// Weights come back after so many updates
    #[arg(long, value_name = "K", default_value_t = 1, requires = "devices",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub sync_every: u32,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
