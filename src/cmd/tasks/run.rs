//! `hwmeter tasks run`: one kernel, or some steps, measured.

use crate::cli::{Cli, RunTaskArgs};
use crate::cmd::{context, open_sensor};
use crate::ui;
use anyhow::Context as _;
use clap::CommandFactory;
use clap::error::ErrorKind;
use hwmeter::task::cost::seconds_per_round;
use hwmeter::task::{self, Content, Kernels, Program, Speed, Work};
use hwmeter_hw::Root;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::Kind;
use hwmeter_hw::span::SpanEnergy;
use serde_json::json;
use std::time::Instant;

/// Seconds that a kernel runs unless told otherwise.
const SECONDS: f64 = 1.0;

/// Runs, measures, prints.
pub fn run(args: &RunTaskArgs, root: &Root, calibration: &Calibration) -> anyhow::Result<()> {
    let work = Work {
        program: program(args),
        seed: args.seed,
    };
    let sensor = open_sensor(&context(root), calibration, args.sensor.as_deref())?;
    let info = sensor.info();
    let meter = Meter::start(sensor, MeterOptions::at(info.default_rate_hz()))
        .with_context(|| format!("sensor {} cannot be read", info.id))?;
    let (span, began) = (meter.span_with_sample("task"), Instant::now());
    let checksum = task::run(&work, &[], Speed::FULL, &|| false).context("the task was stopped")?;
    let seconds = began.elapsed().as_secs_f64();
    let energy = meter.end_with_sample(span).wait();
    let measured = Measured {
        work,
        checksum,
        seconds,
        energy,
        kind: meter.info().kind,
        sensor: &meter.info().id,
    };
    match args.json {
        true => measured.print_document(),
        false => measured.print(),
    }
    Ok(())
}

/// Steps as they are; of a kernel alone, the rounds asked for.
fn program(args: &RunTaskArgs) -> Program {
    let kernel = match &args.kernel {
        Content::Fill(kernel) => *kernel,
        Content::Exact(program) if args.rounds.is_none() && args.seconds.is_none() => return program.clone(),
        Content::Exact(program) => {
            let problem = format!("{program} has its rounds already; leave out --rounds and --seconds");
            Cli::command().error(ErrorKind::ArgumentConflict, problem).exit()
        }
    };
    let rounds = args.rounds.unwrap_or_else(|| {
        let rounds = args.seconds.unwrap_or(SECONDS) / seconds_per_round(kernel);
        rounds.round().max(1.0) as u64
    });
    Program::Kernels(Kernels::one(kernel, rounds))
}

/// What came out.
struct Measured<'a> {
    work: Work,
    checksum: u64,
    seconds: f64,
    energy: SpanEnergy,
    kind: Kind,
    sensor: &'a str,
}

impl Measured<'_> {
    fn print(&self) {
        let total = self.energy.total.as_ref();
        let joules = total.map_or("unknown".to_owned(), |total| {
            format!("{} (k=2)", ui::joules(total))
        });
        let watts = self
            .energy
            .mean_power()
            .map_or(String::new(), |mean| format!(", mean {:.3} W", mean.0));
        let Program::Kernels(kernels) = &self.work.program;
        let each = match kernels.steps() {
            [one] if one.rounds > 0 => format!(", {} a round", ui::seconds(self.seconds / one.rounds as f64)),
            _ => String::new(),
        };
        ui::outln!("{kernels} in {}{each}", ui::seconds(self.seconds));
        ui::outln!(
            " energy    {joules}{watts}  [{}, {}]",
            self.sensor,
            self.kind.as_str()
        );
        ui::outln!(" checksum  {:016x} (seed {})", self.checksum, self.work.seed);
        if let Some(sentence) = ui::kind_sentence(self.kind, self.sensor) {
            ui::outln!("{sentence}");
        }
    }

    fn print_document(&self) {
        let total = self.energy.total.as_ref();
        let document = json!({
            "kernels": self.work.program.to_string(),
            "seed": self.work.seed,
            "duration_s": self.seconds,
            "checksum": format!("{:016x}", self.checksum),
            "sensor": self.sensor,
            "kind": self.kind,
            "joules": total.map(|total| total.joules),
            "uncertainty_joules": total.map(|total| total.uncertainty),
            "mean_watts": self.energy.mean_power(),
            "coverage": self.energy.coverage,
        });
        ui::outln!("{document:#}");
    }
}
