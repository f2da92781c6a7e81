//! What an update of the learner takes: seconds and joules, local beside remote.

use super::about_joules;
use crate::report::draw::{Area, Axes, Chart, Drawn, TEXT, shortened, svg, text};
use crate::report::error::Result;
use crate::report::figure::{Figure, Table, cell};
use crate::report::group::Group;
use crate::report::palette::{BLUE, GREEN, INK, MUTED};
use crate::report::totals::Updates;
use crate::report::words::{in_unit, site as site_words};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Height of one row.
const ROW: u32 = 80;

/// A row of a figure: what a group's updates at one site took.
struct Row {
    label: String,
    is_local: bool,
    /// Its middle.
    value: f64,
    /// Where its line begins and ends.
    range: (f64, f64),
    words: String,
}

/// Seconds per update.
pub fn time(groups: &[Group]) -> Result<Option<Figure>> {
    let rows: Vec<Row> = of_sites(groups)
        .filter_map(|(group, site, updates)| {
            let q = |q| updates.time_s.quantile(q);
            let median = q(0.5)?;
            Some(Row {
                label: row_label(group, site),
                is_local: site == "local",
                value: median,
                range: (q(0.1)?, q(0.99)?),
                words: format!("median {}", seconds(&median)),
            })
        })
        .collect();
    let caption = "From the moment at which the learner is given what it learns from to the one at which it decides with the new \
        weights; on the MEC that takes sending the experience, the update there, receiving the weights and putting them to \
        use. Dot: median. Line: from what 10 % stay below to what 99 % stay below. The axis is logarithmic.";
    let kind = Kind {
        id: "update-time",
        title: "Time per update of the learner",
        about: Vec::new(),
        x_name: "seconds per update",
        caption: caption.to_owned(),
        tick: &seconds,
    };
    kind.figure(&rows, time_table(groups))
}

/// Joules per update.
pub fn energy(groups: &[Group]) -> Result<Option<Figure>> {
    let mut unseen = 0;
    let mut rows = Vec::new();
    for (group, site, updates) in of_sites(groups) {
        let Some(joules) = updates.energy_j.mean() else {
            continue;
        };
        // What is not above zero has no place on a logarithmic axis; the table has it.
        if joules <= 0.0 {
            unseen += 1;
            continue;
        }
        let u = 2.0 * joules * group.totals.relative_uncertainty().unwrap_or(0.0);
        rows.push(Row {
            label: row_label(group, site),
            is_local: site == "local",
            value: joules,
            range: (joules - u, joules + u),
            words: format!("mean {}", joules_words(&joules)),
        });
    }
    let unseen = match unseen {
        0 => String::new(),
        n => format!(" {n} with a mean that is not above zero: in the table only."),
    };
    let caption = format!(
        "The device's joules during an update, idle power included, so that waiting for a remote update counts. Dot: mean. \
         Line: its uncertainty (k=2), taken to be the same share as that of the tasks; a line that reaches the left edge goes \
         to zero or below. The axis is logarithmic.{unseen}"
    );
    let kind = Kind {
        id: "update-energy",
        title: "Energy per update of the learner",
        about: about_joules(groups),
        x_name: "joules per update",
        caption,
        tick: &joules_words,
    };
    kind.figure(&rows, energy_table(groups))
}

fn of_sites(groups: &[Group]) -> impl Iterator<Item = (&Group, &str, &Updates)> {
    groups.iter().flat_map(|group| {
        let sites = group.totals.updates.iter();
        sites.map(move |(site, updates)| (group, site.as_str(), updates))
    })
}

/// The group, less where it was trained, and the site.
fn row_label(group: &Group, site: &str) -> String {
    let trained = format!(", trained {}", site_words(&group.site));
    format!("{}, {}", group.label.replacen(&trained, "", 1), site_words(site))
}

/// A figure of rows on a logarithmic axis.
struct Kind<'a> {
    id: &'static str,
    title: &'static str,
    about: Vec<String>,
    x_name: &'a str,
    caption: String,
    tick: &'a dyn Fn(&f64) -> String,
}

impl Kind<'_> {
    fn figure(self, rows: &[Row], table: Table) -> Result<Option<Figure>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let decades = decades(rows);
        let longest = rows.iter().map(|row| shortened(&row.label).chars().count()).max();
        let tick = |x: &f64| match (x - x.round()).abs() < 1e-6 {
            true => (self.tick)(&10f64.powf(*x)),
            false => String::new(),
        };
        let axes = Axes {
            x: decades.0..decades.1,
            y: 0.0..rows.len() as f64,
            x_name: self.x_name,
            y_name: "",
            x_tick: &tick,
            y_tick: None,
            left: Some(40 + 13 * longest.unwrap_or(0) as u32),
            right: 60,
            x_ticks: (decades.1 - decades.0) as usize + 1,
        };
        let height = ROW * rows.len() as u32 + 110;
        let svg = svg(self.id, self.title, &self.about, height, |area| {
            let mut chart = axes.draw(area)?;
            for (i, row) in rows.iter().enumerate() {
                draw_row(
                    area,
                    &mut chart,
                    row,
                    (rows.len() - 1 - i) as f64 + 0.5,
                    decades.0,
                )?;
            }
            Ok(())
        })?;
        Ok(Some(Figure {
            id: self.id,
            title: self.title.to_owned(),
            caption: self.caption,
            svg,
            table,
        }))
    }
}

