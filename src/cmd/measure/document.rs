//! The document of `measure --json`.

use super::warnings::{self, Several};
use super::{Measurement, Run};
use hwmeter_hw::combine::Terms;
use hwmeter_hw::repeat::Repeated;
use hwmeter_hw::sensor::Rail;
use hwmeter_hw::span::SpanEnergy;
use hwmeter_hw::uncertainty::Energy;
use serde_json::{Map, Value, json};

/// One object, or `sensors` of them, with `runs` where there were several.
pub fn document(runs: &[Run]) -> Value {
    let sensors = runs.first().map_or(0, |run| run.sensors.len());
    let mut objects: Vec<Value> = (0..sensors).map(|i| of_sensor(runs, i)).collect();
    match objects.len() {
        1 => objects.remove(0),
        _ => json!({ "sensors": objects }),
    }
}

fn of_sensor(runs: &[Run], i: usize) -> Value {
    let seen: Vec<(&Run, &Measurement)> = runs
        .iter()
        .filter_map(|run| Some((run, run.sensors.get(i)?)))
        .collect();
    let mut objects: Vec<Value> = seen.iter().map(|(run, m)| object(run, m)).collect();
    match seen[..] {
        [_] => objects.remove(0),
        _ => repeated(&Several::of(runs, i), objects),
    }
}

/// Several runs and what they say together.
fn repeated(several: &Several, runs: Vec<Value>) -> Value {
    let (gross, net) = (several.gross(), several.net());
    let mut document = json!({
        "sensor": several.first().map(|m| &m.info.id),
        "kind": several.first().map(|m| m.span.kind),
        "runs": runs,
        "mean_joules": gross.map(|of| of.mean),
        "stddev_joules": gross.and_then(|of| of.deviation),
        "mean_uncertainty_joules": gross.and_then(|of| of.uncertainty),
        "interval_joules": gross.and_then(|of| interval(&of)),
        "warnings": warnings::of(several),
    });
    if let Some(net) = net {
        document["net"] = json!({
            "mean_joules": net.mean,
            "stddev_joules": net.deviation,
            "mean_uncertainty_joules": net.uncertainty,
            "interval_joules": interval(&net),
        });
    }
    document
}

/// The 95 % interval of the mean.
fn interval(of: &Repeated) -> Option<[f64; 2]> {
    let half = of.half_width?.0;
    Some([of.mean.0 - half, of.mean.0 + half])
}

fn object(run: &Run, measurement: &Measurement) -> Value {
    let Measurement { info, span, seen, .. } = measurement;
    let mut object = json!({
        "sensor": info.id,
        "kind": span.kind,
        "duration_s": span.duration(),
        "suspended_s": run.suspended,
        "samples": span.samples,
        "late_ticks": seen.late_ticks,
        "lost_samples": seen.lost_samples,
        "coverage": span.coverage,
        "total": span.total.map(|total| energy(&total, span)),
        "rails": rails(&info.rails, span),
        "idle_watts": measurement.idle.as_ref().map(|idle| idle.watts()),
        "budget": span.total.map(|_| budget(&span.budget.terms())),
    });
    if let Some(idle) = &measurement.idle {
        object["idle"] = json!({
            "watts": idle.watts(),
            "uncertainty_watts": idle.uncertainty(),
            "source": idle.source(),
        });
    }
    if let Some(net) = &measurement.net {
        object["net"] = self::net(net, span);
    }
    if !measurement.phases.is_empty() {
        let phases = measurement
            .phases
            .iter()
            .map(|phase| self::phase(measurement, phase));
        object["phases"] = phases.collect();
    }
    object["calibration"] = json!(measurement.calibration);
    object["warnings"] = json!(warnings::of(&Several::one(run, measurement)));
    object["cut_short"] = json!(run.cut_short);
    object["exit_status"] = json!(run.exit_status);
    object
}

fn energy(energy: &Energy, span: &SpanEnergy) -> Value {
    let seconds = span.duration();
    json!({
        "joules": energy.joules,
        "uncertainty_joules": energy.uncertainty,
        "mean_watts": (seconds.0 > 0.0).then(|| energy.joules / seconds),
    })
}

fn rails(rails: &[Rail], span: &SpanEnergy) -> Vec<Value> {
    let named = rails.iter().zip(&span.rails);
    let unknown = || json!({ "joules": null, "uncertainty_joules": null, "mean_watts": null });
    let object = |(rail, joules): (&Rail, &Option<Energy>)| {
        let mut object = joules
            .as_ref()
            .map_or_else(unknown, |joules| energy(joules, span));
        object["name"] = json!(rail.name);
        object["role"] = json!(rail.role);
        object
    };
    named.map(object).collect()
}

fn net(net: &Terms, span: &SpanEnergy) -> Value {
    let mut object = energy(&net.energy(), span);
    object["budget"] = budget(&net.terms);
    object
}

fn budget(terms: &[(&'static str, hwmeter_hw::units::Joules)]) -> Value {
    let terms: Map<String, Value> = terms
        .iter()
        .map(|(name, joules)| ((*name).to_owned(), json!(joules)))
        .collect();
    Value::Object(terms)
}

fn phase(measurement: &Measurement, phase: &SpanEnergy) -> Value {
    let whole = &measurement.span;
    let mut object = json!({
        "name": phase.name,
        "begin_s": phase.begin - whole.begin,
        "duration_s": phase.duration(),
        "samples": phase.samples,
        "coverage": phase.coverage,
        "total": phase.total.map(|total| energy(&total, phase)),
        "rails": rails(&measurement.info.rails, phase),
    });
    if let Some(net) = measurement.idle.as_ref().and_then(|idle| idle.net(phase)) {
        object["net"] = self::net(&net, phase);
    }
    object
}
