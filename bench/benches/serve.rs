//! What the server costs: smallest tasks per second, their latency at half of 10,000 a second, a payload of 1 MB beside
//! a plain copy through a TCP socket, and memory over many tasks. Server and clients share this machine.
//!
//! The goals: 10,000 tasks/s, a 99th percentile below 5 ms at 5,000/s, a ratio of at most 1.5, flat memory. `--test`
//! runs everything for a moment only.

use hwmeter::serve::{self, Role, ServeConfig};
use hwmeter_bench::timing::micros;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Kept-alive connections under load, each with a thread of its own.
const CONNECTIONS: usize = 16;
/// Half of the 10,000 tasks per second that are asked for.
const HALF_LOAD_HZ: f64 = 5_000.0;
const LARGE: usize = 1_000_000;

fn main() {
    let is_test = std::env::args().any(|arg| arg == "--test");
    let (seconds, tasks, copies) = if is_test {
        (0.2, 1_000, 20)
    } else {
        (5.0, 1_000_000, 500)
    };
    let server = start();

    let rate = full_speed(server, (20_000.0 * seconds) as usize);
    println!("smallest tasks, {CONNECTIONS} connections: {rate:.0} tasks/s (goal 10,000)");

    // A busy machine keeps everybody waiting: an echo without any server shows how long.
    for (name, address) in [("tasks", server), ("plain echo", plain_echo())] {
        let latencies = half_load(address, seconds);
        println!(
            "{name} at {HALF_LOAD_HZ}/s, from when each was due: p50 {:.0} µs, p99 {:.0} µs (goal 5000), worst {:.0} µs",
            at(&latencies, 0.5),
            at(&latencies, 0.99),
            at(&latencies, 1.0)
        );
    }

    let (tasks_s, copies_s) = large_payload(server, copies);
    for (name, share) in [("best", 0.0), ("median", 0.5)] {
        let [task, copy] = [&tasks_s, &copies_s].map(|times| at(times, share));
        println!(
            "1 MB payload, {name}: task {task:.0} µs, plain copy {copy:.0} µs, ratio {:.2} (goal 1.5)",
            task / copy
        );
    }

    let before = resident_kib();
    full_speed(server, tasks);
    let after = resident_kib();
    println!("memory: {before} KiB, after {tasks} further tasks {after} KiB");
}

/// The time in microseconds that this share of the sorted times does not exceed.
fn at(sorted: &[Duration], share: f64) -> f64 {
    micros(sorted[((sorted.len() - 1) as f64 * share) as usize])
}

fn start() -> SocketAddr {
    let (ready, address) = channel();
    thread::spawn(move || {
        let ready = |address| ready.send(address).expect("main waits");
        serve::run(ServeConfig::new(Role::Mec), ready, std::future::pending()).expect("the server runs");
    });
    address.recv().expect("the server starts")
}

/// A kept-alive connection that can ask for one thing again and again.
struct Asker {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Asker {
    fn new(server: SocketAddr, payload: usize) -> Self {
        let head = format!(
            "POST /v1/tasks?kernel=sha256&size=0&seed=1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: {payload}\r\n\r\n"
        );
        let mut request = head.into_bytes();
        request.resize(request.len() + payload, 7);
        Self {
            stream: connect(server),
            request,
            answer: vec![0; 4096],
        }
    }

    /// Sends the task and waits for its result, which comes in one piece.
    fn ask(&mut self) {
        self.stream.write_all(&self.request).expect("the server reads");
        let read = self.stream.read(&mut self.answer).expect("the server answers");
        let answer = &self.answer[..read];
        assert!(
            answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"}"),
            "{}",
            answer.escape_ascii()
        );
    }
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// Tasks per second when each connection sends its next as soon as it can.
fn full_speed(server: SocketAddr, tasks: usize) -> f64 {
    let each = tasks.div_ceil(CONNECTIONS);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut asker = Asker::new(server, 0);
                (0..each).for_each(|_| asker.ask());
            });
        }
    });
    (each * CONNECTIONS) as f64 / began.elapsed().as_secs_f64()
}

/// Sorted latencies when tasks are due on a schedule, whether or not the one before is done: waiting counts.
fn half_load(server: SocketAddr, seconds: f64) -> Vec<Duration> {
    let period = Duration::from_secs_f64(CONNECTIONS as f64 / HALF_LOAD_HZ);
    let each = (seconds / period.as_secs_f64()) as u32;
    let run = |first_due: Instant| {
        let mut asker = Asker::new(server, 0);
        let latency = |n: u32| {
            let due = first_due + n * period;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            asker.ask();
            due.elapsed()
        };
        (0..each).map(latency).collect::<Vec<_>>()
    };
    let start = Instant::now() + Duration::from_millis(100);
    let mut latencies: Vec<_> = thread::scope(|scope| {
        let shifted = |at: usize| start + period.mul_f64(at as f64 / CONNECTIONS as f64);
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|at| scope.spawn(move || run(shifted(at))))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no client fails"))
            .collect()
    });
    latencies.sort_unstable();
    latencies
}

/// Sorted times of a task with a payload of 1 MB, and of the same bytes read from a socket and answered by one byte,
/// in turns.
fn large_payload(server: SocketAddr, rounds: usize) -> (Vec<Duration>, Vec<Duration>) {
    let mut task = Asker::new(server, LARGE);
    let mut copy = connect(plain_reader());
    let bytes = vec![7; LARGE];
    let time = |call: &mut dyn FnMut()| {
        let began = Instant::now();
        call();
        began.elapsed()
    };
    let (mut tasks, mut copies): (Vec<_>, Vec<_>) = (0..rounds)
        .map(|_| {
            let task = time(&mut || task.ask());
            let copy = time(&mut || {
                copy.write_all(&bytes).expect("the reader reads");
                copy.read_exact(&mut [0]).expect("the reader answers");
            });
            (task, copy)
        })
        .unzip();
    tasks.sort_unstable();
    copies.sort_unstable();
    (tasks, copies)
}

/// Reads 1 MB into memory, answers one byte, and so on.
fn plain_reader() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("one client");
        stream.set_nodelay(true).expect("a TCP socket");
        let mut buffer = vec![0; LARGE];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&[1]).expect("the client reads");
        }
    });
    address
}

/// Answers everything with the same short text, on a thread for each connection.
fn plain_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            stream.set_nodelay(true).expect("a TCP socket");
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    if stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{}").is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("VmRSS in kB")
}
