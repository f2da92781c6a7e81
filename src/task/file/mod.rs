//! Task sets as files: CSV or JSON lines.
//!
//! Both have the same names. `cycles`, `deadline_s`, `payload_bytes` and `kernels` are needed; `task` counts from 0;
//! `utilisation`, `period_us` and `execution_us` say how a task was made. `kernels` is `sha256:12 fft:3` for exactly
//! these rounds, or one name, such as `fft`, for as many of its rounds as take `cycles` cycles on the device that runs it,
//! or `wasm:PATH` for a WebAssembly module (a path that is not absolute begins at the folder the program is run in).

mod parse;

pub(super) use parse::LONGEST_DEADLINE_S;

use super::kernel::sha256;
use super::mix::mix;
use super::set::Task;
use super::work::Content;
use serde::Serialize;
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
    #[error("{} has more than the {LARGEST_FILE} bytes that a task set may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
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
                return Err(TaskFileError::TooLarge { path });
            }
            Ok(bytes) => bytes,
            Err(source) => return Err(TaskFileError::Io { path, source }),
        };
        let rows = match bytes.trim_ascii_start().first() {
            Some(b'{') => parse::json_lines(&bytes),
            _ => parse::csv(&bytes),
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

#[cfg(test)]
mod tests;
