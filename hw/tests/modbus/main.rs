//! Modbus meters against an independent server (pymodbus), over TCP and over a serial line, and against servers that
//! misbehave.
#![cfg(feature = "modbus")]
#![allow(clippy::unwrap_used)] // clippy.toml excuses test functions, not their helpers

mod faults;
#[path = "../common/faults.rs"]
#[allow(dead_code)] // each test program uses a part
mod faults_of_users;
mod tools;

use hwmeter_hw::ErrorKind;
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::sensor::{Reading, Role, Sensor, SensorInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tools::{free_port, open_below, open_tcp, python, serial_pair, serve, wait_until, watts};

/// Unit of `server.py`, parameters, and what the meter shows.
const METERS: &[(u8, &str, &[f64])] = &[
    (1, "meter=sdm120", &[5.125]),
    (2, "meter=sdm230", &[-1500.5]),
    (3, "meter=sdm630", &[39.25]),
    (3, "meter=sdm630&rails=total,l1,l2,l3", &[39.25, 1.5, -2.5, 40.25]),
    (4, "meter=sdm72", &[12.75]),
    (5, "meter=pzem-004t", &[220.0]),
    (6, "meter=pzem-016", &[7654.3]),
    (7, "meter=pzem-003", &[6.4]),
    (8, "meter=pzem-017", &[9000.1]),
    (9, "meter=shelly-pro-3em", &[321.5]),
    (
        9,
        "meter=shelly-pro-3em&rails=l3,l2,total",
        &[241.75, -20.5, 321.5],
    ),
    (10, "meter=shelly-em1", &[60.5]),
    (10, "meter=shelly-em1&rails=ch2,ch3", &[8.25, -3.0]),
    (
        11,
        "meter=em24&rails=l1,l2,l3,total",
        &[10.1, -20.2, 7000.0, 6989.9],
    ),
    (12, "meter=em340", &[-7000.1]),
    (13, "meter=iem3xxx", &[125.0]),
    (14, "meter=umg&rails=l1,l2,l3,total", &[1.0, 2.0, 3.0, 6.0]),
    (
        20,
        "meter=custom&register=0&function=3&type=u16&scale=0.1",
        &[6553.5],
    ),
    (20, "meter=custom&register=1&function=3&type=i16", &[-1.0]),
    (
        20,
        "meter=custom&register=0x0A&function=3&type=i32&scale=0.001",
        &[-123.456],
    ),
    (
        20,
        "meter=custom&register=20&function=3&type=u32&words=low-first&max=1e10",
        &[4e9],
    ),
    (
        20,
        "meter=custom&register=30&function=3&type=f32&scale=-2",
        &[-5.0],
    ),
];

#[test]
fn every_meter_shows_what_an_independent_server_holds() {
    let Some(python) = python() else { return };
    let port = free_port();
    let _server = serve(python, &["tcp", &port.to_string()]);
    for (unit, query, expected) in METERS {
        let mut sensor = open_tcp(port, &format!("{query}&unit={unit}"));
        let shown = watts(&sensor.read().unwrap_or_else(|e| panic!("{query}: {e}")));
        assert_eq!(shown.len(), expected.len(), "{query}");
        for (shown, expected) in shown.iter().zip(*expected) {
            assert!(
                (shown - expected).abs() < 1e-6,
                "{query}: {shown}, not {expected}"
            );
        }
        let info = sensor.info();
        assert_eq!(
            (info.name(), info.rails.len()),
            ("modbus", expected.len()),
            "{query}"
        );
        if let Some(total) = info.rails.iter().position(|rail| rail.role == Role::Total) {
            assert_eq!(info.total, [total], "{query}");
        }
    }
}

#[test]
fn a_meter_is_asked_no_more_often_than_it_bears() {
    let Some(python) = python() else { return };
    let port = free_port();
    let _server = serve(python, &["tcp", &port.to_string()]);
    let mut sensor = open_below(
        "/nowhere".as_ref(),
        &format!("tcp://127.0.0.1:{port}?meter=sdm72&unit=4"),
    );
    assert_eq!(sensor.info().default_rate_hz(), 1.0);
    assert_eq!(watts(&sensor.read().unwrap()), [12.75]);
    assert!(sensor.read().unwrap().is_unchanged());
}

#[test]
fn a_refusal_is_told_and_does_not_cost_the_connection() {
    let Some(python) = python() else { return };
    let port = free_port();
    let _server = serve(python, &["tcp", &port.to_string()]);
    for (query, kind) in [
        // Held by unit 20, but not as an input register.
        (
            "meter=custom&unit=20&register=0&function=4&type=u16",
            ErrorKind::Unsupported,
        ),
        ("meter=sdm630&unit=1", ErrorKind::Unsupported),
    ] {
        let mut sensor = open_tcp(port, query);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(2));
            let error = sensor.read().unwrap_err();
            assert_eq!(error.kind(), kind, "{query}: {error}");
            assert!(error.to_string().contains("the meter answers"), "{error}");
        }
    }
}

#[test]
fn phantom_values_are_lost_samples_and_never_power() {
    let Some(python) = python() else { return };
    let port = free_port();
    let _server = serve(python, &["tcp", &port.to_string()]);
    for query in ["meter=sdm630&unit=30", "meter=sdm120&unit=30"] {
        let error = open_tcp(port, query).read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    }
    assert!(open_tcp(port, "meter=sdm120&unit=1&max=5").read().is_err());

    let highest = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&highest);
    let options = MeterOptions::at(50.0).with_on_sample(Box::new(move |_, point| {
        seen.fetch_max(point.total.power.0 as u64, Ordering::Relaxed);
    }));
    let meter = Meter::start(open_tcp(port, "meter=sdm630&unit=31"), options).unwrap();
    wait_until("samples", || meter.stats().samples >= 20);
    let stats = meter.stop();
    assert_eq!(highest.load(Ordering::Relaxed), 10);
    let lost = stats
        .lost
        .iter()
        .find(|(kind, _)| *kind == ErrorKind::Malformed)
        .map_or(0, |(_, n)| *n);
    assert!(lost >= 8, "{stats:?}");
}

