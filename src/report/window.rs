//! A few tasks in a row, and the power that was drawn meanwhile: what the power trace shows.

use super::error::{ReportError, Result};
use super::rows::Row;
use crate::learn::Placement;
use hwmeter_hw::trace::TraceReader;
use std::path::Path;

/// So many tasks are shown.
const TASKS: usize = 8;

/// Power is drawn in at most so many steps; of those in between, the least and the most are kept.
const MOST_POINTS: usize = 1200;

/// When one task was decided, executed and learned from, in seconds since the run began.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its number.
    pub task: u64,
    /// Its arrival.
    pub from_s: f64,
    /// When it was decided.
    pub decided_s: f64,
    /// Its result.
    pub to_s: f64,
    /// When the update was done, if it was a local one.
    pub trained_s: Option<f64>,
    /// Where it ran.
    pub placement: Placement,
    /// Whether it met its deadline.
    pub success: bool,
    /// Its energy.
    pub energy_j: Option<f64>,
}

impl Span {
    fn of(row: &Row<'_>) -> Self {
        let to_s = row.t_s + row.latency_s;
        let is_local = row.training_site == Some("local");
        Self {
            task: row.task,
            from_s: row.t_s,
            decided_s: row.t_s + row.decide_s,
            to_s,
            trained_s: row.train_s.filter(|_| is_local).map(|took| to_s + took),
            placement: row.placement,
            success: row.success,
            energy_j: row.energy_j,
        }
    }
}

/// Chooses a few tasks of the later half of a run whose length is not known before its end: each time the number of
/// tasks reaches a power of two, it begins anew.
#[derive(Clone, Debug, Default)]
pub struct Chooser {
    seen: u64,
    chosen: Vec<Span>,
    next: Vec<Span>,
}

impl Chooser {
    /// Shows it the next task.
    pub fn push(&mut self, row: &Row<'_>) {
        self.seen += 1;
        if self.seen.is_power_of_two() && self.next.len() == TASKS {
            self.chosen = std::mem::take(&mut self.next);
        }
        if self.next.len() < TASKS {
            self.next.push(Span::of(row));
        }
    }

    /// The tasks chosen.
    pub fn finish(self) -> Vec<Span> {
        match self.next.len() == TASKS || self.chosen.is_empty() {
            true => self.next,
            false => self.chosen,
        }
    }
}

/// Power over a few tasks, as one sensor saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The tasks.
    pub spans: Vec<Span>,
    /// The rails whose sum is drawn.
    pub rails: Vec<String>,
    /// Time and watts.
    pub power: Vec<(f64, f64)>,
    /// Samples within the window.
    pub samples: u64,
}

/// What was read of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceRead {
    /// The window; `None` where it holds no power.
    pub window: Option<Window>,
    /// The line that was dropped because it was cut short.
    pub cut_line: Option<u64>,
}

/// Reads the whole of `energy.csv`, so that a bad row anywhere is told, and keeps what was drawn during `spans`.
/// `total` are the rails that make up the total; without them the trace's first rail is drawn.
pub fn read_window(path: &Path, spans: Vec<Span>, total: &[&str]) -> Result<TraceRead> {
    let mut rows = TraceReader::open(path)?;
    let mut rails: Vec<String> = total.iter().map(|rail| (*rail).to_owned()).collect();
    let (from, to) = extent(&spans);
    let mut last = f64::NEG_INFINITY;
    let mut sums: Vec<(f64, f64)> = Vec::new();
    loop {
        let row = match rows.next_row() {
            // A run that was killed before its first sample has a trace without rows.
            Err(hwmeter_hw::Error::Line { line: 2, problem, .. }) if problem.starts_with("no row") => break,
            read => read?,
        };
        let Some(row) = row else { break };
        let t = row.t.0;
        if t < last {
            let problem = format!("t_s goes back from {last} to {t}; is this the trace of one run?");
            return Err(ReportError::line(path, row.line, problem));
        }
        last = t;
        if rails.is_empty() {
            rails.push(row.rail.clone().into_owned());
        }
        let Some(power) = row.power.filter(|_| (from..=to).contains(&t)) else {
            continue;
        };
        if rails.iter().any(|rail| *rail == row.rail) {
            match sums.last_mut() {
                Some((at, sum)) if *at == t => *sum += power.0,
                _ => sums.push((t, power.0)),
            }
        }
    }
    let samples = sums.len() as u64;
    let window = (samples > 1 && !spans.is_empty()).then(|| Window {
        spans,
        rails,
        power: thinned(sums),
        samples,
    });
    Ok(TraceRead {
        window,
        cut_line: rows.cut_line(),
    })
}

