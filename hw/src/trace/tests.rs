//! Traces good and bad, written out by hand and by chance.

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
