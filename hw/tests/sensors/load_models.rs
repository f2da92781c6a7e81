//! What the models that follow `/proc/stat` do with bad input: no panic and no silent zero.

use crate::common::{Tree, boards, faults};
use hwmeter_hw::ErrorKind;
use hwmeter_hw::discover;
use hwmeter_hw::sensor::Sensor;

const STAT: &str = "/proc/stat";
const GOOD: &str = "cpu  200 0 200 1600 0 0 0 0 0 0\ncpu0 200 0 200 1600 0 0 0 0 0 0\n";

type MakeTree = fn() -> Tree;

const MODELS: [(&str, MakeTree); 2] = [("rpi-model", boards::pi4), ("cpu-model", boards::plain_vm)];

const JUNK: [&str; 8] = [
    "",
    "\n",
    "abc\n",
    "cpu\n",
    "cpu  one two three four\n",
    "cpu  100 0 100 99999999999999999999999 0 0 0 0 0 0\n",
    "cpu  -100 0 100 800 0 0 0 0 0 0\n",
    "intr 1 2 3\n",
];

fn open(name: &str, tree: &Tree) -> Box<dyn Sensor> {
    discover::open(&tree.context(), name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The models look at the file only once per update period, and again at every read after a failure.
fn wait_for_update() {
    std::thread::sleep(std::time::Duration::from_millis(60));
}

#[test]
fn junk_loses_the_sample_and_the_next_good_one_counts() {
    for (name, tree) in MODELS {
        let tree = tree();
        let mut sensor = open(name, &tree);
        sensor.read().unwrap();
        wait_for_update();
        for junk in JUNK {
            tree.write(STAT, junk);
            let error = sensor.read().expect_err(junk);
            assert_eq!(error.kind(), ErrorKind::Malformed, "{name}: {junk:?}");
            assert!(error.to_string().contains(STAT), "{error}");
            assert!(
                discover::open(&tree.context(), name).is_err(),
                "{name}: {junk:?} is no sensor"
            );
        }
        tree.write(STAT, GOOD.trim_end()); // no line end
        assert!(sensor.read().is_ok(), "{name}");
    }
}

#[test]
fn a_file_that_disappears_is_an_error_until_it_comes_back() {
    for (name, tree) in MODELS {
        let tree = tree();
        let mut sensor = open(name, &tree);
        sensor.read().unwrap();
        wait_for_update();
        tree.write(STAT, "");
        assert!(sensor.read().is_err(), "{name}");
        tree.remove(STAT);
        assert_eq!(sensor.read().unwrap_err().kind(), ErrorKind::Gone, "{name}");
        assert!(
            discover::open(&tree.context(), name).is_err(),
            "{name}: without {STAT}"
        );
        tree.write(STAT, GOOD);
        assert!(sensor.read().is_ok(), "{name}");
    }
}

#[test]
fn a_read_that_fails_loses_the_sample_for_its_reason() {
    for (name, tree) in MODELS {
        for (errno, kind) in [
            (libc::EIO, ErrorKind::Failed),
            (libc::EAGAIN, ErrorKind::Busy),
            (libc::EACCES, ErrorKind::Denied),
        ] {
            let tree = tree();
            let mut sensor = open(name, &tree);
            let error = faults::failing_reads(&tree.path(STAT), errno, || sensor.read()).expect_err(name);
            assert_eq!(error.kind(), kind, "{name}: {error}");
            assert!(sensor.read().is_ok(), "{name}: it recovers");
        }
    }
}
