//! `replay:FILE`: plays a recorded trace back in real time, from the moment of the first read.
//!
//! The file is an `energy.csv` of ours (`t_s,sensor,rail,power_w,energy_j`; the first sensor in it is played) or has
//! two columns `t_s,power_w`. Between two rows energy is interpolated.

use super::Context;
use crate::clock::{Clock, Moment};
use crate::error::{Error, Result};
use crate::rails::{role_of, total_rails};
use crate::sensor::{Accuracy, Kind, Rail, Reading, Sensor, SensorInfo, Value};
use crate::units::Joules;
use std::io;
use std::path::{Path, PathBuf};
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
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        let (tracks, is_cut) = parse(&path, &text)?;
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

fn note(file: &str, is_cut: bool) -> String {
    let cut = if is_cut {
        "; its last row was cut short and is left out"
    } else {
        ""
    };
    format!("played back from {file}; not a measurement of this run{cut}")
}

/// All rails of the first sensor in a trace, and whether its last row was cut short, as a program that is killed leaves
/// it. The line number in an error counts from 1, the header included.
fn parse(path: &Path, text: &str) -> Result<(Vec<Track>, bool)> {
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    match parse_rows(path, text) {
        Err(_) if whole < text.len() && whole > 0 => Ok((parse_rows(path, &text[..whole])?, true)),
        outcome => Ok((outcome?, false)),
    }
}

fn parse_rows(path: &Path, text: &str) -> Result<Vec<Track>> {
    let malformed_at = |number: usize, line: &str, expected| {
        Error::malformed(path, format!("line {number}: {line}").as_bytes(), expected)
    };
    let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    let (_, header) = lines.next().unwrap_or_default();
    let columns: Vec<&str> = header.trim().split(',').collect();
    let is_two_column = match columns[..] {
        ["t_s", "power_w"] => true,
        ["t_s", "sensor", "rail", "power_w", "energy_j"] => false,
        _ => {
            return Err(malformed_at(
                1,
                header,
                "the header t_s,power_w or t_s,sensor,rail,power_w,energy_j",
            ));
        }
    };
    let mut tracks: Vec<Track> = Vec::new();
    let mut sensor = None;
    let mut last_power = 0.0;
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let malformed = |expected| malformed_at(at, line, expected);
        let cells: Vec<&str> = line.trim().split(',').collect();
        let number = |i: usize| -> Result<f64> {
            let cell: Option<f64> = cells.get(i).and_then(|cell| cell.parse().ok());
            cell.filter(|x| x.is_finite())
                .ok_or_else(|| malformed("a row as in the header"))
        };
        let t = number(0)?;
        let (rail, energy) = if is_two_column {
            let power = number(1)?;
            let previous = tracks.first().and_then(|track| track.points.last()).copied();
            let energy = previous.map_or(0.0, |(t0, e0)| e0 + (power + last_power) / 2.0 * (t - t0));
            last_power = power;
            ("total", energy)
        } else {
            if *sensor.get_or_insert(cells.get(1).copied()) != cells.get(1).copied() {
                continue;
            }
            (cells.get(2).copied().unwrap_or_default(), number(4)?)
        };
        let track = match tracks.iter_mut().position(|track| track.rail == rail) {
            Some(i) => &mut tracks[i],
            None => {
                tracks.push(Track {
                    rail: rail.to_owned(),
                    points: Vec::new(),
                });
                tracks.last_mut().ok_or_else(|| malformed("a rail"))?
            }
        };
        if track.points.last().is_some_and(|&(t0, _)| t <= t0) {
            return Err(malformed("a later time than the row before"));
        }
        track.points.push((t, energy));
    }
    if tracks.is_empty() {
        return Err(malformed_at(1, header, "at least one row below the header"));
    }
    let begin = tracks
        .iter()
        .filter_map(|t| t.points.first())
        .map(|p| p.0)
        .fold(f64::INFINITY, f64::min);
    for point in tracks.iter_mut().flat_map(|track| &mut track.points) {
        point.0 -= begin;
    }
    Ok(tracks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_columns_are_integrated_by_trapezoids() {
        let (tracks, _) = parse(Path::new("t.csv"), "t_s,power_w\n10,1\n12,3\n13,3\n").unwrap();
        assert_eq!(tracks[0].points, [(0.0, 0.0), (2.0, 4.0), (3.0, 7.0)]);
        assert_eq!(tracks[0].at(1.0), Some(2.0));
        assert_eq!(tracks[0].at(3.0), Some(7.0));
        assert_eq!(tracks[0].at(3.5), None);
    }

    #[test]
    fn our_own_trace_keeps_its_rails() {
        let text = "t_s,sensor,rail,power_w,energy_j\n\
            0.0,ina3221-iio,POM_5V_IN,2.0,0.0\n0.0,ina3221-iio,POM_5V_CPU,,0.0\n\
            1.0,ina3221-iio,POM_5V_IN,2.0,2.0\n1.0,ina3221-iio,POM_5V_CPU,0.5,0.5\n";
        let (tracks, _) = parse(Path::new("energy.csv"), text).unwrap();
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
        ] {
            let error = parse(Path::new("bad.csv"), bad).unwrap_err();
            assert!(error.to_string().contains("bad.csv"), "{error}");
        }
    }
}
