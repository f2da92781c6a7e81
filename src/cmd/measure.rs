//! `hwmeter measure`: the joules of a command or of a duration.

use super::{context, open_sensor, with_radio, with_total};
use crate::cli::MeasureArgs;
use crate::ui::{self, paint, table};
use anyhow::Context as _;
use hwmeter::trace::TraceWriter;
use hwmeter_hw::Root;
use hwmeter_hw::clock::{Clock, Moment, MonotonicClock};
use hwmeter_hw::meter::{Meter, MeterOptions, MeterStats};
use hwmeter_hw::sensor::SensorInfo;
use hwmeter_hw::sensors::Context;
use hwmeter_hw::span::{PendingSpan, SpanEnergy};
use hwmeter_hw::uncertainty::Energy;
use hwmeter_hw::units::Joules;
use serde_json::{Map, Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What one sensor said about one run.
struct Measurement {
    info: SensorInfo,
    span: SpanEnergy,
    stats: MeterStats,
}

/// One run of the command, seen by every sensor.
struct Run {
    sensors: Vec<Measurement>,
    exit_status: i32,
}

/// Measures, prints, and passes on the command's exit status.
pub fn run(args: &MeasureArgs, root: &Root) -> anyhow::Result<ExitCode> {
    let context = context(root);
    let origin = MonotonicClock.now();
    let trace = args.csv.as_deref().map(TraceWriter::create).transpose()?;
    let interrupts = Interrupts::watch()?;
    let mut runs = Vec::new();
    for _ in 0..args.repeat {
        runs.push(measure_once(args, &context, trace.as_ref(), origin, &interrupts)?);
        if interrupts.ended_early() {
            break;
        }
    }
    let written = trace.map(|trace| {
        let path = trace.path().to_owned();
        trace.finish().check(&path)
    });
    if args.json {
        println!("{:#}", document(&runs));
    } else {
        print(&runs);
    }
    written.transpose()?;
    let last = runs.last().map_or(0, |run| run.exit_status);
    Ok(ExitCode::from(u8::try_from(last).unwrap_or(1)))
}

fn measure_once(
    args: &MeasureArgs,
    context: &Context,
    trace: Option<&TraceWriter>,
    origin: Moment,
    interrupts: &Interrupts,
) -> anyhow::Result<Run> {
    let meters = start_meters(args, context, trace, origin)?;
    let spans: Vec<_> = meters.iter().map(|meter| meter.span("measured")).collect();
    let outcome = match args.duration {
        Some(duration) => interrupts.sleep(duration),
        None => run_command(args, interrupts),
    };
    let pending: Vec<PendingSpan> = spans.into_iter().map(hwmeter_hw::span::Span::end).collect();
    let sensors = meters
        .into_iter()
        .zip(pending)
        .map(|(meter, pending)| finish(meter, &pending))
        .collect();
    Ok(Run {
        sensors,
        exit_status: outcome?,
    })
}

fn start_meters(
    args: &MeasureArgs,
    context: &Context,
    trace: Option<&TraceWriter>,
    origin: Moment,
) -> anyhow::Result<Vec<Meter>> {
    let names: Vec<Option<&str>> = match args.sensor.as_slice() {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    names
        .into_iter()
        .map(|name| {
            let sensor = with_total(open_sensor(context, name)?, &args.total)?;
            let sensor = with_radio(sensor, args.radio.as_ref(), context)?;
            let info = sensor.info();
            let mut options = MeterOptions::at(args.rate.unwrap_or(info.default_rate_hz()));
            options.realtime = args.realtime;
            options.on_sample = trace.map(|trace| trace.on_sample(origin));
            Meter::start(sensor, options).with_context(|| format!("sensor {} cannot be read", info.id))
        })
        .collect()
}

/// Takes a last sample, waits for a slow sensor's next value, and stops.
fn finish(meter: Meter, pending: &PendingSpan) -> Measurement {
    meter.sample_now();
    let span = pending.wait();
    let info = meter.info().clone();
    Measurement {
        info,
        span,
        stats: meter.stop(),
    }
}

/// Runs the command to its end; its exit status, 128 + N if signal N ended it.
fn run_command(args: &MeasureArgs, interrupts: &Interrupts) -> anyhow::Result<i32> {
    let (program, arguments) = args.command.split_first().context("no command given")?;
    let mut command = Command::new(program);
    command.args(arguments);
    if args.json {
        // stdout holds the one document.
        command.stdout(Stdio::from(std::io::stderr()));
    }
    let mut child = command.spawn().with_context(|| {
        format!(
            "cannot run {}; is it installed and spelled right?",
            program.to_string_lossy()
        )
    })?;
    let status = interrupts.wait_for(&mut child)?;
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|n| 128 + n))
        .unwrap_or(1)
}

