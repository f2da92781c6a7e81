//! The link emulator: as slow as asked, no slower, and as transparent as a cable.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLENTY, SMALL, link_to, link_with, payload, server};
use hwmeter::offload::link::profile::Profile;
use hwmeter::offload::{Client, OffloadError, Throughput};
use hwmeter::serve::{Role, ServeConfig};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

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

fn profile(text: &str) -> Profile {
    Profile::parse("of a test", text).unwrap()
}

/// Mean, standard deviation.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// Asked: 20 ms ± 2 ms. Got: within 5 %. The model is held to 1 % on a virtual time axis; this is the whole proxy on a
/// machine that may be busy. What the machine adds differs from try to try, the draws of a seed do not: the best of each
/// round trip over a few tries is what the emulator did.
#[test]
fn delay_and_jitter_of_the_real_proxy_are_within_5_percent() {
    const CONNECTIONS: usize = 16;
    const TRIPS: usize = 75;
    let text = "up.latency_s = 0.02\nup.jitter_s = 0.002";
    let attempt = || {
        let link = link_with(echo(), profile(text), 2);
        let streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(link.address)).collect();
        let trips = |mut stream: TcpStream| -> Vec<f64> {
            (0..TRIPS)
                .map(|_| round_trip(&mut stream).as_secs_f64())
                .skip(1)
                .collect()
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = streams
                .into_iter()
                .map(|stream| scope.spawn(move || trips(stream)))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        })
    };
    let mut best = attempt();
    let mut seen = Vec::new();
    for _ in 0..10 {
        let (mean, sigma) = moments(&best);
        seen.push([mean / 0.020, sigma / 0.002]);
        if seen
            .last()
            .unwrap()
            .iter()
            .all(|share| (share - 1.0).abs() < 0.05)
        {
            return;
        }
        for (best, trip) in best.iter_mut().zip(attempt()) {
            *best = best.min(trip);
        }
    }
    panic!("mean and sigma, each as a share of what was asked: {seen:.3?}");
}

/// Asked: 50 Mbit/s. Got: within 5 %.
#[test]
fn the_rate_of_the_real_proxy_is_within_5_percent() {
    let link = link_with(echo(), profile("up.latency_s = 0.02\nup.rate_bps = 50e6"), 1);
    let data = payload(1_500_000);
    let attempt = || {
        let mut stream = connect(link.address);
        round_trip(&mut stream);
        let (_, took) = there_and_back(&stream, &data);
        8.0 * data.len() as f64 / (took.as_secs_f64() - 0.020)
    };
    let seen: Vec<f64> = (0..6).map(|_| attempt()).collect();
    assert!(seen.iter().all(|bps| *bps < 50e6 * 1.05), "{seen:?}");
    assert!(seen.iter().any(|bps| *bps > 50e6 * 0.95), "{seen:?}");
}

#[test]
fn each_way_has_its_own_delay_and_rate() {
    let link = link_with(echo(), profile("up.rate_bps = 8e6\ndown.latency_s = 0.05"), 1);
    let mut stream = connect(link.address);
    let best = (0..5).map(|_| round_trip(&mut stream)).min().unwrap();
    assert!(
        best >= Duration::from_millis(50) && best < Duration::from_millis(80),
        "{best:?}"
    );
    let (_, took) = there_and_back(&stream, &payload(200_000));
    assert!(
        took >= Duration::from_millis(240),
        "0.2 s at 8 Mbit/s, and 50 ms back: {took:?}"
    );
}

#[test]
fn a_lost_packet_is_felt_as_a_retransmission() {
    let link = link_with(echo(), profile("up.latency_s = 0.001\nup.loss = 0.3"), 3);
    let mut stream = connect(link.address);
    let trips: Vec<Duration> = (0..20).map(|_| round_trip(&mut stream)).collect();
    // Lost once, alone on its way: the round trip and 200 ms.
    let is_lost = |trip: &&Duration| **trip >= Duration::from_millis(201);
    let lost = trips.iter().filter(is_lost).count();
    assert!((1..20).contains(&lost), "{trips:?}");
    assert!(
        trips.iter().any(|trip| *trip < Duration::from_millis(100)),
        "{trips:?}"
    );
}

#[test]
fn a_silent_outage_holds_everything_and_the_connection_lives_on() {
    let link = link_with(echo(), profile("[[outage]]\nt_s = 0.2\nfor_s = 0.6"), 1);
    let began = Instant::now();
    let mut stream = connect(link.address);
    round_trip(&mut stream);
    std::thread::sleep(Duration::from_millis(300).saturating_sub(began.elapsed()));
    round_trip(&mut stream);
    let passed = began.elapsed();
    assert!(
        passed >= Duration::from_millis(790) && passed < Duration::from_millis(1500),
        "{passed:?}"
    );
    assert!(round_trip(&mut stream) < Duration::from_millis(500));
}

#[test]
fn an_outage_that_resets_ends_connections_and_refuses_new_ones_meanwhile() {
    let outage = "[[outage]]\nt_s = 0.3\nfor_s = 0.5\nreset = true";
    let link = link_with(echo(), profile(outage), 1);
    let began = Instant::now();
    let mut stream = connect(link.address);
    round_trip(&mut stream);
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(
        began.elapsed() >= Duration::from_millis(290),
        "{:?}",
        began.elapsed()
    );
    let meanwhile = TcpStream::connect(link.address).and_then(|mut stream| stream.read(&mut [0]));
    assert!(
        meanwhile.is_err() || began.elapsed() > Duration::from_millis(800),
        "{meanwhile:?}"
    );
    std::thread::sleep(Duration::from_millis(850).saturating_sub(began.elapsed()));
    round_trip(&mut connect(link.address));
}

#[test]
fn the_link_changes_over_time() {
    let text = "[[at]]\nt_s = 0.3\nup.latency_s = 0.1";
    let link = link_with(echo(), profile(text), 1);
    let began = Instant::now();
    let mut stream = connect(link.address);
    let before = round_trip(&mut stream);
    let was_before = began.elapsed() < Duration::from_millis(300);
    std::thread::sleep(Duration::from_millis(350).saturating_sub(began.elapsed()));
    let after = round_trip(&mut stream);
    assert!(!was_before || before < Duration::from_millis(100), "{before:?}");
    assert!(after >= Duration::from_millis(100), "{after:?}");
}

#[test]
fn the_same_seed_gives_the_same_delays() {
    let text = "up.latency_s = 0.02\nup.jitter_s = 0.009";
    let trips = |seed| -> Vec<f64> {
        let link = link_with(echo(), profile(text), seed);
        let mut stream = connect(link.address);
        (0..12)
            .map(|_| round_trip(&mut stream).as_secs_f64())
            .skip(1)
            .collect()
    };
    let apart = |a: &[f64], b: &[f64]| {
        let gaps: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
        gaps.iter().sum::<f64>() / gaps.len() as f64
    };
    // Draws are 10 ms apart on average; what the machine adds is far less, or one of a few tries shows it.
    let is_repeated = (0..5).any(|_| apart(&trips(7), &trips(7)) < 0.003);
    assert!(is_repeated);
    assert!(apart(&trips(7), &trips(8)) > 0.003);
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
