//! `decisions.csv`, read row by row in constant memory, by the names of its columns: versions that have more, or that
//! lack what a figure can do without, are read as well.
//!
//! A last row without its line end was cut short by whatever ended the run: it is dropped, and [`Rows::cut_line`] tells.
//! Any other row that cannot be used is an error that names line and column.

use super::error::{ReportError, Result};
use crate::learn::Placement;
use csv::ByteRecord;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

/// One task. What is not known, or has no column in this version, is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// Number of the task.
    pub task: u64,
    /// When it arrived, in seconds since the run began.
    pub t_s: f64,
    /// Its latency limit.
    pub deadline_s: f64,
    /// Where it ran.
    pub placement: Placement,
    /// The learner's own time to decide.
    pub decide_s: f64,
    /// Arrival to result.
    pub latency_s: f64,
    /// Whether a right result came within the deadline.
    pub success: bool,
    /// What the learner was told.
    pub reward: Option<f64>,
    /// The best reward that could be had for it, which only a simulation knows.
    pub oracle_reward: Option<f64>,
    /// The device's energy from arrival to result.
    pub energy_j: Option<f64>,
    /// Its standard uncertainty.
    pub energy_u_j: Option<f64>,
    /// Of it, while deciding.
    pub decide_j: Option<f64>,
    /// Of it, while executing, or sending and waiting.
    pub execute_j: Option<f64>,
    /// Energy of the update, on top.
    pub train_j: Option<f64>,
    /// Time of the update.
    pub train_s: Option<f64>,
    /// Where it was trained.
    pub training_site: Option<&'a str>,
    /// Sending, the server's update, receiving, applying: of a remote update.
    pub train_parts_s: [Option<f64>; 4],
    /// Share of the task backed by samples.
    pub coverage: Option<f64>,
    /// Measured, modelled or simulated.
    pub kind: &'a str,
    /// The sensor's id.
    pub sensor: &'a str,
    /// What went wrong.
    pub error: Option<&'a str>,
}

/// Reads the rows of one file.
pub struct Rows {
    path: PathBuf,
    csv: csv::Reader<Take<File>>,
    columns: Columns,
    record: ByteRecord,
    /// Bytes up to the last line end.
    whole: u64,
    /// The file goes on beyond that.
    is_cut: bool,
    cut_line: Option<u64>,
    last_task: Option<u64>,
}

impl Rows {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |e| ReportError::io(path, e);
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let whole = whole_lines(&mut file, length).map_err(io)?;
        let mut csv = csv::ReaderBuilder::new()
            .flexible(true)
            .buffer_capacity(256 << 10)
            .from_reader(file.take(whole));
        let header = csv.byte_headers().map_err(|e| problem(path, &e))?.clone();
        let columns = Columns::of(&header).map_err(|problem| ReportError::line(path, 1, problem))?;
        Ok(Self {
            path: path.to_owned(),
            csv,
            columns,
            record: ByteRecord::new(),
            whole,
            is_cut: whole < length,
            cut_line: None,
            last_task: None,
        })
    }

    /// The next row; `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        let is_there = self
            .csv
            .read_byte_record(&mut self.record)
            .map_err(|e| problem(&self.path, &e))?;
        if !is_there {
            if self.is_cut {
                self.cut_line.get_or_insert(self.csv.position().line());
            }
            return Ok(None);
        }
        let begin = self
            .record
            .position()
            .map_or_else(csv::Position::new, Clone::clone);
        let line = begin.line();
        if self.csv.position().byte() >= self.whole && self.has_open_quote(begin.byte())? {
            self.cut_line = Some(line);
            return Ok(None);
        }
        let (found, expected) = (self.record.len(), self.columns.count);
        if found != expected {
            let what = format!("{found} cells, but the header has {expected} columns");
            return Err(ReportError::line(&self.path, line, what));
        }
        let row = self.columns.row(&self.record);
        let row = row.map_err(|problem| ReportError::line(&self.path, line, problem))?;
        if let Some(last) = self.last_task.replace(row.task)
            && row.task <= last
        {
            let what = format!(
                "task {} after task {last}: rows are doubled, or of two runs; restore the file",
                row.task
            );
            return Err(ReportError::line(&self.path, line, what));
        }
        Ok(Some(row))
    }

    /// Whether the last line end stands inside the quotes of a cell that was cut, in the row that begins at a byte.
    fn has_open_quote(&self, begin: u64) -> Result<bool> {
        let io = |e| ReportError::io(&self.path, e);
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(begin)).map_err(io)?;
        let mut text = Vec::new();
        file.take(self.whole.saturating_sub(begin))
            .read_to_end(&mut text)
            .map_err(io)?;
        Ok(text.iter().filter(|&&byte| byte == b'"').count() % 2 == 1)
    }

    /// The line that was dropped because it was cut short, once the end has been reached.
    pub fn cut_line(&self) -> Option<u64> {
        self.cut_line
    }
}

