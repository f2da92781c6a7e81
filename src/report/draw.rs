//! What all figures have in common: size, fonts, title, axes, labels at the end of lines. The drawing itself is
//! `plotters`'.

use super::error::{ReportError, Result};
use super::palette::{AXIS, GRID, INK, MUTED, is_dashed, series};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::io;
use std::ops::Range;

/// Part of a figure.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Axes in which something is drawn.
pub type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
/// What drawing gives.
pub type Drawn<T = ()> = std::result::Result<T, DrawingAreaErrorKind<io::Error>>;

/// Width of every figure. Coordinates are whole numbers, so that figures are drawn twice as large as they are shown.
pub const WIDTH: u32 = 1720;
/// Size of ordinary text.
pub const TEXT: u32 = 25;
/// From one line of text to the next.
pub const LINE: i32 = 34;
/// Width of lines.
pub const STROKE: u32 = 4;
/// Room between the axes and what stands left of them.
const LEFT: u32 = 110;
/// Labels are cut to so many characters; tables have them whole.
const LONGEST_LABEL: usize = 44;

/// Draws one figure: a title, what must be known about its numbers, and below it what `draw` draws.
pub fn svg(
    id: &'static str,
    title: &str,
    about: &[String],
    height: u32,
    draw: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String> {
    let mut svg = String::new();
    let head = 52 + LINE * about.len() as i32 + 10;
    let drawn = (|| {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height + head as u32)).into_drawing_area();
        root.draw(&Text::new(title.to_owned(), (0, 6), bold(32)))?;
        for (i, line) in about.iter().enumerate() {
            root.draw(&Text::new(line.clone(), (0, 52 + LINE * i as i32), muted()))?;
        }
        draw(&root.split_vertically(head).1)?;
        root.present()
    })();
    drawn.map_err(|error| ReportError::Draw {
        figure: id,
        problem: error.to_string(),
    })?;
    Ok(svg)
}

/// Axes with their names and units.
pub struct Axes<'a> {
    /// From left to right.
    pub x: Range<f64>,
    /// From bottom to top.
    pub y: Range<f64>,
    /// What stands below.
    pub x_name: &'a str,
    /// What stands above the y axis.
    pub y_name: &'a str,
    /// Words for a place on the x axis.
    pub x_tick: &'a dyn Fn(&f64) -> String,
    /// Words for a place on the y axis; none where rows are labelled otherwise.
    pub y_tick: Option<&'a dyn Fn(&f64) -> String>,
    /// Room on the left for other labels than those of ticks.
    pub left: Option<u32>,
    /// Room on the right, for labels.
    pub right: u32,
    /// About so many ticks on the x axis.
    pub x_ticks: usize,
}

impl Axes<'_> {
    /// Draws the axes onto an area.
    pub fn draw<'b>(&self, area: &Area<'b>) -> Drawn<Chart<'b>> {
        let top = if self.y_name.is_empty() { 14 } else { 48 };
        let left = self.left.unwrap_or(LEFT);
        let mut chart = ChartBuilder::on(area)
            .margin_top(top)
            .margin_right(self.right)
            .set_label_area_size(LabelAreaPosition::Left, left)
            .set_label_area_size(LabelAreaPosition::Bottom, 80)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let no_tick = |_: &f64| String::new();
        let mut mesh = chart.configure_mesh();
        mesh.axis_style(AXIS.stroke_width(2))
            .bold_line_style(GRID.stroke_width(2))
            .light_line_style(TRANSPARENT)
            .label_style(muted())
            .axis_desc_style(muted())
            .x_labels(self.x_ticks)
            .y_labels(6)
            .x_desc(self.x_name)
            .x_label_formatter(self.x_tick)
            .y_label_formatter(self.y_tick.unwrap_or(&no_tick));
        match self.y_tick {
            Some(_) => mesh.disable_x_mesh(),
            None => mesh.disable_y_mesh().disable_y_axis(),
        };
        mesh.draw()?;
        if !self.y_name.is_empty() {
            area.draw(&Text::new(self.y_name.to_owned(), (0, 2), muted()))?;
        }
        Ok(chart)
    }
}

/// A line through points.
pub fn line(chart: &mut Chart<'_>, points: &[(f64, f64)], color: RGBColor) -> Drawn {
    chart.draw_series(LineSeries::new(
        points.iter().copied(),
        color.stroke_width(STROKE),
    ))?;
    Ok(())
}

/// The line of the `i`-th group: in its colour, in dashes where an earlier one has that colour.
pub fn series_line(chart: &mut Chart<'_>, points: &[(f64, f64)], i: usize) -> Drawn {
    if !is_dashed(i) {
        return line(chart, points, series(i));
    }
    let style = series(i).stroke_width(STROKE);
    chart.draw_series(DashedLineSeries::new(points.iter().copied(), 14, 8, style))?;
    Ok(())
}

/// The area between two lines.
pub fn band(
    chart: &mut Chart<'_>,
    low: &[(f64, f64)],
    high: &[(f64, f64)],
    color: RGBColor,
    opacity: f64,
) -> Drawn {
    let outline: Vec<(f64, f64)> = low.iter().chain(high.iter().rev()).copied().collect();
    chart.draw_series([Polygon::new(outline, color.mix(opacity))])?;
    Ok(())
}

