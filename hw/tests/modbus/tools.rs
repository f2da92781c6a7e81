//! The other end of the line: pymodbus in a virtual environment of its own, and a pair of serial ports by socat.

use hwmeter_hw::clock::MonotonicClock;
use hwmeter_hw::sensor::{Reading, Sensor, Value};
use hwmeter_hw::sensors::Context;
use hwmeter_hw::{Root, discover};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const PYMODBUS: &str = "pymodbus[serial]==3.16.1";

/// A child that does not outlive its test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The environment's Python; `None` (said aloud, and a failure where everything is required) if it cannot be had.
pub fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(make_environment).as_deref();
    if python.is_none() {
        skip("skipped: needs python3-venv and pymodbus (apt install python3-venv; pip install pymodbus)");
    }
    python
}

fn make_environment() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pymodbus-3.16.1");
    let python = dir.join("bin/python");
    let works = || runs(Command::new(&python).args(["-c", "import pymodbus.simulator, serial"]));
    if works() {
        return Some(python);
    }
    runs(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir));
    runs(Command::new(&python).args(["-m", "pip", "install", "--quiet", PYMODBUS]));
    works().then_some(python)
}

fn runs(command: &mut Command) -> bool {
    let output = command.stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(error) => {
            eprintln!("{command:?}: {error}");
            false
        }
    }
}

/// Says why a test did not run; where everything must run, that is a failure.
pub fn skip(message: &str) {
    let is_required = std::env::var("HWMETER_TEST_REQUIRE").is_ok_and(|what| what == "all");
    assert!(!is_required, "{message}");
    eprintln!("{message}");
}

/// The meters of `server.py`, already serving.
pub fn serve(python: &Path, arguments: &[&str]) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modbus/server.py");
    let mut child = Command::new(python)
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let process = Process(child);
    assert_eq!(line.trim(), "ready", "server.py {arguments:?}");
    process
}

/// A port that nobody uses.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Two serial ports tied together, at `DIR/dev/ttyUSB0` (ours) and `DIR/dev/meter`.
pub fn serial_pair(dir: &Path) -> Option<Process> {
    std::fs::create_dir_all(dir.join("dev")).unwrap();
    let end = |name: &str| format!("pty,raw,echo=0,link={}", dir.join("dev").join(name).display());
    let socat = Command::new("socat").args([end("ttyUSB0"), end("meter")]).spawn();
    let Ok(socat) = socat else {
        skip("skipped: needs socat (apt install socat)");
        return None;
    };
    let socat = Process(socat);
    wait_until("socat to make its ports", || {
        dir.join("dev/meter").exists() && dir.join("dev/ttyUSB0").exists()
    });
    Some(socat)
}

/// Waits at most half a minute.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Opens a meter the way users do, below a root of its own.
pub fn open_below(root: &Path, url: &str) -> Box<dyn Sensor> {
    let context = Context::new(Root::new(root), Arc::new(MonotonicClock));
    discover::open(&context, &format!("modbus:{url}")).unwrap()
}

/// Opens a meter on a port of this machine, asked as fast as the test likes.
pub fn open_tcp(port: u16, query: &str) -> Box<dyn Sensor> {
    open_below(
        Path::new("/nowhere"),
        &format!("tcp://127.0.0.1:{port}?{query}&update=0.001&timeout=0.5"),
    )
}

/// The powers in a reading.
pub fn watts(reading: &Reading) -> Vec<f64> {
    let power = |value: &Value| match value {
        Value::Power(power) => power.0,
        other => panic!("{other:?}"),
    };
    reading.values.iter().map(power).collect()
}
