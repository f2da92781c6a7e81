//! A recorded trace, read row by row in constant memory: bytes in, rows with line numbers out.
//!
//! A trace has the header `t_s,sensor,rail,power_w,energy_j` (what hwmeter writes) or `t_s,power_w`. Cells may be
//! quoted as in RFC 4180, lines may end with CR LF, and an empty power or energy is one that is not known. A last
//! line without its line end that is no whole row was cut short by whatever ended the recording: it is dropped, and
//! [`TraceReader::cut_line`] tells. Any other line that is no row is an error that names it.

use crate::error::{Error, Result};
use crate::units::{Joules, Seconds, Watts};
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

/// Whether a row without a line end may be one whose last cell has not been written yet.
fn is_doubtful(row: &Row<'_>, layout: Layout) -> bool {
    match layout {
        Layout::Power => row.power.is_none(),
        Layout::Energy => row.energy.is_none(),
    }
}

/// One line without its end; the error says what is wrong with it.
fn parse(layout: Layout, line: u64, bytes: &[u8]) -> std::result::Result<Row<'_>, String> {
    let not_a_row = || format!("found {}, expected {}", shown(bytes), layout.header());
    let text = std::str::from_utf8(bytes).map_err(|_| not_a_row())?;
    let cells = cells(text).ok_or_else(not_a_row)?;
    let number = |cell: &str, column: &str| {
        let finite = |x: &f64| x.is_finite();
        let number = cell.parse().ok().filter(finite);
        number.ok_or_else(|| format!("{column} is {}, expected a number", shown(cell.as_bytes())))
    };
    let optional = |cell: &str, column: &str| match cell {
        "" => Ok(None),
        cell => number(cell, column).map(Some),
    };
    let row = |t: &str, sensor, rail, power: &str, energy: &str| {
        Ok(Row {
            line,
            t: Seconds(number(t, "t_s")?),
            sensor,
            rail,
            power: optional(power, "power_w")?.map(Watts),
            energy: optional(energy, "energy_j")?.map(Joules),
        })
    };
    match (layout, cells) {
        (Layout::Power, Cells([t, power, ..], 2)) => row(&t, None, ONLY_RAIL.into(), &power, ""),
        (Layout::Energy, Cells([t, sensor, rail, power, energy], 5)) => {
            row(&t, Some(sensor), rail, &power, &energy)
        }
        _ => Err(not_a_row()),
    }
}

/// The cells of a line, and how many there are.
struct Cells<'a>([Cow<'a, str>; 5], usize);

/// Splits a line; `None` if it has more cells than any trace, or its quotes do not match.
fn cells(text: &str) -> Option<Cells<'_>> {
    let mut cells = Cells(Default::default(), 0);
    let mut rest = Some(text);
    while let Some(text) = rest {
        let cell;
        (cell, rest) = match text.strip_prefix('"') {
            Some(quoted) => quoted_cell(quoted)?,
            None => match text.split_once(',') {
                Some((cell, rest)) => (cell.into(), Some(rest)),
                None => (text.into(), None),
            },
        };
        *cells.0.get_mut(cells.1)? = cell;
        cells.1 += 1;
    }
    Some(cells)
}

/// A cell from behind its opening quote, and what follows its comma.
fn quoted_cell(text: &str) -> Option<(Cow<'_, str>, Option<&str>)> {
    let mut from = 0;
    loop {
        let quote = from + text.get(from..)?.find('"')?;
        let (cell, after) = (&text[..quote], &text[quote + 1..]);
        if after.starts_with('"') {
            from = quote + 2; // a doubled quote stands for one
            continue;
        }
        let rest = match after.strip_prefix(',') {
            Some(rest) => Some(rest),
            None if after.is_empty() => None,
            None => return None,
        };
        return Some((cell.replace("\"\"", "\"").into(), rest));
    }
}

