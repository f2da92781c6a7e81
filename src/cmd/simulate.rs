//! `hwmeter simulate`: a scenario of the virtual testbed.

use crate::cli::SimulateArgs;
use crate::ui;
use anyhow::Context as _;
use hwmeter::run_dir::RunDir;
use hwmeter::testbed::Scenario;
use hwmeter::testbed::sweep::{DeviceRun, Sweep};
use hwmeter_hw::repeat::student_t;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tasks between two looks at the bar.
const BAR_STEP: u64 = 1024;

/// Reads, runs, prints.
pub fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    if let Some(preset) = args.preset.filter(|_| args.show) {
        ui::outln!("{}", preset.text().trim_end());
        return Ok(());
    }
    let mut scenario = match (args.preset, &args.scenario) {
        (Some(preset), _) => preset.scenario()?,
        (None, Some(path)) => Scenario::read(path)?,
        (None, None) => anyhow::bail!("there is no scenario; name a file, or use --preset"),
    };
    if let Some(tasks) = args.tasks {
        scenario.count = tasks as usize;
    }
    let first = args.seed.unwrap_or(scenario.seeds.first);
    let seeds = args
        .shard
        .seeds(first, args.seeds.unwrap_or(scenario.seeds.count));
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| RunDir::default_path("simulation"));
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let sweep = Sweep {
        scenario: &scenario,
        threads: args.threads.unwrap_or(cores),
        out: &out,
        force: args.force,
        trace: !args.no_trace,
        seeds,
    };
    let runs = with_bar(&sweep).with_context(|| format!("scenario {}", scenario.name))?;
    match args.json {
        true => ui::outln!(
            "{:#}",
            json!({ "out": out, "kind": "simulated", "scenario": scenario.name, "runs": runs, "assumed": scenario.assumed() })
        ),
        false => print(&scenario, &runs, &out),
    }
    Ok(())
}

/// The bar hides itself when stderr is not a terminal.
fn with_bar(sweep: &Sweep<'_>) -> anyhow::Result<Vec<DeviceRun>> {
    let devices = sweep.scenario.device_count() as u64;
    let tasks = sweep.seeds.len() as u64 * devices * sweep.scenario.count as u64;
    let bar = ProgressBar::new(tasks);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} tasks  {per_sec}  {eta} left") {
        bar.set_style(style);
    }
    let done = AtomicU64::new(0);
    let result = sweep.run(&|| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(BAR_STEP) {
            bar.set_position(done);
        }
    });
    bar.finish_and_clear();
    result
}

/// Devices that differ only in their number are one row.
fn print(scenario: &Scenario, runs: &[DeviceRun], out: &Path) {
    let mut table = ui::table(&[
        "board", "learner", "engine", "training", "runs", "reward", "in time", "local", "mec", "cloud",
        "J/task", "s/update", "J/update",
    ]);
    let mut left: Vec<&DeviceRun> = runs.iter().collect();
    while let Some(first) = left.first().copied() {
        let is_alike = |run: &DeviceRun| {
            (&run.profile, run.learner, &run.engine, run.training)
                == (&first.profile, first.learner, &first.engine, first.training)
        };
        let (alike, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|run| is_alike(run));
        table.add_row(row(&alike));
        left = others;
    }
    ui::outln!("{}", table.trim_fmt());
    let (known, within) = runs.iter().fold((0, 0), |(known, within), run| {
        (known + run.within_two_u.0, within + run.within_two_u.1)
    });
    let share = 100.0 * within as f64 / known.max(1) as f64;
    ui::outln!("\nAll of it simulated. Means over runs ± half of their 95 % interval.");
    ui::outln!(
        "The sensors' joules lie within two standard uncertainties of the truth in {share:.1} % of {known} tasks."
    );
    let assumed = scenario.assumed().len();
    ui::outln!("{assumed} figures of the machines are assumed; run.json names them.");
    ui::outln!("{}", out.display());
}

fn row(runs: &[&DeviceRun]) -> Vec<String> {
    let first = runs[0];
    let mean = |of: &dyn Fn(&DeviceRun) -> Option<f64>| {
        let known: Vec<f64> = runs.iter().filter_map(|run| of(run)).collect();
        text(&known)
    };
    let share = |of: fn(&DeviceRun) -> f64| {
        let sum: f64 = runs.iter().map(|run| of(run)).sum();
        format!("{:.0} %", 100.0 * sum / runs.len() as f64)
    };
    let per_task = |joules: Option<f64>, run: &DeviceRun| joules.map(|j| j / run.summary.tasks as f64);
    vec![
        first.profile.clone(),
        first.learner.to_string(),
        first.engine.clone(),
        first.training.as_str().to_owned(),
        runs.len().to_string(),
        mean(&|run| run.summary.mean_reward),
        share(|run| run.summary.success_rate),
        share(|run| run.summary.local),
        share(|run| run.summary.mec),
        share(|run| run.summary.cloud),
        mean(&|run| per_task(run.summary.energy_j, run)),
        mean(&|run| run.summary.train_p50_s),
        mean(&|run| per_task(run.summary.train_j, run)),
    ]
}

/// The mean, and half the width of its 95 % interval where there are two or more.
fn text(values: &[f64]) -> String {
    let n = values.len() as f64;
    if values.is_empty() {
        return String::new();
    }
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return format!("{mean:.*}", digits(mean));
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = student_t(n - 1.0) * (variance / n).sqrt();
    let digits = digits(mean);
    format!("{mean:.digits$} ± {half:.digits$}")
}

/// Decimals that leave three significant digits.
fn digits(value: f64) -> usize {
    match value == 0.0 {
        true => 0,
        false => (2.0 - value.abs().log10().floor()).clamp(0.0, 9.0) as usize,
    }
}
