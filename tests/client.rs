//! The client, against servers that are down, slow, or talk nonsense.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLENTY, SMALL, payload};
use hwmeter::offload::wire::payload_hash;
use hwmeter::offload::{Client, OffloadError};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Serves each connection in turn with `behave`.
fn stub(mut behave: impl FnMut(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            behave(n, stream.unwrap());
        }
    });
    address
}

/// Reads a request with a body of `body` bytes.
fn take_request(stream: &mut TcpStream, body: usize) -> bool {
    let mut seen = Vec::new();
    let mut buffer = [0; 65_536];
    loop {
        let end_of_head = seen.windows(4).position(|four| four == b"\r\n\r\n");
        if end_of_head.is_some_and(|at| seen.len() >= at + 4 + body) {
            return true;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
        }
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn result(hash: u64, execute_s: f64) -> String {
    ok(&format!(
        "{{\"checksum\":\"00000000000000aa\",\"payload_hash\":\"{hash:016x}\",\"receive_s\":0,\
         \"receive_bytes\":0,\"queue_s\":0,\"execute_s\":{execute_s}}}"
    ))
}

fn client(address: SocketAddr) -> Client {
    Client::new(format!("http://{address}").parse().unwrap()).unwrap()
}

/// What the client makes of a server that answers `answer` and closes.
fn against(answer: impl Into<Vec<u8>>) -> OffloadError {
    let answer = answer.into();
    let address = stub(move |_, mut stream| {
        take_request(&mut stream, 3);
        let _ = stream.write_all(&answer);
    });
    let error = client(address)
        .submit(&SMALL, b"abc", Duration::from_secs(2))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&address.to_string()),
        "the message names no server: {text}"
    );
    error
}

#[test]
fn a_server_that_is_down_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address).submit(&SMALL, b"abc", PLENTY).unwrap_err();
    assert!(matches!(error, OffloadError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains("is `hwmeter serve` running there?"),
        "{error}"
    );
}

#[test]
fn answers_that_end_early_are_told_as_such() {
    for cut in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"chec",
    ] {
        let error = against(cut);
        assert!(matches!(error, OffloadError::Closed { .. }), "{cut:?}: {error:?}");
    }
}