/// Notes the longest read.
struct Timed {
    sensor: Box<dyn Sensor>,
    longest_ms: Arc<AtomicU64>,
}

impl Sensor for Timed {
    fn read(&mut self) -> hwmeter_hw::Result<Reading> {
        let begin = Instant::now();
        let reading = self.sensor.read();
        self.longest_ms
            .fetch_max(begin.elapsed().as_millis() as u64, Ordering::Relaxed);
        reading
    }
    fn info(&self) -> SensorInfo {
        self.sensor.info()
    }
}

#[test]
fn a_server_that_dies_and_returns_costs_samples_and_nothing_else() {
    let Some(python) = python() else { return };
    let port = free_port();
    let server = serve(python, &["tcp", &port.to_string()]);
    let longest_ms = Arc::new(AtomicU64::new(0));
    let sensor = Timed {
        sensor: open_tcp(port, "meter=sdm120&unit=1"),
        longest_ms: Arc::clone(&longest_ms),
    };
    let meter = Meter::start(sensor, MeterOptions::at(50.0)).unwrap();
    wait_until("samples", || meter.stats().samples > 5);
    drop(server);
    wait_until("losses", || meter.stats().lost_samples() > 20);
    let while_away = meter.stats().samples;
    let _server = serve(python, &["tcp", &port.to_string()]);
    wait_until("samples again", || meter.stats().samples > while_away + 5);
    // The timeout is 0.5 s; the rest is what a busy machine adds.
    assert!(longest_ms.load(Ordering::Relaxed) < 1500, "{longest_ms:?}");
}

#[test]
fn serial_meters_are_read_over_a_pair_of_ports() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some(_socat) = serial_pair(dir.path()) else {
        return;
    };
    let device = dir.path().join("dev/meter").display().to_string();
    let _server = serve(python, &["rtu", &device, "9600", "N", "1"]);
    for (unit, query, expected) in METERS.iter().filter(|(unit, ..)| *unit != 9 && *unit != 10) {
        let url = format!("rtu:///dev/ttyUSB0?{query}&unit={unit}&baud=9600&parity=none&stop=1&update=0.001");
        let shown = open_below(dir.path(), &url).read().map(|reading| watts(&reading));
        let shown = shown.unwrap_or_else(|e| panic!("{query}: {e}"));
        let is_close = shown.iter().zip(*expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(is_close, "{query}: {shown:?}");
    }
    let error = open_below(dir.path(), "rtu:///dev/ttyUSB0?meter=sdm630&unit=1")
        .read()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn a_serial_port_that_belongs_to_others_is_denied() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("dev")).unwrap();
    let port = dir.path().join("dev/ttyUSB0");
    std::fs::write(&port, "").unwrap();
    let url = "rtu:///dev/ttyUSB0?meter=pzem-017&unit=8";
    for path in [dir.path(), &port] {
        let mode = if path == port { 0o000 } else { 0o755 };
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let error = faults_of_users::without_rights(|| open_below(dir.path(), url).read().unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("dev/ttyUSB0"), "{error}");
    // What is no serial port at all is told too.
    std::fs::set_permissions(&port, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let error = open_below(dir.path(), url).read().unwrap_err();
    assert!(error.to_string().contains("dev/ttyUSB0"), "{error}");
}

#[test]
fn a_serial_adaptor_that_is_pulled_out_may_come_back() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let url = "rtu:///dev/ttyUSB0?meter=pzem-017&unit=8&timeout=0.3&update=0.001";
    let mut sensor = open_below(dir.path(), url);
    let error = sensor.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
    assert!(error.to_string().contains("dev/ttyUSB0"), "{error}");

    let device = dir.path().join("dev/meter").display().to_string();
    for _ in 0..2 {
        let Some(socat) = serial_pair(dir.path()) else {
            return;
        };
        let server = serve(python, &["rtu", &device, "9600", "N", "2"]);
        wait_until("the meter", || {
            sensor.read().is_ok_and(|reading| !reading.is_unchanged())
        });
        drop(server);
        drop(socat);
        // socat does not remove its links when it is killed; udev does when an adaptor is pulled out.
        for end in ["ttyUSB0", "meter"] {
            let _ = std::fs::remove_file(dir.path().join("dev").join(end));
        }
        wait_until("the loss to show", || sensor.read().is_err());
    }
}

#[test]
fn a_serial_line_that_stays_silent_costs_the_timeout_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_socat) = serial_pair(dir.path()) else {
        return;
    };
    let mut sensor = open_below(
        dir.path(),
        "rtu:///dev/ttyUSB0?meter=sdm230&timeout=0.2&update=0.001",
    );
    let begin = Instant::now();
    let error = sensor.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("unit and line settings"), "{error}");
    std::thread::sleep(Duration::from_millis(2));
    let error = sensor.read().unwrap_err();
    assert!(error.to_string().contains("next try in"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_meter_can_be_read_from_asynchronous_code() {
    let Some(python) = python() else { return };
    let port = free_port();
    let _server = serve(python, &["tcp", &port.to_string()]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let shown = runtime.block_on(async {
        let mut sensor = open_tcp(port, "meter=sdm120&unit=1");
        watts(&sensor.read().unwrap())
    });
    assert_eq!(shown, [5.125]);
}
