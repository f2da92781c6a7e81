//! What the link emulator adds when it has nothing to emulate, side by side with a direct connection.
//!
//! The goal: under 100 µs for a round trip. Direct and emulated round trips take turns, so that what else the machine
//! does meets both.

use hwmeter::offload::link::presets::Preset;
use hwmeter::offload::link::{self, LinkConfig};
use hwmeter_bench::median;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::Instant;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (trips, megabytes) = if is_test { (20, 4) } else { (20_000, 200) };
    let server = echo();
    let link = ideal_link(server);
    for bytes in [1, 1000] {
        round_trips(server, link, bytes, trips);
    }
    throughput(server, link, megabytes);
}

fn round_trips(server: SocketAddr, link: SocketAddr, bytes: usize, trips: usize) {
    let mut streams = [connect(server), connect(link)];
    let mut times_us = [Vec::new(), Vec::new()];
    let mut message = vec![7; bytes];
    for _ in 0..trips {
        for (stream, times_us) in streams.iter_mut().zip(&mut times_us) {
            let began = Instant::now();
            stream.write_all(&message).expect("the echo is there");
            stream.read_exact(&mut message).expect("the echo is there");
            times_us.push(1e6 * began.elapsed().as_secs_f64());
        }
    }
    let [direct_us, linked_us] = times_us.map(median);
    println!(
        "round trip of {bytes:4} bytes  direct {direct_us:6.1} µs  through the link {linked_us:6.1} µs  added {:6.1} µs (goal: under 100 µs)",
        linked_us - direct_us
    );
}

/// There and back at the same time.
fn throughput(server: SocketAddr, link: SocketAddr, megabytes: usize) {
    let rate = |address| {
        let stream = connect(address);
        let chunk = vec![7; 1_000_000];
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..megabytes {
                    (&stream).write_all(&chunk).expect("the echo is there");
                }
            });
            let mut buffer = vec![0; 1_000_000];
            let mut left = megabytes * chunk.len();
            while left > 0 {
                left -= (&stream).read(&mut buffer).expect("the echo is there");
            }
        });
        8.0 * megabytes as f64 / began.elapsed().as_secs_f64() / 1e3
    };
    let turns = || (0..3).map(|_| [rate(server), rate(link)]);
    let turns: Vec<[f64; 2]> = turns().collect();
    let [direct, linked] = [0, 1].map(|which| median(turns.iter().map(|turn| turn[which]).collect()));
    println!("both ways at once       direct {direct:6.2} Gbit/s  through the link {linked:6.2} Gbit/s");
}

/// Sends back what comes.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                stream.set_nodelay(true).expect("a socket");
                let _ = std::io::copy(&mut &stream, &mut &stream);
            });
        }
    });
    address
}

fn ideal_link(to: SocketAddr) -> SocketAddr {
    let config = LinkConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        to,
        profile: Preset::Ideal.profile().expect("a preset"),
        seed: 1,
    };
    let (ready, address) = channel();
    std::thread::spawn(move || {
        let announce = |address| ready.send(address).expect("somebody waits");
        link::run(config, announce, std::future::pending()).expect("a link");
    });
    address.recv().expect("the link listens")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream
}
