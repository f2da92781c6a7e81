//! `hwmeter integrate`: the joules of intervals of a recorded trace.

use crate::cli::{Cli, IntegrateArgs};
use crate::ui::{self, paint, table};
use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;
use hwmeter::integrate::{Integrated, Interval, SensorSpans, SpanFigures, TracedSpan, integrate, read_spans};
use hwmeter::trace::read_metadata;
use hwmeter_hw::sensor::{Kind, Role};
use hwmeter_hw::trace::{Layout, TraceReader};
use hwmeter_hw::uncertainty::Budget;
use hwmeter_hw::units::{Joules, Seconds, Watts};
use serde::Serialize;
use std::io::{BufWriter, Write};

/// Reads, integrates, prints.
pub fn run(args: &IntegrateArgs) -> anyhow::Result<()> {
    let intervals = intervals(args)?;
    let rows = TraceReader::open(&args.trace)?;
    let known = match rows.layout() {
        Layout::Energy => read_metadata(&args.trace)?,
        Layout::Power => Vec::new(),
    };
    let found = integrate(rows, &known, &intervals, args.sensor.as_deref())?;
    note(args, &found);
    if args.json {
        return print_document(&found.sensors);
    }
    found.sensors.iter().for_each(print);
    Ok(())
}

fn intervals(args: &IntegrateArgs) -> anyhow::Result<Vec<Interval>> {
    if let Some(spans) = &args.spans {
        return read_spans(spans);
    }
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        let problem = format!("--from {from} does not lie before --to {to}");
        Cli::command().error(ErrorKind::ValueValidation, problem).exit();
    }
    Ok(vec![Interval {
        name: "interval".to_owned(),
        from: args.from.map(Seconds),
        to: args.to.map(Seconds),
    }])
}

/// What a user should know besides the numbers.
fn note(args: &IntegrateArgs, found: &Integrated) {
    if let Some(line) = found.cut_line {
        tracing::warn!("{}, line {line}: cut short, dropped", args.trace.display());
    }
    for sensor in found.sensors.iter().filter(|sensor| sensor.id.is_some()) {
        let id = sensor_name(sensor);
        if !sensor.has_accuracy {
            tracing::warn!(
                "how accurate {id} is does not stand beside {}: its uncertainty is that of sampling and edges only",
                args.trace.display()
            );
        }
        if !sensor.has_total {
            tracing::warn!("{id}: which rails make up the total is not known; each rail stands for itself");
        }
    }
}

fn sensor_name(sensor: &SensorSpans) -> &str {
    sensor.id.as_deref().unwrap_or("trace")
}

fn kind_name(sensor: &SensorSpans) -> &str {
    sensor.kind.map_or("kind unknown", |kind| kind.as_str())
}

/// The document of `integrate --json`: one object, or `sensors` of them.
#[derive(Serialize)]
#[serde(untagged)]
enum Document<'a> {
    One(SensorObject<'a>),
    Several { sensors: Vec<SensorObject<'a>> },
}

#[derive(Serialize)]
struct SensorObject<'a> {
    sensor: Option<&'a str>,
    kind: Option<Kind>,
    spans: Vec<SpanObject<'a>>,
}

#[derive(Serialize)]
struct SpanObject<'a> {
    name: &'a str,
    from_s: Seconds,
    to_s: Seconds,
    coverage: f64,
    samples: u64,
    total: Option<EnergyObject>,
    rails: Vec<RailObject<'a>>,
    budget: Option<&'a Budget>,
}

#[derive(Serialize)]
struct RailObject<'a> {
    name: &'a str,
    role: Role,
    #[serde(flatten)]
    energy: EnergyObject,
}

/// All `null` where nothing is known.
#[derive(Default, Serialize)]
struct EnergyObject {
    joules: Option<Joules>,
    uncertainty_joules: Option<Joules>,
    mean_watts: Option<Watts>,
}

