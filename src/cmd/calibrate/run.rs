//! A calibration from the first look to the file: the order of the steps.

use super::effort::{self, Effort};
use super::found::{Found, Gemm, Problem};
use super::progress::Progress;
use super::sensors::Sensors;
use super::{checks, document, file, gemm, learners, power, report};
use crate::cli::{CalibrateRunArgs, StepName};
use crate::cmd::{context, kernel};
use crate::ui;
use anyhow::bail;
use hwmeter_hw::Root;
use hwmeter_hw::blas::{self, all_threads};
use hwmeter_hw::caches::Caches;
use hwmeter_hw::calibration::{Calibration, Made};
use hwmeter_hw::characterise::{self, Cores};
use hwmeter_hw::cpu::{Affinity, CpuInfo};
use hwmeter_hw::idle::IdlePower;
use hwmeter_hw::meter::Meter;
use hwmeter_hw::sensors::Context;
use hwmeter_hw::triad;
use std::sync::Arc;

/// Looks, measures, prints, writes. A step that fails is told and the rest goes on.
pub fn run(
    args: &CalibrateRunArgs,
    calibration: &Calibration,
    root: &Root,
    is_quiet: bool,
) -> anyhow::Result<()> {
    if let (Err(why), false) = (checks::battery(root), args.force) {
        bail!("{why}");
    }
    let target = file::target(args.out.as_deref(), root);
    target.as_deref().map(file::check).transpose()?;
    // A child process tries each library: before threads of ours hold locks that it might need.
    let steps = effort::steps(args);
    let engines = steps.contains(&StepName::Gemm).then(blas::providers);
    let (engines, missing) = engines.map_or_else(Default::default, |found| (found.usable, found.missing));
    let context = context(root);
    let sensors = Sensors::choose(args, &context, calibration)?;
    let mut found = begin(args, &context, &sensors);
    found.gemm.missing = missing;
    let mut progress = Progress::new(&found.steps, found.effort, is_quiet);
    for warning in found.surroundings.warnings() {
        progress.say(&warning);
        found.notes.push(warning);
    }
    measure(&mut found, &context, &sensors, &engines, &mut progress);
    drop(progress);
    if found.is_empty() && !found.problems.is_empty() {
        bail!(
            "nothing could be measured. {}",
            report::sentences(&found.problems)
        );
    }
    say_spread(&mut found);
    for problem in &found.problems {
        tracing::warn!("{problem}");
    }
    if args.json {
        ui::outln!("{:#}", document::document(&found, target.as_deref()));
    } else {
        report::print(&found);
    }
    write(&found, target.as_deref(), args.json)
}

/// Nothing found yet.
fn begin(args: &CalibrateRunArgs, context: &Context, sensors: &Sensors) -> Found {
    let root = &context.root;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let governor = CpuInfo::read(root).governor;
    Found {
        board: context.board.clone(),
        made: Made::on(&context.board, now.parse().ok(), kernel(root), governor),
        effort: Effort::of(args),
        steps: effort::steps(args),
        surroundings: checks::Surroundings::look(root),
        meter: sensors.meter.clone(),
        sensor: None,
        idle: None,
        gemm: Gemm::default(),
        bandwidth: Vec::new(),
        load_steps: None,
        power_model: None,
        learners: Vec::new(),
        notes: Vec::new(),
        problems: Vec::new(),
    }
}

/// Every step asked for. The sensor is looked at before the meter samples it: two readers would disturb each other.
fn measure(
    found: &mut Found,
    context: &Context,
    sensors: &Sensors,
    engines: &[Box<dyn blas::Gemm>],
    progress: &mut Progress,
) {
    let root = &context.root;
    let mut meter = None;
    let mut is_started = false;
    for step in found.steps.clone() {
        progress.begin(step);
        if step != StepName::Sensor && step != StepName::Bandwidth && !is_started {
            meter = start_meter(found, sensors, step);
            is_started = true;
        }
        match step {
            StepName::Sensor => characterise(found, context, sensors),
            StepName::Idle => idle(found, meter.as_ref()),
            StepName::Gemm => gemm::measure(found, root, engines, meter.as_ref(), progress),
            StepName::Bandwidth => bandwidth(found, root),
            StepName::PowerModel => power::measure(found, root, meter.as_ref(), progress),
            StepName::Learners => learners::measure(found, meter.take(), progress),
        }
        progress.end();
    }
    if let Some(meter) = meter {
        meter.stop();
    }
}

