//! Task sets as files: CSV or JSON lines.
//!
//! Both have the same names. `cycles`, `deadline_s`, `payload_bytes` and `kernels` are needed; `task` counts from 0;
//! `utilisation`, `period_us` and `execution_us` say how a task was made. `kernels` is `sha256:12 fft:3` for exactly
//! these rounds, or one name, such as `fft`, for as many of its rounds as take `cycles` cycles on the device that runs it.

use super::kernel::sha256;
use super::mix::mix;
use super::set::Task;
use super::work::Content;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The columns in their order.
pub const COLUMNS: [&str; 8] = [
    "task",
    "utilisation",
    "period_us",
    "execution_us",
    "cycles",
    "deadline_s",
    "payload_bytes",
    "kernels",
];

/// Larger files are refused before they are read.
const LARGEST_FILE: u64 = 256 << 20;

/// More tasks are refused.
const MOST_TASKS: u64 = 1_000_000;

/// The largest values that a task may have: beyond them something slipped.
const MOST_CYCLES: u64 = 1_000_000_000_000_000_000;
const MOST_PAYLOAD_BYTES: u64 = 1 << 30;
const LONGEST_DEADLINE_S: f64 = 366.0 * 86_400.0;

/// One task as it stands in a file. What is not known is empty.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskRow {
    /// Its number, from 0.
    pub task: u64,
    /// Share of a core that it was drawn with.
    pub utilisation: Option<f64>,
    /// Microseconds between two releases. Runs take one task after the other and do not use it.
    pub period_us: Option<u64>,
    /// Execution time that was asked for, in microseconds of the nominal core, before kernels filled it.
    pub execution_us: Option<u64>,
    /// Its computing size in CPU cycles.
    pub cycles: u64,
    /// Its latency limit in seconds.
    pub deadline_s: f64,
    /// Bytes that cross the wire if it is offloaded.
    pub payload_bytes: u64,
    /// What it computes.
    pub kernels: Content,
}

impl TaskRow {
    /// The task; its input is made from the seed of the run and its number.
    pub fn task(&self, seed: u64) -> Task {
        Task {
            id: self.task,
            content: self.kernels.clone(),
            cycles: self.cycles,
            seed: mix(mix(seed) ^ self.task),
            payload_bytes: self.payload_bytes,
            deadline_s: self.deadline_s,
        }
    }
}

/// Writes CSV.
pub fn write_csv(rows: &[TaskRow], to: impl Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(to);
    for row in rows {
        csv.serialize(row).map_err(io::Error::other)?;
    }
    csv.flush()
}

/// Writes JSON lines.
pub fn write_json_lines(rows: &[TaskRow], mut to: impl Write) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut to, row)?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct TaskFile {
    /// Where it stands.
    pub path: PathBuf,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its tasks, numbered from 0.
    pub rows: Vec<TaskRow>,
}

/// Why a file is no task set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskFileError {
    /// It could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too large.
    #[error("{} has {bytes} bytes; a task set may have {LARGEST_FILE}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A line is wrong.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong, with the column.
        what: String,
    },
    /// There is nothing in it.
    #[error("{} holds no tasks", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl TaskFile {
    /// Reads CSV, or JSON lines if the first thing in the file is `{`.
    pub fn read(path: &Path) -> Result<Self, TaskFileError> {
        let path = path.to_owned();
        let bytes = match read_limited(&path) {
            Ok(bytes) if bytes.len() as u64 > LARGEST_FILE => {
                let bytes = bytes.len() as u64;
                return Err(TaskFileError::TooLarge { path, bytes });
            }
            Ok(bytes) => bytes,
            Err(source) => return Err(TaskFileError::Io { path, source }),
        };
        let rows = match bytes.trim_ascii_start().first() {
            Some(b'{') => read_json_lines(&bytes),
            _ => read_csv(&bytes),
        };
        match rows {
            Ok(rows) if rows.is_empty() => Err(TaskFileError::Empty { path }),
            Ok(rows) => Ok(Self {
                path,
                sha256: sha256::hex(&bytes),
                rows,
            }),
            Err((line, what)) => Err(TaskFileError::Line { path, line, what }),
        }
    }
}

