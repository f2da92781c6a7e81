//! A TCP relay whose line can be cut: bytes and connections then hang, as they do when a radio link is gone.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often a hanging connection looks whether the line is there again.
const LOOK: Duration = Duration::from_millis(20);

pub struct Relay {
    address: SocketAddr,
    line: Arc<Line>,
}

struct Line {
    to: Mutex<SocketAddr>,
    is_cut: AtomicBool,
    is_over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Line {
            to: Mutex::new(to),
            is_cut: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let shared = Arc::clone(&line);
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || client.map(|client| shared.carry(client)));
            }
        });
        Self { address, line }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing goes through any more, and nobody is told.
    pub fn cut(&self) {
        self.line.is_cut.store(true, Ordering::Relaxed);
    }

    /// What was sent meanwhile arrives.
    pub fn mend(&self) {
        self.line.is_cut.store(false, Ordering::Relaxed);
    }

    /// New connections go there; those that are open end.
    pub fn turn_to(&self, to: SocketAddr) {
        *self.line.to.lock().unwrap() = to;
        self.line.end_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.is_over.store(true, Ordering::Relaxed);
        self.line.end_all();
        // The listener wakes up and ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl Line {
    fn carry(&self, client: TcpStream) {
        self.wait();
        let to = *self.to.lock().unwrap();
        let Ok(server) = TcpStream::connect(to) else {
            return;
        };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            self.open.lock().unwrap().push(stream.try_clone().unwrap());
        }
        let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::scope(|both| {
            both.spawn(|| self.copy(client, server));
            self.copy(back_from, back_to);
        });
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            self.wait();
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        // Either end closes both.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Until the line is there.
    fn wait(&self) {
        while self.is_cut.load(Ordering::Relaxed) && !self.is_over.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
    }

    fn end_all(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
