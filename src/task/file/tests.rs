#![allow(clippy::unwrap_used)]

use super::*;
use crate::task::Kernel;

const HEADER: &str = "task,utilisation,period_us,execution_us,cycles,deadline_s,payload_bytes,kernels";

fn read(text: &[u8]) -> Result<TaskFile, TaskFileError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.csv");
    std::fs::write(&path, text).unwrap();
    TaskFile::read(&path)
}

fn row(task: u64) -> TaskRow {
    TaskRow {
        task,
        utilisation: Some(0.1 + 0.2),
        period_us: Some(5_000_000),
        execution_us: None,
        cycles: 240_000_000,
        deadline_s: 0.123_456,
        payload_bytes: 1000,
        kernels: "sha256:12 fft:3".parse().unwrap(),
    }
}

#[test]
fn what_is_written_is_read_in_both_forms() {
    let rows = vec![row(0), row(1)];
    let (mut csv, mut json) = (Vec::new(), Vec::new());
    write_csv(&rows, &mut csv).unwrap();
    write_json_lines(&rows, &mut json).unwrap();
    assert!(csv.starts_with(format!("{HEADER}\n0,0.30000000000000004,5000000,,").as_bytes()));
    assert_eq!(read(&csv).unwrap().rows, rows);
    assert_eq!(read(&json).unwrap().rows, rows);
    assert_eq!(HEADER, COLUMNS.join(","));
}

#[test]
fn a_set_by_hand_needs_four_columns_in_any_order() {
    let file = read(b"\xef\xbb\xbfkernels, cycles,deadline_s,payload_bytes\r\nfft , 5, 1e-3, 0\r\n").unwrap();
    let [only] = file.rows.as_slice() else { panic!() };
    assert_eq!(only.kernels, Content::Fill(Kernel::Fft));
    assert_eq!(
        (only.task, only.cycles, only.deadline_s, only.period_us),
        (0, 5, 0.001, None)
    );
}

#[test]
fn the_hash_is_that_of_the_bytes() {
    let file = read(b"cycles,deadline_s,payload_bytes,kernels\n1,1,1,fft\n").unwrap();
    // sha256sum of coreutils.
    assert_eq!(
        file.sha256,
        "f13fe562de5f4cf7ab7f559d29c7fdcb1edeb94aa6ca7d25a4949ca07f1ee6a8"
    );
}

#[test]
fn inputs_differ_with_the_run_and_the_task() {
    let seeds = [
        row(0).task(1).seed,
        row(1).task(1).seed,
        row(0).task(2).seed,
        row(1).task(0).seed,
    ];
    let distinct: std::collections::HashSet<_> = seeds.iter().collect();
    assert_eq!(distinct.len(), seeds.len());
}

#[test]
fn errors_name_line_and_column() {
    let good = "0,0.1,100,10,1000,0.5,10,fft:1";
    let with = |line: &str| format!("{HEADER}\n{good}\n{line}\n");
    let cases = [
        (with("1,0.1,100,10,-1,0.5,10,fft:1"), 3, "`cycles` is \"-1\""),
        (with("1,0.1,100,10,0,0.5,10,fft:1"), 3, "`cycles` is \"0\""),
        (
            with("1,0.1,100,10,2000000000000000000,0.5,10,fft:1"),
            3,
            "`cycles`",
        ),
        (
            with("1,0.1,100,10,1000,NaN,10,fft:1"),
            3,
            "`deadline_s` is \"NaN\"",
        ),
        (with("1,0.1,100,10,1000,0,10,fft:1"), 3, "`deadline_s` is \"0\""),
        (
            with("1,0.1,100,10,1000,1e9,10,fft:1"),
            3,
            "`deadline_s` is \"1e9\"",
        ),
        (
            with("1,0.1,100,10,1000,0.5,99999999999,fft:1"),
            3,
            "`payload_bytes`",
        ),
        (
            with("1,0.1,100,10,1000,0.5,10,fft:1 sha"),
            3,
            "`kernels`: \"sha\" is no step",
        ),
        (with("1,0.1,100,10,1000,0.5,10,"), 3, "`kernels` is empty"),
        (
            with("1,much,100,10,1000,0.5,10,fft:1"),
            3,
            "`utilisation` is \"much\"",
        ),
        (
            with("7,0.1,100,10,1000,0.5,10,fft:1"),
            3,
            "`task` is 7, expected 1",
        ),
        (with("1,0.1,100"), 3, "3 fields"),
        (
            "cycles,deadline_s,kernels\n1,1,fft\n".to_owned(),
            1,
            "`payload_bytes` is missing",
        ),
        (format!("{HEADER},deadline\n"), 1, "`deadline` is unknown"),
        (format!("{HEADER},cycles\n"), 1, "`cycles` stands there twice"),
        ("{\"cycles\":1}\n".to_owned(), 1, "`deadline_s` is missing"),
        (
            "{\"cycles\":1,\"deadline_s\":1,\"payload_bytes\":1,\"kernels\":7}\n".to_owned(),
            1,
            "`kernels`",
        ),
        ("\n{\"cycles\":1,\n".to_owned(), 2, "column 12"),
    ];
    for (text, line, expected) in cases {
        match read(text.as_bytes()) {
            Err(TaskFileError::Line {
                line: found, what, ..
            }) => {
                assert!(
                    found == line && what.contains(expected),
                    "{text}: line {found}: {what}"
                );
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(matches!(
        read(HEADER.as_bytes()),
        Err(TaskFileError::Empty { .. })
    ));
    assert!(matches!(read(b""), Err(TaskFileError::Line { line: 1, .. })));
    assert!(read(&[0xff, 0xfe, 0, 1]).is_err());
}

#[test]
fn what_is_no_file_or_has_no_end_is_refused() {
    let missing = TaskFile::read(Path::new("/nowhere/set.csv")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/set.csv"), "{missing}");
    assert!(matches!(
        TaskFile::read(Path::new("/")),
        Err(TaskFileError::Io { .. })
    ));
}
