//! Servers that misbehave: whatever they send, a read is an error in time, and the next good answer counts again.
//!
//! A meter answers with registers of fixed width: of the kinds of bad input, text is another protocol's answer, an empty
//! one is silence, a number too large a phantom (`main.rs`), and a line end has no meaning. A negative number is export. A
//! port that is missing, denied, or pulled out is in `main.rs`.

use super::tools::{free_port, open_below, open_tcp, wait_until, watts};
use hwmeter_hw::load_steps::{self, Effort, Plan};
use hwmeter_hw::meter::{Meter, MeterOptions};
use hwmeter_hw::power_model::PowerModel;
use hwmeter_hw::sensor::Sensor;
use hwmeter_hw::{ErrorKind, Root};
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A server that answers each request of `meter=sdm120` with `reply(request)`, for as many connections as come.
fn serve(reply: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            talk(stream, &reply);
        }
    });
    port
}

/// `None` from `reply` hangs up.
fn talk(mut stream: TcpStream, reply: &impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let mut request = [0; 12];
    while stream.read_exact(&mut request).is_ok() {
        match reply(&request) {
            Some(bytes) if stream.write_all(&bytes).is_ok() => {}
            _ => return,
        }
    }
}

fn sdm120(port: u16) -> Box<dyn Sensor> {
    open_tcp(port, "meter=sdm120&unit=1")
}

/// A reply to `request` with this function code and data: transaction, protocol, length, unit, then the data.
fn frame(request: &[u8], pdu: &[u8]) -> Vec<u8> {
    let mut bytes = request[..4].to_vec();
    bytes.extend(u16::try_from(pdu.len() + 1).unwrap().to_be_bytes());
    bytes.push(request[6]);
    bytes.extend(pdu);
    bytes
}

/// 1.0 W.
const GOOD: [u8; 6] = [4, 4, 0x3F, 0x80, 0, 0];

#[test]
fn wrong_answers_are_errors_of_the_right_kind() {
    type Reply = fn(&[u8]) -> Option<Vec<u8>>;
    let cases: [(&str, Reply, &[ErrorKind]); 12] = [
        (
            "one register instead of two",
            |r| Some(frame(r, &[4, 2, 0, 1])),
            &[ErrorKind::Malformed],
        ),
        (
            "three registers",
            |r| Some(frame(r, &[4, 6, 0, 1, 0, 2, 0, 3])),
            &[ErrorKind::Malformed],
        ),
        (
            "another function",
            |r| Some(frame(r, &[3, 4, 0x3F, 0x80, 0, 0])),
            &[ErrorKind::Malformed],
        ),
        (
            "another transaction",
            |r| Some(frame(&[[9, 9].as_slice(), &r[2..]].concat(), &GOOD)),
            &[ErrorKind::Malformed],
        ),
        (
            "a count that lies",
            |r| Some(frame(r, &[4, 200, 0x3F, 0x80, 0, 0])),
            &[ErrorKind::Failed, ErrorKind::Busy],
        ),
        (
            "half a frame",
            |r| Some(frame(r, &GOOD)[..9].to_vec()),
            &[ErrorKind::Busy],
        ),
        (
            "no frame at all",
            |_| Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            &[ErrorKind::Failed, ErrorKind::Busy],
        ),
        ("nothing", |_| Some(Vec::new()), &[ErrorKind::Busy]),
        ("hanging up", |_| None, &[ErrorKind::Failed]),
        (
            "a gateway without that unit",
            |r| Some(frame(r, &[0x84, 0x0B])),
            &[ErrorKind::Gone],
        ),
        (
            "a broken meter",
            |r| Some(frame(r, &[0x84, 4])),
            &[ErrorKind::Failed],
        ),
        ("busy", |r| Some(frame(r, &[0x84, 6])), &[ErrorKind::Busy]),
    ];
    for (what, reply, kinds) in cases {
        let begin = Instant::now();
        let error = sdm120(serve(reply)).read().unwrap_err();
        assert!(
            kinds.contains(&error.kind()),
            "{what}: {:?}: {error}",
            error.kind()
        );
        assert!(begin.elapsed() < Duration::from_millis(1500), "{what}");
    }
}

#[test]
fn a_good_answer_after_a_bad_one_counts_again() {
    let answers = std::sync::atomic::AtomicUsize::new(0);
    let port = serve(move |request| match answers.fetch_add(1, Ordering::Relaxed) {
        0 => Some(frame(request, &[4, 2, 0, 1])),
        _ => Some(frame(request, &GOOD)),
    });
    let mut sensor = sdm120(port);
    assert!(sensor.read().is_err());
    wait_until("a good answer", || {
        sensor.read().is_ok_and(|reading| !reading.is_unchanged())
    });
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(watts(&sensor.read().unwrap()), [1.0]);
}

#[test]
fn a_server_that_closes_idle_connections_loses_no_sample() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 12];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&frame(&request, &GOOD)).unwrap();
        }
    });
    let mut sensor = sdm120(port);
    for _ in 0..10 {
        assert_eq!(watts(&sensor.read().unwrap()), [1.0]);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nobody_there_is_told_at_once() {
    let error = sdm120(free_port()).read().unwrap_err().to_string();
    assert!(error.contains("cannot connect to tcp://127.0.0.1:"), "{error}");
    // An address that swallows packets takes the timeout, not the minutes of TCP.
    let mut sensor = open_below("/nowhere".as_ref(), "tcp://192.0.2.1:502?meter=umg&timeout=0.3");
    let begin = Instant::now();
    assert!(sensor.read().is_err());
    assert!(begin.elapsed() < Duration::from_secs(2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random bytes behind a well-formed header, so that they reach the parser of the answer.
    #[test]
    fn no_garbage_panics_or_becomes_power(pdu in proptest::collection::vec(any::<u8>(), 1..40)) {
        let is_good = pdu.len() == 6 && pdu[..2] == GOOD[..2];
        prop_assume!(!is_good);
        let port = serve(move |request| Some(frame(request, &pdu)));
        let mut sensor = open_below("/nowhere".as_ref(), &format!("tcp://127.0.0.1:{port}?meter=sdm120&timeout=0.05"));
        prop_assert!(sensor.read().is_err());
    }
}

#[test]
fn a_reference_meter_that_stops_in_the_middle_leaves_the_load_steps_until_then() {
    let is_dead = Arc::new(AtomicBool::new(false));
    let dead = Arc::clone(&is_dead);
    let port = serve(move |request| (!dead.load(Ordering::Relaxed)).then(|| frame(request, &GOOD)));
    let meter = Meter::start(sdm120(port), MeterOptions::at(50.0)).unwrap();
    let mut plan = Plan::new(&Root::default(), meter.info(), Effort::Quick).unwrap();
    (plan.settle, plan.length) = (Duration::from_millis(50), Duration::from_millis(200));
    let taken = load_steps::run(&plan, &meter, &Root::default(), |n, _| {
        is_dead.store(n >= 2, Ordering::Relaxed);
    });
    let taken = taken.unwrap();
    assert_eq!(taken.steps.len(), 2, "{taken:?}");
    assert!(taken.steps.iter().all(|step| (step.watts.0 - 1.0).abs() < 1e-6));
    let why = taken.partial.as_deref().unwrap();
    assert!(
        why.starts_with("ended at step 3 of") && why.contains("modbus:tcp"),
        "{why}"
    );
    let error = PowerModel::fit(&taken).unwrap_err().to_string();
    assert!(
        error.contains("2 steps are too few") && error.contains("ended at step 3"),
        "{error}"
    );
}