/// At most one byte more than is allowed: the file may be a device without end.
fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(
        &mut io::Read::take(std::fs::File::open(path)?, LARGEST_FILE + 1),
        &mut bytes,
    )?;
    Ok(bytes)
}

/// A line and what is wrong with it.
type Wrong = (u64, String);

fn read_csv(bytes: &[u8]) -> Result<Vec<TaskRow>, Wrong> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let wrong = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        (line, error.to_string())
    };
    let names: Vec<String> = reader
        .headers()
        .map_err(wrong)?
        .iter()
        .map(str::to_owned)
        .collect();
    check_names(&names).map_err(|what| (1, what))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |name: &str| {
            let at = names.iter().position(|known| known == name)?;
            record.get(at).map(str::to_owned)
        };
        rows.push(row(rows.len() as u64, cell).map_err(|what| (line, what))?);
    }
    Ok(rows)
}

fn read_json_lines(bytes: &[u8]) -> Result<Vec<TaskRow>, Wrong> {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let values: serde_json::Map<String, Value> = serde_json::from_slice(text)
            .map_err(|error| (line, format!("column {}: {error}", error.column())))?;
        let names: Vec<String> = values.keys().cloned().collect();
        check_names(&names).map_err(|what| (line, what))?;
        let cell = |name: &str| match values.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        rows.push(row(rows.len() as u64, cell).map_err(|what| (line, what))?);
    }
    Ok(rows)
}

/// A name that is misspelt would be a value that is lost.
fn check_names(names: &[String]) -> Result<(), String> {
    for (at, name) in names.iter().enumerate() {
        if !COLUMNS.contains(&name.as_str()) {
            return Err(format!(
                "column `{name}` is unknown; known are {}",
                COLUMNS.join(", ")
            ));
        }
        if names[..at].contains(name) {
            return Err(format!("column `{name}` stands there twice"));
        }
    }
    let needed = ["cycles", "deadline_s", "payload_bytes", "kernels"];
    match needed
        .iter()
        .find(|needed| !names.iter().any(|name| name == *needed))
    {
        Some(missing) => Err(format!("column `{missing}` is missing")),
        None => Ok(()),
    }
}

/// One task, from a function that gives the text of a column.
fn row(number: u64, cell: impl Fn(&str) -> Option<String>) -> Result<TaskRow, String> {
    if number >= MOST_TASKS {
        return Err(format!("more than {MOST_TASKS} tasks"));
    }
    let filled = |name: &str| cell(name).filter(|text| !text.is_empty());
    let needed = |name: &str| filled(name).ok_or_else(|| format!("column `{name}` is empty"));
    let optional = |name: &str| {
        filled(name)
            .map(|text| whole(name, &text, 0, u64::MAX))
            .transpose()
    };
    match optional("task")? {
        Some(found) if found != number => {
            return Err(format!(
                "column `task` is {found}, expected {number}: tasks count from 0"
            ));
        }
        _ => {}
    }
    let kernels = needed("kernels")?;
    Ok(TaskRow {
        task: number,
        utilisation: filled("utilisation")
            .map(|text| real("utilisation", &text, f64::MAX))
            .transpose()?,
        period_us: optional("period_us")?,
        execution_us: optional("execution_us")?,
        cycles: whole("cycles", &needed("cycles")?, 1, MOST_CYCLES)?,
        deadline_s: real("deadline_s", &needed("deadline_s")?, LONGEST_DEADLINE_S)?,
        payload_bytes: whole("payload_bytes", &needed("payload_bytes")?, 0, MOST_PAYLOAD_BYTES)?,
        kernels: kernels
            .parse()
            .map_err(|error| format!("column `kernels`: {error}"))?,
    })
}

fn whole(name: &str, text: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("column `{name}` is {text:?}, expected a whole number from {min} to {max}"))
}

fn real(name: &str, text: &str, max: f64) -> Result<f64, String> {
    // NaN fails both comparisons.
    let number = text
        .parse()
        .ok()
        .filter(|&number: &f64| number > 0.0 && number <= max);
    number
        .ok_or_else(|| format!("column `{name}` is {text:?}, expected a number above 0 and at most {max:e}"))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
