//! One run's folder, read in one pass over each of its files.

use super::bins::Bins;
use super::error::{ReportError, Result};
use super::manifest::Manifest;
use super::rows::{Row, Rows};
use super::totals::Totals;
use super::window::{Chooser, Window, read_window};
use crate::run_dir::RunDir;
use std::path::{Path, PathBuf};

/// A run, in memory that does not grow with its tasks.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// What `run.json` says; empty where there is none.
    pub manifest: Manifest,
    /// Measured, modelled or simulated.
    pub kind: String,
    /// The sensor's id.
    pub sensor: String,
    /// Its sums and distributions.
    pub totals: Totals,
    /// Its course.
    pub bins: Bins,
    /// A few tasks with the power drawn.
    pub window: Option<Window>,
    /// What a reader must know before using its numbers: each a sentence about it.
    pub notes: Vec<String>,
}

/// Told of every row on the way, such as a writer of event files.
pub trait OnRow {
    /// The next row.
    fn row(&mut self, row: &Row<'_>) -> std::io::Result<()>;
}

/// For those who need no rows.
pub struct Nobody;

impl OnRow for Nobody {
    fn row(&mut self, _row: &Row<'_>) -> std::io::Result<()> {
        Ok(())
    }
}

impl Run {
    /// Reads a folder.
    pub fn read(path: &Path) -> Result<Self> {
        let manifest = Manifest::read(&RunDir::open(path).manifest())?;
        Self::read_rows(path, manifest, &mut Nobody)
    }

    /// Reads a folder whose `run.json` is read already, and tells of every row.
    pub fn read_rows(path: &Path, manifest: Option<Manifest>, on_row: &mut impl OnRow) -> Result<Self> {
        let dir = RunDir::open(path);
        let mut run = Self {
            path: path.to_owned(),
            kind: String::new(),
            sensor: String::new(),
            totals: Totals::default(),
            bins: Bins::default(),
            window: None,
            notes: Vec::new(),
            manifest: Manifest::default(),
        };
        match manifest {
            Some(manifest) => run.manifest = manifest,
            None => {
                run.note("it has no run.json: who decided, with which seed and on which board is not known")
            }
        }
        let mut rows = Rows::open(&dir.decisions())?;
        let mut chooser = Chooser::default();
        while let Some(row) = rows.next_row()? {
            run.check_source(&row, &dir.decisions())?;
            run.totals.add(&row);
            run.bins.push(&row);
            chooser.push(&row);
            on_row.row(&row).map_err(|e| ReportError::io(path, e))?;
        }
        run.note_cut("decisions.csv", rows.cut_line());
        run.note_end();
        run.read_trace(&dir.energy(), chooser)?;
        Ok(run)
    }

    /// A run has one sensor: joules of different kinds are never added up.
    fn check_source(&mut self, row: &Row<'_>, path: &Path) -> Result<()> {
        if self.totals.tasks == 0 {
            (self.kind, self.sensor) = (row.kind.to_owned(), row.sensor.to_owned());
        }
        if self.kind == row.kind && self.sensor == row.sensor {
            return Ok(());
        }
        let problem = format!(
            "task {} is {} by {:?}, those before it are {} by {:?}; joules of different kinds are not added up: \
             report the runs one by one",
            row.task, row.kind, row.sensor, self.kind, self.sensor
        );
        Err(ReportError::line(path, self.totals.tasks + 2, problem))
    }

    fn read_trace(&mut self, path: &Path, chooser: Chooser) -> Result<()> {
        if !path.exists() {
            self.note("it has no energy.csv: its power is not drawn");
            return Ok(());
        }
        let read = read_window(path, chooser.finish(), &self.manifest.total_rails())?;
        self.note_cut("energy.csv", read.cut_line);
        self.window = read.window;
        Ok(())
    }

    fn note_cut(&mut self, file: &str, line: Option<u64>) {
        if let Some(line) = line {
            self.note(&format!("line {line} of {file} was cut short and is left out"));
        }
    }

    fn note_end(&mut self) {
        let tasks = self.totals.tasks;
        let of = match self.manifest.tasks {
            Some(all) => format!("{tasks} of {all} tasks"),
            None => format!("{tasks} tasks"),
        };
        match self.manifest.status.clone().as_deref() {
            Some("running") => self.note(&format!(
                "it has not ended in order: it was killed, or still goes on; {of} are in this report"
            )),
            Some("interrupted") => self.note(&format!("it was ended early: {of} are in this report")),
            Some("failed") => {
                let why = self.manifest.error.clone().unwrap_or_default();
                self.note(&format!("it failed: {why}; {of} are in this report"));
            }
            _ => {}
        }
        if tasks == 0 {
            self.note("no task of it has ended");
        }
        match self.totals.without_energy {
            0 => {}
            n => self.note(&format!(
                "{n} of its tasks have no energy: the sensor gave no sample"
            )),
        }
    }

