//! `hwmeter calibrate`: matrix products per second and per joule.

use super::{context, open_sensor};
use crate::cli::CalibrateArgs;
use crate::ui::{self, paint, table};
use anyhow::Context as _;
use hwmeter_hw::Root;
use hwmeter_hw::blas::bench::{GemmTiming, Precision, time};
use hwmeter_hw::blas::{self, Gemm, Missing, Providers};
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::idle::IdlePower;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::SensorInfo;
use hwmeter_hw::small_file;
use hwmeter_hw::span::SpanEnergy;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use toml_edit::{DocumentMut, Item, value};

/// Order of the matrices: large enough to leave the caches, small enough for a Raspberry Pi.
const N: usize = 1024;
const N_QUICK: usize = 512;
/// Time for each engine, precision and number of threads.
const BUDGET: Duration = Duration::from_secs(3);
const BUDGET_QUICK: Duration = Duration::from_millis(700);

/// How long idle power is watched.
const IDLE: Duration = Duration::from_secs(1);

/// One timing and what it cost.
struct Row {
    timing: GemmTiming,
    energy: SpanEnergy,
}

/// Times every engine found, prints the table.
pub fn run(args: &CalibrateArgs, root: &Root, calibration: &Calibration) -> anyhow::Result<ExitCode> {
    let context = context(root);
    let sensor = open_sensor(&context, calibration, args.sensor.as_deref())?;
    let rate = sensor.info().default_rate_hz();
    let meter = Meter::start(sensor, MeterOptions::at(rate)).context("the sensor cannot be read")?;
    let idle = idle_power(&meter);
    let Providers { usable, missing } = blas::providers();
    let rows = time_all(&usable, &meter, args.quick)?;
    let info = meter.info().clone();
    meter.stop();
    if let Some(file) = &args.out {
        write_idle(file, &info.id, idle.as_ref())?;
    }
    let idle = idle.map(|idle| idle.watts().0);
    if args.json {
        ui::outln!("{:#}", document(&rows, idle, &info, &missing));
    } else {
        print(&rows, idle, &info, &missing);
    }
    Ok(ExitCode::SUCCESS)
}

/// Power while nothing of ours runs.
fn idle_power(meter: &Meter) -> Option<IdlePower> {
    IdlePower::measure(meter, IDLE, std::thread::sleep)
}

/// Puts the idle power into a calibration file; everything else in it, comments included, stays.
fn write_idle(file: &Path, id: &str, idle: Option<&IdlePower>) -> anyhow::Result<()> {
    let idle = idle.context("idle power is unknown (no sample came meanwhile): nothing to write")?;
    let old = match small_file::read_text(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("cannot read {}", file.display()))?,
    };
    Calibration::parse(file, &old)?;
    let mut document: DocumentMut = old
        .parse()
        .with_context(|| format!("cannot read {}", file.display()))?;
    let sensors = document.entry("sensor").or_insert(implicit_table());
    let section = sensors[id].or_insert(toml_edit::table());
    section["idle_watts"] = value(rounded(idle.watts().0));
    section["idle_uncertainty_watts"] = value(rounded(idle.uncertainty().0));
    let draft = file.with_extension("tmp");
    let written = std::fs::write(&draft, document.to_string()).and_then(|()| std::fs::rename(&draft, file));
    written.with_context(|| {
        format!(
            "cannot write {}; is its directory there and writable?",
            file.display()
        )
    })
}

/// A table whose own line `[sensor]` is not written.
fn implicit_table() -> Item {
    let mut table = toml_edit::Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// Microwatts are enough for a person to read.
fn rounded(watts: f64) -> f64 {
    (watts * 1e6).round() * 1e-6
}

fn time_all(engines: &[Box<dyn Gemm>], meter: &Meter, is_quick: bool) -> anyhow::Result<Vec<Row>> {
    let (n, budget) = if is_quick {
        (N_QUICK, BUDGET_QUICK)
    } else {
        (N, BUDGET)
    };
    let mut threads = vec![1, blas::all_threads()];
    threads.dedup();
    let bar = ProgressBar::new((engines.len() * 2 * threads.len()) as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {eta} left") {
        bar.set_style(style);
    }
    let mut rows = Vec::new();
    for engine in engines {
        for precision in [Precision::Sgemm, Precision::Dgemm] {
            for &threads in threads.iter().filter(|&&threads| threads <= engine.max_threads()) {
                bar.set_message(format!(
                    "{} {} on {threads} threads",
                    engine.name(),
                    name(precision)
                ));
                let span = meter.span("gemm");
                let timing = time(&**engine, precision, n, threads, budget)?;
                rows.push(Row {
                    timing,
                    energy: span.end().wait(),
                });
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(rows)
}

fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::Sgemm => "sgemm",
        Precision::Dgemm => "dgemm",
    }
}

/// GFLOPS per watt of the whole span: warm-up and the time between products included, as is their energy.
fn watts(row: &Row) -> Option<f64> {
    row.energy.mean_power().map(|power| power.0)
}

fn document(rows: &[Row], idle: Option<f64>, info: &SensorInfo, missing: &[Missing]) -> Value {
    let gemm: Vec<Value> = rows
        .iter()
        .map(|row| {
            let watts = watts(row);
            json!({
                "provider": row.timing.engine,
                "op": name(row.timing.precision),
                "threads": row.timing.threads,
                "n": row.timing.n,
                "gflops": row.timing.best_gflops,
                "gflops_median": row.timing.median_gflops,
                "gflops_spread": row.timing.spread,
                "watts": watts,
                "gflops_per_watt": watts.map(|watts| row.timing.median_gflops / watts),
            })
        })
        .collect();
    json!({
        "gemm": gemm,
        "idle_watts": idle,
        "sensor": { "id": info.id, "kind": info.kind },
        "missing": missing.iter().map(Missing::to_string).collect::<Vec<_>>(),
    })
}

fn print(rows: &[Row], idle: Option<f64>, info: &SensorInfo, missing: &[Missing]) {
    let mut lines = table(&[
        "ENGINE", "PRODUCT", "THREADS", "N", "GFLOPS", "MEDIAN", "SPREAD", "POWER", "GFLOPS/W",
    ]);
    for row in rows {
        let timing = &row.timing;
        let watts = watts(row);
        lines.add_row([
            timing.engine.clone(),
            name(timing.precision).to_owned(),
            timing.threads.to_string(),
            timing.n.to_string(),
            format!("{:.2}", timing.best_gflops),
            format!("{:.2}", timing.median_gflops),
            format!("{:.1} %", 100.0 * timing.spread),
            watts.map_or("-".to_owned(), |w| format!("{w:.2} W")),
            watts.map_or("-".to_owned(), |w| format!("{:.2}", timing.median_gflops / w)),
        ]);
    }
    ui::outln!("{}", lines.trim_fmt());
    if let Some(idle) = idle {
        ui::outln!("\nidle {idle:.2} W  [{}, {}]", info.id, info.kind);
    }
    for missing in missing {
        ui::outln!("{} {missing}", paint(ui::WARN, "not timed:"));
    }
    if let Some(sentence) = ui::kind_sentence(info.kind, &info.id) {
        ui::outln!("{sentence}");
    }
}