/// Whole decades around the rows; lines that go to zero begin a decade below the least value.
fn decades(rows: &[Row]) -> (f64, f64) {
    let positive = |x: f64| Some(x).filter(|x| *x > 0.0);
    let low = rows
        .iter()
        .map(|row| positive(row.range.0).map_or(row.value / 10.0, |low| low.max(row.value / 1e3)));
    let low = low.fold(f64::INFINITY, f64::min).max(1e-12).log10().floor();
    let high = rows
        .iter()
        .map(|row| row.range.1)
        .fold(1e-12, f64::max)
        .log10()
        .ceil();
    (low, high.max(low + 1.0))
}

fn draw_row(area: &Area<'_>, chart: &mut Chart<'_>, row: &Row, y: f64, edge: f64) -> Drawn {
    let color = if row.is_local { GREEN } else { BLUE };
    let place = |x: f64| if x > 0.0 { x.log10().max(edge) } else { edge };
    let ends = [(place(row.range.0), y), (place(row.range.1), y)];
    chart.draw_series([PathElement::new(ends, color.stroke_width(5))])?;
    chart.draw_series([Circle::new((place(row.value), y), 10, color.filled())])?;
    let base = area.get_base_pixel();
    let (x, line) = chart.backend_coord(&(edge, y));
    let style = text(TEXT, INK).pos(Pos::new(HPos::Right, VPos::Center));
    area.draw(&Text::new(
        shortened(&row.label),
        (x - base.0 - 16, line - base.1),
        style,
    ))?;
    let (x, _) = chart.backend_coord(&(place(row.value), y));
    let style = text(TEXT, MUTED).pos(Pos::new(HPos::Center, VPos::Bottom));
    area.draw(&Text::new(
        row.words.clone(),
        (x - base.0, line - base.1 - 12),
        style,
    ))
}

fn seconds(x: &f64) -> String {
    in_unit(*x, "s")
}

fn joules_words(x: &f64) -> String {
    in_unit(*x, "J")
}

fn time_table(groups: &[Group]) -> Table {
    let mut table = Table::new([
        "runs",
        "board",
        "trained on",
        "updates",
        "median, s",
        "90 % within, s",
        "99 % within, s",
        "sending, mean s",
        "server's update, mean s",
        "receiving, mean s",
        "putting to use, mean s",
    ]);
    for (group, site, updates) in of_sites(groups) {
        let [send, server, receive, apply] = updates.parts_s.map(|part| cell(part.mean()));
        let within = |q| cell(updates.time_s.quantile(q));
        table.push([
            group.label.clone(),
            group.board.clone().unwrap_or_default(),
            site.to_owned(),
            updates.time_s.count().to_string(),
            within(0.5),
            within(0.9),
            within(0.99),
            send,
            server,
            receive,
            apply,
        ]);
    }
    table
}

fn energy_table(groups: &[Group]) -> Table {
    let mut table = Table::new([
        "runs",
        "board",
        "trained on",
        "updates with known energy",
        "mean, J",
        "uncertainty (k=1), J",
        "kind, sensor, coverage",
    ]);
    for (group, site, updates) in of_sites(groups) {
        let mean = updates.energy_j.mean();
        let u = mean
            .zip(group.totals.relative_uncertainty())
            .map(|(joules, u)| joules.abs() * u);
        table.push([
            group.label.clone(),
            group.board.clone().unwrap_or_default(),
            site.to_owned(),
            updates.energy_j.count.to_string(),
            cell(mean),
            cell(u),
            group.provenance(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_all_rows_and_those_that_go_to_zero() {
        let row = |value: f64, low: f64, high: f64| Row {
            label: String::new(),
            is_local: true,
            value,
            range: (low, high),
            words: String::new(),
        };
        assert_eq!(decades(&[row(2e-4, 1e-4, 5e-3)]), (-4.0, -2.0));
        assert_eq!(decades(&[row(0.02, -0.1, 0.05)]), (-3.0, -1.0));
        assert_eq!(decades(&[row(0.1, 0.1, 0.1)]), (-1.0, 0.0));
    }
}
