//! The trainer as a process, alone and beside an edge server.
#![allow(clippy::unwrap_used)]

mod agent;
#[path = "../common/brokers.rs"]
mod brokers;
#[path = "../common/certificates.rs"]
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod elsewhere;
mod group;
mod lists;
#[path = "../broker/peer.rs"]
#[allow(dead_code)]
mod peer;
mod processes;
mod status;

use common::child::{Started, started};
use common::until;
use hwmeter::offload::local_servers::LocalConfig;
use hwmeter::offload::{Client, LocalServers, Url};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peer::{PLENTY, Peer, options};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{ChildStdout, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hwmeter");

/// A server of ours as a process.
struct Running {
    child: Started,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        Self::of(Command::new(PROGRAM).arg("serve").args(args))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = started(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// The end of its first line.
    fn said(&mut self, begin: &str) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let end = line.trim_end().strip_prefix(begin);
        end.unwrap_or_else(|| panic!("{line:?}")).to_owned()
    }

    /// A line of its log with this in it.
    fn complained(&mut self, about: &str) {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(about)), "nothing of {about}");
    }

    fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }
}

/// Does an MQTT client get in?
fn answers(address: SocketAddr) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { Peer::connect(options(address, "pi")).await.is_ok() })
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("mqtt://").unwrap().parse().unwrap()
}

/// The processes that were started with this word.
fn pids_with(word: &Path) -> Vec<i32> {
    let word = word.to_str().unwrap();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (command.contains(word)).then_some(pid)
    });
    pids.collect()
}

/// The trainer itself, not its keeper, and not the server.
fn trainer_with(state: &Path) -> Option<Pid> {
    let is_it = |pid: &i32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        command.is_ok_and(|command| command.contains("trainer") && !command.contains("--keep"))
    };
    pids_with(state).into_iter().find(is_it).map(Pid::from_raw)
}

/// A file that nobody else can read.
fn secret(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    certificates::private(&path, &format!("{text}\n"));
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_trainer_says_where_its_broker_is_and_ends_when_asked() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().to_str().unwrap();
    let args = [
        "--role",
        "trainer",
        "--state",
        dir,
        "--mqtt-listen",
        "127.0.0.1:0",
    ];
    let mut trainer = Running::start(&args);
    let url = trainer.said("hwmeter serve: trainer on ");
    assert!(answers(address(&url)));

    let Output { status, stderr, .. } = Command::new(PROGRAM).arg("serve").args(args).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(
        !status.success() && said.contains("another trainer") && said.contains("--state"),
        "{said}"
    );

    for line in fs::read_dir(format!("/proc/{}/task", trainer.child.id())).unwrap() {
        let thread = fs::read_to_string(line.unwrap().path().join("status")).unwrap();
        assert!(
            thread.contains("NoNewPrivs:\t1") && thread.contains("Seccomp:\t2"),
            "{thread}"
        );
    }
    trainer.signal(Signal::SIGTERM);
    assert!(trainer.child.wait().unwrap().success());
    assert!(!answers(address(&url)));
    // Its folder is free again.
    Running::start(&args).said("hwmeter serve: trainer on ");
}

#[test]
fn devices_of_a_load_say_who_they_are_and_train() {
    let dir = tempfile::tempdir().unwrap();
    let password = "a-password-of-length";
    let users = secret(dir.path(), "users", &format!("trainer anna:{password}"));
    let password = secret(dir.path(), "password", password);
    let state = dir.path().join("state");
    let args = ["--role", "trainer", "--mqtt-listen", "127.0.0.1:0", "--state"];
    let more = [
        state.to_str().unwrap(),
        "--mqtt-users",
        &users,
        "--sensor",
        "cpu-model",
    ];
    let mut trainer = Running::start(&[&args[..], &more].concat());
    let url = trainer.said("hwmeter serve: trainer on ");
    let args = [
        "load",
        "--devices",
        "2",
        "--device-rate",
        "20",
        "--duration",
        "1s",
        "--json",
    ];
    let who = [
        "--broker",
        &url,
        "--broker-user",
        "anna",
        "--broker-password-file",
        &password,
    ];
    let output = Command::new(PROGRAM).args(args).args(who).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["learned"].as_u64().unwrap() > 0, "{report:#}");
    assert!(report["update_j"].as_f64() > Some(0.0), "{report:#}");
    assert_eq!(report["update_j_kind"], "modelled");
}