/// Bytes up to and with the last line end.
fn whole_lines(file: &mut File, length: u64) -> std::io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = length;
    let mut text = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(begin))?;
        text.clear();
        file.by_ref().take(end - begin).read_to_end(&mut text)?;
        if let Some(at) = text.iter().rposition(|&byte| byte == b'\n') {
            end = begin + at as u64 + 1;
            break;
        }
        end = begin;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(end)
}

fn problem(path: &Path, error: &csv::Error) -> ReportError {
    let line = error.position().map_or(1, csv::Position::line);
    ReportError::line(path, line, error.to_string())
}

/// Where each column stands.
struct Columns {
    count: usize,
    task: usize,
    t_s: usize,
    deadline_s: usize,
    placement: usize,
    decide_s: usize,
    latency_s: usize,
    success: usize,
    kind: usize,
    sensor: usize,
    optional: [Option<usize>; OPTIONAL.len()],
}

/// Columns that a version may lack, in the order in which [`Columns::row`] takes them.
const OPTIONAL: [&str; 15] = [
    "reward",
    "oracle_reward",
    "energy_j",
    "energy_u_j",
    "decide_j",
    "execute_j",
    "train_j",
    "train_s",
    "train_send_s",
    "train_server_s",
    "train_receive_s",
    "train_apply_s",
    "coverage",
    "training_site",
    "error",
];

impl Columns {
    fn of(header: &ByteRecord) -> std::result::Result<Self, String> {
        let position = |name: &str| header.iter().position(|cell| cell == name.as_bytes());
        let needed = |name: &str| {
            position(name).ok_or_else(|| {
                format!("there is no column {name}; is this the decisions.csv of a run, with its header?")
            })
        };
        Ok(Self {
            count: header.len(),
            task: needed("task")?,
            t_s: needed("t_s")?,
            deadline_s: needed("deadline_s")?,
            placement: needed("placement")?,
            decide_s: needed("decide_s")?,
            latency_s: needed("latency_s")?,
            success: needed("success")?,
            kind: needed("kind")?,
            sensor: needed("sensor")?,
            optional: OPTIONAL.map(position),
        })
    }

    fn row<'a>(&self, record: &'a ByteRecord) -> std::result::Result<Row<'a>, String> {
        let known = |at: usize, name: &str| number(&record[at], name);
        let cell = |i: usize| self.optional[i].map_or(&b""[..], |at| &record[at]);
        let maybe = |i: usize| match cell(i) {
            b"" => Ok(None),
            text => number(text, OPTIONAL[i]).map(Some),
        };
        let words = |i: usize| match cell(i) {
            b"" => Ok(None),
            cell => text(cell, OPTIONAL[i]).map(Some),
        };
        Ok(Row {
            task: whole(&record[self.task])?,
            t_s: known(self.t_s, "t_s")?,
            deadline_s: known(self.deadline_s, "deadline_s")?,
            placement: placement(&record[self.placement])?,
            decide_s: known(self.decide_s, "decide_s")?,
            latency_s: known(self.latency_s, "latency_s")?,
            success: truth(&record[self.success])?,
            reward: maybe(0)?,
            oracle_reward: maybe(1)?,
            energy_j: maybe(2)?,
            energy_u_j: maybe(3)?,
            decide_j: maybe(4)?,
            execute_j: maybe(5)?,
            train_j: maybe(6)?,
            train_s: maybe(7)?,
            train_parts_s: [maybe(8)?, maybe(9)?, maybe(10)?, maybe(11)?],
            coverage: maybe(12)?,
            training_site: words(13)?,
            kind: kind(&record[self.kind])?,
            sensor: text(&record[self.sensor], "sensor")?,
            error: words(14)?,
        })
    }
}

fn number(cell: &[u8], column: &str) -> std::result::Result<f64, String> {
    let number = std::str::from_utf8(cell).ok().and_then(|text| text.parse().ok());
    number
        .filter(|x: &f64| x.is_finite())
        .ok_or_else(|| expected(cell, column, "a number"))
}

fn whole(cell: &[u8]) -> std::result::Result<u64, String> {
    let number = std::str::from_utf8(cell).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| expected(cell, "task", "a whole number"))
}

