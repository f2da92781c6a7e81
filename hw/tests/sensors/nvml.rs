//! NVML against a stub library that the test compiles: the calls and their errors are NVML's, the card is not.

use hwmeter_hw::sensor::{Sensor, Value};
use hwmeter_hw::sensors::nvml::Nvml;
use hwmeter_hw::units::{Joules, Watts};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `nvml.h`: 0 success, 3 not supported, 9 driver not loaded. Card 0 counts energy, card 1 has power only.
const STUB: &str = "
typedef struct card *device;
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, device *d) { *d = (device)(long)(i + 1); return 0; }
int nvmlDeviceGetTotalEnergyConsumption(device d, unsigned long long *mj) { *mj = 123456; return d == (device)1 ? ENERGY : 3; }
int nvmlDeviceGetPowerUsage(device d, unsigned *mw) { *mw = 75500; return POWER; }
";

fn stub(dir: &Path, init: u32, energy: u32, power: u32) -> Option<PathBuf> {
    let source = dir.join("stub.c");
    let library = dir.join("libstub.so");
    std::fs::write(&source, STUB).unwrap();
    let values = [("INIT", init), ("ENERGY", energy), ("POWER", power)];
    let defines = values.map(|(name, value)| format!("-D{name}={value}"));
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args(defines)
        .arg(&source)
        .status();
    match done {
        Ok(status) => {
            assert!(status.success());
            Some(library)
        }
        Err(error) => {
            eprintln!("skipped: the stub needs a C compiler: {error}");
            None
        }
    }
}

#[test]
fn energy_where_a_card_counts_it_else_power() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = stub(dir.path(), 0, 0, 0) else {
        return;
    };
    let mut sensor = Nvml::load(library.as_os_str(), None).unwrap().unwrap();
    let names: Vec<String> = sensor.info().rails.into_iter().map(|rail| rail.name).collect();
    assert_eq!(names, ["gpu0", "gpu1"]);
    let energy = Value::Energy {
        counter: Joules(123.456),
        wraps_at: None,
    };
    assert_eq!(
        sensor.read().unwrap().values[..],
        [energy, Value::Power(Watts(75.5))]
    );
    let one = Nvml::load(library.as_os_str(), Some("gpu1"))
        .unwrap()
        .unwrap()
        .info();
    assert_eq!((one.id.as_str(), one.rails.len()), ("nvml:gpu1", 1));
}

#[test]
fn a_jetson_answers_not_supported_and_that_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = stub(dir.path(), 0, 3, 3) else {
        return;
    };
    assert!(Nvml::load(library.as_os_str(), None).unwrap().is_none());
}

#[test]
fn no_driver_and_no_library_mean_no_sensor() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        Nvml::load(OsStr::new("libnvidia-ml-is-not-here.so.1"), None)
            .unwrap()
            .is_none()
    );
    let Some(library) = stub(dir.path(), 9, 0, 0) else {
        return;
    };
    assert!(Nvml::load(library.as_os_str(), None).unwrap().is_none());
}

#[test]
fn missing_rights_are_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = stub(dir.path(), 0, 4, 4) else {
        return;
    };
    let error = Nvml::load(library.as_os_str(), None).err().unwrap();
    assert_eq!(error.kind(), hwmeter_hw::ErrorKind::Denied, "{error}");
}
