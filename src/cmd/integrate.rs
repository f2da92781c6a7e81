//! `hwmeter integrate`: the joules of intervals of a recorded trace.

use crate::cli::{Cli, IntegrateArgs};
use crate::ui::{self, paint, table};
use clap::CommandFactory;
use clap::error::ErrorKind;
use hwmeter::integrate::{Integrated, Interval, SensorSpans, SpanFigures, TracedSpan, integrate, read_spans};
use hwmeter::trace::read_metadata;
use hwmeter_hw::trace::{Layout, TraceReader};
use hwmeter_hw::units::Seconds;
use serde_json::{Map, Value, json};

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
        println!("{:#}", document(&found.sensors));
    } else {
        found.sensors.iter().for_each(print);
    }
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
fn document(sensors: &[SensorSpans]) -> Value {
    match sensors {
        [only] => object(only),
        _ => json!({ "sensors": sensors.iter().map(object).collect::<Vec<_>>() }),
    }
}

fn object(sensor: &SensorSpans) -> Value {
    let spans: Vec<Value> = sensor
        .spans
        .iter()
        .map(|span| span_object(sensor, span))
        .collect();
    json!({
        "sensor": sensor.id,
        "kind": sensor.kind,
        "spans": spans,
    })
}

fn span_object(sensor: &SensorSpans, span: &TracedSpan) -> Value {
    let figures = |figures: &SpanFigures| {
        json!({
            "joules": figures.energy.joules,
            "uncertainty_joules": figures.energy.uncertainty,
            "mean_watts": figures.mean,
        })
    };
    let unknown = || json!({ "joules": null, "uncertainty_joules": null, "mean_watts": null });
    let rails: Vec<Value> = (sensor.rails.iter().zip(&span.rails))
        .map(|(rail, energy)| {
            let mut object = json!({ "name": rail.name, "role": rail.role });
            if let (Some(object), Value::Object(energy)) = (
                object.as_object_mut(),
                energy.as_ref().map_or_else(unknown, figures),
            ) {
                object.extend(energy);
            }
            object
        })
        .collect();
    let budget = span.total.as_ref().map(|(_, budget)| {
        let terms = budget.terms().into_iter();
        terms
            .map(|(name, joules)| (name.to_owned(), json!(joules)))
            .collect::<Map<String, Value>>()
    });
    json!({
        "name": span.name,
        "from_s": span.from,
        "to_s": span.to,
        "coverage": span.coverage,
        "samples": span.samples,
        "total": span.total.as_ref().map(|(total, _)| figures(total)),
        "rails": rails,
        "budget": budget,
    })
}

/// One table per sensor. The rails of many spans stand in `--json` only.
fn print(sensor: &SensorSpans) {
    let title = format!("{} ({})", sensor_name(sensor), kind_name(sensor));
    anstream::println!("{}", paint(ui::BOLD, title));
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
    anstream::println!("{}", rows.trim_fmt());
    if let [only] = sensor.spans.as_slice()
        && let Some((_, budget)) = &only.total
    {
        let (term, _) = budget.dominant();
        anstream::println!(
            "{} samples; the uncertainty comes mostly from: {term}",
            only.samples
        );
    }
    if let Some(sentence) = sensor
        .kind
        .and_then(|kind| ui::kind_sentence(kind, sensor_name(sensor)))
    {
        anstream::println!("{sentence}");
    }
}

/// Energy and mean power in words.
fn figures(figures: Option<&SpanFigures>) -> (String, String) {
    match figures {
        Some(figures) => (ui::joules(&figures.energy), format!("{:.3} W", figures.mean.0)),
        None => ("unknown".to_owned(), "-".to_owned()),
    }
}
