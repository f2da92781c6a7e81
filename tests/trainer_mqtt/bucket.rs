//! Learners in a bucket of a server that speaks like S3: moto, a program in Python. `.ci/moto` installs it.

use super::brokers::{Broker, free_port};
use super::common::child::{Started, started};
use super::common::until;
use super::device::Device;
use super::troublemaker::{Trouble, Troublemaker};
use super::{hears, is_ack, learn, pupil, settings, trained_here};
use hwmeter::learn::Settings;
use hwmeter::train::wire::Body;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const STATE: &str = "s3://learners/site-1";
/// Where the device's learner is on the server.
const OBJECT: &str = "/learners/site-1/pi-1/dqn.learner";

/// Killed when dropped; what it keeps is in its memory.
struct Moto {
    _program: Started,
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
        let mut program = started(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until("moto listens", || {
            assert!(program.try_wait().unwrap().is_none(), "moto ended");
            TcpStream::connect(address).is_ok()
        });
        let moto = Self {
            _program: program,
            address,
        };
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

/// A trainer as a process, killed -9 when dropped.
struct Process {
    _program: Started,
    stderr: Receiver<String>,
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(name: &str, broker: &Broker, server: &str) -> Self {
        let mut command = command(name, broker);
        command
            .env("AWS_ENDPOINT_URL", server)
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut program = started(&mut command);
        let mut stdout = BufReader::new(program.stdout.take().unwrap());
        let lines = BufReader::new(program.stderr.take().unwrap()).lines();
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
            _program: program,
            stderr,
            _stdout: stdout,
        }
    }

    fn complains(&self, about: &str) {
        let wait = Duration::from_secs(20);
        while !self.stderr.recv_timeout(wait).expect(about).contains(about) {}
    }
}

fn command(name: &str, broker: &Broker) -> Command {
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

/// A device with a small learner.
struct Pupil {
    device: Device,
    settings: Settings,
}

impl Pupil {
    fn at(broker: &Broker) -> Self {
        let settings = settings(&[16, 16]);
        let device = pupil(broker, &settings);
        Self { device, settings }
    }

    /// Learns from an experience, and gets the weights that it teaches here too; up to which one all is stored.
    fn learns(&self, n: u64) -> u64 {
        learn(&self.device, n);
        let message = hears(&self.device, |m| {
            m.sequence == n && matches!(m.body, Body::Weights(_))
        });
        let Body::Weights(weights) = message.body else {
            unreachable!("they are weights")
        };
        assert_eq!(weights.sha256, trained_here(&self.settings, n), "version {n}");
        weights.durable
    }

    /// Goes on learning until this experience is stored; the last one.
    fn learns_until_stored(&self, from: u64, goal: u64) -> u64 {
        let mut n = from;
        until("it is stored", || {
            let stored = self.learns(n);
            n += 1;
            stored >= goal
        });
        n - 1
    }
}

#[test]
fn a_trainer_that_was_killed_is_replaced_by_one_elsewhere() {
    let Some((broker, moto)) = Broker::mosquitto("").zip(Moto::start()) else {
        return;
    };
    let server = format!("http://{}", moto.address);
    let pupil = Pupil::at(&broker);
    let first = Process::start("a", &broker, &server);
    hears(&pupil.device, is_ack);
    pupil.learns_until_stored(1, 5);
    drop(first);
    // What is heard from here on is said by the second.
    while pupil
        .device
        .events
        .recv_timeout(Duration::from_millis(300))
        .is_ok()
    {}
    let _second = Process::start("b", &broker, &server);
    let Body::Ack(ack) = hears(&pupil.device, is_ack).body else {
        unreachable!("it is an Ack")
    };
    assert!(ack.durable >= 5 && !ack.need_model, "{ack:?}");
    pupil.learns_until_stored(ack.durable + 1, ack.durable + 2);
}

#[test]
fn without_the_bucket_learning_goes_on_and_nothing_is_lost_or_overwritten() {
    let Some((broker, moto)) = Broker::mosquitto("").zip(Moto::start()) else {
        return;
    };
    let proxy = Troublemaker::before(moto.address);
    let pupil = Pupil::at(&broker);
    let trainer = Process::start("a", &broker, &proxy.url());
    hears(&pupil.device, is_ack);
    let mut last = pupil.learns_until_stored(1, 1);

    // Nothing gets through; or it is written, and nobody learns of it.
    for trouble in [Trouble::Closes, Trouble::ClosesMidAnswer] {
        proxy.make(trouble);
        last += 1;
        pupil.learns(last);
        trainer.complains("cannot write the stored learner pi-1/dqn");
        proxy.make(Trouble::None);
        last = pupil.learns_until_stored(last + 1, last + 1);
    }

    moto.put(OBJECT, "of somebody else");
    pupil.learns(last + 1);
    trainer.complains("was written by another trainer since");
}

#[test]
fn what_is_missing_is_told_before_anything_is_served() {
    let Some(broker) = Broker::mosquitto("") else {
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
