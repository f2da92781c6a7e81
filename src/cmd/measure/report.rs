//! The result on one screen. It stands on stderr, like that of `time`, so that the command's own output stays usable.

use super::warnings::{self, Several};
use super::{Measurement, Run, phase_table};
use crate::cli::MeasureArgs;
use crate::ui::{self, paint, table};
use hwmeter_hw::combine::{self, Terms};
use hwmeter_hw::idle::IdlePower;
use hwmeter_hw::repeat::Repeated;
use hwmeter_hw::sensor::Kind;
use hwmeter_hw::span::SpanEnergy;

/// More rows than this do not fit a screen: a summary stands for them.
pub const MOST_ROWS: usize = 20;

/// Terms below this share of the variance are not worth their place.
const SMALLEST_SHARE: f64 = 0.001;

/// Prints every sensor's result.
pub fn print(runs: &[Run], args: &MeasureArgs) {
    let sensors = runs.first().map_or(0, |run| run.sensors.len());
    for i in 0..sensors {
        let several = Several::of(runs, i);
        let Some(first) = several.first() else { continue };
        match several.runs() {
            [_] => print_run(first),
            _ => print_repeated(&several),
        }
        print_sensor(&several, args);
        print_rails(first, several.runs().len());
        phase_table::print(&several);
        for warning in warnings::of(&several) {
            anstream::eprintln!("{} {warning}", paint(ui::WARN, "note:"));
        }
    }
}

fn print_run(measurement: &Measurement) {
    let span = &measurement.span;
    let Some(total) = &span.total else {
        let headline = "energy unknown: no sample covers this time";
        anstream::eprintln!("\n{}", paint(ui::BOLD, headline));
        return;
    };
    let mean = span
        .mean_power()
        .map_or(String::new(), |p| format!(", mean {p:.3}"));
    let headline = format!(
        "{} (k=2) in {}{mean}",
        ui::joules(total),
        ui::seconds(span.duration().0)
    );
    anstream::eprintln!(
        "\n{}  [{}, {}]",
        paint(ui::BOLD, headline),
        measurement.info.id,
        span.kind
    );
    if let (Some(net), Some(idle)) = (&measurement.net, &measurement.idle) {
        anstream::eprintln!(
            "{} (k=2) without the idle board's {}",
            paint(ui::BOLD, ui::joules(&net.energy())),
            idle_text(idle)
        );
    }
}

/// A constant of a model has no uncertainty of its own.
fn idle_text(idle: &IdlePower) -> String {
    let (watts, uncertainty) = (idle.watts(), idle.uncertainty());
    let figure = match uncertainty.0 {
        u if u > 0.0 => ui::with_uncertainty(watts.0, u, "W"),
        _ => format!("{watts:.3}"),
    };
    format!("{figure} ({})", idle.source())
}

/// A row per run, and what they say together.
fn print_repeated(several: &Several) {
    let Some(first) = several.first() else { return };
    let runs = several.runs();
    let has_net = several.net().is_some();
    anstream::eprintln!();
    if runs.len() <= MOST_ROWS {
        let mut rows = table(&["RUN", "ENERGY", "NET", "TIME", "MEAN", "EXIT"]);
        for (i, (run, measurement)) in runs.iter().enumerate() {
            let span = &measurement.span;
            rows.add_row([
                (i + 1).to_string(),
                energy_cell(Terms::of(span).as_ref()),
                energy_cell(measurement.net.as_ref()),
                ui::seconds(span.duration().0),
                watts_cell(span),
                run.exit_status.to_string(),
            ]);
        }
        anstream::eprintln!("{}", without_column(rows, 2, !has_net).trim_fmt());
    }
    let Some(gross) = several.gross() else {
        anstream::eprintln!("{}", paint(ui::BOLD, "energy unknown: no sample covers any run"));
        return;
    };
    let headline = paint(ui::BOLD, repeated_text(&gross));
    anstream::eprintln!("{headline}  [{}, {}]", first.info.id, first.span.kind);
    if let (Some(net), Some(idle)) = (several.net(), &first.idle) {
        anstream::eprintln!(
            "{} without the idle board's {}",
            paint(ui::BOLD, repeated_text(&net)),
            idle_text(idle)
        );
    }
}

