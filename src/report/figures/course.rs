//! What changes as tasks go by: reward, regret, deadline misses.

use super::{about_joules, runs};
use crate::report::draw::{
    Area, Axes, Drawn, Label, TEXT, band, bold, labels, percent_tick, room_for, roomy, series_line, svg, tick,
};
use crate::report::error::Result;
use crate::report::figure::{Figure, Table, cell};
use crate::report::group::{Course, Group};
use crate::report::palette::series;
use crate::report::stats::Mean;
use plotters::prelude::Text;
use std::ops::Range;

/// Height of the axes.
const HEIGHT: u32 = 560;

/// Height of the name of a board above its panel.
const TITLE: u32 = 44;

/// A table has at most about so many rows per group.
const ROWS: usize = 40;

/// The moving mean of the reward.
pub fn reward(groups: &[Group]) -> Result<Option<Figure>> {
    let courses = courses(groups, |group| group.course(|bin| bin.reward));
    let Some(window) = looked_back(&courses) else {
        return Ok(None);
    };
    Lines {
        id: "reward",
        title: "Reward over time",
        about: about_joules(groups),
        y_name: "joules per task, moving mean (higher is better)",
        y_tick: &tick,
        table_unit: "reward, J",
        range: None,
        caption: format!(
            "The reward of a task is minus the joules it cost the device, or minus a penalty if it missed its deadline: the \
             closer to zero, the better. Lines are the mean over the last {window} tasks{}.",
            interval_words(groups)
        ),
    }
    .figure(groups, &courses)
}

/// What was lost against the best placement, since the first task.
pub fn regret(groups: &[Group]) -> Result<Option<Figure>> {
    let courses = courses(groups, |group| group.sum_course(|bin| bin.regret));
    if looked_back(&courses).is_none() {
        return Ok(None);
    }
    Lines {
        id: "regret",
        title: "Regret since the first task",
        about: about_joules(groups),
        y_name: "joules lost against the best placements (lower is better)",
        y_tick: &tick,
        table_unit: "regret, J",
        range: None,
        caption: format!(
            "How much more reward the best placement of every task would have had, added up. A line that flattens has \
             learned{}.",
            interval_words(groups)
        ),
    }
    .figure(groups, &courses)
}

/// The share of tasks that missed their deadline.
pub fn misses(groups: &[Group]) -> Result<Option<Figure>> {
    let courses = courses(groups, |group| group.course(|bin| bin.miss_share()));
    let Some(window) = looked_back(&courses) else {
        return Ok(None);
    };
    let most = courses.iter().flat_map(|course| &course.points);
    let most = most.map(|(_, mean)| mean.range().1).fold(0.05, f64::max);
    Lines {
        id: "misses",
        title: "Deadline misses over time",
        about: Vec::new(),
        y_name: "tasks that missed their deadline, moving mean",
        y_tick: &percent_tick,
        table_unit: "misses, share",
        range: Some(0.0..(1.08 * most).min(1.0)),
        caption: format!(
            "A task misses if no right result comes within its latency limit. Lines are the mean over the last {window} \
             tasks{}.",
            interval_words(groups)
        ),
    }
    .figure(groups, &courses)
}

fn courses(groups: &[Group], course: impl Fn(&Group) -> Course) -> Vec<Course> {
    groups.iter().map(course).collect()
}

/// How far moving means look back, in words; `None` where nothing is known.
fn looked_back(courses: &[Course]) -> Option<String> {
    let known = courses.iter().filter(|course| !course.points.is_empty());
    let windows: Vec<u64> = known.map(|course| course.window).collect();
    let (least, most) = (windows.iter().min()?, windows.iter().max()?);
    Some(match least == most {
        true => least.to_string(),
        false => format!("{least} to {most}"),
    })
}

fn interval_words(groups: &[Group]) -> &'static str {
    match groups.iter().any(|group| group.members.len() > 1) {
        true => {
            "; where there are several runs, the band is the 95 % interval of their mean (Student's t), cut at the edge"
        }
        false => "; there is one run of each, so that no interval over seeds is known",
    }
}

/// A range for means and their intervals. Intervals over two or three runs may be so wide that nothing else could be
/// seen: they are shown as far as the means spread, and again as far on either side.
fn around(means: impl Iterator<Item = Mean> + Clone) -> Range<f64> {
    let middle = roomy(means.clone().map(|mean| mean.mean));
    let width = middle.end - middle.start;
    let shown = |x: f64| x.clamp(middle.start - width, middle.end + width);
    roomy(means.flat_map(|mean| [shown(mean.range().0), shown(mean.range().1)]))
}

/// The groups of each board, in the order of the first of them; one panel for all where there is one board.
fn panels(groups: &[Group]) -> Vec<(String, Vec<usize>)> {
    let mut panels: Vec<(String, Vec<usize>)> = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        let board = group.board.clone().unwrap_or_else(|| "unknown board".to_owned());
        match panels.iter_mut().find(|(other, _)| *other == board) {
            Some((_, members)) => members.push(i),
            None => panels.push((board, vec![i])),
        }
    }
    panels
}

