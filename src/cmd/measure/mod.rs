//! `hwmeter measure`: the joules of a command or of a duration.

mod command;
mod document;
mod instrument;
mod phase_table;
mod phases;
mod report;
mod signals;
mod warnings;

use super::context;
use crate::cli::MeasureArgs;
use crate::ui;
use command::{CannotRun, Running};
use hwmeter::marks::pipe::MarksPipe;
use hwmeter::trace::TraceWriter;
use hwmeter_hw::Root;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::clock::{Clock, Moment, SuspendWatch};
use hwmeter_hw::combine::Terms;
use hwmeter_hw::cpu_tree::TreeRoot;
use hwmeter_hw::idle::IdlePower;
use hwmeter_hw::meter::{Meter, MeterStats};
use hwmeter_hw::sensor::SensorInfo;
use hwmeter_hw::span::{PendingSpan, Span, SpanEnergy};
use hwmeter_hw::units::Seconds;
use instrument::{Instrument, Starter};
use phases::{PhaseLog, PhasesOfSensors, Refused};
use signals::Interrupts;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// What one sensor said about one run.
struct Measurement {
    info: SensorInfo,
    span: SpanEnergy,
    idle: Option<IdlePower>,
    /// The energy without that of the idle board.
    net: Option<Terms>,
    phases: Vec<SpanEnergy>,
    seen: Seen,
    rate_hz: f64,
    calibration: Option<PathBuf>,
}

/// One run of the command, seen by every sensor.
struct Run {
    sensors: Vec<Measurement>,
    exit_status: i32,
    /// A signal asked for an early end before it was over.
    cut_short: bool,
    suspended: Seconds,
    refused: Refused,
}

/// What a meter counted within one run.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    late_ticks: u64,
    lost_samples: u64,
    resets: u64,
    last_error: Option<String>,
}

/// Measures, prints, and passes on the command's exit status.
pub fn run(args: &MeasureArgs, root: &Root, calibration: &Calibration) -> anyhow::Result<ExitCode> {
    let trace = args.csv.as_deref().map(TraceWriter::create).transpose()?;
    let interrupts = Interrupts::watch()?;
    let runs = match measure_all(args, root, calibration, trace.as_ref(), &interrupts) {
        Ok(runs) => runs,
        Err(error) => return not_run(error),
    };
    let written = trace.map(|trace| {
        let path = trace.path().to_owned();
        trace.finish().check(&path)
    });
    if runs.is_empty() {
        anstream::eprintln!("nothing was measured: a signal came before the first run");
    } else if args.json {
        ui::outln!("{:#}", document::document(&runs));
    } else {
        report::print(&runs, args);
    }
    written.transpose()?;
    Ok(exit_code(&runs, interrupts.ended_by()))
}

/// A command that cannot be run has an exit status by which shells tell it; everything else is a failure of ours.
fn not_run(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    let Some(status) = error.downcast_ref().map(CannotRun::exit_status) else {
        return Err(error);
    };
    ui::print_error(&error);
    Ok(ExitCode::from(status))
}

/// The first run that failed must not hide behind a later one. A signal before the first run left nothing to tell.
fn exit_code(runs: &[Run], ended_by: Option<i32>) -> ExitCode {
    let statuses = runs.iter().map(|run| run.exit_status);
    let status = match runs {
        [] => ended_by.map_or(0, |signal| 128 + signal),
        _ => statuses.into_iter().find(|&status| status != 0).unwrap_or(0),
    };
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

fn measure_all(
    args: &MeasureArgs,
    root: &Root,
    calibration: &Calibration,
    trace: Option<&TraceWriter>,
    interrupts: &Interrupts,
) -> anyhow::Result<Vec<Run>> {
    let context = context(root);
    let tree = TreeRoot::default();
    let starter = Starter {
        args,
        context: &context,
        calibration,
        trace,
        origin: context.clock.now(),
        tree: &tree,
        interrupts,
    };
    let instruments = starter.start()?;
    if let Some(trace) = trace {
        let meters = instruments.iter().map(|instrument| &instrument.meter);
        trace.describe(
            starter.origin,
            meters.map(|meter| (meter.info(), 1.0 / meter.period().0)),
        );
    }
    interrupts.sleep(settling(&instruments));
    let bench = Bench {
        args,
        instruments,
        clock: Arc::clone(&context.clock),
        tree: &tree,
        interrupts,
    };
    let mut runs = Vec::new();
    while runs.len() < args.repeat as usize && interrupts.ended_by().is_none() {
        runs.push(bench.measure_once()?);
    }
    Ok(runs)
}

/// A meter that has seen no samples can only assume how power varies between them: it watches for ten, or for a second.
/// Where idle power has just been measured it has seen them already.
fn settling(instruments: &[Instrument]) -> Duration {
    const SAMPLES: u64 = 10;
    let lacking = instruments.iter().map(|Instrument { meter, .. }| {
        let samples = SAMPLES.saturating_sub(meter.stats().samples);
        samples as f64 * meter.period().0
    });
    Duration::from_secs_f64(lacking.fold(0.0, f64::max).min(1.0))
}

/// Everything set up for a run.
struct Bench<'a> {
    args: &'a MeasureArgs,
    instruments: Vec<Instrument>,
    clock: Arc<dyn Clock>,
    tree: &'a TreeRoot,
    interrupts: &'a Interrupts,
}

