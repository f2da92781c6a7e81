//! Where tasks ran, as time went by.

use super::PLACES;
use crate::report::draw::{
    Area, Axes, Chart, Drawn, LINE, TEXT, band, bold, named, percent_tick, shortened, svg, tick,
};
use crate::report::error::Result;
use crate::report::figure::{Figure, Table, cell};
use crate::report::group::Group;
use crate::report::palette::PLACEMENTS;
use plotters::prelude::*;

/// Height of one group's panel.
const PANEL: u32 = 300;
/// Groups beyond these are in the table only.
const MOST_PANELS: usize = 8;

/// A panel for each group.
pub fn mix(groups: &[Group]) -> Result<Option<Figure>> {
    let shown: Vec<&Group> = groups
        .iter()
        .filter(|group| group.totals.tasks > 0)
        .take(MOST_PANELS)
        .collect();
    if shown.is_empty() {
        return Ok(None);
    }
    let title = "Where tasks ran";
    let height = PANEL * shown.len() as u32;
    let svg = svg("placement", title, &[], height, |area| {
        for (panel, group) in area.split_evenly((shown.len(), 1)).iter().zip(&shown) {
            draw_panel(panel, group)?;
        }
        Ok(())
    })?;
    let beyond = match groups.len() > MOST_PANELS {
        true => format!(" The first {MOST_PANELS} of {} groups are drawn.", groups.len()),
        false => String::new(),
    };
    Ok(Some(Figure {
        id: "placement",
        title: title.to_owned(),
        caption: format!(
            "Share of tasks that ran on the device itself, on the edge server (MEC) and in the cloud: moving mean, and over \
             the whole run at the right.{beyond}"
        ),
        svg,
        table: table(groups),
    }))
}

fn draw_panel(panel: &Area<'_>, group: &Group) -> Drawn {
    let shares: Vec<Vec<(f64, f64)>> = (0..3)
        .map(|place| {
            let course = group.course(|bin| bin.placement_share(place));
            course
                .points
                .into_iter()
                .map(|(task, mean)| (task, mean.mean))
                .collect()
        })
        .collect();
    let last_task = shares[0].last().map_or(1.0, |(task, _)| *task);
    panel.draw(&Text::new(shortened(&group.label), (0, 4), bold(TEXT)))?;
    let below = panel.split_vertically(LINE + 4).1;
    let axes = Axes {
        x: 0.0..last_task,
        y: 0.0..1.0,
        x_name: "task",
        y_name: "",
        x_tick: &tick,
        y_tick: Some(&percent_tick),
        left: None,
        right: 250,
        x_ticks: 8,
    };
    let mut chart = axes.draw(&below)?;
    let mut low: Vec<(f64, f64)> = shares[0].iter().map(|(task, _)| (*task, 0.0)).collect();
    for (share, color) in shares.iter().zip(PLACEMENTS) {
        let high: Vec<(f64, f64)> = low
            .iter()
            .zip(share)
            .map(|(low, share)| (low.0, low.1 + share.1))
            .collect();
        band(&mut chart, &low, &high, color, 0.85)?;
        low = high;
    }
    name_placements(&below, &chart, group)
}

/// Names and shares over the whole run, in the order in which they are stacked.
fn name_placements(area: &Area<'_>, chart: &Chart<'_>, group: &Group) -> Drawn {
    let (xs, ys) = chart.plotting_area().get_pixel_range();
    let base = area.get_base_pixel();
    for (place, name) in PLACES.iter().enumerate() {
        let share = group.totals.placements[place] as f64 / group.totals.tasks.max(1) as f64;
        let words = format!("{name} {:.1} %", 100.0 * share);
        let y = ys.end - base.1 - LINE * place as i32 - 24;
        let at = (xs.end - base.0 + 14, y);
        named(area, at, &words, PLACEMENTS[place])?;
    }
    Ok(())
}

fn table(groups: &[Group]) -> Table {
    let mut table = Table::new(["runs", "tasks", "local, share", "MEC, share", "cloud, share"]);
    for group in groups {
        let totals = &group.totals;
        let share = |place: usize| {
            let share = totals.placements[place] as f64 / totals.tasks as f64;
            cell((totals.tasks > 0).then_some(share))
        };
        table.push([
            group.label.clone(),
            totals.tasks.to_string(),
            share(0),
            share(1),
            share(2),
        ]);
    }
    table
}