/// A figure of one line per group.
struct Lines<'a> {
    id: &'static str,
    title: &'static str,
    about: Vec<String>,
    y_name: &'a str,
    y_tick: &'a dyn Fn(&f64) -> String,
    table_unit: &'a str,
    range: Option<Range<f64>>,
    caption: String,
}

impl Lines<'_> {
    fn figure(self, groups: &[Group], courses: &[Course]) -> Result<Option<Figure>> {
        let panels = panels(groups);
        let height = HEIGHT * panels.len() as u32 + TITLE * u32::from(panels.len() > 1) * panels.len() as u32;
        let svg = svg(self.id, self.title, &self.about, height, |area| {
            let areas = area.split_evenly((panels.len(), 1));
            for ((board, members), area) in panels.iter().zip(&areas) {
                let mut below = area.clone();
                if panels.len() > 1 {
                    area.draw(&Text::new(board.clone(), (0, 4), bold(TEXT)))?;
                    below = area.split_vertically(TITLE).1;
                }
                let lines = members.iter().map(|&i| (&groups[i], &courses[i]));
                self.panel(&below, &lines.collect::<Vec<_>>(), panels.len() > 1)?;
            }
            Ok(())
        })?;
        Ok(Some(Figure {
            id: self.id,
            title: self.title.to_owned(),
            table: self.table(groups, courses),
            caption: self.caption,
            svg,
        }))
    }

    /// The lines of one board.
    fn panel(&self, area: &Area<'_>, lines: &[(&Group, &Course)], has_title: bool) -> Drawn {
        let label = |group: &Group| match has_title {
            true => group.label_on_board.clone(),
            false => group.label.clone(),
        };
        let points = || lines.iter().flat_map(|(_, course)| &course.points);
        let last_task = points().map(|(task, _)| *task).fold(1.0, f64::max);
        let names: Vec<String> = lines.iter().map(|(group, _)| label(group)).collect();
        let axes = Axes {
            x: 0.0..last_task,
            y: self
                .range
                .clone()
                .unwrap_or_else(|| around(points().map(|(_, mean)| *mean))),
            x_name: "task",
            y_name: self.y_name,
            x_tick: &tick,
            y_tick: Some(self.y_tick),
            left: None,
            right: room_for(names.iter().map(String::as_str)),
            x_ticks: 8,
        };
        let mut chart = axes.draw(area)?;
        let mut labelled = Vec::new();
        for (i, ((group, course), text)) in lines.iter().zip(names).enumerate() {
            let of = |value: fn(&Mean) -> f64| -> Vec<(f64, f64)> {
                let inside = |mean| value(mean).clamp(axes.y.start, axes.y.end);
                let points = course.points.iter();
                points.map(|(task, mean)| (*task, inside(mean))).collect()
            };
            if group.members.len() > 1 {
                let (low, high) = (of(|mean| mean.range().0), of(|mean| mean.range().1));
                band(&mut chart, &low, &high, series(i), 0.18)?;
            }
            let middle = of(|mean| mean.mean);
            series_line(&mut chart, &middle, i)?;
            if let Some(last) = middle.last() {
                labelled.push(Label {
                    at: chart.backend_coord(&(last_task, last.1)),
                    text,
                    series: i,
                });
            }
        }
        labels(area, labelled)
    }

    fn table(&self, groups: &[Group], courses: &[Course]) -> Table {
        let mut table = Table::new(["runs", "", "task", "", "95 % interval, ±", "kind"]);
        table.header[1] = "number of runs".to_owned();
        table.header[3] = self.table_unit.to_owned();
        for (group, course) in groups.iter().zip(courses) {
            let step = course.points.len().div_ceil(ROWS).max(1);
            // From the end, so that the last task is among them.
            let mut chosen: Vec<_> = course.points.iter().rev().step_by(step).collect();
            chosen.reverse();
            for (task, mean) in chosen {
                table.push([
                    group.label.clone(),
                    mean.runs.to_string(),
                    tick(task),
                    cell(Some(mean.mean)),
                    cell(mean.half_width),
                    if self.about.is_empty() {
                        runs(group)
                    } else {
                        group.provenance()
                    },
                ]);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_interval_does_not_hide_the_means() {
        let mean = |mean: f64, half: f64| Mean {
            mean,
            half_width: Some(half),
            runs: 2,
        };
        let narrow = around([mean(-2.0, 0.1), mean(-1.0, 0.1)].into_iter());
        assert!(narrow.start < -2.1 && narrow.start > -2.4 && narrow.end > -0.9 && narrow.end < -0.6);
        let wide = around([mean(-2.0, 90.0), mean(-1.0, 0.1)].into_iter());
        assert!(
            wide.start < -3.0 && wide.end > 0.0 && wide.end - wide.start < 5.0,
            "{wide:?}"
        );
    }
}
