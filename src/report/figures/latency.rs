//! How long tasks took, against their deadlines.

use crate::report::draw::{
    Axes, Label, labels, limit, muted, percent_tick, room_for, series_line, svg, tick,
};
use crate::report::error::Result;
use crate::report::figure::{Figure, Table, cell};
use crate::report::group::Group;
use plotters::prelude::*;

/// Height of the axes.
const HEIGHT: u32 = 560;
/// Latencies beyond so many deadlines stand at the edge.
const FARTHEST: f64 = 1.2;
/// Steps of a curve.
const STEPS: usize = 300;

/// The distribution of latency as a share of the deadline.
pub fn distribution(groups: &[Group]) -> Result<Option<Figure>> {
    if groups.iter().all(|group| group.totals.latency_share.count() == 0) {
        return Ok(None);
    }
    let title = "Latency against the deadline";
    let axes = Axes {
        x: 0.0..FARTHEST,
        y: 0.0..1.0,
        x_name: "latency as a share of the task's deadline",
        y_name: "tasks that took at most so long",
        x_tick: &percent_tick,
        y_tick: Some(&percent_tick),
        left: None,
        right: room_for(groups.iter().map(|group| group.label.as_str())),
        x_ticks: 7,
    };
    let svg = svg("latency", title, &[], HEIGHT, |area| {
        let mut chart = axes.draw(area)?;
        limit(&mut chart, 1.0, 0.0..1.0)?;
        let (x, y) = chart.backend_coord(&(1.0, 0.0));
        let base = area.get_base_pixel();
        area.draw(&Text::new(
            "deadline",
            (x - base.0 + 10, y - base.1 - 40),
            muted(),
        ))?;
        let mut ends = Vec::new();
        for (i, group) in groups.iter().enumerate() {
            let curve = curve(group);
            series_line(&mut chart, &curve, i)?;
            if let Some((_, top)) = curve.last() {
                ends.push(Label {
                    at: chart.backend_coord(&(FARTHEST, *top)),
                    text: group.label.clone(),
                    series: i,
                });
            }
        }
        labels(area, ends)
    })?;
    Ok(Some(Figure {
        id: "latency",
        title: title.to_owned(),
        caption: "From arrival to result, for each task as a share of its own deadline: how many tasks took at most so long. \
                  The higher a line where it meets the deadline, the more tasks were done in time; a step there are tasks \
                  that were stopped at their deadline."
            .to_owned(),
        svg,
        table: table(groups),
    }))
}

/// Shares of the deadline, and of the tasks; each quantile once.
fn curve(group: &Group) -> Vec<(f64, f64)> {
    let shares = &group.totals.latency_share;
    let mut points = vec![(0.0, 0.0)];
    for step in 0..=STEPS {
        let q = step as f64 / STEPS as f64;
        if let Some(x) = shares.quantile(q) {
            points.push((x.min(FARTHEST), q));
        }
    }
    points.push((FARTHEST, 1.0));
    points
}

fn table(groups: &[Group]) -> Table {
    let mut table = Table::new([
        "runs",
        "tasks",
        "missed, share",
        "median, s",
        "90 % within, s",
        "99 % within, s",
        "median, share of deadline",
        "missed of local",
        "missed of MEC",
        "missed of cloud",
    ]);
    for group in groups {
        let totals = &group.totals;
        let within = |q| cell(totals.latency_s.quantile(q));
        let missed = |place: usize| format!("{} of {}", totals.misses[place], totals.placements[place]);
        table.push([
            group.label.clone(),
            tick(&(totals.tasks as f64)),
            cell((totals.tasks > 0).then(|| totals.miss_rate())),
            within(0.5),
            within(0.9),
            within(0.99),
            cell(totals.latency_share.quantile(0.5)),
            missed(0),
            missed(1),
            missed(2),
        ]);
    }
    table
}
