//! `--json`: everything that was found, in one document. What is unknown is null.

use super::found::{Found, name, op};
use hwmeter_hw::blas::Missing;
use hwmeter_hw::blas::rows::GemmRow;
use hwmeter_hw::load_steps::LoadSteps;
use serde_json::{Value, json};
use std::path::Path;

/// The document; `file` is where the same was written.
pub fn document(found: &Found, file: Option<&Path>) -> Value {
    let gemm = &found.gemm;
    json!({
        "gemm": gemm.rows.iter().map(row).collect::<Vec<_>>(),
        "idle_watts": found.idle.as_ref().map(|idle| idle.watts()),
        "idle_uncertainty_watts": found.idle.as_ref().map(|idle| idle.uncertainty()),
        "bandwidth_bytes_per_s": found.bandwidth.last().map(|all| all.best_bytes_per_s),
        "sensor": sensor(found),
        "power_model": found.power_model,
        "meter": found.meter.as_ref().map(|meter| json!({ "id": meter.id, "kind": meter.kind })),
        "load_steps": found.load_steps.as_ref().map(load_steps),
        "bandwidth": found.bandwidth,
        "repeats": gemm.repeats,
        "peak": gemm.peak,
        "learners": found.learners,
        "missing": gemm.missing.iter().map(missing).collect::<Vec<_>>(),
        "board": found.board,
        "made": {
            "date": found.made.date.map(|date| date.to_string()),
            "hwmeter": found.made.hwmeter,
            "kernel": found.made.kernel,
            "governor": found.made.governor,
        },
        "effort": found.effort.as_str(),
        "load": found.surroundings.load,
        "cpu_quota": found.surroundings.quota,
        "notes": found.notes,
        "problems": found.problems,
        "is_partial": !found.problems.is_empty(),
        "steps": found.steps.iter().map(|&step| name(step)).collect::<Vec<_>>(),
        "file": file,
    })
}

fn row(row: &GemmRow) -> Value {
    let cost = row.cost.as_ref();
    json!({
        "provider": row.provider,
        "engine": row.engine,
        "op": op(row.op),
        "threads": row.threads,
        "cluster": row.cluster,
        "n": row.n,
        "fit": row.fit,
        "gflops": row.gflops,
        "gflops_median": row.gflops_median,
        "gflops_spread": row.gflops_spread,
        "runs": row.runs,
        "peak_gflops": row.peak_gflops,
        "peak_share": row.peak_share,
        "joules": cost.map(|cost| cost.joules),
        "joules_uncertainty": cost.map(|cost| cost.joules_uncertainty),
        "watts": cost.map(|cost| cost.watts),
        "watts_uncertainty": cost.map(|cost| cost.watts_uncertainty),
        "gflops_per_watt": cost.map(|cost| cost.gflops_per_watt),
        "gflops_per_watt_uncertainty": cost.map(|cost| cost.gflops_per_watt_uncertainty),
        "kind": cost.map(|cost| cost.kind),
        "conditions": row.conditions,
    })
}

/// The sensor's characteristics, and its name as in other documents. Without that step, the name alone.
fn sensor(found: &Found) -> Value {
    let Some(sensor) = &found.sensor else {
        let meter = found.meter.as_ref();
        return meter.map_or(Value::Null, |meter| json!({ "id": meter.id, "kind": meter.kind }));
    };
    let mut value = json!(sensor);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("sensor");
        fields.insert("id".to_owned(), json!(sensor.sensor));
    }
    value
}

fn load_steps(steps: &LoadSteps) -> Value {
    json!({
        "sensor": steps.sensor,
        "kind": steps.kind,
        "steps": steps.steps,
        "partial": steps.partial,
    })
}

fn missing(missing: &Missing) -> Value {
    json!({
        "provider": missing.provider,
        "reason": missing.error.to_string(),
        "package": missing.package,
    })
}
