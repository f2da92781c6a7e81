//! `hwmeter learners`: what learners there are, how well they decide, and what they cost.

use super::{context, open_sensor};
use crate::cli::LearnersArgs;
use crate::ui::{self, BOLD, paint, table};
use anyhow::Context as _;
use clap::ValueEnum;
use hwmeter::learn::bench::Bench;
use hwmeter::learn::compare::{Comparison, Row};
use hwmeter::learn::{Description, Engine, LearnerName, Settings, bench, config};
use hwmeter_hw::Root;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::clock::MonotonicClock;
use hwmeter_hw::cpu::core_count;
use hwmeter_hw::envelope::PowerEnvelope;
use hwmeter_hw::meter::{Meter, MeterOptions};
use std::fmt::Write as _;
use std::time::Duration;

/// How long each block of calls lasts whose energy is measured, at least.
const BLOCK: Duration = Duration::from_millis(400);
/// The same beside a comparison, whose point is another.
const SHORT_BLOCK: Duration = Duration::from_millis(100);

/// Why a table has no joules where it should.
const DISTURBED: &str = "Some joules are unknown: more than full load draws in that time was measured. Something else ran \
    meanwhile; try again on a quiet machine.";

/// Lists, compares or measures the learners.
pub fn run(args: &LearnersArgs, root: &Root, calibration: &Calibration) -> anyhow::Result<()> {
    let base = match args.published {
        true => Settings::published(),
        false => Settings::default(),
    };
    let settings = config::read_over(&base, args.settings.learner_config.as_deref(), &args.settings.set)?;
    let engine = args.engine.choose(root)?;
    let all = LearnerName::value_variants().iter().copied();
    let names = match args.learner.as_slice() {
        [] => all.filter(|name| engine.has(*name)).collect(),
        some => some.to_vec(),
    };
    if args.compare {
        compare(args, engine, names, settings, root, calibration)
    } else if args.bench {
        measure(args, engine, &names, &settings, root, calibration)
    } else {
        list(args, engine, &names, &settings)
    }
}

/// The settings as a TOML file that `--learner-config` reads.
fn list(
    args: &LearnersArgs,
    engine: Engine,
    names: &[LearnerName],
    settings: &Settings,
) -> anyhow::Result<()> {
    let describe = |name: &LearnerName| Ok(engine.build(*name, args.seed, settings)?.describe());
    let all: Vec<Description> = names.iter().map(describe).collect::<anyhow::Result<_>>()?;
    if args.json {
        ui::outln!("{:#}", serde_json::to_value(&all)?);
        return Ok(());
    }
    for one in &all {
        let size = format!("{}, {} parameters", one.variant, one.parameters);
        match one.settings.is_empty() {
            true => ui::outln!("{}  # no settings", paint(BOLD, format!("# {}", one.name))),
            false => ui::outln!("{}  # {size}", paint(BOLD, format!("[{}]", one.name))),
        }
        for (key, value) in &one.settings {
            ui::outln!("{key} = {value}");
        }
    }
    Ok(())
}

fn compare(
    args: &LearnersArgs,
    engine: Engine,
    names: Vec<LearnerName>,
    settings: Settings,
    root: &Root,
    calibration: &Calibration,
) -> anyhow::Result<()> {
    let bench = match start_bench(args, root, calibration, SHORT_BLOCK) {
        Ok(bench) => Some(bench),
        Err(error) if args.sensor.is_some() => return Err(error),
        Err(error) => {
            tracing::warn!("no joules: {error:#}");
            None
        }
    };
    let comparison = Comparison {
        engine,
        learners: names,
        settings,
        seed: args.seed,
        runs: args.seeds as usize,
        tasks: args.tasks as usize,
    };
    let mut rows = comparison.run()?;
    if let Some(bench) = &bench {
        comparison.measure_joules(&mut rows, bench)?;
    }
    if args.json {
        ui::outln!("{:#}", serde_json::to_value(&rows)?);
        return Ok(());
    }
    let (seeds, tasks) = (args.seeds, args.tasks);
    ui::outln!(
        "{}",
        paint(
            BOLD,
            format!("{tasks} tasks, two changes of regime, {seeds} runs; ± is a 95 % interval")
        )
    );
    print_rows(&rows);
    ui::outln!("");
    print_costs_beside(&rows);
    if let Some(bench) = &bench {
        say_what_joules_are(bench, rows.iter().any(|row| row.joules.disturbed));
    }
    Ok(())
}

fn say_what_joules_are(bench: &Bench, any_disturbed: bool) {
    if any_disturbed {
        ui::outln!("{DISTURBED}");
    }
    let info = bench.meter.info();
    if let Some(sentence) = ui::kind_sentence(info.kind, &info.id) {
        ui::outln!("{sentence}");
    }
}