    fn note(&mut self, what: &str) {
        self.notes.push(format!("{what}."));
    }

    /// Where its learner was trained: `local`, `mec`, both, or nowhere.
    pub fn site(&self) -> String {
        let sites: Vec<&str> = self.totals.updates.keys().map(String::as_str).collect();
        sites.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "task,t_s,deadline_s,placement,decide_s,latency_s,success,reward,oracle_reward,energy_j,\
        energy_u_j,decide_j,execute_j,train_j,train_s,training_site,coverage,kind,sensor,error\n";

    fn folder(rows: &str, manifest: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("decisions.csv"), format!("{HEADER}{rows}")).unwrap();
        if let Some(text) = manifest {
            std::fs::write(dir.path().join("run.json"), text).unwrap();
        }
        dir
    }

    const ROWS: &str = "\
        0,0,1,local,1e-6,0.5,true,-2,-1,2,0.2,0.1,1.5,0.01,1e-3,local,1,measured,s,\n\
        1,1,1,mec,3e-6,1,false,-9,-3,1,0.1,0.1,0.7,0.03,3e-3,local,0.5,measured,s,late\n\
        2,2,2,cloud,2e-6,0.5,true,,,,,,,,,,,measured,s,\n";

    #[test]
    fn sums_are_those_of_the_rows() {
        let dir = folder(ROWS, Some(r#"{"status": "done", "tasks": 3}"#));
        let run = Run::read(dir.path()).unwrap();
        let totals = &run.totals;
        assert_eq!(
            (totals.tasks, totals.placements, totals.misses),
            (3, [1, 1, 1], [0, 1, 0])
        );
        assert_eq!(totals.reward.mean(), Some(-5.5));
        assert_eq!(totals.regret.known(), Some(1.0 + 6.0));
        assert_eq!((totals.energy_j.known(), totals.without_energy), (Some(3.0), 1));
        assert!((totals.relative_uncertainty().unwrap() - 0.1).abs() < 1e-12);
        let split = totals.split();
        assert_eq!((split.execute_j, split.send_j), (Some(0.75), Some(0.35)));
        assert!(
            (split.decide_j.unwrap() - 0.1).abs() < 1e-12 && (split.train_j.unwrap() - 0.02).abs() < 1e-12
        );
        assert_eq!(
            (totals.coverage.mean(), totals.least_coverage),
            (Some(0.75), Some(0.5))
        );
        let latency = totals.latency_share.quantile(0.5).unwrap();
        assert!((latency - 0.5).abs() < 1e-3, "{latency}");
        let updates = &totals.updates["local"];
        assert_eq!(updates.time_s.count(), 2);
        assert!((updates.time_s.quantile(1.0).unwrap() - 3e-3).abs() < 1e-5);
        assert_eq!(
            (run.kind.as_str(), run.sensor.as_str(), run.site().as_str()),
            ("measured", "s", "local")
        );
    }

    #[test]
    fn what_is_missing_is_said_and_the_rest_reported() {
        let dir = folder(ROWS, Some(r#"{"status": "running", "tasks": 500}"#));
        let notes = Run::read(dir.path()).unwrap().notes.join("\n");
        for said in [
            "killed, or still goes on; 3 of 500 tasks",
            "no energy.csv",
            "1 of its tasks have no energy",
        ] {
            assert!(notes.contains(said), "{said}: {notes}");
        }
        let bare = Run::read(folder("", None).path()).unwrap();
        let notes = bare.notes.join("\n");
        assert!(
            notes.contains("no run.json") && notes.contains("no task of it has ended"),
            "{notes}"
        );
        let gone = tempfile::tempdir().unwrap();
        let error = Run::read(gone.path()).unwrap_err().to_string();
        assert!(error.contains("decisions.csv"), "{error}");
    }

    #[test]
    fn joules_of_two_kinds_are_not_added_up() {
        let rows = ROWS.replacen("0.5,measured,s", "0.5,modelled,cpu-model", 1);
        let error = Run::read(folder(&rows, None).path()).unwrap_err().to_string();
        assert!(
            error.contains("line 3: task 1 is modelled") && error.contains("decisions.csv"),
            "{error}"
        );
    }
}
