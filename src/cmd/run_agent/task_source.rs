//! Which tasks a run has: those of the built-in set, or those of a file.

use anyhow::{Context as _, bail};
use hwmeter::task::file::TaskFile;
use hwmeter::task::{Content, Program, Task, TaskSet};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Tasks of the built-in set unless told otherwise.
const TASKS: u32 = 500;

/// The tasks of a run.
pub struct TaskSource {
    /// All of them, those included that an earlier run has done.
    pub tasks: Vec<Task>,
    /// The file they are from, and the SHA-256 of its bytes.
    file: Option<(PathBuf, String)>,
}

impl TaskSource {
    /// The first `count` tasks of the file, or as many of the built-in set.
    pub fn new(file: Option<&Path>, count: Option<u32>, seed: u64) -> anyhow::Result<Self> {
        match file {
            Some(path) => Self::of_file(TaskFile::read(path)?, count, seed),
            None => Ok(Self {
                tasks: TaskSet::default_set(count.unwrap_or(TASKS) as usize, seed).tasks,
                file: None,
            }),
        }
    }

    /// The tasks of the run that left this `run.json`; a file must be the same, byte for byte, wherever it stands now.
    pub fn resumed(
        manifest: &Value,
        file: Option<&Path>,
        count: Option<u32>,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let text = |key: &str| {
            manifest
                .get("taskset")
                .and_then(|taskset| taskset.get(key)?.as_str())
        };
        let (Some(known), Some(recorded)) = (text("sha256"), text("file")) else {
            if file.is_some() {
                bail!("that run took the built-in task set; leave out --taskset");
            }
            return Self::new(None, count, seed);
        };
        let path = file.unwrap_or(Path::new(recorded));
        let read = TaskFile::read(path)
            .context("that run's task set; if it stands elsewhere now, give --taskset")?;
        if read.sha256 != known {
            bail!(
                "{} is not the task set of that run any more: its SHA-256 is {}, that run's was {known}; give the same \
                 file with --taskset",
                path.display(),
                read.sha256
            );
        }
        Self::of_file(read, count, seed)
    }

    fn of_file(file: TaskFile, count: Option<u32>, seed: u64) -> anyhow::Result<Self> {
        let there = file.rows.len();
        let count = count.map_or(there, |count| count as usize);
        if count > there {
            bail!(
                "{} has {there} tasks, --tasks asks for {count}",
                file.path.display()
            );
        }
        let path = std::path::absolute(&file.path).unwrap_or(file.path);
        let tasks: Vec<_> = file.rows[..count].iter().map(|row| row.task(seed)).collect();
        compile_modules(&tasks).with_context(|| format!("task set {}", path.display()))?;
        Ok(Self {
            tasks,
            file: Some((path, file.sha256)),
        })
    }

    /// For `run.json`; `null` for the built-in set.
    pub fn describe(&self) -> Value {
        match &self.file {
            Some((file, sha256)) => json!({ "file": file, "sha256": sha256 }),
            None => Value::Null,
        }
    }
}

/// Before the run, so that a bad module is told now and no task pays for compiling a good one.
fn compile_modules(tasks: &[Task]) -> anyhow::Result<()> {
    for task in tasks {
        if let Content::Exact(Program::Module(binary)) = &task.content {
            let compiled = binary.compile(&|| false);
            compiled.with_context(|| format!("task {}: {binary}", task.id))?;
        }
    }
    Ok(())
}
