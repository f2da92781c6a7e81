//! Marks: how a measured command says where its phases begin.
//!
//! `hwmeter measure` makes a named pipe and tells its path in the environment variable [`VARIABLE`]. Each line written to
//! it is a mark, at which the phase of that name begins:
//!
//! | line | true at |
//! |---|---|
//! | `NAME` | the moment it arrives; any shell can do it: `echo NAME > "$HWMETER_MARKS"` |
//! | `NANOSECONDS`, a tab, `NAME` | that moment of `CLOCK_MONOTONIC`; what `hwmeter mark NAME` writes |
//!
//! A line is written in one piece up to 4096 bytes (`PIPE_BUF`), so marks of several processes do not mix.

pub mod pipe;

use anyhow::{Context, bail};
use hwmeter_hw::clock::Moment;
use std::fmt::Display;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;

/// The environment variable that holds the path of the pipe.
pub const VARIABLE: &str = "HWMETER_MARKS";

/// Longest name in bytes.
const LONGEST_NAME: usize = 100;

/// Name of a phase: one line that fits a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseName(String);

impl PhaseName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for PhaseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for PhaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim();
        if name.is_empty() {
            Err("a phase needs a name".to_owned())
        } else if name.len() > LONGEST_NAME {
            Err(format!(
                "a phase's name has at most {LONGEST_NAME} bytes, this one has {}",
                name.len()
            ))
        } else if name.contains(char::is_control) {
            Err(format!("{name:?}: a phase's name has no control characters"))
        } else {
            Ok(Self(name.to_owned()))
        }
    }
}

/// A phase begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its name.
    pub name: PhaseName,
    /// When, where the mark tells; else when it arrived.
    pub at: Option<Moment>,
}

impl Mark {
    /// From a line without its end; an error says what is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "a mark is not UTF-8 text".to_owned())?;
        let stamped = text
            .split_once('\t')
            .and_then(|(time, name)| Some((Moment(time.parse().ok()?), name)));
        let (at, name) = stamped.map_or((None, text), |(at, name)| (Some(at), name));
        Ok(Self {
            name: name.parse()?,
            at,
        })
    }

    fn line(&self) -> String {
        match self.at {
            Some(at) => format!("{}\t{}\n", at.0, self.name),
            None => format!("{}\n", self.name),
        }
    }

    /// Writes the mark to the pipe. It never waits: a pipe that nobody reads any more, or that is full, is an error.
    pub fn send(&self, pipe: &Path) -> anyhow::Result<()> {
        let opened = std::fs::OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(pipe);
        let mut file = opened.with_context(|| {
            format!(
                "cannot mark {}: the measurement has ended (no one reads {})",
                self.name,
                pipe.display()
            )
        })?;
        if !file.metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
            bail!(
                "cannot mark {}: {} is no pipe of hwmeter; let `hwmeter measure` set {VARIABLE}",
                self.name,
                pipe.display()
            );
        }
        file.write_all(self.line().as_bytes()).with_context(|| {
            format!(
                "cannot mark {}: the measurement has ended, or more marks come than it can take",
                self.name
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_line_and_a_line_a_mark() {
        let mark = Mark {
            name: "load model".parse().unwrap(),
            at: Some(Moment(12_345)),
        };
        assert_eq!(mark.line(), "12345\tload model\n");
        assert_eq!(Mark::parse(b"12345\tload model"), Ok(mark));
        let bare = Mark::parse("  größer ".as_bytes()).unwrap();
        assert_eq!((bare.name.as_str(), bare.at), ("größer", None));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "x".repeat(101);
        for bad in ["", "  ", "a\u{1b}[31m", "soon\tname", "1\t", long.as_str()] {
            assert!(Mark::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Mark::parse(b"\xff\xfe").is_err());
        assert!(Mark::parse(&b"x".repeat(100)).is_ok());
    }

    #[test]
    fn a_mark_goes_into_no_other_file_than_a_pipe() {
        let mark = Mark::parse(b"x").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(
            mark.send(file.path())
                .unwrap_err()
                .to_string()
                .contains("no pipe")
        );
        assert_eq!(std::fs::read(file.path()).unwrap(), b"");
        let gone = mark.send(Path::new("/no/such/pipe")).unwrap_err();
        assert!(gone.to_string().contains("has ended"), "{gone}");
    }
}
