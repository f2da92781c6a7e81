//! Writing a calibration file: what was found is put in, everything else in it stays, comments included.

use super::{Bandwidth, Calibration, GemmRow, LearnerRow, Made, VERSION};
use crate::error::{Error, Result};
use crate::power_model::PowerModel;
use crate::small_file;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TableLike};

/// A file being changed.
#[derive(Debug)]
pub struct CalibrationFile {
    path: PathBuf,
    document: DocumentMut,
    made: Option<Made>,
}

/// What was found about a sensor, for its `[sensor.ID]`. What is not known leaves the key that is there alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SensorFindings {
    /// Power while idle, as the sensor reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_watts: Option<f64>,
    /// Its standard uncertainty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_uncertainty_watts: Option<f64>,
    /// The same with all cores busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_watts: Option<f64>,
    /// Time between two new values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_period_s: Option<f64>,
    /// Time constant of its filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_s: Option<f64>,
    /// Relative standard uncertainty of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_uncertainty: Option<f64>,
    /// Per rail.
    #[serde(skip)]
    pub rail: BTreeMap<String, RailFindings>,
}

/// What was found about a rail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RailFindings {
    /// Smallest step of a power reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_step_w: Option<f64>,
    /// Smallest step of an energy counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_step_j: Option<f64>,
}

impl CalibrationFile {
    /// Reads a file to be changed; one that is not there yet is empty. A file that [`Calibration`] would refuse is an
    /// error: it is not written over.
    pub fn open(path: &Path) -> Result<Self> {
        let text = match small_file::read_text(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| Error::io("read", path, error))?,
        };
        let made = Calibration::parse(path, &text)?.made;
        let mut document: DocumentMut = text.parse().map_err(|error| unwritable(path, &error))?;
        if document.get("version").is_none() {
            let mut version = toml_edit::Value::from(VERSION);
            if !document.is_empty() {
                version.decor_mut().set_suffix("\n"); // apart from the comment of what follows
            }
            document.insert("version", Item::Value(version));
        }
        Ok(Self {
            path: path.to_owned(),
            document,
            made,
        })
    }

    /// Says when and where. On another board than before, what was found there goes.
    pub fn set_made(&mut self, made: &Made) -> Result<()> {
        let is_other = |before: &Made| (&before.kind, &before.board) != (&made.kind, &made.board);
        if self.made.as_ref().is_some_and(is_other) {
            for section in ["power_model", "gemm", "bandwidth", "learner"] {
                self.document.remove(section);
            }
        }
        self.made = Some(made.clone());
        self.replace("made", made)
    }

    /// The power model in the place of the one there.
    pub fn set_power_model(&mut self, model: &PowerModel) -> Result<()> {
        self.replace("power_model", model)
    }

    /// The bandwidth in the place of the one there.
    pub fn set_bandwidth(&mut self, bandwidth: &Bandwidth) -> Result<()> {
        self.replace("bandwidth", bandwidth)
    }

    /// The matrix products in the place of those there.
    pub fn set_gemm(&mut self, rows: &[GemmRow]) -> Result<()> {
        self.set_rows("gemm", rows)
    }

    /// What the learners cost, in the place of what is there.
    pub fn set_learners(&mut self, rows: &[LearnerRow]) -> Result<()> {
        self.set_rows("learner", rows)
    }

    fn set_rows(&mut self, name: &str, rows: &[impl Serialize]) -> Result<()> {
        let tables: Result<ArrayOfTables> = rows.iter().map(|row| self.table(row)).collect();
        self.document.insert(name, Item::ArrayOfTables(tables?));
        Ok(())
    }

    /// Puts what is known about a sensor into its section; other keys of it stay.
    pub fn set_sensor(&mut self, id: &str, findings: &SensorFindings) -> Result<()> {
        let found = self.table(findings)?;
        let rails: Vec<(&String, Table)> = findings
            .rail
            .iter()
            .map(|(name, rail)| Ok((name, self.table(rail)?)))
            .collect::<Result<_>>()?;
        let section = self.section(&["sensor", id])?;
        put(section, &found);
        for (name, found) in rails.into_iter().filter(|(_, found)| !found.is_empty()) {
            put(self.section(&["sensor", id, "rail", name])?, &found);
        }
        Ok(())
    }

    /// The file's new content.
    pub fn text(&self) -> String {
        self.document.to_string()
    }

    /// Writes the file: all of it or nothing, and nothing that could not be read again. Makes its directory.
    pub fn save(&self) -> Result<()> {
        let text = self.text();
        Calibration::parse(&self.path, &text)?;
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(|error| Error::io("make", dir, error))?;
        }
        let draft = self.path.with_extension("tmp");
        std::fs::write(&draft, text).map_err(|error| Error::io("write", &draft, error))?;
        std::fs::rename(&draft, &self.path).map_err(|error| Error::io("write", &self.path, error))
    }

    /// A section that is ours as a whole: keys that are no longer known go.
    fn replace(&mut self, name: &str, content: &impl Serialize) -> Result<()> {
        let new = self.table(content)?;
        let section = self.section(&[name])?;
        let old: Vec<String> = section.iter().map(|(key, _)| key.to_owned()).collect();
        for key in old.iter().filter(|key| !new.contains_key(key)) {
            section.remove(key);
        }
        put(section, &new);
        Ok(())
    }

    fn table(&self, content: &impl Serialize) -> Result<Table> {
        let document =
            toml_edit::ser::to_document(content).map_err(|error| unwritable(&self.path, &error))?;
        Ok(document.as_table().clone())
    }

    /// The section at a path, made where it is not there. The lines above its own one are not written.
    fn section(&mut self, path: &[&str]) -> Result<&mut dyn TableLike> {
        let mut section: &mut dyn TableLike = self.document.as_table_mut();
        for (depth, name) in path.iter().enumerate() {
            let is_last = depth + 1 == path.len();
            let item = section.entry(name).or_insert_with(|| {
                let mut table = Table::new();
                table.set_implicit(!is_last);
                Item::Table(table)
            });
            section = item
                .as_table_like_mut()
                .ok_or_else(|| unwritable(&self.path, &format!("`{name}` is no section")))?;
        }
        Ok(section)
    }
}

