//! Why there is no report: which file, which line, what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a run's folder cannot be read, or its report not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Nothing below the folder is a run.
    #[error(
        "{0} holds no run: there is no decisions.csv in it or below it; name the folder that `run-agent` printed"
    )]
    NoRun(PathBuf),
    /// A file of the run could not be opened or read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A line cannot be used.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it, and what should stand there.
        problem: String,
    },
    /// The recorded trace cannot be used.
    #[error(transparent)]
    Trace(#[from] hwmeter_hw::Error),
    /// A figure cannot be drawn.
    #[error("cannot draw the figure {figure}: {problem}")]
    Draw {
        /// Its id.
        figure: &'static str,
        /// What the drawing library said.
        problem: String,
    },
}

impl ReportError {
    /// An error of the file system.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// A line that cannot be used.
    pub(super) fn line(path: &Path, line: u64, problem: impl Into<String>) -> Self {
        Self::Line {
            path: path.to_owned(),
            line,
            problem: problem.into(),
        }
    }
}

/// A shorthand of this module.
pub type Result<T> = std::result::Result<T, ReportError>;