#[test]
fn nonsense_is_told_as_such() {
    let hash = payload_hash(b"abc");
    let cases = [
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "no HTTP"),
        (ok("<html>hello</html>"), "<html>"),
        (ok("{}"), "missing field"),
        (ok("{\"checksum\":"), "EOF"),
        (ok("\u{0}\u{1}\u{2}"), "expected value"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{".to_owned(),
            "more than 65536 bytes",
        ),
        (ok(&" ".repeat(70_000)), "more than 65536 bytes"),
        (
            format!("HTTP/1.1 200 OK\r\n\r\n{}", "[".repeat(70_000)),
            "more than 65536 bytes",
        ),
        (ok(&"[".repeat(60_000)), "invalid type"),
        (result(hash, 5.0), "claims 5 s"),
        (result(hash, -5.0), "times that cannot be"),
    ];
    for (answer, expected) in cases {
        let error = against(answer.clone());
        assert!(
            matches!(error, OffloadError::BadAnswer { .. }),
            "{answer:.80}: {error:?}"
        );
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn refusals_carry_status_and_message() {
    let page = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\nretry-after: 7\r\n\r\nsorry";
    let OffloadError::Refused {
        status,
        code,
        message,
        retry_after,
        ..
    } = against(page)
    else {
        panic!()
    };
    assert_eq!((status.as_u16(), code.as_str()), (502, ""));
    assert!(message.contains("sorry"), "{message}");
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn another_payload_is_noticed() {
    let error = against(result(payload_hash(b"abd"), 0.0));
    assert!(matches!(error, OffloadError::WrongPayload { .. }), "{error}");
}

#[test]
fn a_server_that_stalls_costs_only_the_time_left() {
    let stalls: [&'static [u8]; 3] = [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
    ];
    for stall in stalls {
        let mut held = Vec::new();
        let address = stub(move |_, mut stream| {
            take_request(&mut stream, 3);
            let _ = stream.write_all(stall);
            held.push(stream);
        });
        let began = Instant::now();
        let error = client(address)
            .submit(&SMALL, b"abc", Duration::from_millis(150))
            .unwrap_err();
        assert!(matches!(error, OffloadError::Deadline { .. }), "{error}");
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(150) && took < Duration::from_secs(2),
            "{took:?}"
        );
    }
    // One that does not even read: the payload fills every buffer on the way.
    let mut held = Vec::new();
    let address = stub(move |_, stream| held.push(stream));
    let error = client(address)
        .submit(&SMALL, &payload(32 << 20), Duration::from_millis(300))
        .unwrap_err();
    assert!(matches!(error, OffloadError::Deadline { .. }), "{error}");
}

/// A machine that drops what would open a connection is given up at half the time, so that the rest is of use.
#[test]
fn connecting_takes_half_of_the_time_at_most() {
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
        assert!(waiting.len() < 10_000);
    }
    let began = Instant::now();
    let error = client(address)
        .submit(&SMALL, b"abc", Duration::from_millis(400))
        .unwrap_err();
    let took = began.elapsed();
    assert!(matches!(error, OffloadError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains("no connection within 0.2 s"),
        "{error}"
    );
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_millis(390),
        "{took:?}"
    );
}

#[test]
fn sending_waiting_and_receiving_are_timed_apart() {
    let sent = payload(12 << 20);
    let (bytes, hash) = (sent.len(), payload_hash(&sent));
    let pause = std::thread::sleep;
    let address = stub(move |_, mut stream| {
        // More than all buffers on the way hold, so sending lasts until this side reads.
        pause(Duration::from_millis(150));
        take_request(&mut stream, bytes);
        pause(Duration::from_millis(100));
        let answer = result(hash, 0.08);
        let (head, body) = answer.split_at(answer.find("\r\n\r\n").unwrap() + 4);
        stream.write_all(head.as_bytes()).unwrap();
        pause(Duration::from_millis(70));
        stream.write_all(body.as_bytes()).unwrap();
    });
    let done = client(address).submit(&SMALL, &sent, PLENTY).unwrap();
    assert!(done.connect_s.unwrap() < 0.1, "{done:?}");
    assert!(done.send_s >= 0.15, "{done:?}");
    assert!(done.wait_s >= 0.1 && done.answer_s >= 0.07, "{done:?}");
    let parts = done.connect_s.unwrap() + done.send_s + done.wait_s + done.answer_s;
    assert!(
        parts <= done.elapsed_s && done.elapsed_s - parts < 0.2,
        "{parts} of {done:?}"
    );
    assert!(
        (done.transmit_s - (done.elapsed_s - 0.08)).abs() < 1e-9,
        "{done:?}"
    );
}

#[test]
fn after_a_deadline_the_server_sees_the_hang_up() {
    let (seen, hung_up) = std::sync::mpsc::channel();
    let address = stub(move |_, mut stream| {
        take_request(&mut stream, 3);
        let closed = matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_));
        seen.send(closed).unwrap();
    });
    let mut client = client(address);
    client
        .submit(&SMALL, b"abc", Duration::from_millis(50))
        .unwrap_err();
    assert!(hung_up.recv_timeout(PLENTY).unwrap());
}

#[test]
fn a_kept_connection_is_used_again_and_replaced_once_when_it_was_closed() {
    let hash = payload_hash(b"abc");
    let (counted, connections) = std::sync::mpsc::channel();
    let address = stub(move |n, mut stream| {
        counted.send(n).unwrap();
        // Each connection answers twice. The second is then closed without an answer, the fourth at once.
        if n == 3 {
            return;
        }
        for _ in 0..2 {
            if take_request(&mut stream, 3) {
                stream.write_all(result(hash, 0.0).as_bytes()).unwrap();
            }
        }
    });
    let mut client = client(address);
    for _ in 0..6 {
        assert_eq!(client.submit(&SMALL, b"abc", PLENTY).unwrap().checksum, 0xAA);
    }
    // 0, 1 and 2 served two each; the seventh finds 2 closed, tries 3, and gives up.
    let error = client.submit(&SMALL, b"abc", PLENTY).unwrap_err();
    assert!(matches!(error, OffloadError::Closed { .. }), "{error}");
    assert_eq!(connections.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}
