//! The options of training.

use super::BrokerArgs;
use crate::cmd::values;
use clap::{Args, ValueEnum};
use hwmeter::train::topic::Name;
use hwmeter::train::wire::Codec;
use std::time::Duration;

/// Where a learner is trained, and how.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Where learning runs: on the device, on the MEC, or where an update costs fewer joules
    #[arg(
        long,
        value_enum,
        value_name = "local|mec|auto",
        default_value = "local",
        hide_possible_values = true
    )]
    pub train: TrainArg,
    /// Without a broker, the one that the MEC server names.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// This device's name for the trainer: letters, digits, - and _ [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub device: Option<Name>,
    /// How weights are sent: as they are, in half precision, or compressed without loss
    #[arg(
        long,
        value_enum,
        value_name = "f32|f16|f32-zstd",
        default_value = "f32",
        hide_possible_values = true
    )]
    pub codec: CodecArg,
    /// Updates after which the MEC sends weights
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sync_every: u32,
    /// Whether experiences alone go to the MEC, or also the device's weights before each of them, as in the paper
    #[arg(
        long,
        value_enum,
        value_name = "experience|paper",
        default_value = "experience",
        hide_possible_values = true
    )]
    pub protocol: ProtocolArg,
    /// The largest message to and from the broker; what is larger goes in pieces
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(4096..=100_000_000))]
    pub max_message: u32,
    /// The longest an update may take for a site to be chosen, and a trainer be silent before training goes on here
    /// (--train auto)
    #[arg(long, value_name = "T", default_value = "1s", value_parser = values::task_limit)]
    pub train_latency: Duration,
    /// After so many updates on the MEC the agent waits for one (up to 1 s), so that its joules can be told; 0: never
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub train_measure_every: u64,
}

/// Where learning runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrainArg {
    Local,
    Mec,
    Auto,
}

/// How weights are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CodecArg {
    F32,
    F16,
    F32Zstd,
}

impl CodecArg {
    /// As on the wire.
    pub fn codec(self) -> Codec {
        match self {
            Self::F32 => Codec::F32,
            Self::F16 => Codec::F16,
            Self::F32Zstd => Codec::F32Zstd,
        }
    }
}

/// What goes to the MEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    Experience,
    Paper,
}
