//! Traces that are no traces.
//!
//! A trace is loaded as a whole when the sensor is opened and never looked at again: a file that disappears or fails
//! later cannot occur.

use crate::common::{Tree, faults};
use hwmeter_hw::ErrorKind;
use hwmeter_hw::clock::{Clock, ManualClock};
use hwmeter_hw::discover;
use hwmeter_hw::sensor::{Sensor, Value};
use hwmeter_hw::sensors::Context;
use std::sync::Arc;
use std::time::Duration;

const TWO_COLUMNS: &str = "t_s,power_w\n0,2\n1,2\n2,4\n";

fn open(tree: &Tree, clock: &Arc<ManualClock>) -> hwmeter_hw::Result<Box<dyn Sensor>> {
    let context = Context {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ..tree.context()
    };
    discover::open(&context, &format!("replay:{}", tree.path("/trace.csv").display()))
}

/// Opens it with this content.
fn load(content: impl AsRef<[u8]>) -> hwmeter_hw::Result<Box<dyn Sensor>> {
    open(&Tree::new().with("/trace.csv", content), &Arc::default())
}

#[test]
fn a_trace_plays_in_time_and_its_end_is_an_error_not_a_zero() {
    let clock: Arc<ManualClock> = Arc::default();
    let tree = Tree::new().with("/trace.csv", TWO_COLUMNS);
    let mut sensor = open(&tree, &clock).unwrap();
    let joules = |sensor: &mut Box<dyn Sensor>| match sensor.read().unwrap().values[..] {
        [Value::Energy { counter, .. }] => counter.0,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(joules(&mut sensor), 0.0);
    clock.advance(Duration::from_millis(1500));
    assert!(
        (joules(&mut sensor) - 3.5).abs() < 1e-9,
        "2 J, and half of the next 3 J"
    );
    clock.advance(Duration::from_secs(1));
    let error = sensor.read().unwrap_err();
    assert!(error.to_string().contains("the trace has ended"), "{error}");
}

#[test]
fn bad_rows_are_errors_that_name_the_line() {
    for (row, what) in [
        ("1,abc\n", "text"),
        ("1\n", "a row cut short that is not the last"),
        ("1,99999999999999999999999999e999\n", "too large"),
        ("1,nan\n", "not a number"),
        ("1,\n", "nothing"),
        ("-1,2\n", "a time before the one before"),
        ("\u{0}\u{1}\n", "noise"),
    ] {
        let error = load(format!("t_s,power_w\n0,2\n{row}2,2\n")).err();
        let error = error.unwrap_or_else(|| panic!("{what}"));
        assert_eq!(error.kind(), ErrorKind::Malformed, "{what}: {error}");
        assert!(error.to_string().contains("line 3"), "{what}: {error}");
    }
    for (content, what) in [
        ("", "empty"),
        ("t_s,power_w\n", "no rows"),
        ("1,2\n", "no header"),
    ] {
        assert_eq!(
            load(content).err().unwrap().kind(),
            ErrorKind::Malformed,
            "{what}"
        );
    }
    assert!(load([0xff, 0xfe]).is_err(), "not text");
    // Power may be negative: a battery that charges. And the last line may lack its end.
    assert!(load("t_s,power_w\n0,-2\n1,-2").is_ok());
}

#[test]
fn a_last_row_cut_short_is_dropped_and_that_is_said() {
    let cut = "t_s,sensor,rail,power_w,energy_j\n0,x,VDD_IN,2,0\n1,x,VDD_IN,2,2\n2,x,VDD";
    let sensor = load(cut).unwrap();
    let note = sensor.info().note.unwrap();
    assert!(note.contains("last row"), "{note}");
    assert!(
        !load(TWO_COLUMNS)
            .unwrap()
            .info()
            .note
            .unwrap()
            .contains("last row")
    );
}

#[test]
fn a_file_that_is_not_there_or_not_ours_is_told() {
    let clock: Arc<ManualClock> = Arc::default();
    let tree = Tree::new();
    let error = open(&tree, &clock).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
    tree.write("/trace.csv", TWO_COLUMNS);
    tree.lock("/trace.csv");
    let kind = faults::without_rights(|| open(&tree, &clock).err().map(|error| error.kind()));
    assert_eq!(kind, Some(ErrorKind::Denied));
}
