//! A sensor whose read blocks stalls nobody else, and its loss shows.

use hwmeter_hw::Result;
use hwmeter_hw::error::Error;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::{Reading, Sensor};
use hwmeter_hw::units::Watts;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Reads one number per look from a FIFO: until something is written there, the look blocks.
struct Fifo {
    path: PathBuf,
    file: File,
}

impl Sensor for Fifo {
    fn read(&mut self) -> Result<Reading> {
        let mut line = [0; 16];
        let n = self
            .file
            .read(&mut line)
            .map_err(|e| Error::io("read", &self.path, e))?;
        let watts = hwmeter_hw::root::parse_number(&line[..n]);
        let watts = watts.ok_or_else(|| Error::malformed(&self.path, &line[..n], "one number"))?;
        Ok(Reading::of_power(Watts(watts)))
    }
}

struct Steady;

impl Sensor for Steady {
    fn read(&mut self) -> Result<Reading> {
        Ok(Reading::of_power(Watts(2.0)))
    }
}

fn fifo(dir: &Path) -> (Fifo, File) {
    let path = dir.join("fifo");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: `name` is a NUL-terminated string for the length of the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    // Opened for both, so that neither end waits for the other.
    let both = || File::options().read(true).write(true).open(&path).unwrap();
    let writer = both();
    (Fifo { file: both(), path }, writer)
}

#[test]
fn a_blocked_sensor_delays_no_other_and_loses_its_own_span() {
    let dir = tempfile::tempdir().unwrap();
    let (sensor, mut writer) = fifo(dir.path());
    writer.write_all(b"1.5\n").unwrap(); // for the first look
    let blocked = Meter::start(sensor, MeterOptions::at(100.0)).unwrap();
    let steady = Meter::start(Steady, MeterOptions::at(100.0)).unwrap();
    std::thread::sleep(Duration::from_millis(50));

    let begin = Instant::now();
    let (slow_span, span) = (blocked.span("blocked"), steady.span("steady"));
    assert!(
        begin.elapsed() < Duration::from_millis(500),
        "beginning a span never waits for the sensor"
    );
    std::thread::sleep(Duration::from_millis(1000));
    let (slow_pending, pending) = (slow_span.end(), span.end());
    let energy = pending.wait();
    assert!(energy.coverage > 0.5 && energy.total.is_some(), "{energy:?}");
    let joules = energy.total.unwrap().joules.0;
    assert!((1.5..4.0).contains(&joules), "about a second at 2 W: {joules}");

    // The blocked look returns; what it missed is not covered.
    writer.write_all(b"1.5\n").unwrap();
    let slow = slow_pending.wait();
    assert!(slow.coverage < 0.5, "{slow:?}");
    // Let the thread out of its next look, so that stopping does not wait for it.
    let stopping = std::thread::spawn(move || blocked.stop());
    while !stopping.is_finished() {
        writer.write_all(b"1.5\n").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let stats = stopping.join().unwrap();
    assert!(stats.late_ticks > 10, "{stats:?}");
}
