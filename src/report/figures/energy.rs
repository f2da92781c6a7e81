//! What an average task's joules went to.

use super::{about_joules, runs};
use crate::report::draw::{Area, Axes, Chart, Drawn, LINE, TEXT, key, shortened, svg, text, tick};
use crate::report::error::Result;
use crate::report::figure::{Figure, Table, cell};
use crate::report::group::Group;
use crate::report::palette::{BLUE, GREEN, INK, MUTED, PURPLE, VERMILLION};
use crate::report::totals::Split;
use crate::report::words::{small_percent, with_uncertainty};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The parts, in the order in which they are stacked.
const PARTS: [(&str, RGBColor); 4] = [
    ("deciding", VERMILLION),
    ("executing on the device", GREEN),
    ("sending and waiting", BLUE),
    ("training", PURPLE),
];

/// Height of one bar's row.
const ROW: u32 = 92;

/// A bar for each group.
pub fn split(groups: &[Group]) -> Result<Option<Figure>> {
    let shown: Vec<&Group> = groups
        .iter()
        .filter(|group| group.totals.energy_j.count > 0)
        .collect();
    if shown.is_empty() {
        return Ok(None);
    }
    let title = "Energy of an average task";
    // Room for the whisker, and for the words behind the bar.
    let end = |group: &&Group| (total(group) + 2.0 * uncertainty(group)).max(1.3 * total(group));
    let longest = shown.iter().map(end).fold(0.0, f64::max);
    let axes = Axes {
        x: 0.0..1.05 * longest.max(1e-9),
        y: 0.0..shown.len() as f64,
        x_name: "joules per task",
        y_name: "",
        x_tick: &tick,
        y_tick: None,
        left: Some(left_room(&shown)),
        right: 40,
        x_ticks: 8,
    };
    let height = ROW * shown.len() as u32 + 160;
    let svg = svg("energy", title, &about_joules(groups), height, |area| {
        let (above, below) = area.split_vertically(LINE + 10);
        key(&above, PARTS)?;
        let mut chart = axes.draw(&below)?;
        for (i, group) in shown.iter().enumerate() {
            draw_bar(&below, &mut chart, group, (shown.len() - 1 - i) as f64)?;
        }
        Ok(())
    })?;
    Ok(Some(Figure {
        id: "energy",
        title: title.to_owned(),
        caption: format!(
            "The device's joules from a task's arrival to its result, idle power included, and those of the learner's update \
             after it. The whisker is the uncertainty (k=2), which all tasks share; it does not go below zero.{}",
            small_parts(&shown)
        ),
        svg,
        table: table(groups),
    }))
}

/// The parts that are too small to see.
fn small_parts(groups: &[&Group]) -> String {
    let share = |pick: fn(&Split) -> Option<f64>| {
        let shares = groups
            .iter()
            .filter_map(|group| Some(pick(&group.totals.split())? / total(group)));
        shares.fold(None, |most: Option<f64>, share| {
            Some(most.map_or(share, |most| most.max(share)))
        })
    };
    let words = |name: &str, share: Option<f64>| {
        share.map(|share| format!("{name} at most {}", small_percent(share)))
    };
    let parts = [
        words("deciding is", share(|split| split.decide_j)),
        words("training", share(|split| split.train_j)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" Of the whole, {}.", parts.join(", ")),
    }
}

fn parts(group: &Group) -> [f64; 4] {
    let split = group.totals.split();
    [split.decide_j, split.execute_j, split.send_j, split.train_j].map(|part| part.unwrap_or(0.0).max(0.0))
}

fn total(group: &Group) -> f64 {
    parts(group).iter().sum()
}

fn uncertainty(group: &Group) -> f64 {
    total(group) * group.totals.relative_uncertainty().unwrap_or(0.0)
}

fn left_room(groups: &[&Group]) -> u32 {
    let longest = groups
        .iter()
        .map(|group| shortened(&group.label).chars().count())
        .max();
    40 + 13 * longest.unwrap_or(0) as u32
}

fn draw_bar(area: &Area<'_>, chart: &mut Chart<'_>, group: &Group, row: f64) -> Drawn {
    let (low, high) = (row + 0.34, row + 0.82);
    let mut from = 0.0;
    for (joules, (_, color)) in parts(group).into_iter().zip(PARTS) {
        let to = from + joules;
        chart.draw_series([Rectangle::new([(from, low), (to, high)], color.filled())])?;
        from = to;
    }
    let (total, u) = (total(group), 2.0 * uncertainty(group));
    if u > 0.0 {
        let y = row + 0.24;
        let ends = [(total - u).max(0.0), total + u];
        let whisker = [(ends[0], y), (ends[1], y)];
        chart.draw_series([PathElement::new(whisker, INK.stroke_width(3))])?;
        for end in ends {
            chart.draw_series([PathElement::new(
                [(end, y - 0.07), (end, y + 0.07)],
                INK.stroke_width(3),
            )])?;
        }
    }
    let (x, y) = chart.backend_coord(&(0.0, row + 0.55));
    let base = area.get_base_pixel();
    let style = text(TEXT, INK).pos(Pos::new(HPos::Right, VPos::Center));
    area.draw(&Text::new(
        shortened(&group.label),
        (x - base.0 - 16, y - base.1),
        style,
    ))?;
    let (x, y) = chart.backend_coord(&(total, row + 0.58));
    let words = with_uncertainty(total, group.totals.relative_uncertainty().map(|u| u * total), "J");
    let style = text(TEXT, MUTED).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(words, (x - base.0 + 12, y - base.1), style))
}

fn table(groups: &[Group]) -> Table {
    let mut table = Table::new([
        "runs",
        "number of runs",
        "deciding, J per task",
        "executing on the device, J per task",
        "sending and waiting, J per task",
        "training, J per task",
        "task in all, J",
        "uncertainty of it (k=1), J",
        "95 % interval over runs, ± J",
        "kind",
        "sensor",
        "coverage",
        "least coverage of a task",
        "tasks without energy",
    ]);
    for group in groups {
        let (totals, split) = (&group.totals, group.totals.split());
        let energy = group.mean_of(|run| run.energy_j);
        let u = totals.energy_u_j.mean();
        table.push([
            group.label.clone(),
            runs(group),
            cell(split.decide_j),
            cell(split.execute_j),
            cell(split.send_j),
            cell(split.train_j),
            cell(totals.energy_j.mean()),
            cell(u),
            cell(energy.and_then(|mean| mean.half_width)),
            group.kind.clone(),
            group.sensor.clone(),
            cell(totals.coverage.mean()),
            cell(totals.least_coverage),
            totals.without_energy.to_string(),
        ]);
    }
    table
}