#[test]
fn what_cannot_be_is_said_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let state = tempfile::tempdir().unwrap();
    let token = secret(state.path(), "token", "0123456789abcdef0123456789abcdef");
    let state = state.path().to_str().unwrap();
    for (role, args, expected) in [
        (
            "trainer",
            &["--state", state, "--mqtt-listen", &taken][..],
            "choose another",
        ),
        (
            "trainer",
            &["--state", state, "--mqtt-listen", "0.0.0.0:0"],
            "--mqtt-users FILE",
        ),
        (
            "trainer",
            &["--state", "/proc/nowhere"],
            "cannot keep learners in /proc/nowhere",
        ),
        (
            "trainer",
            &["--state", state, "--mqtt-users", "/nowhere/users"],
            "/nowhere/users",
        ),
        (
            "mec",
            &["--state", state, "--mqtt-listen", &taken],
            "choose another",
        ),
        ("mec", &["--state", state, "--training", "off"], "--state"),
        (
            "mec",
            &["--max-learners", "5", "--training", "off"],
            "options of training",
        ),
        (
            "mec",
            &[
                "--broker",
                "mqtt://127.0.0.1",
                "--listen",
                "0.0.0.0:0",
                "--behind-proxy",
                "--token-file",
                &token,
            ],
            "name it as they know it",
        ),
        (
            "trainer",
            &["--broker", "mqtt://me:secret@broker.example"],
            "--broker-password-file",
        ),
        ("trainer", &["--broker-ca", "/nowhere/ca.pem"], "--broker URL"),
        (
            "trainer",
            &[
                "--state",
                state,
                "--broker",
                "mqtts://broker.example",
                "--broker-ca",
                "/nowhere/ca.pem",
            ],
            "/nowhere/ca.pem",
        ),
        ("trainer", &["--state", state, "--engine", "torch"], "torch"),
        ("cloud", &["--state", state], "--state"),
        ("cloud", &["--learner-processes"], "options of training"),
    ] {
        let output = Command::new(PROGRAM)
            .args(["serve", "--role", role])
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{role} {args:?}: {said}");
        assert!(said.contains(expected), "{role} {args:?}: {said}");
    }
}

#[test]
fn an_edge_server_has_a_trainer_and_says_where() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().to_str().unwrap();
    let mut mec = Running::start(&["--role", "mec", "--state", dir, "--mqtt-listen", "127.0.0.1:0"]);
    let url: Url = mec.said("hwmeter serve: mec listening on ").parse().unwrap();
    let mut client = Client::new(url).unwrap();
    let broker = address(&client.training(PLENTY).unwrap().unwrap());
    assert!(answers(broker));
    assert_eq!(pids_with(state.path()).len(), 2 + 1, "server, keeper, trainer");

    // Killed, it comes again, on the same port.
    let first = trainer_with(state.path()).unwrap();
    kill(first, Signal::SIGKILL).unwrap();
    until("it comes again", || {
        trainer_with(state.path()).is_some_and(|pid| pid != first) && answers(broker)
    });

    mec.signal(Signal::SIGTERM);
    assert!(mec.child.wait().unwrap().success());
    // The server has waited for it.
    assert!(pids_with(state.path()).is_empty());
    let mut said = String::new();
    mec.child
        .stderr
        .as_mut()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(
        said.contains("the trainer ended (signal: 9 (SIGKILL)); it is started again"),
        "{said}"
    );
}

#[test]
fn a_trainer_does_not_outlive_a_server_that_is_killed() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().to_str().unwrap();
    let mut mec = Running::start(&["--role", "mec", "--state", dir, "--mqtt-listen", "127.0.0.1:0"]);
    mec.said("hwmeter serve: mec listening on ");
    assert!(trainer_with(state.path()).is_some());
    mec.signal(Signal::SIGKILL);
    mec.child.wait().unwrap();
    until("it ends", || pids_with(state.path()).is_empty());
}

#[test]
fn a_server_without_training_says_so() {
    let mut mec = Running::start(&["--role", "mec", "--training", "off"]);
    let url: Url = mec.said("hwmeter serve: mec listening on ").parse().unwrap();
    assert_eq!(Client::new(url).unwrap().training(PLENTY).unwrap(), None);
}

#[test]
fn servers_of_a_demonstration_train_when_asked_to() {
    let mut config = LocalConfig::with_program(PROGRAM);
    config.training = true;
    let servers = LocalServers::start(&config).unwrap();
    let mut client = Client::new(servers.mec().clone()).unwrap();
    let broker = client.training(PLENTY).unwrap().unwrap();
    // The client came through a link, the broker is beside the server.
    assert!(answers(address(&broker)));
    drop(servers);
    assert!(TcpStream::connect(address(&broker)).is_err());
}
