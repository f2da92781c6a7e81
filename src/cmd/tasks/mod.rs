//! `hwmeter tasks`: task sets and kernels.

mod generate;
mod list;
mod run;
mod summary;

use crate::cli::TasksCommand;
use hwmeter_hw::Root;
use hwmeter_hw::calibration::Calibration;
use std::process::ExitCode;

/// Generates, lists or runs. `is_quiet` leaves the summary out; only `run` needs the calibration.
pub fn run(
    command: &TasksCommand,
    is_quiet: bool,
    root: &Root,
    calibration: impl FnOnce() -> anyhow::Result<Calibration>,
) -> anyhow::Result<ExitCode> {
    match command {
        TasksCommand::Generate(args) => generate::run(args, is_quiet, root)?,
        TasksCommand::List(args) => list::run(args, root)?,
        TasksCommand::Run(args) => run::run(args, root, &calibration()?)?,
    }
    Ok(ExitCode::SUCCESS)
}
