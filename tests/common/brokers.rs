//! Real brokers on free ports of loopback, each with a folder of its own, killed on drop.
//!
//! ```no_run
//! let Some(broker) = Mosquitto::start("") else { return };   // says "skipped" if it is not installed
//! let config = LinkConfig::new(broker.url(), "me");
//! ```
//!
//! A test that uses it has `mod common;` and, by `#[path]`, `mod brokers;` and `mod certificates;`.
#![allow(clippy::unwrap_used, dead_code)]

use super::certificates::{Authority, Signed};
use super::common::{have, until};
use hwmeter::offload::parent_death::child_ends_with_us;
use hwmeter::train::link::BrokerUrl;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A program that serves MQTT on `port`.
struct Program {
    command: fn(&Path) -> Command,
    dir: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Program {
    fn start(command: fn(&Path) -> Command, dir: tempfile::TempDir, port: u16) -> Self {
        let mut program = Self {
            command,
            dir,
            port,
            child: None,
        };
        program.run();
        program
    }

    fn run(&mut self) {
        let mut log = std::fs::File::options();
        let log = log.append(true).create(true).open(self.log_file()).unwrap();
        let mut command = (self.command)(self.dir.path());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = child_ends_with_us(&mut command).spawn().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        until("the broker listens", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the broker ended: {}", self.log());
            TcpStream::connect(address).is_ok()
        });
        self.child = Some(child);
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// As by `kill -9`.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// As by `systemctl stop`: what it keeps on disk is written.
    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Eclipse Mosquitto.
pub struct Mosquitto {
    program: Program,
    scheme: &'static str,
}

impl Mosquitto {
    /// One that lets everybody in; `extra` goes into its configuration. `None`: it is not installed.
    pub fn start(extra: &str) -> Option<Self> {
        Self::with("mqtt", |_| format!("allow_anonymous true\n{extra}\n"))
    }

    /// One that lets in only these users with their passwords.
    pub fn with_passwords(users: &[(&str, &str)], extra: &str) -> Option<Self> {
        Self::with("mqtt", |dir| {
            let file = dir.join("passwords");
            for (user, password) in users {
                let create: &[&str] = if file.exists() { &[] } else { &["-c"] };
                let mut command = Command::new("mosquitto_passwd");
                command.args(create).arg("-b").arg(&file).args([user, password]);
                assert!(command.status().unwrap().success());
            }
            let file = file.display();
            format!("allow_anonymous false\npassword_file {file}\n{extra}\n")
        })
    }

    /// One that speaks TLS only and shows this certificate.
    pub fn with_tls(shows: &Signed, extra: &str) -> Option<Self> {
        Self::with("mqtts", |_| {
            let (cert, key) = (shows.cert.display(), shows.key.display());
            format!("allow_anonymous true\ncertfile {cert}\nkeyfile {key}\n{extra}\n")
        })
    }

    /// The same, and clients must show a certificate that this authority has signed.
    pub fn with_client_certificates(shows: &Signed, clients: &Authority) -> Option<Self> {
        let ca = clients.file();
        Self::with_tls(
            shows,
            &format!("cafile {}\nrequire_certificate true", ca.display()),
        )
    }

    fn with(scheme: &'static str, config: impl FnOnce(&Path) -> String) -> Option<Self> {
        // It is in sbin, where not everybody looks.
        if !have(mosquitto(), "mosquitto") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut text = format!("listener {port} 127.0.0.1\nset_tcp_nodelay true\n");
        // What it keeps over a restart; run by root it would read it as somebody else.
        writeln!(
            text,
            "persistence true\npersistence_location {}/\nuser root",
            dir.path().display()
        )
        .unwrap();
        text.push_str(&config(dir.path()));
        std::fs::write(dir.path().join("conf"), text).unwrap();
        let command = |dir: &Path| {
            let mut command = Command::new(mosquitto());
            command.arg("-c").arg(dir.join("conf"));
            command
        };
        Some(Self {
            program: Program::start(command, dir, port),
            scheme,
        })
    }

    /// Its address; with TLS by the name that certificates of tests have.
    pub fn url(&self) -> BrokerUrl {
        let host = if self.scheme == "mqtts" {
            "localhost"
        } else {
            "127.0.0.1"
        };
        format!("{}://{host}:{}", self.scheme, self.program.port)
            .parse()
            .unwrap()
    }

    /// The same with user and password.
    pub fn url_for(&self, user: &str, password: &str) -> BrokerUrl {
        format!(
            "{}://{user}:{password}@127.0.0.1:{}",
            self.scheme, self.program.port
        )
        .parse()
        .unwrap()
    }

    pub fn port(&self) -> u16 {
        self.program.port
    }

    /// Ends it in order; sessions and retained messages are kept on disk.
    pub fn stop(&mut self) {
        self.program.stop();
    }

    /// Kills it -9: what it kept in memory is lost.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        self.program.run();
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    pub fn log(&self) -> String {
        self.program.log()
    }
}

/// NATS with JetStream, which speaks MQTT as well.
pub struct Nats {
    program: Program,
}

impl Nats {
    /// A single one. `None`: it is not installed.
    pub fn start() -> Option<Self> {
        if !have("nats-server", "nats-server") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (port, nats_port) = (free_port(), free_port());
        let store = dir.path().join("store");
        let text = format!(
            "server_name: \"one\"\nlisten: \"127.0.0.1:{nats_port}\"\njetstream {{ store_dir: {store:?} }}\n\
             mqtt {{ listen: \"127.0.0.1:{port}\" }}\n"
        );
        std::fs::write(dir.path().join("conf"), text).unwrap();
        Some(Self {
            program: Program::start(nats, dir, port),
        })
    }

    /// Its address for MQTT clients.
    pub fn url(&self) -> BrokerUrl {
        format!("mqtt://127.0.0.1:{}", self.program.port).parse().unwrap()
    }

    pub fn stop(&mut self) {
        self.program.stop();
    }

    pub fn kill(&mut self) {
        self.program.kill();
    }

    pub fn start_again(&mut self) {
        self.program.run();
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    pub fn log(&self) -> String {
        self.program.log()
    }
}

/// Three of them that keep everything thrice and go on when one dies.
pub struct NatsCluster {
    nodes: Vec<Nats>,
}

impl NatsCluster {
    pub fn start() -> Option<Self> {
        if !have("nats-server", "nats-server") {
            return None;
        }
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let start = |node: usize| {
            let dir = tempfile::tempdir().unwrap();
            let (port, nats_port) = (free_port(), free_port());
            let store = dir.path().join("store");
            let routes_text: Vec<_> = routes
                .iter()
                .map(|port| format!("\"nats://127.0.0.1:{port}\""))
                .collect();
            let text = format!(
                "server_name: \"node-{node}\"\nlisten: \"127.0.0.1:{nats_port}\"\njetstream {{ store_dir: {store:?} }}\n\
                 mqtt {{ listen: \"127.0.0.1:{port}\", stream_replicas: 3 }}\n\
                 cluster {{ name: \"three\", listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                routes[node],
                routes_text.join(", ")
            );
            std::fs::write(dir.path().join("conf"), text).unwrap();
            Nats {
                program: Program::start(nats, dir, port),
            }
        };
        let nodes: Vec<_> = (0..3).map(start).collect();
        Some(Self { nodes })
    }

    pub fn node(&mut self, index: usize) -> &mut Nats {
        &mut self.nodes[index]
    }
}

fn nats(dir: &Path) -> Command {
    let mut command = Command::new("nats-server");
    command.arg("-c").arg(dir.join("conf"));
    command
}

fn mosquitto() -> &'static str {
    const SBIN: &str = "/usr/sbin/mosquitto";
    match Path::new(SBIN).exists() {
        true => SBIN,
        false => "mosquitto",
    }
}

/// Nobody listens on it just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