fn truth(cell: &[u8]) -> std::result::Result<bool, String> {
    match cell {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(expected(cell, "success", "true or false")),
    }
}

fn placement(cell: &[u8]) -> std::result::Result<Placement, String> {
    match cell {
        b"local" => Ok(Placement::Local),
        b"mec" => Ok(Placement::Mec),
        b"cloud" => Ok(Placement::Cloud),
        _ => Err(expected(cell, "placement", "local, mec or cloud")),
    }
}

fn kind(cell: &[u8]) -> std::result::Result<&str, String> {
    match text(cell, "kind")? {
        kind @ ("measured" | "modelled" | "simulated") => Ok(kind),
        _ => Err(expected(cell, "kind", "measured, modelled or simulated")),
    }
}

fn text<'a>(cell: &'a [u8], column: &str) -> std::result::Result<&'a str, String> {
    std::str::from_utf8(cell).map_err(|_| expected(cell, column, "text"))
}

/// Says the column first, and what was found, cut to a readable length.
fn expected(cell: &[u8], column: &str, what: &str) -> String {
    let shown = String::from_utf8_lossy(&cell[..cell.len().min(60)]);
    format!("{column} is {shown:?}, expected {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str =
        "task,t_s,deadline_s,placement,decide_s,latency_s,success,energy_j,kind,sensor,error\n";
    const FIRST: &str = "0,0.5,1,local,1e-6,0.4,true,2.5,measured,ina3221-iio,\n";
    const SECOND: &str = "1,1.5,1,mec,1e-6,1,false,,measured,ina3221-iio,\"gone,\nand away\"\n";

    /// Tasks and their joules, and the line that was cut.
    type Found = (Vec<(u64, Option<f64>)>, Option<u64>);

    fn read(text: &[u8]) -> Result<Found> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("decisions.csv");
        std::fs::write(&path, text).unwrap();
        let mut rows = Rows::open(&path)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next_row()? {
            all.push((row.task, row.energy_j));
        }
        Ok((all, rows.cut_line()))
    }

    #[test]
    fn columns_are_found_by_name_and_unknown_cells_are_not_zero() {
        let (rows, cut) = read(format!("{HEADER}{FIRST}{SECOND}").as_bytes()).unwrap();
        assert_eq!((rows, cut), (vec![(0, Some(2.5)), (1, None)], None));
    }

    #[test]
    fn a_file_cut_anywhere_gives_its_whole_rows_and_says_so() {
        let text = format!("{HEADER}{FIRST}{SECOND}");
        let first = HEADER.len() + FIRST.len();
        for end in first + 1..text.len() {
            let (rows, cut) = read(&text.as_bytes()[..end]).unwrap();
            assert_eq!(rows, [(0, Some(2.5))], "{end}");
            assert_eq!(cut, Some(3), "{end}");
        }
        let (rows, cut) = read(&text.as_bytes()[..first]).unwrap();
        assert_eq!((rows.len(), cut), (1, None));
        assert_eq!(read(HEADER.as_bytes()).unwrap(), (vec![], None));
    }

    #[test]
    fn a_bad_cell_is_told_with_its_line_and_column() {
        let cases = [
            ("2.5", "x", "line 3: energy_j is \"x\", expected a number"),
            ("2.5", "NaN", "line 3: energy_j"),
            ("local", "moon", "line 3: placement is \"moon\""),
            ("true", "yes", "line 3: success"),
            ("measured", "guessed", "line 3: kind is \"guessed\""),
            ("local,", "", "line 3: 10 cells"),
            ("0,0.5", "-1,0.5", "line 3: task"),
        ];
        let before = FIRST;
        for (from, to, expected) in cases {
            let bad = FIRST.replace("0,0.5", "1,0.5");
            let bad = match from {
                "0,0.5" => bad.replacen("1,0.5", to, 1),
                from => bad.replacen(from, to, 1),
            };
            let error = read(format!("{HEADER}{before}{bad}").as_bytes())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("decisions.csv") && error.contains(expected),
                "{error}"
            );
        }
        let doubled = read(format!("{HEADER}{FIRST}{FIRST}").as_bytes())
            .unwrap_err()
            .to_string();
        assert!(doubled.contains("line 3: task 0 after task 0"), "{doubled}");
        let other = read(b"a,b\n1,2\n").unwrap_err().to_string();
        assert!(other.contains("line 1: there is no column task"), "{other}");
        assert!(read(b"").unwrap_err().to_string().contains("line 1"));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[HEADER.as_bytes(), &bytes].concat());
        }
    }
}
