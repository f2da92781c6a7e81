//! A recorded trace, read row by row in constant memory: bytes in, rows with line numbers out.
//!
//! A trace has the header `t_s,sensor,rail,power_w,energy_j` (what hwmeter writes) or `t_s,power_w`. Cells may be
//! quoted as in RFC 4180, lines may end with CR LF, and an empty power or energy is one that is not known. A last
//! line without its line end that is no whole row was cut short by whatever ended the recording: it is dropped, and
//! [`TraceReader::cut_line`] tells. Any other line that is no row is an error that names it.

mod line;

use crate::error::{Error, Result};
use crate::units::{Joules, Seconds, Watts};
use line::{parse, shown};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The columns of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `t_s,power_w`: one rail of one sensor, neither of them named.
    Power,
    /// `t_s,sensor,rail,power_w,energy_j`.
    Energy,
}

impl Layout {
    /// The header.
    pub fn header(self) -> &'static str {
        match self {
            Self::Power => "t_s,power_w",
            Self::Energy => "t_s,sensor,rail,power_w,energy_j",
        }
    }
}

/// What the rail of a two-column trace is called.
pub const ONLY_RAIL: &str = "total";

/// One row: one rail at one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// Its line, counted from 1, the header included.
    pub line: u64,
    /// When, on the recording's own clock; finite.
    pub t: Seconds,
    /// The sensor's id; `None` in a two-column trace.
    pub sensor: Option<Cow<'a, str>>,
    /// The rail's name; [`ONLY_RAIL`] in a two-column trace.
    pub rail: Cow<'a, str>,
    /// Power, where known; finite.
    pub power: Option<Watts>,
    /// Cumulative energy, where known; finite.
    pub energy: Option<Joules>,
}

/// No row is longer. A file of junk may have no line ends at all, and must not fill the memory.
const LONGEST_LINE: u64 = 64 * 1024;

/// Rows are read from disk in pieces of this size.
const BUFFER: usize = 256 * 1024;

/// Reads rows from bytes.
#[derive(Debug)]
pub struct TraceReader<R> {
    path: PathBuf,
    input: R,
    layout: Layout,
    text: Vec<u8>,
    line: u64,
    cut_line: Option<u64>,
}

impl TraceReader<BufReader<File>> {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        Self::new(path, BufReader::with_capacity(BUFFER, file))
    }
}

impl<R: BufRead> TraceReader<R> {
    /// Reads the header. `path` is the name in errors.
    pub fn new(path: &Path, input: R) -> Result<Self> {
        let mut reader = Self {
            path: path.to_owned(),
            input,
            layout: Layout::Power,
            text: Vec::with_capacity(256),
            line: 0,
            cut_line: None,
        };
        reader.layout = reader.read_header()?;
        Ok(reader)
    }

    /// The columns found.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The file's name, for errors about its rows.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line that was dropped because it was cut short, once the end has been reached.
    pub fn cut_line(&self) -> Option<u64> {
        self.cut_line
    }

    /// The next row; `None` at the end. A trace without any row is an error.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        if !self.next_line()? {
            return self.end().map(|()| None);
        }
        let is_whole = self.text.last() == Some(&b'\n');
        match parse(self.layout, self.line, without_end(&self.text)) {
            Ok(row) if is_whole || !is_doubtful(&row, self.layout) => Ok(Some(row)),
            Err(problem) if is_whole => Err(Error::line(&self.path, self.line, problem)),
            _ => {
                self.cut_line = Some(self.line);
                match self.line {
                    2 => Err(no_rows(&self.path, 2)),
                    _ => Ok(None),
                }
            }
        }
    }

    fn read_header(&mut self) -> Result<Layout> {
        let expected = format!(
            "a trace begins with the header {} or {}",
            Layout::Energy.header(),
            Layout::Power.header()
        );
        if !self.next_line()? {
            return Err(Error::line(
                &self.path,
                1,
                format!("the file is empty; {expected}"),
            ));
        }
        let header = without_end(&self.text);
        // Spreadsheets put a byte order mark in front.
        let header = header.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(header);
        [Layout::Energy, Layout::Power]
            .into_iter()
            .find(|layout| layout.header().as_bytes() == header)
            .ok_or_else(|| {
                let found = shown(header);
                Error::line(&self.path, 1, format!("found {found}; {expected}"))
            })
    }

    /// Reads a line with its end into `text`; false at the end of the file.
    fn next_line(&mut self) -> Result<bool> {
        self.text.clear();
        let read = (&mut self.input)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut self.text)
            .map_err(|e| Error::io("read", &self.path, e))?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if read as u64 == LONGEST_LINE && self.text.last() != Some(&b'\n') {
            let problem = format!("longer than {LONGEST_LINE} bytes; is this a trace?");
            return Err(Error::line(&self.path, self.line, problem));
        }
        Ok(true)
    }

    fn end(&self) -> Result<()> {
        match self.line {
            1 => Err(no_rows(&self.path, 2)),
            _ => Ok(()),
        }
    }
}

fn no_rows(path: &Path, line: u64) -> Error {
    let problem = "no row below the header; did the recording end before its first sample?";
    Error::line(path, line, problem)
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether a row without a line end may be one whose last cell has not been written whole: always in a trace of ours,
/// whose rows all end; files by other hands often lack the last line end.
fn is_doubtful(row: &Row<'_>, layout: Layout) -> bool {
    match layout {
        Layout::Power => row.power.is_none(),
        Layout::Energy => true,
    }
}

#[cfg(test)]
mod tests;
