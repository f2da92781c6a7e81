//! What a trace's rows do not say: each sensor's rails, accuracy and rate, and the wall-clock time of `t_s` zero.
//!
//! It stands beside the trace: in `run.json` for a run's `energy.csv`, in `NAME.meta.json` for any other `NAME.csv`.

use anyhow::Context;
use hwmeter_hw::clock::{Clock, Moment, MonotonicClock};
use hwmeter_hw::sensor::SensorInfo;
use hwmeter_hw::small_file;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

/// A sensor, and how often it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedSensor {
    /// What is known about it.
    pub sensor: SensorInfo,
    /// Samples per second.
    pub sampling_hz: f64,
}

/// Where a trace's own clock stands in the world's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WallClock {
    /// Unix time of `t_s` zero in seconds; added to `t_s` it gives Unix time. Read once, so that a clock that is set
    /// during the run shifts no row.
    pub t_s_zero_unix_s: f64,
}

impl WallClock {
    /// The offset for a trace whose time counts from `origin` on the monotonic clock.
    pub fn of(origin: Moment) -> Self {
        let unix = jiff::Timestamp::now().as_nanosecond() as f64 * 1e-9;
        let since_origin = (MonotonicClock.now() - origin).0;
        Self {
            t_s_zero_unix_s: unix - since_origin,
        }
    }
}

/// Writes the file beside `trace`. A trace that is no ordinary file, such as a pipe, has none.
pub(super) fn write(trace: &Path, origin: Moment, sensors: &[TracedSensor]) -> io::Result<()> {
    if !trace.is_file() {
        return Ok(());
    }
    let document = serde_json::json!({
        "hwmeter": env!("CARGO_PKG_VERSION"),
        "clock": WallClock::of(origin),
        "sensors": sensors,
    });
    std::fs::write(beside(trace), format!("{document:#}\n"))
}

/// Not `NAME.json`: that is where people put the output of `measure --json`.
fn beside(trace: &Path) -> PathBuf {
    trace.with_extension("meta.json")
}

/// What stands beside `trace` about its sensors; none where there is no such file. One that cannot be understood is
/// an error: without it the uncertainty would be too small in silence.
pub fn read_metadata(trace: &Path) -> anyhow::Result<Vec<TracedSensor>> {
    let places = [beside(trace), trace.with_file_name("run.json")];
    let Some(path) = places.into_iter().find(|path| path.exists()) else {
        return Ok(Vec::new());
    };
    let of_file = || {
        format!(
            "cannot use {}, which tells how accurate the sensors of {} are; move it away to go on without",
            path.display(),
            trace.display()
        )
    };
    let text = small_file::read(&path).with_context(of_file)?;
    let document: Value = serde_json::from_slice(&text).with_context(of_file)?;
    sensors_of(document).with_context(of_file)
}

/// A run has one sensor and tells it at the top; a document of another program tells none.
fn sensors_of(mut document: Value) -> serde_json::Result<Vec<TracedSensor>> {
    if let Some(sensors) = document.get_mut("sensors") {
        return serde_json::from_value(sensors.take());
    }
    match document.get("sensor") {
        Some(_) => Ok(vec![serde_json::from_value(document)?]),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hwmeter_hw::sensor::{Kind, Rail, Role};

    fn traced(id: &str) -> TracedSensor {
        let rails = vec![Rail::new("VDD_IN", Role::Total)];
        TracedSensor {
            sensor: SensorInfo::new(id, Kind::Measured, rails),
            sampling_hz: 100.0,
        }
    }

    #[test]
    fn what_is_written_beside_a_trace_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("a.csv");
        std::fs::write(&trace, "").unwrap();
        assert_eq!(read_metadata(&trace).unwrap(), []);
        let both = [traced("ina3221-hwmon"), traced("cpu-model")];
        write(&trace, MonotonicClock.now(), &both).unwrap();
        assert_eq!(read_metadata(&trace).unwrap(), both);
        let other = dir.path().join("b.csv");
        assert_eq!(read_metadata(&other).unwrap(), [], "it belongs to a.csv alone");
    }

    #[test]
    fn the_manifest_of_a_run_tells_its_one_sensor() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = serde_json::to_value(traced("cpu-model")).unwrap();
        manifest["seed"] = 7.into();
        std::fs::write(dir.path().join("run.json"), manifest.to_string()).unwrap();
        let found = read_metadata(&dir.path().join("energy.csv")).unwrap();
        assert_eq!(found, [traced("cpu-model")]);
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_and_not_a_smaller_uncertainty() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.json");
        for bad in ["", "{\"sensors\": 5}", "{\"sensor\": {}}", "\u{0}"] {
            std::fs::write(&file, bad).unwrap();
            let error = read_metadata(&dir.path().join("energy.csv")).unwrap_err();
            assert!(format!("{error:#}").contains("run.json"), "{error:#}");
        }
    }

    #[test]
    fn a_trace_into_a_device_leaves_no_file_beside_it() {
        write(Path::new("/dev/null"), MonotonicClock.now(), &[]).unwrap();
        assert!(!Path::new("/dev/null.meta.json").exists() && !Path::new("/dev/null.json").exists());
    }

    #[test]
    fn the_offset_to_the_wall_clock_is_that_of_the_origin() {
        let origin = MonotonicClock.now();
        let unix = jiff::Timestamp::now().as_nanosecond() as f64 * 1e-9;
        std::thread::sleep(std::time::Duration::from_millis(20));
        let offset = WallClock::of(origin).t_s_zero_unix_s;
        assert!((offset - unix).abs() < 0.01, "{offset} {unix}");
    }
}