/// A line of dashes up through the axes, as at a limit.
pub fn limit(chart: &mut Chart<'_>, x: f64, y: Range<f64>) -> Drawn {
    let line = [(x, y.start), (x, y.end)];
    chart.draw_series(DashedLineSeries::new(line, 10, 8, INK.stroke_width(3)))?;
    Ok(())
}

/// A text beside the place where its line ends.
pub struct Label {
    /// Where the line ends, in pixels of the whole figure.
    pub at: (i32, i32),
    /// What it says.
    pub text: String,
    /// Which group's line it is.
    pub series: usize,
}

/// Writes labels right of `x`, moved apart where they would overlap.
pub fn labels(area: &Area<'_>, mut labels: Vec<Label>) -> Drawn {
    labels.sort_by_key(|label| label.at.1);
    let base = area.get_base_pixel();
    let bottom = base.1 + area.dim_in_pixel().1 as i32;
    let mut places: Vec<i32> = Vec::with_capacity(labels.len());
    for label in &labels {
        let lowest_free = places.last().map_or(i32::MIN, |last| last + LINE - 4);
        places.push(label.at.1.max(lowest_free));
    }
    // What was pushed out at the bottom pushes the others up again.
    let mut highest_free = bottom - LINE;
    for place in places.iter_mut().rev() {
        *place = (*place).min(highest_free);
        highest_free = *place - LINE + 4;
    }
    for (label, y) in labels.iter().zip(places) {
        let at = (label.at.0 - base.0 + 14, y - base.1);
        named(area, at, &shortened(&label.text), series(label.series))?;
        if is_dashed(label.series) {
            // A gap in the mark, as in the line.
            let gap = [(at.0 + 7, at.1 - 10), (at.0 + 13, at.1 + 10)];
            area.draw(&Rectangle::new(gap, INK.filled()))?;
        }
    }
    Ok(())
}

/// A mark in a colour and, in ink that is easy to read, what it stands for; `at` is the middle of its left edge.
pub fn named(area: &Area<'_>, at: (i32, i32), name: &str, color: RGBColor) -> Drawn {
    let mark = [(at.0, at.1 - 10), (at.0 + 20, at.1 + 10)];
    area.draw(&Rectangle::new(mark, color.filled()))?;
    let style = text(TEXT, INK).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(name.to_owned(), (at.0 + 32, at.1), style))
}

/// Marks and names in a line.
pub fn key<'n>(area: &Area<'_>, names: impl IntoIterator<Item = (&'n str, RGBColor)>) -> Drawn {
    let mut x = 0;
    for (name, color) in names {
        named(area, (x, 20), name, color)?;
        x += 76 + 13 * name.chars().count() as i32;
    }
    Ok(())
}

/// Room that labels at the right need.
pub fn room_for<'t>(texts: impl Iterator<Item = &'t str>) -> u32 {
    let longest = texts.map(|text| text.chars().count()).max().unwrap_or(0);
    64 + 13 * longest.min(LONGEST_LABEL) as u32
}

/// A label that fits.
pub fn shortened(text: &str) -> String {
    match text.chars().count() > LONGEST_LABEL {
        true => text.chars().take(LONGEST_LABEL - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// Text of a size and colour. The library writes sizes divided by 1.24.
pub fn text(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", f64::from(size) * 1.24).into_font().color(&color)
}

/// Ordinary text in the background.
pub fn muted() -> TextStyle<'static> {
    text(TEXT, MUTED)
}

/// Titles.
pub fn bold(size: u32) -> TextStyle<'static> {
    ("sans-serif", f64::from(size) * 1.24, FontStyle::Bold)
        .into_font()
        .color(&INK)
}

/// A range with a little room at both ends, that is never empty.
pub fn roomy(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
        (low.min(x), high.max(x))
    });
    if low > high {
        return 0.0..1.0;
    }
    let room = match high - low {
        0.0 => 0.1 * high.abs().max(1e-9),
        width => 0.06 * width,
    };
    low - room..high + room
}

/// A number as short as it can be: `0.25`, `1500`, `20000`.
pub fn tick(x: &f64) -> String {
    let text = format!("{x:.6}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    match short {
        "-0" | "" => "0".to_owned(),
        short => short.to_owned(),
    }
}

/// A share as a percentage.
pub fn percent_tick(x: &f64) -> String {
    format!("{} %", tick(&(100.0 * x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_never_empty_and_ticks_short() {
        assert_eq!(roomy(std::iter::empty()), 0.0..1.0);
        let one = roomy(std::iter::once(0.0));
        assert!(one.start < 0.0 && one.end > 0.0);
        let two = roomy([1.0, 2.0].into_iter());
        assert!(two.start < 1.0 && two.end > 2.0);
        let ticks: Vec<String> = [0.1 + 0.2, 1500.0, -0.0, -2.5].iter().map(tick).collect();
        assert_eq!(ticks, ["0.3", "1500", "0", "-2.5"]);
        assert_eq!(percent_tick(&0.07), "7 %");
        assert_eq!(shortened(&"a".repeat(99)).chars().count(), LONGEST_LABEL);
    }
}