impl<'a> Document<'a> {
    fn of(sensors: &'a [SensorSpans]) -> Self {
        match sensors {
            [only] => Self::One(SensorObject::of(only)),
            _ => Self::Several {
                sensors: sensors.iter().map(SensorObject::of).collect(),
            },
        }
    }
}

impl<'a> SensorObject<'a> {
    fn of(sensor: &'a SensorSpans) -> Self {
        Self {
            sensor: sensor.id.as_deref(),
            kind: sensor.kind,
            spans: (sensor.spans.iter())
                .map(|span| SpanObject::of(sensor, span))
                .collect(),
        }
    }
}

impl<'a> SpanObject<'a> {
    fn of(sensor: &'a SensorSpans, span: &'a TracedSpan) -> Self {
        let rails = (sensor.rails.iter().zip(&span.rails)).map(|(rail, energy)| RailObject {
            name: &rail.name,
            role: rail.role,
            energy: energy.as_ref().map(EnergyObject::of).unwrap_or_default(),
        });
        Self {
            name: &span.name,
            from_s: span.from,
            to_s: span.to,
            coverage: span.coverage,
            samples: span.samples,
            total: span.total.as_ref().map(|(total, _)| EnergyObject::of(total)),
            rails: rails.collect(),
            budget: span.total.as_ref().map(|(_, budget)| budget),
        }
    }
}

impl EnergyObject {
    fn of(figures: &SpanFigures) -> Self {
        Self {
            joules: Some(figures.energy.joules),
            uncertainty_joules: Some(figures.energy.uncertainty),
            mean_watts: Some(figures.mean),
        }
    }
}

/// Written as it is put into words: a document of many spans is long.
fn print_document(sensors: &[SensorSpans]) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, &Document::of(sensors))
        .map_err(std::io::Error::from)
        .and_then(|()| writeln!(out).and_then(|()| out.flush()))
        .context("cannot write the document to stdout")
}

/// One table per sensor. The rails of many spans stand in `--json` only.
fn print(sensor: &SensorSpans) {
    let title = format!("{} ({})", sensor_name(sensor), kind_name(sensor));
    ui::outln!("{}", paint(ui::BOLD, title));
    let mut rows = table(&["SPAN", "FROM", "TO", "ENERGY (k=2)", "MEAN", "COVERAGE"]);
    for span in &sensor.spans {
        let cells = figures(span.total.as_ref().map(|(total, _)| total));
        rows.add_row([
            span.name.clone(),
            format!("{:.3} s", span.from.0),
            format!("{:.3} s", span.to.0),
            cells.0,
            cells.1,
            format!("{:.1} %", 100.0 * span.coverage),
        ]);
    }
    if let [only] = sensor.spans.as_slice()
        && (sensor.rails.len() > 1 || !sensor.has_total)
    {
        for (rail, energy) in sensor.rails.iter().zip(&only.rails) {
            let cells = figures(energy.as_ref());
            rows.add_row([
                format!("  {}", rail.name),
                String::new(),
                String::new(),
                cells.0,
                cells.1,
            ]);
        }
    }
    ui::outln!("{}", rows.trim_fmt());
    if let [only] = sensor.spans.as_slice()
        && let Some((_, budget)) = &only.total
    {
        let from = match budget.dominant() {
            (term, u) if u.0 > 0.0 => format!("the uncertainty comes mostly from: {term}"),
            _ => "no uncertainty is known of them".to_owned(),
        };
        ui::outln!("{} samples; {from}", only.samples);
    }
    if let Some(sentence) = sensor
        .kind
        .and_then(|kind| ui::kind_sentence(kind, sensor_name(sensor)))
    {
        ui::outln!("{sentence}");
    }
}

/// Energy and mean power in words.
fn figures(figures: Option<&SpanFigures>) -> (String, String) {
    match figures {
        Some(figures) => (ui::joules(&figures.energy), format!("{:.3} W", figures.mean.0)),
        None => ("unknown".to_owned(), "-".to_owned()),
    }
}
