//! `hwmeter calibrate show`: a calibration file, for people.

use super::paper::Paper;
use super::table;
use crate::ui::{self, BOLD, WARN, paint};
use hwmeter_hw::board::BoardKind;
use hwmeter_hw::calibration::{Calibration, LearnerRow, Made};
use hwmeter_hw::power_model::PowerModel;
use serde_json::json;
use std::path::Path;

/// Prints a file.
pub fn print(calibration: &Calibration, file: &Path, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        ui::outln!("{:#}", document(calibration, file)?);
        return Ok(());
    }
    ui::outln!("{}", file.display());
    match calibration.made() {
        Some(made) => print_made(made),
        None => ui::outln!("Written by hand: it does not say on which board"),
    }
    table::print(calibration.gemm(), paper(calibration));
    if !calibration.gemm().is_empty() {
        ui::outln!("");
        table::print_rows(calibration.gemm());
    }
    if let Some(bandwidth) = calibration.bandwidth() {
        let threads = bandwidth
            .threads
            .map_or_else(String::new, |n| format!(" on {n} threads"));
        let gigabytes = 1e-9 * bandwidth.bytes_per_s;
        ui::outln!("\n{}  triad: {gigabytes:.2} GB/s{threads}", paint(BOLD, "Memory"));
    }
    for (id, idle, uncertainty) in calibration.idle_powers() {
        let idle = ui::with_uncertainty(idle.0, uncertainty.0, "W");
        ui::outln!("\n{}  {idle}  [{id}]", paint(BOLD, "Idle"));
    }
    if let Some(model) = calibration.power_model() {
        ui::outln!("\n{}  {} load steps", paint(BOLD, "Power"), model.steps);
        print_model(model);
    }
    print_learners(calibration.learners());
    Ok(())
}

fn document(calibration: &Calibration, file: &Path) -> anyhow::Result<serde_json::Value> {
    let idle = calibration.idle_powers().map(|(id, idle, uncertainty)| {
        json!({ "sensor": id, "idle_watts": idle, "idle_uncertainty_watts": uncertainty })
    });
    Ok(json!({
        "file": file,
        "made": calibration.made(),
        "gemm": calibration.gemm(),
        "bandwidth": calibration.bandwidth(),
        "idle": idle.collect::<Vec<_>>(),
        "power_model": calibration.power_model(),
        "learners": calibration.learners(),
    }))
}

/// The paper's figures for the board that the file is of.
fn paper(calibration: &Calibration) -> Option<&'static Paper> {
    const DEVICES: [BoardKind; 3] = [
        BoardKind::JetsonAgxOrin,
        BoardKind::JetsonNano,
        BoardKind::RaspberryPi4,
    ];
    let made = calibration.made()?;
    let kind = DEVICES.into_iter().find(|kind| kind.name() == made.kind)?;
    Paper::on(kind)
}

/// When and where.
pub fn print_made(made: &Made) {
    let with =
        |what: &str, text: Option<String>| text.map_or_else(String::new, |text| format!(", {what}{text}"));
    ui::outln!(
        "{}  {} ({}){}{}{}",
        paint(BOLD, "Board"),
        made.board,
        made.kind,
        with("kernel ", made.kernel.clone()),
        with("governor ", made.governor.clone()),
        with("", made.date.map(|date| date.to_string())),
    );
    for what in &made.partial {
        ui::outln!("{} {what}", paint(WARN, "partial:"));
    }
    ui::outln!("");
}

/// What the power model says and how good it is.
pub fn print_model(model: &PowerModel) {
    let at = |utilisation: f64| format!("{:.2} W", model.power(utilisation, None).0);
    let frequency = if model.needs_frequency() {
        ", and falls with the clock"
    } else {
        ""
    };
    ui::outln!(
        "  model: idle {}, half busy {}, full {}{frequency}; error {:.1} % cross-validated over {} steps, fitted against {} \
         ({})",
        at(0.0),
        at(0.5),
        at(1.0),
        100.0 * model.fit_error,
        model.steps,
        model.sensor,
        model.sensor_kind
    );
    if let Some(why) = &model.partial {
        ui::outln!("  {} {why}", paint(WARN, "partial:"));
    }
}

/// What decisions and updates cost. Nothing without rows.
pub fn print_learners(rows: &[LearnerRow]) {
    if rows.is_empty() {
        return;
    }
    let mut lines = ui::table(&[
        "LEARNER",
        "SIZE",
        "DECIDE",
        "UPDATE",
        "DECIDE (k=2)",
        "UPDATE (k=2)",
        "KIND",
    ]);
    for row in rows {
        lines.add_row([
            row.name.clone(),
            row.variant.clone(),
            ui::seconds(row.decide_s),
            ui::seconds(row.update_s),
            energy(row.decide_j, row.decide_uncertainty_j),
            energy(row.update_j, row.update_uncertainty_j),
            row.kind.to_string(),
        ]);
    }
    ui::outln!("\n{}", paint(BOLD, "Learners, one decision and one update"));
    ui::outln!("{}", lines.trim_fmt());
}

fn energy(joules: Option<f64>, uncertainty: Option<f64>) -> String {
    let Some(joules) = joules else {
        return String::new();
    };
    let (scale, unit) = if joules >= 1e-3 { (1e3, "mJ") } else { (1e6, "µJ") };
    match uncertainty {
        Some(u) => ui::with_uncertainty(scale * joules, scale * u, unit),
        None => format!("{:.2} {unit}", scale * joules),
    }
}
