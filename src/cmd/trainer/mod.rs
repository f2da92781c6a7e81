//! `hwmeter trainer`: what is trained, and whether it was trained alike.

mod replay;
mod status;

use crate::cli::TrainerCommand;
use std::process::ExitCode;

/// Runs the subcommand.
pub fn run(command: &TrainerCommand) -> anyhow::Result<ExitCode> {
    match command {
        TrainerCommand::Status(args) => status::run(args),
        TrainerCommand::Replay(args) => replay::run(args),
    }
}
