//! `hwmeter calibrate compare`: two calibration files side by side.

use super::show::print_made;
use super::table::place;
use crate::ui;
use hwmeter_hw::calibration::{Calibration, GemmRow};
use serde::Serialize;
use serde_json::json;
use std::path::Path;

/// One figure of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    what: String,
    unit: &'static str,
    a: Option<f64>,
    b: Option<f64>,
    /// b over a.
    ratio: Option<f64>,
}

/// A figure of one file.
type Figure = (String, &'static str, f64);

/// Prints both; a figure that one of them lacks is empty there.
pub fn print(a: (&Path, &Calibration), b: (&Path, &Calibration), is_json: bool) -> anyhow::Result<()> {
    let lines = lines(&figures(a.1), &figures(b.1));
    if is_json {
        let side =
            |(file, calibration): (&Path, &Calibration)| json!({ "file": file, "made": calibration.made() });
        ui::outln!("{:#}", json!({ "a": side(a), "b": side(b), "rows": lines }));
        return Ok(());
    }
    for (letter, (file, calibration)) in [("A", a), ("B", b)] {
        ui::outln!("{letter}  {}", file.display());
        if let Some(made) = calibration.made() {
            print_made(made);
        }
    }
    let mut table = ui::table(&["", "UNIT", "A", "B", "B/A"]);
    for line in &lines {
        let number = |value: Option<f64>| value.map_or_else(String::new, short);
        table.add_row([
            line.what.clone(),
            line.unit.to_owned(),
            number(line.a),
            number(line.b),
            line.ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}")),
        ]);
    }
    ui::outln!("{}", table.trim_fmt());
    Ok(())
}

/// Four digits.
fn short(value: f64) -> String {
    match value.abs() {
        x if x >= 1000.0 => format!("{value:.0}"),
        x if x >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        x => format!("{value:.*}", (3.0 - x.log10().floor()).clamp(0.0, 12.0) as usize),
    }
}

/// Of both, in the order of the first, then what only the second has.
fn lines(a: &[Figure], b: &[Figure]) -> Vec<Line> {
    let of = |figures: &[Figure], what: &str| {
        figures
            .iter()
            .find(|figure| figure.0 == what)
            .map(|figure| figure.2)
    };
    let only_b = b.iter().filter(|figure| of(a, &figure.0).is_none());
    let all = a.iter().chain(only_b);
    all.map(|(what, unit, _)| {
        let (a, b) = (of(a, what), of(b, what));
        let ratio = a.zip(b).filter(|(a, _)| *a != 0.0).map(|(a, b)| b / a);
        Line {
            what: what.clone(),
            unit,
            a,
            b,
            ratio,
        }
    })
    .collect()
}

fn figures(calibration: &Calibration) -> Vec<Figure> {
    let mut figures = Vec::new();
    for row in best_rows(calibration.gemm()) {
        let name = format!("{} {} {}", row.provider, row.op, place(row));
        figures.push((name.clone(), "GFLOPS", row.gflops));
        let per_watt = row.gflops_per_watt.zip(row.kind);
        figures.extend(per_watt.map(|(per_watt, kind)| (format!("{name}, {kind}"), "GFLOPS/W", per_watt)));
    }
    let bandwidth = calibration.bandwidth();
    figures.extend(bandwidth.map(|bandwidth| ("triad".to_owned(), "GB/s", 1e-9 * bandwidth.bytes_per_s)));
    for (id, idle, _) in calibration.idle_powers() {
        figures.push((format!("idle, {id}"), "W", idle.0));
    }
    if let Some(model) = calibration.power_model() {
        figures.push(("power model, idle".to_owned(), "W", model.idle().0));
        figures.push(("power model, full load".to_owned(), "W", model.full().0));
        figures.push(("power model, error".to_owned(), "%", 100.0 * model.fit_error));
    }
    for row in calibration.learners() {
        let name = format!("{} {}", row.name, row.variant);
        figures.push((format!("{name} decision"), "µs", 1e6 * row.decide_s));
        figures.push((format!("{name} update"), "µs", 1e6 * row.update_s));
        let joules = [("decision", row.decide_j), ("update", row.update_j)];
        figures.extend(joules.into_iter().filter_map(|(what, joules)| {
            Some((format!("{name} {what}, {}", row.kind), "µJ", 1e6 * joules?))
        }));
    }
    figures
}

/// The fastest size of each engine, product and place: two calibrations need not have the same sizes.
fn best_rows(rows: &[GemmRow]) -> Vec<&GemmRow> {
    let same = |a: &GemmRow, b: &GemmRow| (&a.provider, &a.op, place(a)) == (&b.provider, &b.op, place(b));
    let mut best: Vec<&GemmRow> = Vec::new();
    for row in rows {
        match best.iter_mut().find(|other| same(other, row)) {
            Some(other) if row.gflops > other.gflops => *other = row,
            Some(_) => {}
            None => best.push(row),
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_lacks_is_empty_and_has_no_ratio() {
        let figure = |what: &str, value| (what.to_owned(), "W", value);
        let found = lines(
            &[figure("x", 2.0), figure("y", 0.0)],
            &[figure("x", 3.0), figure("z", 1.0), figure("y", 1.0)],
        );
        let brief: Vec<_> = found
            .iter()
            .map(|l| (l.what.as_str(), l.a, l.b, l.ratio))
            .collect();
        assert_eq!(
            brief,
            [
                ("x", Some(2.0), Some(3.0), Some(1.5)),
                ("y", Some(0.0), Some(1.0), None),
                ("z", None, Some(1.0), None),
            ]
        );
    }

    #[test]
    fn numbers_have_about_four_digits() {
        assert_eq!(
            [12345.6, 12.3456, 0.0012345, 0.0].map(short),
            ["12346", "12.35", "0.001234", "0"]
        );
    }
}