/// How well they decide.
pub fn print_rows(rows: &[Row]) {
    let mut text = table(&["LEARNER", "MEAN REWARD", "REGRET", "MISSED", "GAP CLOSED"]);
    let with = |value: f64, half: Option<f64>, digits: usize| {
        let mut cell = format!("{value:.digits$}");
        if let Some(half) = half {
            let _ = write!(cell, " ± {half:.digits$}");
        }
        cell
    };
    for row in rows {
        let name = match row.diverged_runs {
            0 => row.name.clone(),
            n => format!("{} (diverged in {n} runs)", row.name),
        };
        let percent = |share: f64, half: Option<f64>| with(100.0 * share, half.map(|h| 100.0 * h), 1) + " %";
        text.add_row([
            name,
            with(row.mean_reward, row.ci95, 3),
            with(row.regret, row.regret_ci95, 3),
            percent(row.miss_rate, row.miss_rate_ci95),
            percent(row.gap_closed, row.gap_closed_ci95),
        ]);
    }
    ui::outln!("{}", text.trim_fmt());
}

/// What their decisions and updates cost.
fn print_costs_beside(rows: &[Row]) {
    let header = [
        "LEARNER",
        "DECIDE",
        "UPDATE",
        "DECIDE (k=2)",
        "UPDATE (k=2)",
        "KIND",
    ];
    let mut text = table(&header);
    let time = |s: Option<f64>| s.map_or("-".to_owned(), ui::seconds);
    for row in rows.iter().filter(|row| row.decide_s.is_some()) {
        text.add_row([
            row.name.clone(),
            time(row.decide_s),
            time(row.update_s),
            energy(row.joules.decide_j, row.joules.decide_u_j),
            energy(row.joules.update_j, row.joules.update_u_j),
            row.kind.unwrap_or("-").to_owned(),
        ]);
    }
    ui::outln!("{}", text.trim_fmt());
}

fn energy(joules: Option<f64>, u: Option<f64>) -> String {
    match (joules, u) {
        (Some(joules), Some(u)) if joules >= 1e-3 => ui::with_uncertainty(1e3 * joules, 1e3 * u, "mJ"),
        (Some(joules), Some(u)) => ui::with_uncertainty(1e6 * joules, 1e6 * u, "µJ"),
        _ => "unknown".to_owned(),
    }
}

/// Blocks of calls are as long as this meter sees: four of its samples at least.
fn start_bench(
    args: &LearnersArgs,
    root: &Root,
    calibration: &Calibration,
    at_least: Duration,
) -> anyhow::Result<Bench> {
    let context = context(root);
    let mut sensor = open_sensor(&context, calibration, args.sensor.as_deref())?;
    let info = sensor.info();
    let unreadable = || format!("sensor {} cannot be read", info.id);
    let envelope = PowerEnvelope::find(&mut *sensor, &MonotonicClock, core_count(root));
    let full = envelope.with_context(unreadable)?.full_watts;
    let options = MeterOptions::at(info.default_rate_hz());
    let meter = Meter::start(sensor, options).with_context(unreadable)?;
    let block = at_least.max(Duration::from_secs_f64(4.0 * meter.period().0));
    Ok(Bench { meter, full, block })
}

fn measure(
    args: &LearnersArgs,
    engine: Engine,
    names: &[LearnerName],
    settings: &Settings,
    root: &Root,
    calibration: &Calibration,
) -> anyhow::Result<()> {
    let bench = start_bench(args, root, calibration, BLOCK)?;
    let one = |name: &LearnerName| bench::measure(engine, *name, settings, args.seed, &bench);
    let rows: Vec<bench::Row> = names.iter().map(one).collect::<Result<_, _>>()?;
    if args.json {
        ui::outln!("{:#}", serde_json::to_value(&rows)?);
        return Ok(());
    }
    print_costs(&rows);
    say_what_joules_are(&bench, rows.iter().any(|row| row.joules.disturbed));
    Ok(())
}

fn print_costs(rows: &[bench::Row]) {
    let mut text = table(&[
        "LEARNER",
        "SIZE",
        "ENGINE",
        "PARAMETERS",
        "DECIDE (p99)",
        "UPDATE (p99)",
    ]);
    let times = |median, p99| format!("{} ({})", ui::seconds(median), ui::seconds(p99));
    for row in rows {
        let name = match row.diverged {
            true => format!("{} (diverged)", row.name),
            false => row.name.clone(),
        };
        text.add_row([
            name,
            row.variant.clone(),
            row.engine.to_owned(),
            row.parameters.to_string(),
            times(row.decide_median_s, row.decide_p99_s),
            times(row.update_median_s, row.update_p99_s),
        ]);
    }
    ui::outln!("{}\n", text.trim_fmt());
    let mut text = table(&["LEARNER", "DECIDE (k=2)", "UPDATE (k=2)", "KIND"]);
    for row in rows {
        text.add_row([
            row.name.clone(),
            energy(row.joules.decide_j, row.joules.decide_u_j),
            energy(row.joules.update_j, row.joules.update_u_j),
            row.kind.to_owned(),
        ]);
    }
    ui::outln!("{}", text.trim_fmt());
}
