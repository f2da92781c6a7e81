//! The load steps and the power model fitted to them.

use super::found::{Found, Problem};
use super::progress::Progress;
use crate::cli::StepName;
use hwmeter_hw::Root;
use hwmeter_hw::load_steps::{self, Plan};
use hwmeter_hw::meter::Meter;
use hwmeter_hw::power_model::PowerModel;
use hwmeter_hw::sensor::Kind;
use hwmeter_hw::units::Watts;
use std::time::Duration;

/// Takes the steps and fits them. What cannot be fitted is told, and the steps stay.
pub fn measure(found: &mut Found, root: &Root, meter: Option<&Meter>, progress: &Progress) {
    let Some(meter) = meter else {
        let what = "no meter to fit a power model against";
        found.problems.push(Problem::new(StepName::PowerModel, what));
        return;
    };
    if meter.info().kind == Kind::Modelled {
        found.notes.push(format!(
            "no power model: {} is a model itself. Give a meter, such as --reference \
             'modbus:tcp://192.168.1.7:502?meter=shelly-em1'",
            meter.info().id
        ));
        return;
    }
    match take(found, root, meter, progress) {
        Ok(()) => fit(found),
        Err(error) => found.problems.push(Problem::new(StepName::PowerModel, error)),
    }
}

fn take(found: &mut Found, root: &Root, meter: &Meter, progress: &Progress) -> hwmeter_hw::Result<()> {
    let mut plan = Plan::new(root, meter.info(), found.effort.load_steps())?;
    shorten(&mut plan, found.effort.budget(StepName::PowerModel));
    let count = plan.steps.len();
    let steps = load_steps::run(&plan, meter, root, |n, step| {
        let what = format!(
            "{} cores busy {:.0} % of the time",
            step.busy_cores,
            100.0 * step.share
        );
        progress.at(&what, n as f64 / count as f64);
    })?;
    found.notes.extend(steps.notes.iter().cloned());
    found.load_steps = Some(steps);
    Ok(())
}

/// So many cores or so slow a sensor that it would take longer: each step gets less.
fn shorten(plan: &mut Plan, budget: Duration) {
    let planned = plan.duration();
    if planned <= budget {
        return;
    }
    let share = budget.as_secs_f64() / planned.as_secs_f64();
    plan.settle = plan.settle.mul_f64(share);
    plan.length = plan.length.mul_f64(share);
    plan.notes.push(format!(
        "load steps last {:.1} s each, {:.0} % of what suits these cores and this sensor; give them more time (no --quick, \
         or --full)",
        (plan.settle + plan.length).as_secs_f64(),
        100.0 * share
    ));
}

fn fit(found: &mut Found) {
    let Some(steps) = &found.load_steps else { return };
    let partial = steps.partial.iter();
    let mut problems: Vec<String> = partial.cloned().collect();
    match PowerModel::fit(steps) {
        Ok(mut model) => {
            model.date = found.made.date;
            model.sensor = super::file::without_serial(&model.sensor);
            found.power_model = Some(model);
        }
        Err(error) => {
            // It may hold the other one.
            let why = error.to_string();
            problems.retain(|other| !why.contains(other.as_str()));
            problems.push(why);
        }
    }
    let problems = problems.into_iter();
    found
        .problems
        .extend(problems.map(|why| Problem::new(StepName::PowerModel, why)));
}

/// Power with every core busy, as the governor has it.
pub fn full_watts(found: &Found) -> Option<Watts> {
    let steps = found.load_steps.as_ref()?;
    let most = steps.steps.iter().map(|step| step.busy_cores).max()?;
    let full = steps
        .steps
        .iter()
        .filter(|step| step.busy_cores == most && step.share == 1.0);
    full.map(|step| step.watts)
        .reduce(|a, b| if b > a { b } else { a })
}
