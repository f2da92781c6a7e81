//! `hwmeter tasks run`: one kernel, some steps, or a WebAssembly module, measured.

use crate::cli::{Cli, RunTaskArgs};
use crate::cmd::{context, open_sensor};
use crate::ui;
use anyhow::Context as _;
use clap::CommandFactory;
use clap::error::ErrorKind;
use hwmeter::task::cost::seconds_per_round;
use hwmeter::task::wasm::{Done, Output};
use hwmeter::task::{self, Content, Kernels, Limits, Program, Speed, Work};
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
    let payload = match &args.payload {
        Some(path) => {
            std::fs::read(path).with_context(|| format!("cannot read the payload {}", path.display()))?
        }
        None => Vec::new(),
    };
    // What is measured is the task, not its compilation.
    if let Program::Module(binary) = &work.program {
        binary.compile(&|| false).with_context(|| binary.to_string())?;
    }
    let sensor = open_sensor(&context(root), calibration, args.sensor.as_deref())?;
    let info = sensor.info();
    let meter = Meter::start(sensor, MeterOptions::at(info.default_rate_hz()))
        .with_context(|| format!("sensor {} cannot be read", info.id))?;
    let (span, began) = (meter.span_with_sample("task"), Instant::now());
    let outcome = execute(&work, &payload)?;
    let seconds = began.elapsed().as_secs_f64();
    let energy = meter.end_with_sample(span).wait();
    let measured = Measured {
        work,
        outcome,
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
            let problem =
                format!("{program} says itself how much it computes; leave out --rounds and --seconds");
            Cli::command().error(ErrorKind::ArgumentConflict, problem).exit()
        }
    };
    let rounds = args.rounds.unwrap_or_else(|| {
        let rounds = args.seconds.unwrap_or(SECONDS) / seconds_per_round(kernel);
        rounds.round().max(1.0) as u64
    });
    Program::Kernels(Kernels::one(kernel, rounds))
}

/// What the task computed.
struct Outcome {
    checksum: u64,
    /// Of a module.
    done: Option<Done>,
}

fn execute(work: &Work, payload: &[u8]) -> anyhow::Result<Outcome> {
    let Program::Module(binary) = &work.program else {
        let checksum = task::run(work, payload, Speed::FULL, &|| false)?;
        return Ok(Outcome { checksum, done: None });
    };
    let memory_bytes = Limits::default().memory_bytes.saturating_sub(payload.len());
    let done = binary
        .compile(&|| false)?
        .run(payload, memory_bytes, Speed::FULL, &|| false);
    let done = done.with_context(|| binary.to_string())?;
    Ok(Outcome {
        checksum: done.result.cast_unsigned(),
        done: Some(done),
    })
}

/// What came out.
struct Measured<'a> {
    work: Work,
    outcome: Outcome,
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
        ui::outln!(
            "{} in {}{}",
            self.work.program,
            ui::seconds(self.seconds),
            self.each_round()
        );
        ui::outln!(
            " energy    {joules}{watts}  [{}, {}]",
            self.sensor,
            self.kind.as_str()
        );
        match &self.outcome.done {
            None => ui::outln!(
                " checksum  {:016x} (seed {})",
                self.outcome.checksum,
                self.work.seed
            ),
            Some(done) => {
                ui::outln!(" result    {:016x}", self.outcome.checksum);
                ui::outln!(" memory    {} kB", done.memory_bytes / 1000);
                print_output(&done.output);
            }
        }
        if let Some(sentence) = ui::kind_sentence(self.kind, self.sensor) {
            ui::outln!("{sentence}");
        }
    }

    /// What one round took, where there is only one kernel.
    fn each_round(&self) -> String {
        let Program::Kernels(kernels) = &self.work.program else {
            return String::new();
        };
        match kernels.steps() {
            [one] if one.rounds > 0 => format!(", {} a round", ui::seconds(self.seconds / one.rounds as f64)),
            _ => String::new(),
        }
    }

    fn print_document(&self) {
        let total = self.energy.total.as_ref();
        let module = match &self.work.program {
            Program::Module(binary) => Some(binary.id().to_string()),
            Program::Kernels(_) => None,
        };
        let done = self.outcome.done.as_ref();
        let document = json!({
            "kernels": self.work.program.to_string(),
            "module_sha256": module,
            "seed": done.is_none().then_some(self.work.seed),
            "duration_s": self.seconds,
            "checksum": format!("{:016x}", self.outcome.checksum),
            "memory_bytes": done.map(|done| done.memory_bytes),
            "output": done.map(|done| String::from_utf8_lossy(&done.output.kept)),
            "output_dropped_bytes": done.map(|done| done.output.dropped),
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

/// What a module wrote, line by line; control characters could do things to the terminal.
fn print_output(output: &Output) {
    for line in String::from_utf8_lossy(&output.kept).lines() {
        ui::outln!(" output    {}", line.escape_debug());
    }
    if output.dropped > 0 {
        ui::outln!(" output    ... and {} bytes more", output.dropped);
    }
}
