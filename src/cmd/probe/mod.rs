//! `hwmeter probe`: the board and its sensors.

mod text;

use super::context;
use crate::cli::ProbeArgs;
use hwmeter::bundle;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::cpu::CpuInfo;
use hwmeter_hw::discover::{self, Found, Status};
use hwmeter_hw::error::ErrorKind;
use hwmeter_hw::gpu::{self, Gpu};
use hwmeter_hw::rate::highest_sensible_rate;
use hwmeter_hw::sensor::{Rail, SensorInfo};
use hwmeter_hw::sensors::Context;
use hwmeter_hw::{Root, units::Watts};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// Looks, then prints.
pub fn run(args: &ProbeArgs, root: &Root, calibration: &Calibration) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.bundle {
        return pack(file, root);
    }
    let context = context(root).calibrated(calibration);
    let mut found = discover::discover(&context);
    let used = apply(calibration, &mut found)?;
    let cpu = CpuInfo::read(root);
    let gpus = gpu::gpus(root).unwrap_or_default();
    if args.json {
        crate::ui::outln!("{:#}", document(&context, &cpu, &gpus, &found, used));
    } else {
        text::print_machine(root, &context.board, &cpu, &gpus);
        text::print_sensors(&context, &found);
        if let Some(file) = used {
            crate::ui::outln!("Calibration used: {}", file.display());
        }
        text::print_advice(&found);
    }
    Ok(ExitCode::SUCCESS)
}

/// Overrides what a calibration says better; the file, if it says anything about a sensor that is there.
fn apply<'a>(calibration: &'a Calibration, found: &mut [Found]) -> anyhow::Result<Option<&'a Path>> {
    let mut used = None;
    for found in found {
        if let Status::Ok(info) = &mut found.status {
            calibration.apply(info)?;
            used = used.or(calibration.path_for(&info.id));
        }
    }
    Ok(used)
}

/// Packs what discovery looks at into a tar file.
fn pack(file: &Path, root: &Root) -> anyhow::Result<ExitCode> {
    let (root, trail) = root.recorded();
    let context = context(&root);
    discover::discover(&context);
    CpuInfo::read(&root);
    gpu::gpus(&root).ok();
    let packed = bundle::write(file, &root, &trail.paths())?;
    crate::ui::outln!(
        "{}: {packed} files, no serial numbers. Unpacked, it works with `hwmeter --root DIR probe`.",
        file.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The document of `probe --json`.
fn document(
    context: &Context,
    cpu: &CpuInfo,
    gpus: &[Gpu],
    found: &[Found],
    calibration: Option<&Path>,
) -> Value {
    json!({
        "board": context.board,
        "cpu": cpu,
        "gpu": { "present": !gpus.is_empty(), "devices": gpus },
        "calibration": calibration,
        "default_sensor": discover::default_sensor(found).map(|info| &info.id),
        "sensors": found.iter().map(|found| sensor(context, found)).collect::<Vec<_>>(),
    })
}

fn sensor(context: &Context, found: &Found) -> Value {
    match &found.status {
        Status::Ok(info) => json!({
            "id": info.id,
            "name": found.name,
            "kind": info.kind,
            "status": "ok",
            "reason": null,
            "hint": info.note,
            "rails": info.rails.iter().map(rail).collect::<Vec<_>>(),
            "total": info.total.iter().filter_map(|&i| info.rails.get(i)).map(|r| &r.name).collect::<Vec<_>>(),
            "update_period_s": info.accuracy.update_period,
            "idle_watts": info.idle,
            "full_watts": info.full,
            "highest_rate_hz": highest_rate(context, &info.id),
            "accuracy": {
                "gain": info.accuracy.gain,
                "lag_s": info.accuracy.lag,
                "lag_uncertainty": info.accuracy.lag_uncertainty,
                "window_s": info.accuracy.window,
                "update_period_s": info.accuracy.update_period,
                "clock_s": info.accuracy.clock,
                "offset_watts": total_offset(info),
                "source": info.accuracy.source,
            },
        }),
        Status::Unusable { kind, reason, hint } => json!({
            "id": found.name,
            "name": found.name,
            "kind": found.kind,
            "status": if *kind == ErrorKind::Denied { "denied" } else { "error" },
            "reason": reason,
            "hint": hint,
            "rails": [],
            "update_period_s": null,
            "accuracy": null,
        }),
    }
}

/// The highest sampling rate that makes sense, from the time a read takes here and the update period.
fn highest_rate(context: &Context, id: &str) -> Option<f64> {
    let mut sensor = discover::open(context, id).ok()?;
    highest_sensible_rate(&mut *sensor, &*context.clock).ok()
}

fn rail(rail: &Rail) -> Value {
    json!({
        "name": rail.name,
        "role": rail.role,
        "offset_watts": rail.offset,
        "resolution_watts": (rail.power_step.0 > 0.0).then_some(rail.power_step),
        "resolution_joules": (rail.energy_step.0 > 0.0).then_some(rail.energy_step),
    })
}

fn total_offset(info: &SensorInfo) -> Watts {
    let parts = info.total.iter().filter_map(|&i| info.rails.get(i));
    Watts(parts.map(|rail| rail.offset.0.powi(2)).sum::<f64>().sqrt())
}
