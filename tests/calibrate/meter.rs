//! A wall meter as the reference of a board without a sensor, and one that stops in the middle.

use super::curve::{FollowingBoard, truth};
use super::{document, hwmeter, read, text, turn};
use crate::common::child::started;
use hwmeter_hw::calibration::Calibration;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A Modbus TCP server that holds one power; it goes away when dropped.
struct WallMeter {
    address: SocketAddr,
    is_gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl WallMeter {
    fn start(microwatts: Arc<AtomicU64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let is_gone = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&is_gone);
        let thread = std::thread::spawn(move || {
            while !gone.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => answer(stream, &microwatts, &gone),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self {
            address,
            is_gone,
            thread: Some(thread),
        }
    }

    fn sensor(&self) -> String {
        format!(
            "modbus:tcp://{}?meter=custom&register=0&function=4&type=f32&update=0.04&timeout=0.3&class=1",
            self.address
        )
    }
}

impl Drop for WallMeter {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Answers requests for input registers 0 and 1, until the client or the meter goes away.
fn answer(mut stream: TcpStream, microwatts: &AtomicU64, gone: &AtomicBool) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut request = Vec::new();
    let mut piece = [0; 64];
    while !gone.load(Ordering::Relaxed) {
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(n) => request.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        // Transaction, protocol and length; unit, function, register and count.
        while request.len() >= 12 {
            let asked: Vec<u8> = request.drain(..12).collect();
            let watts = microwatts.load(Ordering::Relaxed) as f32 * 1e-6;
            let mut reply = vec![asked[0], asked[1], 0, 0, 0, 7, asked[6], asked[7], 4];
            reply.extend(watts.to_be_bytes());
            if stream.write_all(&reply).is_err() {
                return;
            }
        }
    }
}

/// Calibrates the power model; the meter goes away so long after the load steps have begun.
fn run(board: &FollowingBoard, meter: WallMeter, goes_after: Option<Duration>) -> Output {
    let sensor = meter.sensor();
    let args = [
        "calibrate",
        "--quick",
        "--only",
        "idle,power-model",
        "--json",
        "--reference",
        &sensor,
    ];
    let mut command = hwmeter(&board.board, &args);
    let mut child = started(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    board.follow(child.id());
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("load steps") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    if let Some(time) = goes_after {
        std::thread::sleep(time);
        drop(meter);
    }
    lines.read_to_string(&mut said).unwrap();
    let mut output = child.output();
    output.stderr = said.into_bytes();
    output
}

#[test]
fn a_board_without_a_sensor_gets_a_model_that_recovers_its_curve_and_uses_it() {
    let _turn = turn();
    let board = FollowingBoard::start(false);
    let meter = WallMeter::start(Arc::clone(&board.microwatts));
    let output = run(&board, meter, None);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found = document(&output);
    let id = found["meter"]["id"].as_str().unwrap();
    assert!(id.starts_with("modbus:tcp://127.0.0.1"), "{found:#}");
    let kind_and_partial = (&found["meter"]["kind"], &found["is_partial"]);
    assert_eq!(kind_and_partial, (&"measured".into(), &false.into()), "{found:#}");
    let idle = found["idle_watts"].as_f64().unwrap();
    assert!((idle - truth(0.0)).abs() < 0.2, "{found:#}");
    let file = board.board.path().join("etc/hwmeter/calibration.toml");
    assert_eq!(found["file"], file.to_str().unwrap());

    let calibration = Calibration::read(&file).unwrap();
    let model = calibration.power_model().unwrap();
    assert_eq!(found["power_model"]["knots"], serde_json::json!(model.knots));
    let steps = found["load_steps"]["steps"].as_array().unwrap();
    let loads = steps.iter().map(|step| step["utilisation"].as_f64().unwrap());
    let highest = loads.fold(0.0, f64::max);
    let loads = (0..=10).map(|i| highest * f64::from(i) / 10.0);
    let error = |u: f64| (model.power(u, None).0 / truth(u) - 1.0).abs();
    let worst = loads.map(error).fold(0.0, f64::max);
    let stated = model.gain();
    assert!(
        worst < 3.0 * stated.max(0.01) && worst < 0.1,
        "{worst}, stated {stated}"
    );

    // The other commands pick the file up by themselves.
    let probed = document(&hwmeter(&board.board, &["probe", "--json"]).output().unwrap());
    let sensors = probed["sensors"].as_array().unwrap();
    let fitted = sensors.iter().find(|sensor| sensor["id"] == "rpi-model").unwrap();
    assert_eq!(fitted["accuracy"]["gain"], stated, "{fitted:#}");
    let source = fitted["accuracy"]["source"].as_str().unwrap();
    assert!(
        source.contains("against modbus:tcp") && source.contains("(measured)"),
        "{source}"
    );
    let measured = document(
        &hwmeter(&board.board, &["measure", "--duration", "300ms", "--json"])
            .output()
            .unwrap(),
    );
    assert_eq!(
        (&measured["sensor"], &measured["kind"]),
        (&"rpi-model".into(), &"modelled".into())
    );
    let watts = measured["total"]["mean_watts"].as_f64().unwrap();
    assert!((watts / truth(0.0) - 1.0).abs() < 0.1, "{measured:#}");
    let shown = hwmeter(&board.board, &["calibrate", "show"]).output().unwrap();
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("fitted against modbus:tcp") && shown.contains("(measured)"),
        "{shown}"
    );
}

#[test]
fn a_reference_that_stops_leaves_what_was_found_until_then_and_says_so() {
    let _turn = turn();
    let board = FollowingBoard::start(false);
    let meter = WallMeter::start(Arc::clone(&board.microwatts));
    let output = run(&board, meter, Some(Duration::from_millis(2200)));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found = document(&output);
    assert_eq!(
        (&found["power_model"], &found["is_partial"]),
        (&Value::Null, &true.into()),
        "{found:#}"
    );
    assert!(found["idle_watts"].is_number(), "{found:#}");
    let taken = found["load_steps"]["steps"].as_array().unwrap().len();
    let why = found["load_steps"]["partial"].as_str().unwrap();
    assert!(
        (1..6).contains(&taken) && why.contains("ended at step"),
        "{found:#}"
    );
    let said = text(&output.stderr);
    assert!(
        said.contains("power-model") && said.contains("modbus:tcp"),
        "{said}"
    );
    let written = read(&board.board.path().join("etc/hwmeter/calibration.toml"));
    assert!(
        written.contains("partial = [") && written.contains("idle_watts"),
        "{written}"
    );
    let shown = text(
        &hwmeter(&board.board, &["calibrate", "show"])
            .output()
            .unwrap()
            .stdout,
    );
    assert!(shown.contains("partial: power-model"), "{shown}");
}

#[test]
fn a_reference_that_is_none_or_a_model_is_refused_at_once() {
    let board = FollowingBoard::start(false);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("modbus:tcp://{gone}?meter=sdm120&timeout=0.3");
    for (reference, word) in [
        (nobody.as_str(), "reference meter"),
        ("cpu-model", "has to measure"),
    ] {
        let output = hwmeter(&board.board, &["calibrate", "--quick", "--reference", reference])
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(word), "{said}");
    }
}
