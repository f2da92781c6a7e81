//! NVML against a stub library that the test compiles: the calls and their errors are NVML's, the card is not.
//!
//! The library hands over numbers of fixed width: text, an empty answer and a negative number cannot occur. A missing
//! file is a missing library or driver, and a failing read is one of NVML's error codes.

use hwmeter_hw::ErrorKind;
use hwmeter_hw::sensor::{Sensor, Value};
use hwmeter_hw::sensors::nvml::Nvml;
use hwmeter_hw::units::{Joules, Watts};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `nvml.h`: 0 success, 3 not supported, 9 driver not loaded. Card 0 counts energy, card 1 has power only. What a read
/// of card 1 returns, and its milliwatts, stand in a file, where there is one.
const STUB: &str = "
#include <stdio.h>
typedef struct card *device;
static int power(unsigned *mw) {
    int code = POWER;
    FILE *file = fopen(CONTROL, \"r\");
    *mw = 75500;
    if (file) { if (fscanf(file, \"%d %u\", &code, mw) < 1) code = 999; fclose(file); }
    return code;
}
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, device *d) { *d = (device)(long)(i + 1); return 0; }
int nvmlDeviceGetTotalEnergyConsumption(device d, unsigned long long *mj) { *mj = 123456; return d == (device)1 ? ENERGY : 3; }
int nvmlDeviceGetPowerUsage(device d, unsigned *mw) { return power(mw); }
";

fn stub(dir: &Path, init: u32, energy: u32, power: u32) -> Option<PathBuf> {
    let source = dir.join("stub.c");
    let library = dir.join("libstub.so");
    std::fs::write(&source, STUB).unwrap();
    let values = [("INIT", init), ("ENERGY", energy), ("POWER", power)];
    let defines = values.map(|(name, value)| format!("-D{name}={value}"));
    let control = format!("-DCONTROL=\"{}\"", dir.join("control").display());
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args(defines)
        .arg(control)
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
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[test]
fn an_error_while_reading_loses_the_sample_for_its_reason_and_it_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = stub(dir.path(), 0, 0, 0) else {
        return;
    };
    let mut sensor = Nvml::load(library.as_os_str(), None).unwrap().unwrap();
    let good = sensor.read().unwrap();
    let control = dir.path().join("control");
    // `nvml.h`: no permission, not found, lost, in use, timeout, not supported any more, unknown.
    for (code, kind) in [
        ("4", Some(ErrorKind::Denied)),
        ("15", Some(ErrorKind::Gone)),
        ("3", Some(ErrorKind::Unsupported)),
        ("999", Some(ErrorKind::Failed)),
        ("19", None),
        ("10", None),
    ] {
        std::fs::write(&control, format!("{code} 0")).unwrap();
        match kind {
            Some(kind) => assert_eq!(sensor.read().unwrap_err().kind(), kind, "{code}"),
            // Busy: this card alone has no value just now.
            None => assert_eq!(
                sensor.read().unwrap().values[..],
                [good.values[0], Value::Missing]
            ),
        }
        std::fs::remove_file(&control).unwrap();
        assert_eq!(sensor.read().unwrap(), good, "{code}: it recovers");
    }
    // 4.29 MW: all bits set is no power.
    std::fs::write(&control, format!("0 {}", u32::MAX)).unwrap();
    let error = sensor.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    std::fs::write(&control, "0 0").unwrap();
    assert_eq!(
        sensor.read().unwrap().values[1],
        Value::Power(Watts(0.0)),
        "an idle card may say so"
    );
}
