//! Arguments of `hwmeter trainer`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum TrainerCommand {
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
