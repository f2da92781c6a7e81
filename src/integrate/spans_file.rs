//! `SPANS.csv`: named intervals, `name,from_s,to_s`.

use super::Interval;
use anyhow::{Context, bail};
use csv::{ReaderBuilder, StringRecord, Trim};
use hwmeter_hw::units::Seconds;
use std::fs::File;
use std::io::Read;
use std::path::Path;

const HEADER: [&str; 3] = ["name", "from_s", "to_s"];

/// Reads a file of spans; the error names the line that cannot be used.
pub fn read_spans(path: &Path) -> anyhow::Result<Vec<Interval>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    parse(path, file)
}

fn parse(path: &Path, input: impl Read) -> anyhow::Result<Vec<Interval>> {
    let mut csv = ReaderBuilder::new().trim(Trim::All).from_reader(input);
    let expected = "a file of spans has the columns name,from_s,to_s";
    let at = |line: u64| format!("{}, line {line}", path.display());
    let header = csv.headers().map_err(|e| problem(path, 1, &e))?;
    if header != HEADER[..] {
        let found = header.iter().collect::<Vec<_>>().join(",");
        bail!("{}: found {found:?}; {expected}", at(1));
    }
    let mut spans = Vec::new();
    for record in csv.records() {
        let record = record.map_err(|e| problem(path, 2, &e))?;
        let line = record.position().map_or(0, csv::Position::line);
        spans.push(interval(&record).with_context(|| at(line))?);
    }
    if spans.is_empty() {
        bail!("{}: no span below the header; {expected}", at(2));
    }
    Ok(spans)
}

/// Says the line first, as everywhere, and in words of ours.
fn problem(path: &Path, line: u64, error: &csv::Error) -> anyhow::Error {
    let line = error.position().map_or(line, csv::Position::line);
    let what = match error.kind() {
        csv::ErrorKind::UnequalLengths { len, .. } => format!("{len} columns instead of name,from_s,to_s"),
        csv::ErrorKind::Utf8 { .. } => "not text; is this a file of spans?".to_owned(),
        _ => error.to_string(),
    };
    anyhow::anyhow!("{}, line {line}: {what}", path.display())
}

fn interval(record: &StringRecord) -> anyhow::Result<Interval> {
    let cell = |i: usize| record.get(i).unwrap_or_default();
    let number = |i: usize| {
        let number: Option<f64> = cell(i).parse().ok();
        number
            .filter(|x| x.is_finite())
            .map(Seconds)
            .with_context(|| format!("{} is {:?}, expected a number of seconds", HEADER[i], cell(i)))
    };
    let (from, to) = (number(1)?, number(2)?);
    if from >= to {
        bail!(
            "span {:?} ends at {} s, not after its beginning at {} s",
            cell(0),
            to.0,
            from.0
        );
    }
    Ok(Interval {
        name: cell(0).to_owned(),
        from: Some(from),
        to: Some(to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> anyhow::Result<Vec<Interval>> {
        parse(Path::new("s.csv"), text)
    }

    #[test]
    fn names_may_be_quoted_and_lines_end_with_cr_lf() {
        let spans = read(b"name,from_s,to_s\r\n\"a, b\",-1, 2.5\r\nc,0,1").unwrap();
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["a, b", "c"]);
        assert_eq!(
            (spans[0].from, spans[0].to),
            (Some(Seconds(-1.0)), Some(Seconds(2.5)))
        );
    }

    #[test]
    fn a_bad_span_is_told_with_its_line() {
        let cases: [(&[u8], &str); 10] = [
            (b"", "line 1: found \"\""),
            (b"a,0,1\n", "line 1: found \"a,0,1\""),
            (b"\xff\xfe\x00,\x00,x\n", "line 1: not text"),
            (b"name,from_s,to_s\n", "line 2: no span"),
            (b"name,from_s,to_s\na,0,1\nb,1,1\n", "line 3: span \"b\" ends"),
            (b"name,from_s,to_s\na,2,1\n", "line 2"),
            (b"name,from_s,to_s\na,NaN,1\n", "line 2: from_s is \"NaN\""),
            (b"name,from_s,to_s\na,0,inf\n", "line 2: to_s is \"inf\""),
            (b"name,from_s,to_s\na,0,1\nb,1\n", "line 3: 2 columns"),
            (b"name,from_s,to_s\na,0,1\n\xff,1,2\n", "line 3: not text"),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.starts_with("s.csv, line "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
            let _ = read(&[b"name,from_s,to_s\n".as_slice(), &bytes].concat());
        }
    }
}