fn start_meter(found: &mut Found, sensors: &Sensors, step: StepName) -> Option<Meter> {
    match sensors.start_meter() {
        Ok(Some(meter)) => Some(meter),
        Ok(None) => {
            let why = sensors.subject.as_ref().err();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            found.notes.push(format!("no joules: there is no sensor{why}"));
            None
        }
        Err(error) => {
            found.problems.push(Problem::new(step, format!("{error:#}")));
            None
        }
    }
}

fn characterise(found: &mut Found, context: &Context, sensors: &Sensors) {
    let outcome = sensors.subject.clone().and_then(|info| {
        let sensor = sensors.open(&info).map_err(|error| format!("{error:#}"))?;
        let cores = Affinity::current().map_err(|error| error.to_string())?;
        let options = found.effort.characterise(&info);
        let clock = Arc::clone(&context.clock);
        characterise::characterise(sensor, &clock, &mut Cores::new(cores), &options)
            .map_err(|error| format!("{}: {error}", info.id))
    });
    match outcome {
        Ok(sensor) => found.sensor = Some(sensor),
        Err(why) => found.problems.push(Problem::new(StepName::Sensor, why)),
    }
}

fn idle(found: &mut Found, meter: Option<&Meter>) {
    let Some(meter) = meter else { return };
    let time = found.effort.budget(StepName::Idle);
    found.idle = IdlePower::measure(meter, time, std::thread::sleep);
    if found.idle.is_none() {
        let reason = meter.stats().last_error;
        let reason = reason.map_or_else(String::new, |error| format!(": {error}"));
        let what = format!("no sample of {} came meanwhile{reason}", meter.info().id);
        found.problems.push(Problem::new(StepName::Idle, what));
    }
}

/// One thread, then all.
fn bandwidth(found: &mut Found, root: &Root) {
    let cpus = Affinity::current().unwrap_or_default();
    let caches = Caches::read(root, &cpus);
    let available = gemm::available_bytes(root);
    let mut threads = vec![1, all_threads()];
    threads.dedup();
    let budget = found.effort.budget(StepName::Bandwidth) / threads.len() as u32;
    for threads in threads {
        let options = triad::Options::new(threads, &caches, available, budget);
        match triad::measure(&options, &caches) {
            Ok(bandwidth) => found.bandwidth.push(bandwidth),
            Err(error) => found.problems.push(Problem::new(StepName::Bandwidth, error)),
        }
    }
}

/// A busy machine: by how much its figures scatter.
fn say_spread(found: &mut Found) {
    let Some(spread) = found.median_spread().filter(|_| found.surroundings.is_busy()) else {
        return;
    };
    let repeats = found.gemm.repeats.as_ref();
    let repeats = repeats.map_or_else(String::new, |repeats| {
        format!(", and five repeats of one row by {:.1} %", 100.0 * repeats.spread)
    });
    found.notes.push(format!(
        "what else ran shows in the matrix products: they scatter by {:.1} % in the median row{repeats}; a quiet machine \
         stays within 2 %",
        100.0 * spread
    ));
}

fn write(found: &Found, target: Option<&std::path::Path>, is_json: bool) -> anyhow::Result<()> {
    let Some(target) = target else {
        tracing::warn!("not written to a file: neither XDG_CONFIG_HOME nor HOME is set; give --out FILE");
        return Ok(());
    };
    file::write(target, found)?;
    if !is_json {
        ui::outln!("\nWritten to {}", target.display());
    }
    Ok(())
}