/// Signals that arrive while something is being measured. What the terminal sends (Ctrl-C, Ctrl-\\) reaches the command
/// by itself; what is sent to us alone is passed on to it. Either way we live on to print the result.
struct Interrupts {
    arrived: mpsc::Receiver<i32>,
    child: Arc<AtomicI32>,
    ended_early: Arc<AtomicBool>,
}

impl Interrupts {
    fn watch() -> anyhow::Result<Self> {
        let mut signals =
            Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
        let (sender, arrived) = mpsc::channel();
        let interrupts = Self {
            arrived,
            child: Arc::default(),
            ended_early: Arc::default(),
        };
        let child = Arc::clone(&interrupts.child);
        let ended_early = Arc::clone(&interrupts.ended_early);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    ended_early.store(true, Ordering::Relaxed);
                    if signal == SIGTERM || signal == SIGHUP {
                        forward(signal, child.load(Ordering::Relaxed));
                    }
                    if sender.send(signal).is_err() {
                        break;
                    }
                }
            })
            .context("cannot start the thread that watches for signals")?;
        Ok(interrupts)
    }

    fn ended_early(&self) -> bool {
        self.ended_early.load(Ordering::Relaxed)
    }

    /// Sleeps, or until a signal asks for an early end; that is no failure.
    fn sleep(&self, duration: Duration) -> anyhow::Result<i32> {
        let _ = self.arrived.recv_timeout(duration);
        Ok(0)
    }

    fn wait_for(&self, child: &mut Child) -> anyhow::Result<ExitStatus> {
        self.child.store(i32::try_from(child.id())?, Ordering::Relaxed);
        let status = child.wait().context("cannot wait for the command");
        self.child.store(0, Ordering::Relaxed);
        status
    }
}

/// Passes a signal on; the command may just have ended, then there is nobody to tell.
fn forward(signal: i32, child: i32) {
    if child > 0
        && let Ok(signal) = nix::sys::signal::Signal::try_from(signal)
    {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), signal);
    }
}

/// The document of `measure --json`: one object, or `sensors` of them, with `runs` where there were several.
fn document(runs: &[Run]) -> Value {
    let of_sensor = |i: usize| -> Value {
        let all: Vec<(&Measurement, i32)> = runs
            .iter()
            .filter_map(|run| Some((run.sensors.get(i)?, run.exit_status)))
            .collect();
        match all.as_slice() {
            [(only, exit_status)] => object(only, *exit_status),
            _ => repeated(&all),
        }
    };
    let sensors = runs.first().map_or(0, |run| run.sensors.len());
    match sensors {
        1 => of_sensor(0),
        n => json!({ "sensors": (0..n).map(of_sensor).collect::<Vec<_>>() }),
    }
}

fn repeated(all: &[(&Measurement, i32)]) -> Value {
    let joules: Vec<f64> = all
        .iter()
        .filter_map(|(m, _)| Some(m.span.total?.joules.0))
        .collect();
    let (mean, deviation) = mean_and_deviation(&joules);
    json!({
        "sensor": all.first().map(|(m, _)| &m.info.id),
        "kind": all.first().map(|(m, _)| m.span.kind),
        "runs": all.iter().map(|(m, exit_status)| object(m, *exit_status)).collect::<Vec<_>>(),
        "mean_joules": mean,
        "stddev_joules": deviation,
    })
}

