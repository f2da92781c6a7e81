//! Arguments of `hwmeter trainer`.

use clap::{Args, Subcommand};
use hwmeter::train::link::BrokerUrl;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum TrainerCommand {
    /// List the learners of running trainers: devices, versions, lag, updates per second, bytes
    Status(StatusArgs),
    /// Train the learner of a run once more on the transitions that it has recorded, and compare the weights
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The run's folder, written by `hwmeter run-agent --record-transitions`
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The broker: mqtt://HOST:PORT or mqtts://HOST:PORT, with USER:PASSWORD@ where it asks for one
    #[arg(long, value_name = "URL")]
    pub broker: BrokerUrl,
    /// For mqtts: the authority that signed the broker's certificate, as a PEM file [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Print anew whenever something changes, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Print one JSON document; with --watch one a line
    #[arg(long)]
    pub json: bool,
}
