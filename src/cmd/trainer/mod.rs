//! `hwmeter trainer`: what is trained, and whether it was trained alike.

mod replay;

use crate::cli::TrainerCommand;
use std::process::ExitCode;

/// Runs the subcommand.
pub fn run(command: &TrainerCommand) -> anyhow::Result<ExitCode> {
    match command {
        TrainerCommand::Replay(args) => replay::run(args),
    }
}
