//! The table of `hwmeter probe`, as a person reads it.

use super::highest_rate;
use crate::ui::{self, paint, table};
use hwmeter_hw::Root;
use hwmeter_hw::board::Board;
use hwmeter_hw::cpu::CpuInfo;
use hwmeter_hw::discover::{self, Found, Status};
use hwmeter_hw::error::ErrorKind;
use hwmeter_hw::gpu::Gpu;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::{Kind, Rail, SensorInfo};
use hwmeter_hw::sensors::Context;
use hwmeter_hw::span::SpanEnergy;
use std::time::Duration;

/// How long the live reading in the table looks at each sensor.
const LOOK: Duration = Duration::from_millis(250);

/// Board, CPU and GPU, a line each.
pub fn print_machine(root: &Root, board: &Board, cpu: &CpuInfo, gpus: &[Gpu]) {
    ui::outln!(
        "{}  {} ({}, {})",
        paint(ui::BOLD, "Board "),
        board.model,
        board.kind.name(),
        board.soc
    );
    if let Some(variant) = board.variant {
        ui::outln!("        {variant}");
    }
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
    ui::outln!("{}  {}", paint(ui::BOLD, "CPU   "), parts.join(", "));
    let names: Vec<String> = gpus.iter().map(|gpu| gpu_line(root, gpu)).collect();
    let names = if names.is_empty() {
        "none found".to_owned()
    } else {
        names.join("; ")
    };
    ui::outln!("{}  {names}", paint(ui::BOLD, "GPU   "));
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
    [Some(gpu.to_string()), load, clock]
        .into_iter()
        .flatten()
        .collect()
}

/// One line per rail, with a live reading.
pub fn print_sensors(context: &Context, found: &[Found]) {
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
        "SENSOR",
        "RAIL",
        "ROLE",
        "NOW",
        "KIND",
        "ACCURACY (k=2)",
        "UPDATES",
        "UP TO",
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
    ui::outln!("\n{}", rows.trim_fmt());
    if let Some(default) = default {
        ui::outln!("* used unless --sensor says otherwise: {default}");
    }
    for info in usable {
        if let Some(note) = &info.note {
            ui::outln!("  {}: {note}", info.id);
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
    let seconds = (span.duration() - span.outside).0;
    match span.rails.get(rail) {
        Some(Some(energy)) if seconds > 0.0 => format!("{:.2} W", energy.joules.0 / seconds),
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

/// Every sensor that cannot be used: why, and what to do.
pub fn print_advice(found: &[Found]) {
    let unusable: Vec<(&str, ErrorKind, &str, &str)> = found
        .iter()
        .filter_map(|found| match &found.status {
            Status::Unusable { kind, reason, hint } => Some((found.name, *kind, &**reason, &**hint)),
            Status::Ok(_) => None,
        })
        .collect();
    if !unusable.is_empty() {
        ui::outln!("\n{}", paint(ui::BOLD, "Not usable"));
    }
    for (name, _, reason, hint) in &unusable {
        ui::outln!("  {}: {reason}", paint(ui::WARN, name));
        match hint.strip_prefix("# ") {
            Some(explanation) => ui::outln!("      {explanation}"),
            None => ui::outln!("      {} {hint}", paint(ui::GOOD, "try:")),
        }
    }
    if unusable.iter().any(|(_, kind, ..)| *kind == ErrorKind::Denied) {
        let program = std::env::current_exe().unwrap_or_else(|_| "hwmeter".into());
        ui::outln!(
            "  Such rights last until the next boot. For good, and for the group hwmeter alone:\n      {} sudo {} setup  # then log out and in again",
            paint(ui::GOOD, "try:"),
            program.display()
        );
    }
    let has_try = unusable.iter().any(|(.., hint)| !hint.starts_with('#'));
    print_kind(discover::default_sensor(found), has_try);
}

/// What to know, and to do, where the default sensor is none that measures.
fn print_kind(default: Option<&SensorInfo>, has_try: bool) {
    match default {
        Some(info) if info.kind == Kind::Measured => return,
        Some(info) => ui::outln!(
            "\nJoules are {} here ({}), not measured: no power sensor can be read.",
            info.kind,
            info.id
        ),
        None => ui::outln!("\nNo sensor can be used on this machine."),
    }
    let first = if has_try {
        "do what stands behind `try:` and run probe again; or "
    } else {
        ""
    };
    ui::outln!(
        "To measure, {first}plug this machine into a meter that speaks Modbus, and give its address and kind:\n      \
         hwmeter measure --sensor 'modbus:tcp://192.168.1.7:502?meter=shelly-em1' --duration 10s"
    );
}
