//! `hwmeter calibrate`: know the board before trusting it.
//!
//! ```text
//! checks -> sensors -> run: sensor, idle, gemm, bandwidth, power, learners -> Found
//! Found -> report (table) or document (--json), and file
//! ```

mod checks;
mod compare;
mod document;
mod effort;
mod file;
mod found;
mod gemm;
mod learners;
mod paper;
mod power;
mod progress;
mod report;
mod run;
mod sensors;
mod show;
mod table;

use super::{calibration, calibration_file};
use crate::cli::{CalibrateArgs, CalibrateCommand};
use anyhow::Context as _;
use hwmeter_hw::Root;
use hwmeter_hw::calibration::Calibration;
use std::path::Path;
use std::process::ExitCode;

/// Calibrates, or prints calibrations. `named` is `--calibration`.
pub fn run(
    args: &CalibrateArgs,
    named: Option<&Path>,
    root: &Root,
    is_quiet: bool,
) -> anyhow::Result<ExitCode> {
    let done = match &args.command {
        None => run::run(&args.run, &calibration(named, root)?, root, is_quiet),
        Some(CalibrateCommand::Show(args)) => {
            let file = args.file.clone().or_else(|| calibration_file(named, root));
            let file = file.context("there is no calibration file yet; `hwmeter calibrate` makes one")?;
            show::print(&Calibration::read(&file)?, &file, args.json)
        }
        Some(CalibrateCommand::Compare(args)) => {
            let (a, b) = (Calibration::read(&args.a)?, Calibration::read(&args.b)?);
            compare::print((&args.a, &a), (&args.b, &b), args.json)
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}
