//! Learners in a bucket of a server that speaks like S3: moto, a program in Python. `.ci/moto` installs it.

use super::brokers::{Mosquitto, free_port};
use super::common::until;
use super::troublemaker::{Trouble, Troublemaker};
use super::{Device, is_ack};
use hwmeter::offload::parent_death::child_ends_with_us;
use hwmeter::train::wire::Body;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const STATE: &str = "s3://learners/site-1";
/// Where the device's learner is on the server.
const OBJECT: &str = "/learners/site-1/pi-1/dqn.learner";

/// Killed when dropped; what it keeps is in its memory.
struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    /// With a bucket. `None`: it is not installed.
    fn start() -> Option<Self> {
        let Ok(python) = std::env::var("HWMETER_TEST_MOTO") else {
            assert!(
                std::env::var("HWMETER_TEST_REQUIRE").as_deref() != Ok("all"),
                "moto is missing"
            );
            eprintln!("skipped: needs moto (eval \"$(.ci/moto)\")");
            return None;
        };
        let port = free_port();
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = child_ends_with_us(&mut command).spawn().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut moto = Self { child, address };
        until("moto listens", || {
            assert!(moto.child.try_wait().unwrap().is_none(), "moto ended");
            TcpStream::connect(address).is_ok()
        });
        moto.put("/learners", "");
        Some(moto)
    }

    /// As somebody else.
    fn put(&self, path: &str, body: &str) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let credential = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request";
        write!(
            stream,
            "PUT {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {credential}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A trainer as a process, killed -9 when dropped.
struct Process {
    child: Child,
    stderr: Receiver<String>,
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(name: &str, broker: &Mosquitto, server: &str) -> Self {
        let mut child = command(name, broker)
            .env("AWS_ENDPOINT_URL", server)
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, stderr) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                println!("{line}");
                let _ = sender.send(line);
            }
        });
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("trainer on"), "{line:?}");
        Self {
            child,
            stderr,
            _stdout: stdout,
        }
    }

    fn complains(&self, about: &str) {
        let wait = Duration::from_secs(20);
        while !self.stderr.recv_timeout(wait).expect(about).contains(about) {}
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(name: &str, broker: &Mosquitto) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command
        .args(["serve", "-v", "--role", "trainer", "--trainer-name", name])
        .args(["--state", STATE, "--store-every", "1"])
        .args(["--broker", &broker.url().to_string()]);
    for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(variable);
    }
    command
}

/// Learns from an experience, and gets the weights that it teaches here too; up to which experience all is stored.
fn learns(device: &Device, n: u64) -> u64 {
    device.learn(n);
    let message = device.hears(|m| m.sequence == n && matches!(m.body, Body::Weights(_)));
    let Body::Weights(weights) = message.body else {
        unreachable!("they are weights")
    };
    assert_eq!(weights.sha256, device.local(n), "version {n}");
    weights.durable
}

/// Goes on learning until this experience is stored; the last one.
fn learns_until_stored(device: &Device, from: u64, goal: u64) -> u64 {
    let mut n = from;
    until("it is stored", || {
        let stored = learns(device, n);
        n += 1;
        stored >= goal
    });
    n - 1
}

#[test]
fn a_trainer_that_was_killed_is_replaced_by_one_elsewhere() {
    let Some((broker, moto)) = Mosquitto::start("").zip(Moto::start()) else {
        return;
    };
    let server = format!("http://{}", moto.address);
    let device = Device::connect(&broker, "pi-1", vec![16, 16]);
    device.begin(0);
    let first = Process::start("a", &broker, &server);
    device.hears(is_ack);
    learns_until_stored(&device, 1, 5);
    drop(first);
    // What is heard from here on is said by the second.
    while device.events.recv_timeout(Duration::from_millis(300)).is_ok() {}
    let _second = Process::start("b", &broker, &server);
    let Body::Ack(ack) = device.hears(is_ack).body else {
        unreachable!("it is an Ack")
    };
    assert!(ack.durable >= 5 && !ack.need_model, "{ack:?}");
    learns_until_stored(&device, ack.durable + 1, ack.durable + 2);
}

#[test]
fn without_the_bucket_learning_goes_on_and_nothing_is_lost_or_overwritten() {
    let Some((broker, moto)) = Mosquitto::start("").zip(Moto::start()) else {
        return;
    };
    let proxy = Troublemaker::before(moto.address);
    let device = Device::connect(&broker, "pi-1", vec![16, 16]);
    device.begin(0);
    let trainer = Process::start("a", &broker, &proxy.url());
    device.hears(is_ack);
    let mut last = learns_until_stored(&device, 1, 1);

    // Nothing gets through; or it is written, and nobody learns of it.
    for trouble in [Trouble::Closes, Trouble::ClosesMidAnswer] {
        proxy.make(trouble);
        last += 1;
        learns(&device, last);
        trainer.complains("cannot write the stored learner pi-1/dqn");
        proxy.make(Trouble::None);
        last = learns_until_stored(&device, last + 1, last + 1);
    }

    moto.put(OBJECT, "of somebody else");
    learns(&device, last + 1);
    trainer.complains("was written by another trainer since");
}

#[test]
fn what_is_missing_is_told_before_anything_is_served() {
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let keys = |command: &mut Command| {
        command
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
    };
    let says = |command: &mut Command, word: &str| {
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains(word), "{stderr}");
    };
    says(&mut command("a", &broker), "set AWS_ACCESS_KEY_ID");
    let mut plain = command("a", &broker);
    keys(&mut plain);
    says(
        plain.env("AWS_ENDPOINT_URL", "http://10.0.0.1:9000"),
        "use https://",
    );
    let mut wrong = command("a", &broker);
    keys(&mut wrong);
    says(wrong.env("AWS_ENDPOINT_URL", "10.0.0.1"), "http://HOST:PORT");
}
