//! Real brokers on free ports of loopback, each with a folder of its own, killed on drop.
//!
//! ```no_run
//! let Some(broker) = Broker::mosquitto("") else { return };   // says "skipped" if it is not installed
//! let config = LinkConfig::new(broker.url(), "me");
//! ```
//!
//! A test that uses it has `mod common;` and, by `#[path]`, `mod brokers;` and `mod certificates;`.
#![allow(clippy::unwrap_used, dead_code)]

use super::certificates::Authority;
use super::common::child::{Started, started};
use super::common::{have, until};
use hwmeter::serve::TlsFiles;
use hwmeter::train::link::BrokerUrl;
use nix::sys::signal::Signal;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A broker as a program of its own.
pub struct Broker {
    command: fn(&Path) -> Command,
    dir: tempfile::TempDir,
    scheme: &'static str,
    port: u16,
    program: Option<Started>,
}

impl Broker {
    /// Starts one that is set up by this configuration.
    fn start(
        command: fn(&Path) -> Command,
        dir: tempfile::TempDir,
        config: &str,
        scheme: &'static str,
        port: u16,
    ) -> Self {
        std::fs::write(dir.path().join("conf"), config).unwrap();
        let mut broker = Self {
            command,
            dir,
            scheme,
            port,
            program: None,
        };
        broker.start_again();
        broker
    }

    /// Its address; with TLS by the name that certificates of tests have.
    pub fn url(&self) -> BrokerUrl {
        let host = match self.scheme {
            "mqtts" => "localhost",
            _ => "127.0.0.1",
        };
        format!("{}://{host}:{}", self.scheme, self.port).parse().unwrap()
    }

    /// The same with user and password.
    pub fn url_for(&self, user: &str, password: &str) -> BrokerUrl {
        format!("{}://{user}:{password}@127.0.0.1:{}", self.scheme, self.port)
            .parse()
            .unwrap()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it -9: what it kept in memory is lost.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Ends it in order, as `systemctl stop` does: what it keeps on disk is written.
    pub fn stop(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.signal(Signal::SIGTERM);
            program.wait().unwrap();
        }
    }

    /// Starts it on the same port with what it has kept.
    pub fn start_again(&mut self) {
        let log = File::options().append(true).create(true).open(self.log_file());
        let log = log.unwrap();
        let mut command = (self.command)(&self.dir.path().join("conf"));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut program = started(&mut command);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        until("the broker listens", || {
            let ended = program.try_wait().unwrap();
            assert!(ended.is_none(), "the broker ended: {}", self.log());
            TcpStream::connect(address).is_ok()
        });
        self.program = Some(program);
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

/// Eclipse Mosquitto. `None`: it is not installed.
impl Broker {
    /// One that lets everybody in; `extra` goes into its configuration.
    pub fn mosquitto(extra: &str) -> Option<Self> {
        Self::mosquitto_with("mqtt", |_| format!("allow_anonymous true\n{extra}\n"))
    }

    /// One that lets in only these users with their passwords.
    pub fn mosquitto_with_passwords(users: &[(&str, &str)]) -> Option<Self> {
        Self::mosquitto_with("mqtt", |dir| {
            let file = dir.join("passwords");
            for (user, password) in users {
                let create: &[&str] = if file.exists() { &[] } else { &["-c"] };
                let mut command = Command::new("mosquitto_passwd");
                command.args(create).arg("-b").arg(&file).args([user, password]);
                assert!(command.status().unwrap().success());
            }
            format!("allow_anonymous false\npassword_file {}\n", file.display())
        })
    }

    /// One that speaks TLS only and shows this certificate.
    pub fn mosquitto_with_tls(shows: &TlsFiles) -> Option<Self> {
        Self::mosquitto_with_certificates(shows, "")
    }

    /// The same, and clients must show a certificate that this authority has signed.
    pub fn mosquitto_with_client_certificates(shows: &TlsFiles, clients: &Authority) -> Option<Self> {
        let ca = clients.file();
        let extra = format!("cafile {}\nrequire_certificate true\n", ca.display());
        Self::mosquitto_with_certificates(shows, &extra)
    }

    fn mosquitto_with_certificates(shows: &TlsFiles, extra: &str) -> Option<Self> {
        Self::mosquitto_with("mqtts", |_| {
            let (cert, key) = (shows.cert.display(), shows.key.display());
            format!("allow_anonymous true\ncertfile {cert}\nkeyfile {key}\n{extra}")
        })
    }

    fn mosquitto_with(scheme: &'static str, more: impl FnOnce(&Path) -> String) -> Option<Self> {
        if !have(mosquitto(), "mosquitto") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        // What it keeps over a restart; run by root it would read it as somebody else.
        let config = format!(
            "listener {port} 127.0.0.1\nset_tcp_nodelay true\n\
             persistence true\npersistence_location {}/\nuser root\n{}",
            dir.path().display(),
            more(dir.path())
        );
        let command = |config: &Path| {
            let mut command = Command::new(mosquitto());
            command.arg("-c").arg(config);
            command
        };
        Some(Self::start(command, dir, &config, scheme, port))
    }
}

/// It is in sbin, where not everybody looks.
fn mosquitto() -> &'static str {
    const SBIN: &str = "/usr/sbin/mosquitto";
    match Path::new(SBIN).exists() {
        true => SBIN,
        false => "mosquitto",
    }
}

/// NATS with JetStream, which speaks MQTT as well.
impl Broker {
    /// A single one. `None`: it is not installed.
    pub fn nats() -> Option<Self> {
        have("nats-server", "nats-server").then(|| Self::nats_node("one", "", ""))
    }

    /// `mqtt` goes into its section for MQTT, `more` after it.
    fn nats_node(name: &str, mqtt: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (port, nats_port) = (free_port(), free_port());
        let store = dir.path().join("store");
        let config = format!(
            "server_name: {name:?}\nlisten: \"127.0.0.1:{nats_port}\"\njetstream {{ store_dir: {store:?} }}\n\
             mqtt {{ listen: \"127.0.0.1:{port}\", {mqtt} }}\n{more}\n"
        );
        let command = |config: &Path| {
            let mut command = Command::new("nats-server");
            command.arg("-c").arg(config);
            command
        };
        Self::start(command, dir, &config, "mqtt", port)
    }
}

/// Three of NATS that keep everything thrice and go on when one dies.
pub struct NatsCluster {
    nodes: Vec<Broker>,
}

impl NatsCluster {
    pub fn start() -> Option<Self> {
        if !have("nats-server", "nats-server") {
            return None;
        }
        let ports = [(); 3].map(|()| free_port());
        let routes = ports
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .join(", ");
        let start = |(node, port): (usize, &u16)| {
            let cluster =
                format!("cluster {{ name: \"three\", listen: \"127.0.0.1:{port}\", routes: [{routes}] }}");
            Broker::nats_node(&format!("node-{node}"), "stream_replicas: 3", &cluster)
        };
        let nodes = ports.iter().enumerate().map(start).collect();
        Some(Self { nodes })
    }

    pub fn node(&mut self, index: usize) -> &mut Broker {
        &mut self.nodes[index]
    }
}

/// Nobody listens on it just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