/// `mean 2.247 J ± 0.012 J (95 %), standard deviation 0.004 J over 10 runs`.
fn repeated_text(of: &Repeated) -> String {
    let (Some(half), Some(deviation)) = (of.half_width, of.deviation) else {
        return format!("mean {:.4} J of 1 run", of.mean.0);
    };
    let (digits, of_deviation) = (ui::decimals(half.0), ui::decimals(deviation.0));
    format!(
        "mean {:.digits$} J ± {:.digits$} J (95 %), standard deviation {:.of_deviation$} J over {} runs",
        of.mean.0, half.0, deviation.0, of.runs
    )
}

/// The table without one of its columns.
pub fn without_column(mut rows: comfy_table::Table, column: usize, is_hidden: bool) -> comfy_table::Table {
    if is_hidden && let Some(column) = rows.column_mut(column) {
        column.set_constraint(comfy_table::ColumnConstraint::Hidden);
    }
    rows
}

/// What was read, how well, and what limits the result.
fn print_sensor(several: &Several, args: &MeasureArgs) {
    let Some(first) = several.first() else { return };
    let mut rows = table(&[]);
    let kind = first.span.kind;
    let sentence = match (args.share, ui::kind_sentence(kind, &first.info.id)) {
        (false, Some(sentence)) if kind != Kind::Measured => Some(sentence),
        _ => first.info.note.clone(),
    };
    if let Some(sentence) = &sentence {
        rows.add_row([kind.as_str(), sentence]);
    }
    if let Some(file) = &first.calibration {
        rows.add_row(["calibration", &file.display().to_string()]);
    }
    rows.add_row([
        "samples",
        &format!(
            "{} at {} Hz, {} late, {} lost, coverage {:.1} %",
            several.count(|m| m.span.samples),
            ui::short(first.rate_hz),
            several.count(|m| m.seen.late_ticks),
            several.count(|m| m.seen.lost_samples),
            100.0 * several.coverage()
        ),
    ]);
    if let Some(sum) = combine::sum(&several.terms()) {
        rows.add_row(["uncertainty", &budget_text(&sum)]);
    }
    if let Some(sum) = combine::sum(&several.net_terms()) {
        rows.add_row(["  without idle", &budget_text(&sum)]);
    }
    anstream::eprintln!("{}", rows.trim_fmt());
}

/// The terms by their share of the variance, largest first.
fn budget_text(of: &Terms) -> String {
    let variance = of.energy().uncertainty.0.powi(2);
    let mut terms: Vec<(&str, f64)> = of
        .terms
        .iter()
        .map(|(name, u)| (*name, u.0 * u.0 / variance))
        .filter(|(_, share)| *share >= SMALLEST_SHARE)
        .collect();
    terms.sort_by(|a, b| b.1.total_cmp(&a.1));
    if terms.is_empty() {
        return "none stated: the sensor counts as exact".to_owned();
    }
    let terms: Vec<String> = terms
        .iter()
        .map(|(name, share)| format!("{name} {:.1} %", 100.0 * share))
        .collect();
    format!("from {}", terms.join(", "))
}

fn print_rails(measurement: &Measurement, runs: usize) {
    let Measurement { info, span, .. } = measurement;
    if runs > 1 || span.rails.len() < 2 {
        return;
    }
    let mut rows = table(&["RAIL", "ROLE", "ENERGY", "MEAN"]);
    for (rail, energy) in info.rails.iter().zip(&span.rails) {
        let cells = energy.map(|energy| {
            let mean = energy.joules / span.duration();
            (ui::joules(&energy), format!("{mean:.3}"))
        });
        let (joules, mean) = cells.unwrap_or_else(|| ("no values".to_owned(), "-".to_owned()));
        rows.add_row([&rail.name, rail.role.as_str(), &joules, &mean]);
    }
    anstream::eprintln!("\n{}", rows.trim_fmt());
}

/// An energy for a table.
pub fn energy_cell(terms: Option<&Terms>) -> String {
    terms.map_or("unknown".to_owned(), |terms| ui::joules(&terms.energy()))
}

/// A mean power for a table.
pub fn watts_cell(span: &SpanEnergy) -> String {
    span.mean_power()
        .map_or("-".to_owned(), |mean| format!("{mean:.3}"))
}
