//! `hwmeter evaluate`: a saved learner without exploration or training.

use super::run_agent::{self, plan::Plan};
use crate::cli::{EvaluateArgs, EvaluateOn};
use crate::ui::{BOLD, paint};
use hwmeter::learn::{Checkpoint, Learner, compare, environment};
use hwmeter::run_dir::RunDir;
use hwmeter_hw::Root;
use hwmeter_hw::calibration::Calibration;
use std::process::ExitCode;

/// Runs the learner on the toy device, or on real tasks as `run-agent` does.
pub fn run(args: &EvaluateArgs, root: &Root, calibration: &Calibration) -> anyhow::Result<ExitCode> {
    let checkpoint = match args.checkpoint.is_dir() {
        true => Checkpoint::read(&RunDir::open(&args.checkpoint).learner())?,
        false => Checkpoint::read(&args.checkpoint)?,
    };
    let engine = args.run.engine.choose(root)?;
    match args.on {
        EvaluateOn::Tasks => {
            let plan = Plan::evaluate(&checkpoint, &args.run, engine)?;
            run_agent::run_plan(plan, &args.run, root, calibration)
        }
        EvaluateOn::Environment => on_environment(args, &checkpoint, &mut *engine.restore(&checkpoint)?),
    }
}

fn on_environment(
    args: &EvaluateArgs,
    checkpoint: &Checkpoint,
    learner: &mut dyn Learner,
) -> anyhow::Result<ExitCode> {
    let (seed, tasks) = (args.run.seed.unwrap_or(50), args.run.tasks.unwrap_or(500));
    let seeds = (0..u64::from(args.seeds)).map(|i| seed.wrapping_add(i));
    let runs: Vec<_> = seeds
        .map(|seed| environment::tasks(tasks as usize, seed))
        .collect();
    let row = compare::evaluate(learner, &runs)?;
    if args.run.json {
        println!("{:#}", serde_json::to_value(&row)?);
        return Ok(ExitCode::SUCCESS);
    }
    let (updates, count) = (checkpoint.header().updates, args.seeds);
    let title = format!(
        "{} after {updates} updates, {tasks} tasks, {count} runs; ± is a 95 % interval",
        row.name
    );
    anstream::println!("{}", paint(BOLD, title));
    super::learners::print_rows(&[row]);
    Ok(ExitCode::SUCCESS)
}