/// Sets keys; the comment behind a value stays.
fn put(section: &mut dyn TableLike, new: &Table) {
    for (key, item) in new.iter() {
        let mut item = item.clone();
        let old = section.get(key).and_then(Item::as_value);
        if let (Some(old), Some(value)) = (old, item.as_value_mut()) {
            *value.decor_mut() = old.decor().clone();
        }
        match section.get_mut(key) {
            Some(place) => *place = item,
            None => drop(section.insert(key, item)),
        }
    }
}

fn unwritable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::unsupported(format!("calibration file {}", path.display()), why.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::board::{Board, BoardKind};
    use crate::sensor::Kind;

    const OWN: &str = "# my board\n[sensor.hwmon]\nidle_watts = 2.0 # measured in May\ngain = 0.01\n\n\
        [sensor.\"hwmon:hwmon3\".rail.VDD_IN]\noffset_w = 0.008\n# the end\n";

    fn made(model: &str) -> Made {
        let board = Board {
            model: model.into(),
            kind: BoardKind::RaspberryPi4,
            soc: String::new(),
            revision: None,
            is_64_bit: true,
            variant: None,
        };
        let date = "2026-11-25T14:00:00Z".parse().unwrap();
        Made::on(&board, Some(date), Some("6.12.20".into()), None)
    }

    fn model() -> PowerModel {
        PowerModel {
            date: None,
            sensor: "hwmon".into(),
            sensor_kind: Kind::Measured,
            sensor_gain: 0.01,
            steps: 8,
            fit_error: 0.02,
            idle_watts: 2.0,
            knots: vec![0.0, 1.0],
            constant_watts: vec![4.0],
            linear_watts: Vec::new(),
            cubic_watts: Vec::new(),
            max_hz: None,
            partial: None,
        }
    }

    fn row(gflops: f64) -> GemmRow {
        GemmRow {
            provider: "builtin".into(),
            op: "sgemm".into(),
            threads: Some(4),
            cluster: None,
            n: 1024,
            gflops,
            gflops_median: None,
            gflops_spread: Some(0.01),
            peak_share: None,
            watts: None,
            watts_uncertainty: None,
            gflops_per_watt: None,
            gflops_per_watt_uncertainty: None,
            kind: None,
            note: None,
        }
    }

    fn findings() -> SensorFindings {
        let rail = RailFindings {
            power_step_w: Some(0.004),
            energy_step_j: None,
        };
        SensorFindings {
            idle_watts: Some(2.5),
            update_period_s: Some(0.1),
            rail: [("VDD_IN".to_owned(), rail)].into(),
            ..SensorFindings::default()
        }
    }

    #[test]
    fn a_users_own_lines_stay_and_everything_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/calibration.toml");
        let mut file = CalibrationFile::open(&path).unwrap();
        file.set_made(&made("Pi A")).unwrap();
        file.save().unwrap();
        std::fs::write(&path, format!("{OWN}{}", "")).unwrap();

        let mut file = CalibrationFile::open(&path).unwrap();
        file.set_made(&made("Pi A")).unwrap();
        file.set_power_model(&model()).unwrap();
        file.set_gemm(&[row(20.0), row(21.0)]).unwrap();
        let learner = LearnerRow {
            name: "dqn".into(),
            variant: "4x256".into(),
            decide_s: 2e-4,
            update_s: 9e-4,
            decide_j: None,
            decide_uncertainty_j: None,
            update_j: Some(5e-3),
            update_uncertainty_j: Some(1e-4),
            kind: Kind::Measured,
        };
        file.set_learners(std::slice::from_ref(&learner)).unwrap();
        file.set_bandwidth(&Bandwidth {
            bytes_per_s: 4e9,
            spread: None,
            threads: Some(4),
        })
        .unwrap();
        file.set_sensor("hwmon", &findings()).unwrap();
        file.set_sensor("hwmon:hwmon3", &findings()).unwrap();
        file.save().unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        for line in [
            "# my board",
            "idle_watts = 2.5 # measured in May",
            "gain = 0.01",
            "offset_w = 0.008",
            "# the end",
            "version = 1",
            "date = 2026-11-25T14:00:00Z",
            "[sensor.hwmon.rail.VDD_IN]",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}:\n{text}");
        }
        assert!(text.starts_with("version = 1\n\n# my board\n"), "{text}");
        let read = Calibration::read(&path).unwrap();
        assert_eq!(read.made(), Some(&made("Pi A")));
        assert_eq!(read.power_model(), Some(&model()));
        assert_eq!(read.gemm(), [row(20.0), row(21.0)]);
        assert_eq!(read.bandwidth().unwrap().threads, Some(4));
        assert_eq!(read.learners(), [learner]);
        let idle: Vec<(&str, f64)> = read.idle_powers().map(|(id, watts, _)| (id, watts.0)).collect();
        assert_eq!(idle, [("hwmon", 2.5), ("hwmon:hwmon3", 2.5)]);
        assert_eq!(read.idle_uncertainty("hwmon:hwmon3").unwrap().0, 0.05 * 2.5);
    }

    #[test]
    fn a_second_calibration_takes_the_place_of_the_first_and_another_board_leaves_nothing_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calibration.toml");
        let mut file = CalibrationFile::open(&path).unwrap();
        file.set_made(&made("Pi A")).unwrap();
        let ended_early = PowerModel {
            partial: Some("the meter is gone".into()),
            ..model()
        };
        file.set_power_model(&ended_early).unwrap();
        file.set_gemm(&[row(20.0), row(21.0)]).unwrap();
        file.save().unwrap();
        let mut file = CalibrationFile::open(&path).unwrap();
        file.set_made(&made("Pi A")).unwrap();
        file.set_power_model(&model()).unwrap();
        file.set_gemm(&[row(22.0)]).unwrap();
        file.save().unwrap();
        let read = Calibration::read(&path).unwrap();
        assert_eq!(read.power_model(), Some(&model()), "{}", file.text());
        assert_eq!(read.gemm(), [row(22.0)]);
        let mut file = CalibrationFile::open(&path).unwrap();
        file.set_made(&made("Pi B")).unwrap();
        file.save().unwrap();
        let read = Calibration::read(&path).unwrap();
        assert!(read.power_model().is_none() && read.gemm().is_empty());
    }

    #[test]
    fn a_file_with_a_mistake_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calibration.toml");
        std::fs::write(&path, "version = 1\n[sensor.hwmon]\ngian = 1\n").unwrap();
        let error = CalibrationFile::open(&path).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("gian"), "{error}");
    }
}
