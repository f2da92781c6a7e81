//! What was found, as text.

use super::file;
use super::found::{Found, Problem};
use super::paper::Paper;
use super::{power, show, table};
use crate::ui::{self, BOLD, WARN, paint};
use hwmeter_hw::calibration::GemmRow;
use hwmeter_hw::characterise::Characteristics;
use hwmeter_hw::sensor::Kind;
use hwmeter_hw::units::Seconds;

/// Prints all of it, the table first.
pub fn print(found: &Found) {
    let rows: Vec<GemmRow> = found.gemm.rows.iter().map(file::gemm_row).collect();
    show::print_made(&found.made);
    table::print(&rows, Paper::on(found.board.kind));
    if let Some(peak) = &found.gemm.peak {
        ui::outln!(
            "Peak of all cores: SGEMM {:.1}, DGEMM {:.1} GFLOPS ({})",
            peak.sgemm_gflops,
            peak.dgemm_gflops,
            peak.basis
        );
    }
    print_repeats(found);
    if !rows.is_empty() {
        ui::outln!("");
        table::print_rows(&rows);
        print_engines(found);
    }
    print_bandwidth(found);
    print_sensor(found);
    print_power_model(found);
    let learners = found
        .meter
        .as_ref()
        .map(|meter| file::learner_rows(&found.learners, meter.kind));
    show::print_learners(&learners.unwrap_or_default());
    print_notes(found);
}

fn print_repeats(found: &Found) {
    let Some(repeats) = &found.gemm.repeats else {
        return;
    };
    let verdict = if repeats.agree {
        paint(ui::GOOD, "they agree within 2 %")
    } else {
        paint(
            WARN,
            "more than 2 % apart: something else runs, or the clock changes",
        )
    };
    ui::outln!(
        "Five repeats of {} {}, n {}, on one thread: {:.2} % from the lowest to the highest; {verdict}",
        repeats.provider,
        repeats.op.to_uppercase(),
        repeats.n,
        100.0 * repeats.spread
    );
}

