//! `hwmeter evaluate`: a saved learner without exploration or training.

use super::run_agent::{self, plan::Plan};
use crate::cli::{EvaluateArgs, EvaluateOn};
use crate::ui::{self, BOLD, paint};
use anyhow::bail;
use hwmeter::learn::{Checkpoint, Learner, compare};
use hwmeter::run_dir::RunDir;
use hwmeter_hw::Root;
use hwmeter_hw::calibration::Calibration;
use std::process::ExitCode;

/// Options of a run that are about making a learner or training it.
const OF_LEARNING: [&str; 6] = [
    "learner",
    "set",
    "learner-config",
    "resume",
    "reset-on-divergence",
    "checkpoint-every",
];
/// Options of a run that mean something on the simulated device.
const OF_ENVIRONMENT: [&str; 5] = ["seed", "tasks", "json", "engine", "gpu"];
/// Tasks of one simulated run, at most: they are held in memory.
const MOST_TASKS: u32 = 1_000_000;

/// Runs the learner on the toy device, or on real tasks as `run-agent` does.
pub fn run(args: &EvaluateArgs, root: &Root, calibration: &Calibration) -> anyhow::Result<ExitCode> {
    let checkpoint = match args.checkpoint.is_dir() {
        true => Checkpoint::read(&RunDir::open(&args.checkpoint).learner())?,
        false => Checkpoint::read(&args.checkpoint)?,
    };
    refuse_other_settings(args)?;
    let engine = args.run.engine.choose(root)?;
    match args.on {
        EvaluateOn::Tasks => {
            let plan = Plan::evaluate(&checkpoint, &args.run, engine)?;
            run_agent::run_plan(plan, &args.run, root, calibration)
        }
        EvaluateOn::Environment => {
            refuse_what_is_of_real_tasks(args)?;
            on_environment(args, &checkpoint, &mut *engine.restore(&checkpoint)?)
        }
    }
}

/// The checkpoint says which learner it is, and how it was made.
fn refuse_other_settings(args: &EvaluateArgs) -> anyhow::Result<()> {
    match given(args, |name| OF_LEARNING.contains(&name)) {
        None => Ok(()),
        Some(name) => {
            bail!("the checkpoint says which learner it is and how it was made; leave out --{name}")
        }
    }
}

/// The simulated device has no sensor, no servers and no folder for results.
fn refuse_what_is_of_real_tasks(args: &EvaluateArgs) -> anyhow::Result<()> {
    match given(args, |name| !OF_ENVIRONMENT.contains(&name)) {
        None => Ok(()),
        Some(name) => {
            bail!("--{name} does nothing on the simulated device; leave it out, or use --on tasks")
        }
    }
}

/// The first of these options of a run that was given.
fn given(args: &EvaluateArgs, is_one: impl Fn(&str) -> bool) -> Option<&str> {
    args.run
        .given
        .keys()
        .map(String::as_str)
        .find(|name| is_one(name))
}

fn on_environment(
    args: &EvaluateArgs,
    checkpoint: &Checkpoint,
    learner: &mut dyn Learner,
) -> anyhow::Result<ExitCode> {
    let (seed, tasks) = (args.run.seed.unwrap_or(50), args.run.tasks.unwrap_or(500));
    if tasks > MOST_TASKS {
        bail!(
            "--tasks {tasks} are too many for the simulated device, {MOST_TASKS} at most; use more --seeds"
        );
    }
    let row = compare::evaluate(learner, seed, args.seeds as usize, tasks as usize)?;
    if args.run.json {
        ui::outln!("{:#}", serde_json::to_value(&row)?);
        return Ok(ExitCode::SUCCESS);
    }
    let (updates, count) = (checkpoint.header().updates, args.seeds);
    let title = format!(
        "{} after {updates} updates, {tasks} tasks, {count} runs; ± is a 95 % interval",
        row.name
    );
    ui::outln!("{}", paint(BOLD, title));
    super::learners::print_rows(&[row]);
    Ok(ExitCode::SUCCESS)
}