/// From before the first task to after the last.
fn extent(spans: &[Span]) -> (f64, f64) {
    let from = spans.first().map_or(0.0, |span| span.from_s);
    let to = spans.iter().map(|span| span.trained_s.unwrap_or(span.to_s));
    let to = to.fold(from, f64::max);
    let margin = 0.03 * (to - from);
    (from - margin, to + margin)
}

/// The least and the most of every so many points, in their order.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points;
    }
    let size = points.len().div_ceil(MOST_POINTS / 2);
    points
        .chunks(size)
        .flat_map(|chunk| {
            let least = chunk.iter().min_by(|a, b| a.1.total_cmp(&b.1));
            let most = chunk.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            let mut both: Vec<(f64, f64)> = least.into_iter().chain(most).copied().collect();
            both.sort_by(|a, b| a.0.total_cmp(&b.0));
            both
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(task: u64, from_s: f64, to_s: f64) -> Span {
        Span {
            task,
            from_s,
            decided_s: from_s,
            to_s,
            trained_s: None,
            placement: Placement::Local,
            success: true,
            energy_j: None,
        }
    }

    fn read(text: &str, total: &[&str]) -> Result<TraceRead> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy.csv");
        std::fs::write(&path, text).unwrap();
        read_window(&path, vec![span(0, 1.0, 2.0)], total)
    }

    const HEADER: &str = "t_s,sensor,rail,power_w,energy_j\n";

    #[test]
    fn the_total_is_the_sum_of_its_rails_within_the_window() {
        let mut text = HEADER.to_owned();
        for i in 0..40 {
            let t = f64::from(i) / 10.0;
            text += &format!("{t},s,a,1,0\n{t},s,b,2,0\n{t},s,other,9,0\n");
        }
        let window = read(&text, &["a", "b"]).unwrap().window.unwrap();
        assert_eq!(window.samples, 11);
        assert!(
            window
                .power
                .iter()
                .all(|&(t, watts)| watts == 3.0 && (1.0..=2.0).contains(&t))
        );
        let alone = read(&text, &[]).unwrap().window.unwrap();
        assert_eq!((alone.rails, alone.power[0].1), (vec!["a".to_owned()], 1.0));
    }

    #[test]
    fn a_short_trace_has_no_window_and_a_bad_one_is_told() {
        assert_eq!(read(HEADER, &["a"]).unwrap().window, None);
        let cut = read(&format!("{HEADER}0,s,a,1,0\n0.1,s,a"), &["a"]).unwrap();
        assert_eq!((cut.window, cut.cut_line), (None, Some(3)));
        let back = read(&format!("{HEADER}1,s,a,1,0\n0.5,s,a,1,0\n"), &["a"])
            .unwrap_err()
            .to_string();
        assert!(back.contains("energy.csv, line 3: t_s goes back"), "{back}");
        let bad = read(&format!("{HEADER}1,s,a,x,0\n"), &["a"])
            .unwrap_err()
            .to_string();
        assert!(bad.contains("energy.csv, line 2: power_w"), "{bad}");
    }

    #[test]
    fn peaks_survive_when_points_are_left_out() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        points[77_777].1 = 50.0;
        points[33_333].1 = 0.1;
        let few = thinned(points);
        assert!(few.len() <= MOST_POINTS);
        assert!(few.contains(&(77_777.0, 50.0)) && few.contains(&(33_333.0, 0.1)));
        assert!(few.is_sorted_by(|a, b| a.0 <= b.0));
    }
}
