//! `hwmeter probe`: the board and its sensors.

use super::context;
use crate::cli::ProbeArgs;
use crate::ui::{self, paint, table};
use hwmeter::bundle;
use hwmeter_hw::board::Board;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::cpu::CpuInfo;
use hwmeter_hw::discover::{self, Found, Status};
use hwmeter_hw::error::ErrorKind;
use hwmeter_hw::gpu::{self, Gpu};
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::rate::highest_sensible_rate;
use hwmeter_hw::sensor::{Kind, Rail, SensorInfo};
use hwmeter_hw::sensors::Context;
use hwmeter_hw::span::SpanEnergy;
use hwmeter_hw::{Root, units::Watts};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long the live reading in the table looks at each sensor.
const LOOK: Duration = Duration::from_millis(250);

/// Looks, then prints.
pub fn run(args: &ProbeArgs, root: &Root, calibration: &Calibration) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.bundle {
        return pack(file, root);
    }
    let context = context(root);
    let mut found = discover::discover(&context);
    let used = apply(calibration, &mut found)?;
    let cpu = CpuInfo::read(root);
    let gpus = gpu::gpus(root).unwrap_or_default();
    if args.json {
        println!("{:#}", document(&context, &cpu, &gpus, &found, used));
    } else {
        print_machine(root, &context.board, &cpu, &gpus);
        print_sensors(&context, &found);
        if let Some(file) = used {
            anstream::println!("Calibration used: {}", file.display());
        }
        print_advice(&found);
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
    anstream::println!(
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

fn print_machine(root: &Root, board: &Board, cpu: &CpuInfo, gpus: &[Gpu]) {
    anstream::println!(
        "{}  {} ({}, {})",
        paint(ui::BOLD, "Board "),
        board.model,
        board.kind.name(),
        board.soc
    );
    let mut parts = vec![format!("{} cores", cpu.cores)];
    parts.extend(cpu.max_hz.map(|hz| format!("{:.2} GHz", hz / 1e9)));
    parts.extend(
        cpu.governor
            .as_ref()
            .map(|governor| format!("governor {governor}")),
    );
    parts.extend(
        cpu.memory_bytes
            .map(|bytes| format!("{:.1} GiB memory", bytes as f64 / (1u64 << 30) as f64)),
    );
    anstream::println!("{}  {}", paint(ui::BOLD, "CPU   "), parts.join(", "));
    let names: Vec<String> = gpus.iter().map(|gpu| gpu_line(root, gpu)).collect();
    let names = if names.is_empty() {
        "none found".to_owned()
    } else {
        names.join("; ")
    };
    anstream::println!("{}  {names}", paint(ui::BOLD, "GPU   "));
}

fn gpu_line(root: &Root, gpu: &Gpu) -> String {
    let load = gpu
        .load(root)
        .ok()
        .flatten()
        .map(|load| format!(", load {:.0} %", load * 100.0));
    let clock = gpu
        .devfreq(root)
        .ok()
        .flatten()
        .map(|f| format!(", {} MHz", f.current_hz / 1_000_000));
    let kind = serde_json::to_value(gpu.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(str::to_owned));
    [kind, Some(format!(" {}", gpu.device)), load, clock]
        .into_iter()
        .flatten()
        .collect()
}

/// One line per rail, with a live reading.
fn print_sensors(context: &Context, found: &[Found]) {
    let usable: Vec<&SensorInfo> = found
        .iter()
        .filter_map(|found| match &found.status {
            Status::Ok(info) => Some(info),
            Status::Unusable { .. } => None,
        })
        .collect();
    if usable.is_empty() {
        return;
    }
    let default = discover::default_sensor(found).map(|info| info.id.clone());
    let mut rows = table(&[
        "SENSOR", "RAIL", "ROLE", "NOW", "KIND", "ACCURACY", "UPDATES", "UP TO",
    ]);
    for (info, live) in usable.iter().zip(look(context, &usable)) {
        let highest = highest_rate(context, &info.id).map_or("-".to_owned(), |hz| format!("{hz} Hz"));
        for (i, rail) in info.rails.iter().enumerate() {
            let is_default = default.as_deref() == Some(&info.id);
            let name = if is_default {
                format!("{} *", info.id)
            } else {
                info.id.clone()
            };
            rows.add_row([
                if i == 0 { name } else { String::new() },
                rail.name.clone(),
                rail.role.as_str().to_owned(),
                live.as_ref().map_or("-".to_owned(), |span| now(span, i)),
                info.kind.to_string(),
                accuracy(info, rail),
                updates(info),
                if i == 0 { highest.clone() } else { String::new() },
            ]);
        }
    }
    anstream::println!("\n{}", rows.trim_fmt());
    if let Some(default) = default {
        anstream::println!("* used unless --sensor says otherwise: {default}");
    }
    for info in usable {
        if let Some(note) = &info.note {
            anstream::println!("  {}: {note}", info.id);
        }
    }
}

/// Meters all sensors side by side for a moment.
fn look(context: &Context, sensors: &[&SensorInfo]) -> Vec<Option<SpanEnergy>> {
    let meters: Vec<Option<Meter>> = sensors
        .iter()
        .map(|info| {
            let sensor = discover::open(context, &info.id).ok()?;
            Meter::start(sensor, MeterOptions::at(info.default_rate_hz())).ok()
        })
        .collect();
    let spans: Vec<_> = meters
        .iter()
        .map(|meter| meter.as_ref().map(|meter| meter.span("now")))
        .collect();
    std::thread::sleep(LOOK);
    spans
        .into_iter()
        .zip(meters)
        .map(|(span, meter)| {
            let pending = span?.end();
            meter?.stop();
            Some(pending.wait())
        })
        .collect()
}

fn now(span: &SpanEnergy, rail: usize) -> String {
    let seconds = span.duration().0 * span.coverage;
    match span.rails.get(rail) {
        Some(energy) if seconds > 0.0 => format!("{:.2} W", energy.joules.0 / seconds),
        _ => "-".to_owned(),
    }
}

fn accuracy(info: &SensorInfo, rail: &Rail) -> String {
    let gain = format!("±{:.1} %", 200.0 * info.accuracy.gain);
    if rail.offset.0 > 0.0 {
        format!("{gain} ±{:.0} mW", 2000.0 * rail.offset.0)
    } else {
        gain
    }
}

fn updates(info: &SensorInfo) -> String {
    match info.accuracy.update_period {
        Some(period) => format!("every {}", ui::seconds(period.0)),
        None => "at each read".to_owned(),
    }
}

fn print_advice(found: &[Found]) {
    let mut is_first = true;
    for found in found {
        if let Status::Unusable { reason, hint, .. } = &found.status {
            if is_first {
                anstream::println!("\n{}", paint(ui::BOLD, "Not usable"));
                is_first = false;
            }
            anstream::println!(
                "  {}: {reason}\n      {} {hint}",
                paint(ui::WARN, found.name),
                paint(ui::GOOD, "try:")
            );
        }
    }
    match discover::default_sensor(found) {
        Some(info) if info.kind != Kind::Measured => {
            if let Some(sentence) = ui::kind_sentence(info.kind, &info.id) {
                anstream::println!("\n{sentence}");
            }
        }
        Some(_) => {}
        None => anstream::println!("\nNo sensor can be used on this machine."),
    }
}
