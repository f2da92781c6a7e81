//! RAPL through `perf_event_open`: the real system call on the kernel's software clock, described in a made-up tree as if
//! it were the `power` unit.
//!
//! A counter is a descriptor that gives eight bytes: text, an empty answer, a negative number and a missing line end
//! cannot occur there, only in the files of sysfs that describe it. Nothing replaces a unit while it is open.

use crate::common::{Tree, faults};
use hwmeter_hw::ErrorKind;
use hwmeter_hw::sensor::{Reading, Role, Sensor, Value};
use hwmeter_hw::sensors::perf_rapl::PerfRapl;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const DIR: &str = "/sys/bus/event_source/devices/power";

/// The software unit is number 1 and its event 0 counts the nanoseconds of a CPU: here they are nanojoules. Unlike RAPL's
/// it stands on each CPU, so CPU 0 is the mask.
fn tree() -> Tree {
    Tree::new().with_all(
        DIR,
        &[
            ("type", "1\n"),
            ("cpumask", "0\n"),
            ("events/energy-pkg", "event=0x00\n"),
            ("events/energy-pkg.scale", "1e-9\n"),
            ("events/energy-pkg.unit", "Joules\n"),
            // Not there in any kernel: an event that sysfs lists and the processor lacks.
            ("events/energy-ram", "event=0xffff\n"),
            ("events/energy-ram.scale", "1e-9\n"),
            ("events/energy-ram.unit", "Joules\n"),
        ],
    )
}

/// A counter has no name by which to find its descriptor: one test at a time has one open.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The opened counters; `None`, said aloud, where this user may not count.
fn open(tree: &Tree) -> Option<PerfRapl> {
    match PerfRapl::open_unit(&tree.root()) {
        Ok(sensor) => Some(sensor.expect("a unit")),
        Err(error) if error.kind() == ErrorKind::Denied => {
            eprintln!("skipped: counting needs CAP_PERFMON or kernel.perf_event_paranoid <= 0: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn joules(reading: &Reading) -> f64 {
    match reading.values[..] {
        [
            Value::Energy {
                counter,
                wraps_at: None,
            },
        ] => counter.0,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_counter_of_the_kernel_is_energy_by_the_scale_of_sysfs() {
    let _turn = turn();
    let Some(mut sensor) = open(&tree()) else { return };
    let info = sensor.info();
    assert_eq!((info.rails.len(), info.rails[0].name.as_str()), (1, "package-0"));
    assert_eq!((info.rails[0].role, &info.total[..]), (Role::Cpu, &[0][..]));
    let (begin, before) = (Instant::now(), joules(&sensor.read().unwrap()));
    std::thread::sleep(Duration::from_millis(50));
    let grown = joules(&sensor.read().unwrap()) - before;
    let passed = begin.elapsed().as_secs_f64();
    // One nanojoule per nanosecond of that CPU's clock.
    assert!(grown > 0.045 && grown < passed + 0.01, "{grown} J in {passed} s");
}

#[test]
fn a_read_that_fails_loses_the_sample_for_its_reason() {
    let _turn = turn();
    let Some(mut sensor) = open(&tree()) else { return };
    let fd = faults::descriptor_of(Path::new("anon_inode:[perf_event]"));
    for (errno, kind) in [
        (libc::EIO, ErrorKind::Failed),
        (libc::ENODEV, ErrorKind::Gone),
        (libc::EAGAIN, ErrorKind::Busy),
        (libc::ENODATA, ErrorKind::Busy),
    ] {
        let error = faults::failing_calls(libc::SYS_read, Some(fd), errno, || sensor.read()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("energy-pkg"), "{error}");
        assert!(sensor.read().is_ok(), "it recovers");
    }
}

#[test]
fn counting_without_the_right_to_it_is_denied() {
    let _turn = turn();
    let tree = tree();
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    if paranoid.trim().parse().is_ok_and(|level: i32| level <= 0) {
        eprintln!("skipped: kernel.perf_event_paranoid lets everybody count here");
        return;
    }
    let error = faults::without_rights(|| PerfRapl::open_unit(&tree.root()).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[test]
fn a_unit_that_is_not_whole_is_an_error_that_names_the_file() {
    let _turn = turn();
    for file in [
        "type",
        "cpumask",
        "events/energy-pkg",
        "events/energy-pkg.scale",
        "events/energy-pkg.unit",
    ] {
        let path = format!("{DIR}/{file}");
        let tree = tree();
        for junk in ["", "\n", "abc\n", "-1\n", "99999999999999999999999999\n"] {
            // A scale has no highest value that makes no sense.
            if file.ends_with("scale") && junk.starts_with('9') {
                continue;
            }
            tree.write(&path, junk);
            let error = PerfRapl::open_unit(&tree.root()).expect_err(&format!("{file}: {junk:?}"));
            assert_eq!(error.kind(), ErrorKind::Malformed, "{file}: {junk:?}: {error}");
            assert!(error.to_string().contains(file), "{error}");
        }
        tree.lock(&path);
        let error = faults::without_rights(|| PerfRapl::open_unit(&tree.root()).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Denied, "{file}: {error}");
        tree.remove(&path);
        match PerfRapl::open_unit(&tree.root()) {
            // Without its event the unit has none that this kernel counts.
            Ok(sensor) => assert!(file == "events/energy-pkg" && sensor.is_none(), "{file}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Gone, "{file}: {error}"),
        }
    }
}
