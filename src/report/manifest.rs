//! What `run.json` tells about a run, as far as a report needs it. Every key may be missing: versions differ.

use super::error::{ReportError, Result};
use hwmeter_hw::small_file;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// A run as its `run.json` describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Version of hwmeter.
    pub hwmeter: Option<String>,
    /// `running`, `done`, `interrupted` or `failed`.
    pub status: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Its seed.
    pub seed: Option<u64>,
    /// Tasks it was to run.
    pub tasks: Option<u64>,
    /// The machine.
    pub board: Board,
    /// Who decided.
    pub learner: Learner,
    /// What was read.
    pub sensor: Sensor,
    /// Where `t_s` zero stands in the world's time.
    pub clock: Clock,
    /// The scenario of a simulated run.
    pub scenario: Option<String>,
    /// The options as they were typed.
    pub options: Map<String, Value>,
    /// What the energy of tasks is, where that needs saying.
    pub energy_note: Option<String>,
}

/// The machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Board {
    /// Its name.
    pub model: Option<String>,
}

/// Who decided.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Learner {
    /// Such as `dqn`.
    pub name: Option<String>,
    /// Such as `4x256`.
    pub variant: Option<String>,
    /// Such as `native`.
    pub engine: Option<String>,
}

/// What was read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sensor {
    /// Its rails, in the order of the trace.
    pub rails: Vec<Rail>,
    /// Which of them make up the total.
    pub total: Vec<usize>,
}

/// One supply.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rail {
    /// Its name.
    pub name: String,
}

/// The wall clock.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// Unix time of `t_s` zero.
    pub t_s_zero_unix_s: Option<f64>,
}

impl Manifest {
    /// Reads the file; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match small_file::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| ReportError::io(path, e))?,
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| damaged(path, &text, &e))
    }

    /// The names of the rails that make up the total.
    pub fn total_rails(&self) -> Vec<&str> {
        let rails = self
            .sensor
            .total
            .iter()
            .filter_map(|&at| self.sensor.rails.get(at));
        rails.map(|rail| rail.name.as_str()).collect()
    }
}

/// Shows the line, and so the key.
fn damaged(path: &Path, text: &[u8], error: &serde_json::Error) -> ReportError {
    let line = error.line().max(1);
    let shown = text
        .split(|&byte| byte == b'\n')
        .nth(line - 1)
        .unwrap_or_default();
    let shown = String::from_utf8_lossy(&shown[..shown.len().min(80)]);
    let problem = format!(
        "{error}, in {:?}; restore the file, or move it away to report without it",
        shown.trim()
    );
    ReportError::line(path, line as u64, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Manifest>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        std::fs::write(&path, text).unwrap();
        Manifest::read(&path)
    }

    #[test]
    fn keys_of_other_versions_may_be_missing_or_new() {
        let text = r#"{"seed": 7, "new": [1], "sensor": {"rails": [{"name": "a"}, {"name": "b"}], "total": [1, 9]}}"#;
        let manifest = read(text).unwrap().unwrap();
        assert_eq!((manifest.seed, manifest.total_rails()), (Some(7), vec!["b"]));
        assert_eq!(manifest.learner.name, None);
        let none = tempfile::tempdir().unwrap();
        assert!(Manifest::read(&none.path().join("run.json")).unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_is_told_with_line_and_key() {
        let cut = read("{\n  \"seed\": 7,\n  \"boa").unwrap_err().to_string();
        assert!(cut.contains("run.json, line 3") && cut.contains("boa"), "{cut}");
        let wrong = read("{\n  \"seed\": \"x\"\n}").unwrap_err().to_string();
        assert!(wrong.contains("line 2") && wrong.contains("seed"), "{wrong}");
    }
}