fn print_engines(found: &Found) {
    let mut names: Vec<String> = Vec::new();
    for row in &found.gemm.rows {
        let name = format!("{}: {}", row.provider, row.engine);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    ui::outln!("{}", names.join("; "));
    for missing in &found.gemm.missing {
        ui::outln!("{} {missing}", paint(WARN, "not timed:"));
    }
}

fn print_bandwidth(found: &Found) {
    if found.bandwidth.is_empty() {
        return;
    }
    let each = found.bandwidth.iter().map(|bandwidth| {
        format!(
            "{:.2} GB/s on {} (spread {:.1} %)",
            1e-9 * bandwidth.best_bytes_per_s,
            threads(bandwidth.threads),
            100.0 * bandwidth.spread
        )
    });
    let each: Vec<String> = each.collect();
    ui::outln!("\n{}  triad: {}", paint(BOLD, "Memory"), each.join(", "));
}

fn threads(n: usize) -> String {
    if n == 1 {
        "1 thread".to_owned()
    } else {
        format!("{n} threads")
    }
}

fn print_sensor(found: &Found) {
    if let (Some(idle), Some(meter)) = (&found.idle, &found.meter) {
        ui::outln!(
            "\n{}  {}  [{}, {}]",
            paint(BOLD, "Idle"),
            ui::with_uncertainty(idle.watts().0, idle.uncertainty().0, "W"),
            meter.id,
            meter.kind
        );
    }
    let Some(sensor) = &found.sensor else { return };
    ui::outln!("\n{}  {} ({})", paint(BOLD, "Sensor"), sensor.sensor, sensor.kind);
    let mut lines = ui::table(&["", "FOUND", "STATED"]);
    let time = |s: Option<Seconds>| s.map_or_else(String::new, |s| ui::seconds(s.0));
    let p99 = sensor
        .read_latency_p99
        .map_or_else(String::new, |s| format!(" (p99 {})", ui::seconds(s.0)));
    lines.add_row([
        "read".to_owned(),
        format!("{}{p99}", time(sensor.read_latency)),
        String::new(),
    ]);
    lines.add_row([
        "new value every".to_owned(),
        time(sensor.update_period),
        time(sensor.stated.update_period),
    ]);
    let lag = sensor.lag.map_or_else(String::new, |lag| {
        format!(
            "{} ± {}",
            ui::seconds(lag.time_constant.0),
            ui::seconds(2.0 * lag.uncertainty.0)
        )
    });
    lines.add_row(["lag (k=2)".to_owned(), lag, time(sensor.stated.lag)]);
    let highest = sensor
        .highest_rate_hz
        .map_or_else(String::new, |hz| format!("{hz:.0} Hz"));
    lines.add_row(["highest rate on time".to_owned(), highest, String::new()]);
    for cost in &sensor.costs {
        let share = cost
            .cpu_share
            .map_or_else(String::new, |share| format!("{:.2} % of a core", 100.0 * share));
        lines.add_row([format!("cost at {:.0} Hz", cost.rate_hz), share, String::new()]);
    }
    ui::outln!("{}", lines.trim_fmt());
    print_rails(sensor);
    for unknown in &sensor.unknown {
        ui::outln!("  unknown: {unknown}");
    }
}

fn print_rails(sensor: &Characteristics) {
    let mut lines = ui::table(&[
        "RAIL",
        "IDLE (k=2)",
        "DRIFT (k=2)",
        "NOISE",
        "STEP",
        "STATED STEP",
    ]);
    for rail in &sensor.rails {
        let idle = rail
            .idle
            .map(|idle| ui::with_uncertainty(idle.watts.0, idle.uncertainty.0, "W"));
        // A hundredth of a milliwatt in a minute is none.
        let drift = rail.idle.map(|idle| {
            let hundredths = |milliwatts: f64| (100.0 * milliwatts).round() / 100.0 + 0.0;
            format!(
                "{:.2} ± {:.2} mW/min",
                hundredths(1e3 * idle.drift_watts_per_minute),
                hundredths(2e3 * idle.drift_uncertainty)
            )
        });
        let step = match (rail.power_step, rail.energy_step) {
            (Some(watts), _) => power_step(watts.0),
            (_, Some(joules)) => energy_step(joules.0),
            _ => String::new(),
        };
        let stated = match (rail.stated_power_step.0, rail.stated_energy_step.0) {
            (watts, _) if watts > 0.0 => power_step(watts),
            (_, joules) if joules > 0.0 => energy_step(joules),
            _ => String::new(),
        };
        lines.add_row([
            rail.name.clone(),
            idle.unwrap_or_default(),
            drift.unwrap_or_default(),
            rail.noise.map_or_else(String::new, |noise| power_step(noise.0)),
            step,
            stated,
        ]);
    }
    ui::outln!("{}", lines.trim_fmt());
}

fn power_step(watts: f64) -> String {
    format!("{:.2} mW", 1e3 * watts)
}

fn energy_step(joules: f64) -> String {
    format!("{:.1} µJ", 1e6 * joules)
}

fn print_power_model(found: &Found) {
    let Some(steps) = &found.load_steps else { return };
    let full =
        power::full_watts(found).map_or_else(String::new, |full| format!(", all cores busy {full:.2}"));
    ui::outln!(
        "\n{}  {} load steps against {} ({}){full}",
        paint(BOLD, "Power"),
        steps.steps.len(),
        steps.sensor,
        steps.kind
    );
    if let Some(model) = &found.power_model {
        show::print_model(model);
    }
}

fn print_notes(found: &Found) {
    let modelled = found.meter.as_ref().filter(|meter| meter.kind != Kind::Measured);
    let sentence = modelled.and_then(|meter| ui::kind_sentence(meter.kind, &meter.id));
    if found.notes.is_empty() && found.problems.is_empty() && sentence.is_none() {
        return;
    }
    ui::outln!("");
    for note in &found.notes {
        ui::outln!("{} {note}", paint(WARN, "note:"));
    }
    for problem in &found.problems {
        ui::outln!("{} {problem}", paint(ui::BAD, "failed:"));
    }
    if !found.problems.is_empty() {
        ui::outln!("This calibration is partial, and its file says so.");
    }
    if let Some(sentence) = sentence {
        ui::outln!("{sentence}");
    }
}

/// All of them in one line.
pub fn sentences(problems: &[Problem]) -> String {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    all.join("; ")
}