impl Bench<'_> {
    fn measure_once(&self) -> anyhow::Result<Run> {
        let awake = SuspendWatch::begin(&*self.clock);
        let before: Vec<MeterStats> = self.meters().map(Meter::stats).collect();
        let (ended, (phases, refused), exit_status) = match self.args.duration {
            Some(duration) => {
                let spans = self.begin_spans(self.clock.now());
                self.interrupts.sleep(duration);
                let ended = end_spans(spans, self.clock.now());
                self.sample();
                let no_phases = vec![Vec::new(); self.instruments.len()];
                (ended, (no_phases, Refused::default()), 0)
            }
            None => self.run_command()?,
        };
        let cut_short = self.interrupts.ended_by().is_some();
        let of_sensors = self.instruments.iter().zip(&ended).zip(phases).zip(&before);
        let sensors = of_sensors
            .map(|(((instrument, span), phases), before)| {
                Measurement::new(instrument, span.wait(), phases, before)
            })
            .collect();
        Ok(Run {
            sensors,
            exit_status,
            cut_short,
            suspended: awake.elapsed(&*self.clock),
            refused,
        })
    }

    /// Runs the command to its end while marks cut it into phases.
    fn run_command(&self) -> anyhow::Result<(Vec<PendingSpan>, (PhasesOfSensors, Refused), i32)> {
        let pipe = MarksPipe::create()
            .inspect_err(|error| tracing::warn!("marks cannot be taken: {error:#}"))
            .ok();
        let log = PhaseLog::new(&self.instruments);
        let (ended, outcome) = std::thread::scope(|scope| {
            if let Some(pipe) = &pipe {
                scope.spawn(|| pipe.read(|arrived, mark| log.take(arrived, mark)));
            }
            let begin = self.clock.now();
            log.open(begin);
            let spans = self.begin_spans(begin);
            let path = pipe.as_ref().map(MarksPipe::path);
            let outcome = Running::start(self.args, path, self.interrupts).and_then(|running| {
                self.tree.set(running.pid());
                running.wait().map(|()| running)
            });
            let end = self.clock.now();
            log.limit(end);
            let ended = end_spans(spans, end);
            // The reader returns, and with it the scope, once it has read the marks made up to now.
            let told = pipe.as_ref().map_or(Ok(()), MarksPipe::end);
            (ended, outcome.and_then(|running| Ok(told.map(|()| running)?)))
        });
        log.close();
        // Before the command is waited for: until then its CPU time can be read.
        self.sample();
        let exit_status = outcome?.reap()?;
        Ok((ended, log.finish(), exit_status))
    }

    fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.instruments.iter().map(|instrument| &instrument.meter)
    }

    fn begin_spans(&self, begin: Moment) -> Vec<Span> {
        self.meters()
            .map(|meter| meter.span_from("measured", begin))
            .collect()
    }

    /// Lets every sensor see the end, so that nobody has to wait for the next tick.
    fn sample(&self) {
        self.meters().for_each(Meter::sample_now);
    }
}

fn end_spans(spans: Vec<Span>, end: Moment) -> Vec<PendingSpan> {
    spans.into_iter().map(|span| span.end_at(end)).collect()
}

impl Measurement {
    fn new(instrument: &Instrument, span: SpanEnergy, phases: Vec<SpanEnergy>, before: &MeterStats) -> Self {
        let meter = &instrument.meter;
        Self {
            info: meter.info().clone(),
            net: instrument.idle.as_ref().and_then(|idle| idle.net(&span)),
            idle: instrument.idle.clone(),
            span,
            phases,
            seen: Seen::between(before, &meter.stats()),
            rate_hz: 1.0 / meter.period().0,
            calibration: instrument.calibration.clone(),
        }
    }
}

impl Seen {
    fn between(before: &MeterStats, after: &MeterStats) -> Self {
        let lost_samples = after.lost_samples() - before.lost_samples();
        Self {
            late_ticks: after.late_ticks - before.late_ticks,
            lost_samples,
            resets: after.resets - before.resets,
            last_error: after.last_error.clone().filter(|_| lost_samples > 0),
        }
    }
}
