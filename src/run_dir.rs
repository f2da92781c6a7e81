//! The folder of a run: `decisions.csv`, `energy.csv`, `run.json`, `learner.safetensors`; with `--record-transitions`
//! also `transitions.csv` and, if its learner was not a fresh one, `start.safetensors`.
//!
//! Files are created at the start, so that a folder that cannot be written is an error before anything runs.
//! Each row is on its way to the disk before the next task begins: a killed run keeps every finished row.

use crate::agent::audit::WRONG_RESULT;
use crate::agent::ledger::Sink;
use crate::record::DecisionRecord;
use anyhow::Context;
use hwmeter_hw::small_file;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Creates the folder; one that already holds a run is an error.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot create {}; choose another --out", path.display()))?;
        let dir = Self {
            path: path.to_owned(),
        };
        if dir.decisions().exists() {
            anyhow::bail!("{} already holds a run; choose another --out", path.display());
        }
        Ok(dir)
    }

    /// The folder of an earlier run.
    pub fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// `run.json` of an earlier run.
    pub fn read_manifest(&self) -> anyhow::Result<serde_json::Value> {
        let path = self.manifest();
        let text = small_file::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// `runs/<UTC time>-<learner>` below the working directory.
    pub fn default_path(learner: &str) -> PathBuf {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        PathBuf::from("runs").join(format!("{now}-{learner}"))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One row per task.
    pub fn decisions(&self) -> PathBuf {
        self.path.join("decisions.csv")
    }

    /// One row per rail and sample.
    pub fn energy(&self) -> PathBuf {
        self.path.join("energy.csv")
    }

    /// Everything needed to repeat the run, and its summary.
    pub fn manifest(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// The learner at the end.
    pub fn learner(&self) -> PathBuf {
        self.path.join("learner.safetensors")
    }

    /// Experiences on their way to the MEC.
    pub fn queue(&self) -> PathBuf {
        self.path.join("experiences.queue")
    }

    /// The learner from which they lead on; not there while that is a fresh one.
    pub fn base(&self) -> PathBuf {
        self.path.join("base.safetensors")
    }

    /// What the learner has learned from, if it is recorded.
    pub fn transitions(&self) -> PathBuf {
        self.path.join("transitions.csv")
    }

    /// The learner before the first of `transitions.csv`, if it was not a fresh one.
    pub fn start(&self) -> PathBuf {
        self.path.join("start.safetensors")
    }

    /// Writes `run.json` at the beginning, with room for what will be known at the end: white space, which JSON allows.
    pub fn begin_manifest(&self, manifest: &impl Serialize) -> anyhow::Result<()> {
        let mut text = in_words(manifest)?;
        text.resize(text.len() + ROOM_BYTES, b'\n');
        replace(&self.manifest(), &text)
    }

    /// Writes `run.json` as a whole, so that a reader never sees half of it. On a full disk it is overwritten where it
    /// is: how the run ended is worth more.
    pub fn write_manifest(&self, manifest: &impl Serialize) -> anyhow::Result<()> {
        let text = in_words(manifest)?;
        let path = self.manifest();
        replace(&path, &text).or_else(|first| overwrite(&path, &text).map_err(|_| first))
    }
}

/// Kept free for the summary. It takes a few kB; what servers and the sensor say in it is bounded.
const ROOM_BYTES: usize = 8 << 10;

fn in_words(manifest: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(manifest).context("cannot put run.json into words")?;
    text.push(b'\n');
    Ok(text)
}

/// Writes into the room that the file has, which takes no more of the disk.
fn overwrite(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() < content.len() as u64 {
        return Err(std::io::ErrorKind::StorageFull.into());
    }
    file.write_all(content)?;
    file.set_len(content.len() as u64)
}

/// Writes a file beside the old one and puts it in its place in one step; a device or a pipe is written to.
pub fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let is_special = std::fs::metadata(path).is_ok_and(|there| !there.is_file());
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    let written = match is_special {
        true => std::fs::write(path, content),
        false => std::fs::write(&draft, content).and_then(|()| std::fs::rename(&draft, path)),
    };
    if written.is_err() && !is_special {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&draft);
    }
    written.with_context(|| {
        format!(
            "cannot write {}; is its folder there, and room on the disk?",
            path.display()
        )
    })
}

/// Appends rows to `decisions.csv`.
pub struct DecisionWriter {
    path: PathBuf,
    csv: csv::Writer<File>,
}

impl DecisionWriter {
    /// Creates the file.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("cannot create {}; is the folder writable?", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            csv: csv::Writer::from_writer(file),
        })
    }

    /// Marks tasks whose result the audit found wrong as failed.
    pub fn mark_wrong(self, wrong: &[u64]) -> anyhow::Result<()> {
        let Self { path, csv } = self;
        drop(csv); // flushes what is left
        if wrong.is_empty() {
            Ok(())
        } else {
            mark_rows(&path, wrong)
        }
    }
}

impl Sink for DecisionWriter {
    fn write(&mut self, record: &DecisionRecord) -> anyhow::Result<()> {
        self.csv.serialize(record)?;
        self.csv
            .flush()
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn mark_rows(path: &Path, wrong: &[u64]) -> anyhow::Result<()> {
    let mut rows = csv::Reader::from_path(path)?;
    let header = rows.headers()?.clone();
    let column = |name: &str| header.iter().position(|h| h == name);
    let (Some(task), Some(success), Some(error)) = (column("task"), column("success"), column("error"))
    else {
        anyhow::bail!(
            "{} is not a decisions.csv any more; did another program write to it?",
            path.display()
        );
    };
    let mut marked = csv::Writer::from_writer(Vec::new());
    marked.write_record(&header)?;
    for row in rows.records() {
        let row = row?;
        let is_wrong = row
            .get(task)
            .and_then(|id| id.parse().ok())
            .is_some_and(|id| wrong.contains(&id));
        marked.write_record(row.iter().enumerate().map(|(i, cell)| match i {
            _ if !is_wrong => cell,
            i if i == success => "false",
            i if i == error => WRONG_RESULT,
            _ => cell,
        }))?;
    }
    let content = marked
        .into_inner()
        .map_err(|e| anyhow::anyhow!("{}", e.error()))?;
    replace(path, &content)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn how_a_run_ended_is_told_on_a_full_disk_too() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::create(folder.path()).unwrap();
        dir.begin_manifest(&json!({ "status": "running" })).unwrap();
        assert_eq!(dir.read_manifest().unwrap()["status"], "running");
        // No new file can be written beside it, as on a full disk.
        std::fs::create_dir(folder.path().join("run.json.tmp")).unwrap();
        let length = || std::fs::metadata(dir.manifest()).unwrap().len();
        let before = length();
        dir.write_manifest(&json!({ "status": "done", "summary": "s".repeat(6000) }))
            .unwrap();
        assert_eq!(dir.read_manifest().unwrap()["status"], "done");
        assert!(length() < before, "it took no more of the disk");
        // What does not fit is an error, and what was there stays.
        let huge = json!({ "status": "huge", "summary": "s".repeat(99_000) });
        assert!(dir.write_manifest(&huge).is_err());
        assert_eq!(dir.read_manifest().unwrap()["status"], "done");
    }
}
