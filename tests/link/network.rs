//! What a network may do, felt through the real proxy: the model itself is tested on a virtual time axis.

use crate::common::{link_with, payload};
use crate::{connect, echo, round_trip, there_and_back};
use hwmeter::offload::link::profile::Profile;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

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
        lower(&mut best, &attempt());
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
    // Draws are 10 ms apart on average. The machine only ever adds to them, each time something else.
    let (mut first, mut again, mut other) = (trips(7), trips(7), trips(8));
    for _ in 0..10 {
        if apart(&first, &again) < 0.002 && apart(&first, &other) > 0.004 {
            return;
        }
        lower(&mut first, &trips(7));
        lower(&mut again, &trips(7));
        lower(&mut other, &trips(8));
    }
    panic!("{first:?} {again:?} {other:?}");
}

/// The shortest of each round trip so far.
fn lower(best: &mut [f64], trips: &[f64]) {
    for (best, trip) in best.iter_mut().zip(trips) {
        *best = best.min(*trip);
    }
}