/// What was found, in quotes and cut to a readable length.
fn shown(bytes: &[u8]) -> String {
    const LENGTH: usize = 60;
    let dots = if bytes.len() > LENGTH { "…" } else { "" };
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LENGTH)]);
    format!("{text:?}{dots}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENERGY: &str = "t_s,sensor,rail,power_w,energy_j\n";

    /// Every row as a line of its own, and the line that was cut.
    fn read(text: &[u8]) -> Result<(Vec<String>, Option<u64>)> {
        let mut reader = TraceReader::new(Path::new("t.csv"), text)?;
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            let (power, energy) = (row.power.map(Watts::value), row.energy.map(Joules::value));
            rows.push(format!(
                "{} {} {} {} {power:?} {energy:?}",
                row.line,
                row.t.0,
                row.sensor.unwrap_or_default(),
                row.rail
            ));
        }
        Ok((rows, reader.cut_line()))
    }

    fn problem(text: &[u8]) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn both_layouts_with_either_line_end() {
        let (rows, cut) = read(b"\xEF\xBB\xBFt_s,power_w\r\n-0.5,1e-3\r\n1,\r\n").unwrap();
        assert_eq!(rows, ["2 -0.5  total Some(0.001) None", "3 1  total None None"]);
        assert_eq!(cut, None);
        let (rows, _) = read(format!("{ENERGY}0.25,s:1,A,,7\n0.5,s:1,B,2,").as_bytes()).unwrap();
        assert_eq!(rows, ["2 0.25 s:1 A None Some(7.0)"]);
    }

    #[test]
    fn quoted_names_may_hold_anything_but_a_line_end() {
        let text = format!("{ENERGY}1,\"a,\"\"b\"\"\",\"ü\",2,3\n");
        assert_eq!(
            read(text.as_bytes()).unwrap().0,
            ["2 1 a,\"b\" ü Some(2.0) Some(3.0)"]
        );
        for bad in ["1,\"a,b,2,3\n", "1,\"a\"b,c,2,3\n", "1,a,\",2,3\n"] {
            assert!(
                problem(format!("{ENERGY}{bad}").as_bytes()).contains("line 2"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_last_row_cut_short_is_dropped_and_told() {
        for cut in ["2", "2.", "2.5", "2.5,", "2.5,-", "2.5,1e", "2.5,x"] {
            let (rows, line) = read(format!("t_s,power_w\n1,1\n{cut}").as_bytes()).unwrap();
            assert_eq!((rows.len(), line), (1, Some(3)), "{cut}");
        }
        let whole = read(b"t_s,power_w\n1,1\n2,2").unwrap();
        assert_eq!((whole.0.len(), whole.1), (2, None));
        assert!(problem(b"t_s,power_w\n1").contains("no row"));
    }

    #[test]
    fn what_is_no_trace_is_told_with_its_line() {
        let cases: [(&[u8], &str); 12] = [
            (b"", "line 1: the file is empty"),
            (b"\n", "line 1"),
            (b"t_s,power\n1,2\n", "line 1: found \"t_s,power\""),
            (b"power_w,t_s\n1,2\n", "line 1"),
            (b"\x7fELF\x02\x01\x01\x00\x00", "line 1"),
            (b"t_s,power_w\n", "line 2: no row"),
            (
                b"t_s,power_w\n1,2\n1\n",
                "line 3: found \"1\", expected t_s,power_w",
            ),
            (b"t_s,power_w\n1,2,3\n", "line 2"),
            (b"t_s,power_w\n1,2\n\n3,4\n", "line 3: found \"\""),
            (b"t_s,power_w\n1,NaN\n", "power_w is \"NaN\""),
            (b"t_s,power_w\ninf,1\n", "t_s is \"inf\""),
            (b"t_s,power_w\n1,2\n\xff\xfe,1\n", "line 3"),
        ];
        for (text, expected) in cases {
            let problem = problem(text);
            assert!(problem.starts_with("t.csv, line "), "{problem}");
            assert!(problem.contains(expected), "{problem}");
        }
        let endless = [b"t_s,power_w\n".as_slice(), &vec![0; 1 << 20]].concat();
        assert!(problem(&endless).contains("line 2: longer than"));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), layout in 0..3) {
            let header = ["", "t_s,power_w\n", ENERGY][layout as usize];
            let _ = read(&[header.as_bytes(), &bytes].concat());
        }

        #[test]
        fn random_rows_never_panic(text in "t_s,sensor,rail,power_w,energy_j\n([0-9e,.\"\r\n-]{0,12},?){0,12}") {
            let _ = read(text.as_bytes());
        }
    }
}
