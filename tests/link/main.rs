//! The link emulator: as slow as asked, no slower, and as transparent as a cable.
#![allow(clippy::unwrap_used)]

mod command;
#[path = "../common/mod.rs"]
mod common;
mod netem;
mod network;
#[path = "../../hw/tests/common/program.rs"]
mod program;
#[path = "../common/signals.rs"]
mod signals;

use common::{PLENTY, SMALL, link_to, payload, server};
use hwmeter::offload::{Client, OffloadError, Throughput};
use hwmeter::serve::{Role, ServeConfig};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `hwmeter link` with these arguments.
fn link(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command.arg("link").args(arguments).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends back what comes, and ends when its client does.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let _ = std::io::copy(&mut &stream, &mut &stream);
            });
        }
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PLENTY)).unwrap();
    stream
}

fn round_trip(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.write_all(b"?").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    began.elapsed()
}

/// Sends `data` and takes it back at the same time.
fn there_and_back(stream: &TcpStream, data: &[u8]) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = stream;
            stream.write_all(data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut stream = stream;
        stream.read_to_end(&mut back).unwrap();
    });
    (back, began.elapsed())
}

const ONE_WAY: Duration = Duration::from_millis(20);

#[test]
fn latency_is_as_asked() {
    let link = link_to(echo(), ONE_WAY, 50e6);
    let began = Instant::now();
    let mut stream = connect(link.address);
    round_trip(&mut stream);
    let first = began.elapsed();
    // The best of several shows the emulator, the others the machine.
    let best = (0..15).map(|_| round_trip(&mut stream)).min().unwrap();
    assert!(
        best >= 2 * ONE_WAY && best <= 2 * ONE_WAY * 11 / 10 + Duration::from_millis(1),
        "{best:?}"
    );
    assert!(
        first >= 4 * ONE_WAY,
        "a new connection costs a round trip more: {first:?}"
    );
}

#[test]
fn the_rate_is_as_asked_and_latency_does_not_cost_any() {
    let link = link_to(echo(), ONE_WAY, 50e6);
    let data = payload(2_000_000);
    let attempt = || {
        let mut stream = connect(link.address);
        round_trip(&mut stream);
        let (back, took) = there_and_back(&stream, &data);
        assert!(back == data, "the link changed the data");
        // 0.32 s at 50 Mbit/s, both ways at once, and one round trip.
        let bps = 8.0 * data.len() as f64 / (took - 2 * ONE_WAY).as_secs_f64();
        assert!(bps < 50e6 * 1.02, "faster than asked: {bps}");
        bps
    };
    // A busy machine makes it slower; the best of a few shows the emulator.
    let mut attempts = (0..8).map(|_| attempt());
    assert!(attempts.any(|bps| bps > 50e6 * 0.9), "slower than asked");
}

#[test]
fn connections_share_the_rate() {
    let link = link_to(echo(), Duration::ZERO, 80e6);
    let data = payload(500_000);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| there_and_back(&connect(link.address), &data));
        }
    });
    // 2 MB at 80 Mbit/s.
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_millis(600),
        "{took:?}"
    );
}

#[test]
fn a_sender_feels_the_rate() {
    let link = link_to(echo(), Duration::ZERO, 8e6);
    let stream = connect_with_small_buffer(link.address);
    let data = payload(65_536);
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < Duration::from_millis(300) {
        match (&stream).write(&data) {
            Ok(bytes) => sent += bytes,
            Err(_full) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    // 0.3 MB go through; the rest waits in the link's window and in the buffers at its entrance.
    assert!(sent < 1_500_000, "{sent} bytes went into a link of 1 MB/s");
}

/// A non-blocking connection whose own buffer takes little: it is the link's that are tested.
fn connect_with_small_buffer(address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(65_536).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    })
}

#[test]
fn without_delay_and_limit_it_is_hardly_there() {
    let link = link_to(echo(), Duration::ZERO, 1e12);
    let mut stream = connect(link.address);
    let best = (0..200).map(|_| round_trip(&mut stream)).min().unwrap();
    assert!(best < Duration::from_millis(2), "{best:?}");
    let data = payload(20_000_000);
    let (back, took) = there_and_back(&stream, &data);
    assert!(back == data);
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn hang_ups_of_either_side_are_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = link_to(listener.local_addr().unwrap(), Duration::from_millis(1), 1e9);
    let client = connect(link.address);
    let (mut server, _) = listener.accept().unwrap();
    drop(client);
    server.set_read_timeout(Some(PLENTY)).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 0);

    let mut client = connect(link.address);
    let (server, _) = listener.accept().unwrap();
    drop(server);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);

    drop(listener);
    let mut client = connect(link.address);
    assert!(
        matches!(client.read(&mut [0]), Ok(0) | Err(_)),
        "nobody listens behind the link"
    );
}

#[test]
fn the_agent_learns_the_throughput_from_its_transfers() {
    let mec = server(ServeConfig::new(Role::Mec));
    let link = link_to(mec.address, Duration::from_millis(5), 40e6);
    let mut client = Client::new(link.url()).unwrap();
    let mut throughput = Throughput::new();
    let data = payload(100_000);
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let done = client.submit(&SMALL, &data, PLENTY).unwrap();
        assert!(
            done.transmit_s >= 0.030,
            "20 ms for the payload, 10 ms for the round trip: {done:?}"
        );
        throughput.observe(
            data.len() as u64,
            done.receive_bytes,
            done.receive_s,
            Instant::now(),
        );
        let error = (8.0 * done.receive_bytes as f64 / done.receive_s / 40e6 - 1.0).abs();
        best = best.min(error);
    }
    assert!(best < 0.1, "no transfer showed the rate within 10 %: {best}");
    let bps = throughput.bps().unwrap();
    assert!(bps > 40e6 / 2.0 && bps < 40e6 * 2.0, "{bps}");

    drop(mec);
    let error = client.submit(&SMALL, &data, PLENTY).unwrap_err();
    assert!(matches!(error, OffloadError::Closed { .. }), "{error}");
}

/// Not a test: shows what the emulator does to round trips and transfers.
#[test]
#[ignore = "prints measurements"]
fn measurements() {
    for (one_way_ms, rate_bps) in [(0, 1e12), (5, 200e6), (20, 50e6), (25, 100e6)] {
        let one_way = Duration::from_millis(one_way_ms);
        let link = link_to(echo(), one_way, rate_bps);
        let mut stream = connect(link.address);
        let mut trips: Vec<_> = (0..60).map(|_| round_trip(&mut stream)).collect();
        trips.sort();
        let data = payload((rate_bps / 16.0).min(60e6) as usize);
        let (_, took) = there_and_back(&stream, &data);
        let bps = 8.0 * data.len() as f64 / took.saturating_sub(2 * one_way).as_secs_f64();
        println!(
            "{one_way_ms} ms, {:.0} Mbit/s: round trip best {:?}, median {:?}, p95 {:?}; {:.2} Mbit/s",
            rate_bps / 1e6,
            trips[0],
            trips[30],
            trips[57],
            bps / 1e6
        );
    }
}
