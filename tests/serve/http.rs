//! Clients that are not ours: `curl`, raw sockets; and servers as processes.

use super::common::child::{Started, started};
use super::common::{PLENTY, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitStatus, Stdio};

/// A task that never ends by itself.
pub const ENDLESS: &str = "/v1/tasks?kernel=sha256&size=18446744073709551615&seed=5";
/// One that is done in no time.
pub const TINY: &str = "/v1/tasks?kernel=sha256&size=1&seed=5";

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    fn parse(text: &str) -> Option<Self> {
        // curl shows every answer on the way to the last: `100 Continue` may come first.
        let mut rest = text;
        loop {
            let (head, body) = rest.split_once("\r\n\r\n")?;
            let status = head.split(' ').nth(1)?.parse().ok()?;
            if status != 100 {
                let (head, body) = (head.to_ascii_lowercase(), body.to_owned());
                return Some(Self { status, head, body });
            }
            rest = body;
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The code of a JSON error.
    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"));
        assert!(
            body["message"].as_str().is_some_and(|message| message.len() > 10),
            "{self:?}"
        );
        body["code"].as_str().unwrap().to_owned()
    }

    /// Status and code.
    #[track_caller]
    pub fn error(&self) -> (u16, String) {
        (self.status, self.code())
    }
}

/// An answer that curl got; `None` if it got none.
pub fn try_curl(args: &[&str], url: &str) -> Option<Answer> {
    let output = Command::new("curl")
        .args(["-s", "-i", "-m", "20", "--globoff"])
        .args(args)
        .arg(url)
        .output()
        .unwrap();
    Answer::parse(&String::from_utf8_lossy(&output.stdout))
}

/// An answer that curl got.
#[track_caller]
pub fn curl(args: &[&str], url: &str) -> Answer {
    try_curl(args, url).unwrap_or_else(|| panic!("no answer to curl {args:?} {url}"))
}

/// An open connection on which `bytes` were sent. The server may refuse, and close, before it has everything.
pub fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PLENTY)).unwrap();
    let _ = stream.write_all(bytes);
    stream
}

/// Everything that comes until the server closes or an answer is whole.
pub fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some(answer) = Answer::parse(&text) {
            let length = answer.header("content-length").and_then(|n| n.parse().ok());
            if length.is_some_and(|length: usize| answer.body.len() >= length) {
                return Some(answer);
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return Answer::parse(&text),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// One value of `/metrics`, 0 if it was never counted.
pub fn metric(base: &str, args: &[&str], name: &str) -> f64 {
    let text = curl(args, &format!("{base}/metrics")).body;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// `hwmeter serve` as a process, killed when dropped.
pub struct Served {
    child: Started,
    /// Such as `http://127.0.0.1:4711`.
    pub base: String,
}

impl Served {
    pub fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
        command
            .args(["serve", "--role", "mec", "--training", "off"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = started(&mut command);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let base = line
            .trim_end()
            .rsplit_once(" listening on ")
            .map(|(_, base)| base.to_owned());
        let base = base.unwrap_or_else(|| {
            let mut stderr = String::new();
            child
                .stderr
                .as_mut()
                .unwrap()
                .read_to_string(&mut stderr)
                .unwrap();
            panic!("{line:?}, {stderr}")
        });
        Self { child, base }
    }

    pub fn address(&self) -> SocketAddr {
        self.base.rsplit_once('/').unwrap().1.parse().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ask_to_end(&self) {
        self.child.signal(Signal::SIGTERM);
    }

    /// How it ended, and what it said on stderr.
    pub fn ended(mut self) -> (ExitStatus, String) {
        until("the server ends", || self.child.try_wait().unwrap().is_some());
        let mut stderr = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        (self.child.wait().unwrap(), stderr)
    }
}