/// Mean and sample standard deviation, where there are enough values.
fn mean_and_deviation(values: &[f64]) -> (Option<f64>, Option<f64>) {
    let n = values.len() as f64;
    let mean = (n > 0.0).then(|| values.iter().sum::<f64>() / n);
    let deviation = mean
        .filter(|_| n > 1.0)
        .map(|mean| (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt());
    (mean, deviation)
}

fn object(measurement: &Measurement, exit_status: i32) -> Value {
    let Measurement { info, span, stats } = measurement;
    let seconds = span.duration().0;
    let energy = |energy: &Energy| {
        json!({
            "joules": energy.joules,
            "uncertainty_joules": energy.uncertainty,
            "mean_watts": (seconds > 0.0).then(|| energy.joules.0 / seconds),
        })
    };
    let rails: Vec<Value> = info
        .rails
        .iter()
        .zip(&span.rails)
        .map(|(rail, e)| {
            let mut object = energy(e);
            object["name"] = json!(rail.name);
            object["role"] = json!(rail.role);
            object
        })
        .collect();
    let budget: Map<String, Value> = span
        .budget
        .terms()
        .iter()
        .map(|(name, joules)| ((*name).to_owned(), json!(joules)))
        .collect();
    json!({
        "sensor": info.id,
        "kind": span.kind,
        "duration_s": seconds,
        "samples": span.samples,
        "late_ticks": stats.late_ticks,
        "lost_samples": stats.lost_samples(),
        "coverage": span.coverage,
        "total": span.total.as_ref().map(energy),
        "rails": rails,
        "idle_watts": null,
        "budget": budget,
        "exit_status": exit_status,
    })
}

fn print(runs: &[Run]) {
    for (i, run) in runs.iter().enumerate() {
        if runs.len() > 1 {
            anstream::eprintln!(
                "\n{}",
                paint(ui::BOLD, format!("run {} of {}", i + 1, runs.len()))
            );
        }
        for measurement in &run.sensors {
            print_one(measurement);
        }
    }
    if runs.len() > 1 {
        print_summary(runs);
    }
}

/// The result stands on stderr, like that of `time`, so that the command's own output stays usable.
fn print_one(measurement: &Measurement) {
    let Measurement { info, span, stats } = measurement;
    let headline = match &span.total {
        Some(total) => format!(
            "{} (k=2) in {}, mean {:.3} W",
            ui::joules(total),
            ui::seconds(span.duration().0),
            span.mean_power().map_or(0.0, |p| p.0),
        ),
        None => "energy unknown: no sample covers this time".to_owned(),
    };
    anstream::eprintln!("\n{}  [{}, {}]", paint(ui::BOLD, headline), info.id, span.kind);
    if span.rails.len() > 1 {
        let mut rows = table(&["RAIL", "ROLE", "ENERGY", "MEAN"]);
        for (rail, energy) in info.rails.iter().zip(&span.rails) {
            let mean = Joules(energy.joules.0) / span.duration();
            rows.add_row([
                &rail.name,
                rail.role.as_str(),
                &ui::joules(energy),
                &format!("{:.3} W", mean.0),
            ]);
        }
        anstream::eprintln!("{}", rows.trim_fmt());
    }
    let (term, _) = span.budget.dominant();
    anstream::eprintln!(
        "{} samples, {} late ticks, {} lost, coverage {:.1} %; the uncertainty comes mostly from: {term}",
        span.samples,
        stats.late_ticks,
        stats.lost_samples(),
        100.0 * span.coverage,
    );
    if let Some(error) = &stats.last_error {
        anstream::eprintln!("{} {error}", paint(ui::WARN, "last lost sample:"));
    }
    if let Some(sentence) = ui::kind_sentence(span.kind, &info.id) {
        anstream::eprintln!("{sentence}");
    }
}

fn print_summary(runs: &[Run]) {
    for i in 0..runs[0].sensors.len() {
        let of_sensor: Vec<&Measurement> = runs.iter().filter_map(|run| run.sensors.get(i)).collect();
        let joules: Vec<f64> = of_sensor
            .iter()
            .filter_map(|m| Some(m.span.total?.joules.0))
            .collect();
        if let (Some(mean), Some(deviation)) = mean_and_deviation(&joules) {
            let id = &of_sensor[0].info.id;
            anstream::eprintln!(
                "\n{id}: mean {mean:.4} J, standard deviation {deviation:.4} J over {} runs",
                joules.len()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviation_needs_two_values() {
        assert_eq!(mean_and_deviation(&[]), (None, None));
        assert_eq!(mean_and_deviation(&[2.0]), (Some(2.0), None));
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), (Some(2.0), Some(2f64.sqrt())));
    }
}
