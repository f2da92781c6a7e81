//! `hwmeter tasks generate`: a task set as a file, and on stderr what it is like.

use super::summary;
use crate::cli::{Cli, CostsArg, GenerateArgs};
use anyhow::Context as _;
use clap::CommandFactory;
use clap::error::ErrorKind;
use hwmeter::run_dir::replace;
use hwmeter::task::CostModel;
use hwmeter::task::file::{write_csv, write_json_lines};
use hwmeter::task::generate::{GenerateError, Parameters};
use hwmeter_hw::Root;
use hwmeter_hw::clock_rate::clock_hz;
use std::io::{self, Write as _};

/// Generates, writes, sums up.
pub fn run(args: &GenerateArgs, is_quiet: bool, root: &Root) -> anyhow::Result<()> {
    let parameters = parameters(args);
    let cost = match args.costs {
        CostsArg::Reference => CostModel::reference(),
        CostsArg::Here => CostModel::calibrate(clock_hz(root).hz),
    };
    let rows = match parameters.generate(&cost) {
        Ok(rows) => rows,
        Err(bad @ GenerateError::Parameter(_)) => {
            Cli::command().error(ErrorKind::ValueValidation, bad).exit()
        }
        Err(other) => return Err(other.into()),
    };
    let mut content = Vec::new();
    match args.json {
        true => write_json_lines(&rows, &mut content),
        false => write_csv(&rows, &mut content),
    }
    .context("cannot put the task set into words")?;
    match &args.out {
        Some(file) => replace(file, &content)?,
        None => to_stdout(&content)?,
    }
    if !is_quiet {
        summary::print(&rows, &parameters, &cost, args);
    }
    Ok(())
}

fn parameters(args: &GenerateArgs) -> Parameters {
    Parameters {
        utilisation: args.utilisation,
        tasks: args.tasks,
        period_min_us: args.period_min,
        period_max_us: args.period_max,
        period_step_us: args.period_step,
        seed: args.seed,
        mhz: args.mhz,
        cores: args.cores,
        deadline_factor: args.deadline_factor,
        payload_bytes: args.payload,
    }
}

/// A reader that went away (`| head`) wanted no more.
fn to_stdout(content: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(content).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("the task set could not be written to stdout")
        }
        _ => Ok(()),
    }
}
