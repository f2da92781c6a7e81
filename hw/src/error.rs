//! What can go wrong with hardware: what failed, on which path, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// A shorthand used throughout the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a piece of hardware could not be read or set.
///
/// Callers that only want to react ask for [`Error::kind`]; people read the message, which names the path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or device could not be opened, read or written.
    #[error("cannot {action} {path}: {source}{}", advice(.source))]
    Io {
        /// What was tried, as a verb: `read`, `open`, `write`.
        action: &'static str,
        /// The file, root prefix included.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file was read but does not hold what its interface promises.
    #[error("{path} holds {found:?}, expected {expected}")]
    Malformed {
        /// The file or source.
        path: PathBuf,
        /// What stands there, cut to a readable length.
        found: String,
        /// What the interface promises.
        expected: &'static str,
    },
    /// A line of a recorded file cannot be used.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong with it, and what should stand there.
        problem: String,
    },
    /// The board, kernel or build cannot do what was asked.
    #[error("{what}: {why}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why it cannot be had, and what to do instead.
        why: String,
    },
    /// An operating-system call other than file access failed.
    #[error("{what} failed: {source}")]
    Os {
        /// The call and its object.
        what: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// The reaction an [`Error`] calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Permission is missing; it stays so until somebody grants it.
    Denied,
    /// The file or device is not there (any more).
    Gone,
    /// The source has no value just now (`ENODATA`, `EAGAIN`, `EBUSY`): trying again makes sense.
    Busy,
    /// The source answered something it should not.
    Malformed,
    /// Not possible on this board, kernel or build.
    Unsupported,
    /// Anything else, such as `EIO`.
    Failed,
}

impl Error {
    /// An I/O error that names its file.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// A parse error that shows (the beginning of) what was found.
    pub fn malformed(path: &Path, found: &[u8], expected: &'static str) -> Self {
        let shown = String::from_utf8_lossy(&found[..found.len().min(60)]).into_owned();
        Self::Malformed {
            path: path.to_owned(),
            found: shown,
            expected,
        }
    }

    /// A line that cannot be used; `problem` says what is wrong with it and what should stand there.
    pub fn line(path: &Path, line: u64, problem: impl Into<String>) -> Self {
        Self::Line {
            path: path.to_owned(),
            line,
            problem: problem.into(),
        }
    }

    /// A thing that cannot be had here, and why.
    pub fn unsupported(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unsupported {
            what: what.into(),
            why: why.into(),
        }
    }

    /// A failed system call.
    pub fn os(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Os {
            what: what.into(),
            source: source.into(),
        }
    }

    /// How to react.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } | Self::Os { source, .. } => io_kind(source),
            Self::Malformed { .. } | Self::Line { .. } => ErrorKind::Malformed,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
        }
    }

    /// The file the error is about, if it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. } | Self::Malformed { path, .. } | Self::Line { path, .. } => Some(path),
            _ => None,
        }
    }
}

fn io_kind(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => ErrorKind::Denied,
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ENOTDIR) => ErrorKind::Gone,
        Some(libc::ENODATA | libc::EAGAIN | libc::EBUSY | libc::EINTR | libc::ETIMEDOUT) => ErrorKind::Busy,
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => ErrorKind::Unsupported,
        Some(_) => ErrorKind::Failed,
        // Made by a library or by us: no errno, but often the right word.
        None => match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::NotFound => ErrorKind::Gone,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ErrorKind::Busy,
            _ => ErrorKind::Failed,
        },
    }
}

fn advice(error: &io::Error) -> &'static str {
    match io_kind(error) {
        ErrorKind::Denied => "; give your user the right to it or run as root",
        ErrorKind::Gone => "; is the driver loaded and the device there?",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_errno_and_messages_name_the_path() {
        let e = Error::io(
            "read",
            Path::new("/sys/class/powercap/intel-rapl:0/energy_uj"),
            io::Error::from_raw_os_error(libc::EACCES),
        );
        assert_eq!(e.kind(), ErrorKind::Denied);
        let text = e.to_string();
        assert!(
            text.contains("intel-rapl:0/energy_uj") && text.contains("run as root"),
            "{text}"
        );

        let busy = Error::os("x", io::Error::from_raw_os_error(libc::ENODATA));
        assert_eq!(busy.kind(), ErrorKind::Busy);
    }
}
