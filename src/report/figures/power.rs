//! The power drawn during a few tasks, with what was done meanwhile.

use super::PLACES;
use crate::report::draw::{Area, Axes, Chart, Drawn, LINE, TEXT, key, line, svg, text, tick};
use crate::report::error::Result;
use crate::report::figure::{Figure, Table, cell};
use crate::report::group::Group;
use crate::report::palette::{INK, PLACEMENTS, PURPLE};
use crate::report::window::{Span, Window};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Height of the axes.
const HEIGHT: u32 = 600;

/// Of the first group that has one.
pub fn trace(groups: &[Group]) -> Result<Option<Figure>> {
    let first = groups
        .iter()
        .find_map(|group| Some((group, group.window.as_ref()?)));
    let Some((group, (folder, window))) = first else {
        return Ok(None);
    };
    let title = "Power during a few tasks";
    let about = [format!(
        "{}; rail {}, {} samples",
        group.provenance(),
        window.rails.join(" + "),
        window.samples
    )];
    let (from, to) = (window.power[0].0, window.power[window.power.len() - 1].0);
    let most = window.power.iter().map(|(_, watts)| *watts).fold(0.0, f64::max);
    let axes = Axes {
        x: from..to,
        // Room for the names of the tasks above the curve.
        y: 0.0..1.25 * most.max(1e-9),
        x_name: "seconds since the run began",
        y_name: "watts",
        x_tick: &tick,
        y_tick: Some(&tick),
        left: None,
        right: 40,
        x_ticks: 10,
    };
    let svg = svg("power", title, &about, HEIGHT, |area| {
        let (above, below) = area.split_vertically(LINE + 10);
        key(
            &above,
            PLACES
                .into_iter()
                .zip(PLACEMENTS)
                .chain([("local update", PURPLE)]),
        )?;
        let mut chart = axes.draw(&below)?;
        let top = axes.y.end;
        for span in &window.spans {
            draw_span(&mut chart, span, top)?;
        }
        line(&mut chart, &steps(window), INK)?;
        window
            .spans
            .iter()
            .try_for_each(|span| name_span(&below, &chart, span, top))
    })?;
    let missed = window.spans.iter().filter(|span| !span.success).count();
    Ok(Some(Figure {
        id: "power",
        title: title.to_owned(),
        caption: format!(
            "{} tasks in a row of {} ({}), with the power that the sensor saw. A shaded span is one task from its decision to \
             its result, in the colour of where it ran, with its number; {missed} of them missed the deadline. Decisions and \
             updates are often too short to be seen here. Between tasks the agent does its own work, such as recomputing a share of the results.",
            window.spans.len(),
            folder.display(),
            group.label,
        ),
        svg,
        table: table(window),
    }))
}

/// A sample of a counter is the mean power since the sample before it.
fn steps(window: &Window) -> Vec<(f64, f64)> {
    let first = window.power.first().copied();
    let others = window
        .power
        .windows(2)
        .flat_map(|pair| [(pair[0].0, pair[1].1), pair[1]]);
    first.into_iter().chain(others).collect()
}

fn draw_span(chart: &mut Chart<'_>, span: &Span, top: f64) -> Drawn {
    let color = PLACEMENTS[span.placement as usize];
    let shade = |from: f64, to: f64, color: RGBColor| {
        Rectangle::new([(from, 0.0), (to, top)], color.mix(0.28).filled())
    };
    chart.draw_series([shade(span.from_s, span.to_s, color)])?;
    let decided = [(span.from_s, 0.0), (span.from_s, top)];
    chart.draw_series([PathElement::new(decided, color.stroke_width(2))])?;
    if let Some(trained) = span.trained_s {
        chart.draw_series([shade(span.to_s, trained, PURPLE)])?;
    }
    Ok(())
}

/// Its number, where there is room for it.
fn name_span(area: &Area<'_>, chart: &Chart<'_>, span: &Span, top: f64) -> Drawn {
    let (from, y) = chart.backend_coord(&(span.from_s, top));
    let (to, _) = chart.backend_coord(&(span.to_s, top));
    let number = span.task.to_string();
    if to - from < 14 * number.len() as i32 + 6 {
        return Ok(());
    }
    let base = area.get_base_pixel();
    let style = text(TEXT, INK).pos(Pos::new(HPos::Center, VPos::Top));
    let at = (i32::midpoint(from, to) - base.0, y - base.1 + 6);
    area.draw(&Text::new(number, at, style))
}

fn table(window: &Window) -> Table {
    let mut table = Table::new([
        "task",
        "placement",
        "arrived, s",
        "decided, s",
        "result, s",
        "local update done, s",
        "in time",
        "energy, J",
    ]);
    for span in &window.spans {
        table.push([
            span.task.to_string(),
            PLACES[span.placement as usize].to_owned(),
            format!("{:.6}", span.from_s),
            format!("{:.6}", span.decided_s),
            format!("{:.6}", span.to_s),
            span.trained_s.map_or(String::new(), |t| format!("{t:.6}")),
            if span.success { "yes" } else { "no" }.to_owned(),
            cell(span.energy_j),
        ]);
    }
    table
}
