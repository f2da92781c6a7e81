//! A proxy that makes a good server misbehave in one way at a time.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Not at all.
    None,
    /// It closes every connection when a request comes.
    Closes,
    /// It closes in the middle of its answer.
    ClosesMidAnswer,
    /// It takes requests and answers none.
    Silent,
    /// Nothing comes through any more, on connections old and new, and nobody is told.
    HalfOpen,
    /// It answers one byte at a time.
    Trickles,
    /// Its checksums are wrong.
    WrongChecksum,
    /// It works on another payload than was sent.
    WrongHash,
}

/// The proxy, for as long as the test runs.
pub struct Troublemaker {
    pub address: SocketAddr,
    trouble: Arc<Mutex<Trouble>>,
    requests: Arc<AtomicUsize>,
}

impl Troublemaker {
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            trouble: Arc::new(Mutex::new(Trouble::None)),
            requests: Arc::default(),
        };
        let (trouble, requests) = (Arc::clone(&proxy.trouble), Arc::clone(&proxy.requests));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let copies = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (to, back) = (Arc::clone(&trouble), Arc::clone(&trouble));
                let requests = Arc::clone(&requests);
                std::thread::spawn(move || up(client, server, &to, &requests));
                std::thread::spawn(move || down(copies.1, copies.0, &back));
            }
        });
        proxy
    }

    pub fn make(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Chunks of requests that have come.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// From the client to the server.
fn up(mut from: TcpStream, mut to: TcpStream, trouble: &Mutex<Trouble>, requests: &AtomicUsize) {
    let mut buffer = vec![0; 65_536];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        requests.fetch_add(1, Ordering::Relaxed);
        let trouble = *trouble.lock().unwrap();
        match trouble {
            Trouble::Closes => break,
            Trouble::HalfOpen => return hold(&from),
            _ => {
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
        }
    }
    end(&from, &to);
}

/// From the server to the client.
fn down(mut from: TcpStream, mut to: TcpStream, trouble: &Mutex<Trouble>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let answer = &buffer[..n];
        let trouble = *trouble.lock().unwrap();
        let went_well = match trouble {
            Trouble::None | Trouble::Closes => to.write_all(answer).is_ok(),
            Trouble::ClosesMidAnswer => {
                let _ = to.write_all(&answer[..n / 2]);
                false
            }
            Trouble::Silent | Trouble::HalfOpen => return hold(&to),
            Trouble::Trickles => answer.iter().all(|byte| {
                std::thread::sleep(Duration::from_millis(20));
                to.write_all(&[*byte]).is_ok()
            }),
            Trouble::WrongChecksum => to.write_all(&changed(answer, "\"checksum\":\"")).is_ok(),
            Trouble::WrongHash => to.write_all(&changed(answer, "\"payload_hash\":\"")).is_ok(),
        };
        if !went_well {
            break;
        }
    }
    end(&from, &to);
}

/// Another digit after `key`.
fn changed(answer: &[u8], key: &str) -> Vec<u8> {
    let mut answer = answer.to_vec();
    let found = answer.windows(key.len()).position(|part| part == key.as_bytes());
    if let Some(at) = found {
        let digit = &mut answer[at + key.len()];
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
    answer
}

/// The connection stays open, and nothing happens on it.
fn hold(stream: &TcpStream) {
    let mut ignored = [0; 4096];
    let mut stream = stream;
    while let Ok(1..) = stream.read(&mut ignored) {}
}

fn end(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}
