//! The energy of intervals of a recorded trace, in one pass and in memory that does not grow with the trace.
//!
//! ```text
//! rows -> samples of each sensor -> Integrator -> marks at the edges -> energy between two marks
//! ```
//!
//! Integrator, marks and uncertainty are those of a live meter. Which of a row's two figures is integrated is
//! decided rail by rail from the first samples (`head.rs`).
//!
//! Each sensor is taken for itself; nothing is added up across sensors. An interval counts as far as the trace
//! reaches: joules, uncertainty and mean power are those of that part, and its coverage says how much it is.

mod head;
mod plan;
mod running;
mod spans_file;
mod track;

pub use spans_file::read_spans;

use crate::trace::TracedSensor;
use hwmeter_hw::sensor::{Kind, Rail};
use hwmeter_hw::trace::TraceReader;
use hwmeter_hw::uncertainty::{Budget, Energy};
use hwmeter_hw::units::{Seconds, Watts};
use hwmeter_hw::{Error, Result};
use plan::Plan;
use std::io::BufRead;
use track::Track;

/// More sensors, or more rails of one, no trace has: a file of junk must not fill the memory.
const MOST_NAMES: usize = 1000;

/// What is asked for: a named interval on the trace's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Its name.
    pub name: String,
    /// Where it begins; `None`: at the sensor's first sample.
    pub from: Option<Seconds>,
    /// Where it ends; `None`: at the sensor's last sample.
    pub to: Option<Seconds>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Integrated {
    /// In the order in which they appear in the trace.
    pub sensors: Vec<SensorSpans>,
    /// The last line, where it was cut short and dropped.
    pub cut_line: Option<u64>,
}

/// Every interval as one sensor saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorSpans {
    /// Its id; `None` in a two-column trace.
    pub id: Option<String>,
    /// Measured, modelled or simulated, where that is known.
    pub kind: Option<Kind>,
    /// Whether its accuracy is known.
    pub has_accuracy: bool,
    /// Whether it is known which rails make up the total.
    pub has_total: bool,
    /// Its rails.
    pub rails: Vec<Rail>,
    /// In the order of the intervals.
    pub spans: Vec<TracedSpan>,
}

/// One interval as one sensor saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedSpan {
    /// The interval's name.
    pub name: String,
    /// Where it begins on the trace's clock.
    pub from: Seconds,
    /// Where it ends.
    pub to: Seconds,
    /// Share of it that is backed by samples, 0 to 1.
    pub coverage: f64,
    /// Samples within it.
    pub samples: u64,
    /// The sensor's total, if known, and the terms of its uncertainty.
    pub total: Option<(SpanFigures, Budget)>,
    /// Per rail, in the order of [`SensorSpans::rails`]; `None` where no value is known.
    pub rails: Vec<Option<SpanFigures>>,
}

/// Energy and mean power over the part of an interval that the trace reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanFigures {
    /// The energy.
    pub energy: Energy,
    /// Its mean power.
    pub mean: Watts,
}

/// Integrates every interval for every sensor in the trace, or only for the sensors that `wanted` names by id or by
/// driver name. `known` is what stands beside the trace.
///
/// An error names the line of the first row that cannot be used. A `wanted` sensor that is not there is an error, too.
pub fn integrate<R: BufRead>(
    mut rows: TraceReader<R>,
    known: &[TracedSensor],
    intervals: &[Interval],
    wanted: Option<&str>,
) -> Result<Integrated> {
    let path = rows.path().to_owned();
    let mut plan: Option<Plan> = None;
    let mut tracks: Vec<Track> = Vec::new();
    let mut current = 0;
    while let Some(row) = rows.next_row()? {
        let plan = plan.get_or_insert_with(|| Plan::new(intervals, row.t));
        if tracks
            .get(current)
            .is_none_or(|track| track.id() != row.sensor.as_deref())
        {
            current = position(&mut tracks, row.sensor.as_deref(), known, wanted);
        }
        if tracks.len() > MOST_NAMES {
            let problem = format!("the sensors are more than {MOST_NAMES}; is this a trace?");
            return Err(Error::line(&path, row.line, problem));
        }
        tracks[current]
            .take(&row, plan)
            .map_err(|problem| Error::line(&path, row.line, problem))?;
    }
    let cut_line = rows.cut_line();
    let (asked, others): (Vec<Track>, Vec<Track>) = tracks.into_iter().partition(Track::is_wanted);
    if asked.is_empty() {
        return Err(not_there(wanted.unwrap_or_default(), &others));
    }
    let plan = plan.unwrap_or_else(|| Plan::new(intervals, Seconds::ZERO));
    Ok(Integrated {
        sensors: asked.into_iter().map(|track| track.finish(&plan)).collect(),
        cut_line,
    })
}

/// Which track is that of a sensor; a new one if it appears for the first time.
fn position(
    tracks: &mut Vec<Track>,
    id: Option<&str>,
    known: &[TracedSensor],
    wanted: Option<&str>,
) -> usize {
    let found = tracks.iter().position(|track| track.id() == id);
    found.unwrap_or_else(|| {
        let known = known.iter().find(|traced| Some(traced.sensor.id.as_str()) == id);
        let driver = id.and_then(|id| id.split(':').next());
        let is_wanted = wanted.is_none() || wanted == id || wanted == driver;
        tracks.push(Track::new(id, known.cloned(), is_wanted));
        tracks.len() - 1
    })
}

fn not_there(wanted: &str, tracks: &[Track]) -> Error {
    let found: Vec<&str> = tracks.iter().filter_map(Track::id).collect();
    let why = match found.as_slice() {
        [] => "a trace with the columns t_s,power_w names none; leave --sensor out".to_owned(),
        found => format!("the trace has {}", found.join(", ")),
    };
    Error::unsupported(format!("sensor {wanted}"), why)
}

#[cfg(test)]
mod tests;
