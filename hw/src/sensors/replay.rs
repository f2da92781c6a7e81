//! `replay:FILE`: plays a recorded trace back in real time, from the moment of the first read.
//!
//! The file is one that [`crate::trace`] reads; of several sensors in it the first is played. Between two rows energy
//! is interpolated.

use super::Context;
use crate::clock::{Clock, Moment};
use crate::error::{Error, Result};
use crate::rails::{role_of, total_rails};
use crate::sensor::{Accuracy, Kind, Rail, Reading, Sensor, SensorInfo, Value};
use crate::trace::{Layout, TraceReader};
use crate::units::{Joules, Seconds, Watts};
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::Arc;

/// A trace being played.
pub struct Replay {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    started: Option<Moment>,
    tracks: Vec<Track>,
    info: SensorInfo,
}

/// One rail: cumulative energy over time.
#[derive(Debug, Default, PartialEq)]
struct Track {
    rail: String,
    /// Seconds since the trace began, and joules since then; ascending.
    points: Vec<(f64, f64)>,
}

impl Replay {
    /// Loads a trace. `file` is an ordinary path, not one below the root.
    pub fn open(context: &Context, file: &str) -> Result<Self> {
        let path = PathBuf::from(file);
        let (tracks, is_cut) = parse(TraceReader::open(&path)?)?;
        let rails: Vec<Rail> = tracks
            .iter()
            .map(|t| Rail::new(&t.rail, role_of(&t.rail)))
            .collect();
        let total = total_rails(context.board.kind, &rails);
        let info = SensorInfo {
            total,
            accuracy: Accuracy {
                source: "rows of the trace taken as exact".into(),
                ..Accuracy::default()
            },
            note: Some(note(file, is_cut)),
            ..SensorInfo::new(format!("replay:{file}"), Kind::Simulated, rails)
        };
        Ok(Self {
            path,
            clock: Arc::clone(&context.clock),
            started: None,
            tracks,
            info,
        })
    }
}

impl Sensor for Replay {
    fn read(&mut self) -> Result<Reading> {
        let now = self.clock.now();
        let t = (now - *self.started.get_or_insert(now)).0;
        let end_of_trace = || {
            let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "the trace has ended");
            Error::io("replay", &self.path, ended)
        };
        self.tracks
            .iter()
            .map(|track| {
                let energy = track.at(t).ok_or_else(end_of_trace)?;
                Ok(Value::Energy {
                    counter: Joules(energy),
                    wraps_at: None,
                })
            })
            .collect()
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Track {
    /// Cumulative energy at `t`; `None` beyond the last row.
    fn at(&self, t: f64) -> Option<f64> {
        let after = self.points.partition_point(|&(time, _)| time <= t);
        let &(t0, e0) = self.points.get(after.checked_sub(1)?)?;
        match self.points.get(after) {
            Some(&(t1, e1)) => Some(e0 + (e1 - e0) * (t - t0) / (t1 - t0)),
            None => (t == t0).then_some(e0),
        }
    }
}

/// All rails of the first sensor in a trace, and whether its last row was cut short.
fn parse<R: BufRead>(mut rows: TraceReader<R>) -> Result<(Vec<Track>, bool)> {
    let path = rows.path().to_owned();
    let mut tracks: Vec<Track> = Vec::new();
    let mut sensor: Option<Option<String>> = None;
    let mut power_before = Watts::ZERO;
    let layout = rows.layout();
    while let Some(row) = rows.next_row()? {
        let sensor = sensor.get_or_insert_with(|| row.sensor.as_deref().map(str::to_owned));
        if sensor.as_deref() != row.sensor.as_deref() {
            continue;
        }
        let track = track_of(&mut tracks, &row.rail);
        let last = track.points.last().copied();
        if last.is_some_and(|(t, _)| row.t.0 <= t) {
            let problem = format!("time {} does not come after the row before", row.t.0);
            return Err(Error::line(&path, row.line, problem));
        }
        let energy = row.energy.or_else(|| {
            let power = row.power.filter(|_| layout == Layout::Power)?;
            let (t, energy) = last.unwrap_or((row.t.0, 0.0));
            let mean = (power_before + power) / 2.0;
            Some(Joules(energy) + mean * Seconds(row.t.0 - t))
        });
        power_before = row.power.unwrap_or(power_before);
        // Time without a known value is interpolated like that between any two rows.
        track.points.extend(energy.map(|energy| (row.t.0, energy.0)));
    }
    tracks.retain(|track| !track.points.is_empty());
    if tracks.is_empty() {
        return Err(Error::line(&path, 2, "no row of the first sensor has a value"));
    }
    let begin = tracks
        .iter()
        .map(|track| track.points[0].0)
        .fold(f64::INFINITY, f64::min);
    for point in tracks.iter_mut().flat_map(|track| &mut track.points) {
        point.0 -= begin;
    }
    Ok((tracks, rows.cut_line().is_some()))
}

fn note(file: &str, is_cut: bool) -> String {
    let cut = if is_cut {
        "; its last row was cut short and is left out"
    } else {
        ""
    };
    format!("played back from {file}; not a measurement of this run{cut}")
}

/// The track of a rail, which begins here if it is new.
fn track_of<'a>(tracks: &'a mut Vec<Track>, rail: &str) -> &'a mut Track {
    let known = tracks.iter().position(|track| track.rail == rail);
    let i = known.unwrap_or(tracks.len());
    if known.is_none() {
        tracks.push(Track {
            rail: rail.to_owned(),
            points: Vec::new(),
        });
    }
    &mut tracks[i]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn play(text: &str) -> Result<Vec<Track>> {
        parse(TraceReader::new(Path::new("t.csv"), text.as_bytes())?).map(|(tracks, _)| tracks)
    }

    #[test]
    fn two_columns_are_integrated_by_trapezoids() {
        let tracks = play("t_s,power_w\n10,1\n12,3\n13,3\n").unwrap();
        assert_eq!(tracks[0].points, [(0.0, 0.0), (2.0, 4.0), (3.0, 7.0)]);
        assert_eq!(tracks[0].at(1.0), Some(2.0));
        assert_eq!(tracks[0].at(3.0), Some(7.0));
        assert_eq!(tracks[0].at(3.5), None);
    }

    #[test]
    fn a_row_without_value_is_bridged_and_a_cut_one_not_played() {
        let tracks = play("t_s,power_w\n0,1\n1,\n2,3\n3").unwrap();
        assert_eq!(tracks[0].points, [(0.0, 0.0), (2.0, 4.0)]);
    }

    #[test]
    fn our_own_trace_keeps_its_rails() {
        let text = "t_s,sensor,rail,power_w,energy_j\n\
            0.0,ina3221-iio,POM_5V_IN,2.0,0.0\n0.0,ina3221-iio,POM_5V_CPU,,0.0\n\
            1.0,ina3221-iio,POM_5V_IN,2.0,2.0\n1.0,ina3221-iio,POM_5V_CPU,0.5,0.5\n";
        let tracks = play(text).unwrap();
        assert_eq!(tracks.len(), 2);
        assert_eq!(tracks[1].at(0.5), Some(0.25));
    }

    #[test]
    fn bad_traces_are_named() {
        for bad in [
            "",
            "a,b\n1,2\n",
            "t_s,power_w\n",
            "t_s,power_w\n1,x\n",
            "t_s,power_w\n1,NaN\n",
            "t_s,power_w\n2,1\n1,1\n",
            "t_s,power_w\n1,\n2,\n",
        ] {
            let error = play(bad).unwrap_err();
            assert!(error.to_string().contains("t.csv, line "), "{error}");
        }
    }
}
