//! Passwords, client ids, topics, TLS.

use crate::certificates::private;
use crate::open;
use crate::peer::{Peer, options, options_at, with_password};
use hwmeter::train::broker::{Broker, BrokerConfig};
use rumqttc::{ConnectReturnCode, ConnectionError, LastWill, QoS};
use std::fs;
use tempfile::TempDir;

const PI: (&str, &str) = ("pi", "pi-has-a-secret");
const PI_1: (&str, &str) = ("pi-1", "pi-1-has-another");
const ANNA: (&str, &str) = ("anna", "anna-sees-everything");

pub fn users(dir: &TempDir) -> std::path::PathBuf {
    let path = dir.path().join("users");
    let line = |role, (name, password)| format!("{role} {name}:{password}\n");
    let text = [line("device", PI), line("device", PI_1), line("trainer", ANNA)].concat();
    private(&path, &text);
    path
}

fn guarded() -> (Broker, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        users: Some(users(&dir)),
        ..BrokerConfig::new()
    };
    (Broker::start(&config).unwrap(), dir)
}

async fn code(options: rumqttc::MqttOptions) -> ConnectReturnCode {
    match Peer::connect(options).await {
        Ok(_) => ConnectReturnCode::Success,
        Err(ConnectionError::ConnectionRefused(code)) => code,
        Err(e) => panic!("{e}"),
    }
}

#[tokio::test]
async fn who_has_no_password_is_not_let_in() {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized, Success};
    let (broker, _dir) = guarded();
    let at = broker.address();
    assert_eq!(code(with_password(at, "pi", PI.0, PI.1)).await, Success);
    assert_eq!(code(with_password(at, "pi/other", PI.0, PI.1)).await, Success);
    assert_eq!(code(with_password(at, "looks-on", ANNA.0, ANNA.1)).await, Success);
    let own = broker.account();
    assert_eq!(
        code(with_password(at, "trainer", &own.name, &own.password)).await,
        Success
    );

    assert_eq!(
        code(with_password(at, "pi", PI.0, PI_1.1)).await,
        BadUserNamePassword
    );
    assert_eq!(code(options(at, "pi")).await, BadUserNamePassword);
    assert_eq!(
        code(with_password(at, "trainer", &own.name, "guessed")).await,
        BadUserNamePassword
    );
    // Nobody takes over the session of another.
    assert_eq!(code(with_password(at, "pi-1", PI.0, PI.1)).await, NotAuthorized);
    assert_eq!(code(with_password(at, "pi", ANNA.0, ANNA.1)).await, NotAuthorized);
    let counts = broker.counts();
    assert_eq!((counts.bad_password, counts.bad_client_id), (3, 2), "{counts}");
}

#[tokio::test]
async fn a_device_hears_and_says_only_what_is_its_own() {
    let (broker, _dir) = guarded();
    let at = broker.address();
    let mut anna = Peer::connect(with_password(at, "anna", ANNA.0, ANNA.1))
        .await
        .unwrap();
    let mut pi = Peer::connect(with_password(at, "pi", PI.0, PI.1)).await.unwrap();
    let mut pi_1 = Peer::connect(with_password(at, "pi-1", PI_1.0, PI_1.1))
        .await
        .unwrap();
    assert!(anna.subscribe("#").await);
    assert!(pi.subscribe("client/pi/#").await);
    assert!(pi_1.subscribe("client/pi-1/weights/+/v1").await);
    for other in [
        "#",
        "client/+/weights/dqn/v1",
        "client/pi/#",
        "trainer/#",
        "$SYS/#",
    ] {
        assert!(!pi_1.subscribe(other).await, "{other}");
    }
    // It is dropped, and its sender goes on.
    pi_1.publish("client/pi/weights/dqn/v1", "forged", false).await;
    pi_1.publish("trainer/t/learner/pi/dqn/v1", "forged", true).await;
    pi_1.publish("client/pi-1/experience/dqn/v1", "true", false).await;
    assert_eq!(anna.message().await.1, "true");
    pi.nothing().await;
    anna.publish("client/pi/weights/dqn/v1", "new", false).await;
    assert_eq!(pi.message().await.1, "new");
    pi_1.nothing().await;
    let counts = broker.counts();
    assert_eq!(
        (counts.publish_denied, counts.subscribe_denied),
        (2, 5),
        "{counts}"
    );

    let mut forged = with_password(at, "pi-1/2", PI_1.0, PI_1.1);
    forged.set_last_will(LastWill::new(
        "client/pi/status/dqn/v1",
        "gone",
        QoS::AtLeastOnce,
        true,
    ));
    assert_eq!(code(forged).await, ConnectReturnCode::NotAuthorized);
    assert_eq!(broker.counts().bad_will, 1);
}

#[tokio::test]
async fn a_device_has_so_many_sessions_and_no_more() {
    let (broker, _dir) = guarded();
    let session = |nth: usize| with_password(broker.address(), &format!("pi/{nth}"), PI.0, PI.1);
    let mut open = Vec::new();
    for nth in 0..8 {
        open.push(Peer::connect(session(nth)).await.unwrap());
    }
    assert_eq!(code(session(8)).await, ConnectReturnCode::NotAuthorized);
    // One of them comes again.
    assert_eq!(code(session(7)).await, ConnectReturnCode::Success);
    assert_eq!(broker.counts().too_many_sessions, 1);
}

#[test]
fn others_are_let_in_only_with_tls_and_passwords() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = BrokerConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..BrokerConfig::new()
    };
    let error = Broker::start(&config).unwrap_err().to_string();
    assert!(error.contains("--mqtt-users FILE"), "{error}");
    config.users = Some(users(&dir));
    let error = Broker::start(&config).unwrap_err().to_string();
    assert!(error.contains("--tls-cert FILE"), "{error}");
}

#[tokio::test]
async fn the_port_behind_the_gate_lets_nobody_in() {
    let broker = open();
    // rmqtt's own port is the other one of this process that listens on loopback: found as a stranger would.
    let ours = listening_ports();
    let gate = broker.address().port();
    let mut tried = 0;
    for port in ours.into_iter().filter(|&port| port != gate) {
        let there = options_at("127.0.0.1", port, "pi");
        let before = broker.counts().bypass;
        let outcome = tokio::time::timeout(crate::peer::QUIET, Peer::connect(there)).await;
        if broker.counts().bypass > before {
            tried += 1;
            assert!(matches!(
                outcome,
                Ok(Err(ConnectionError::ConnectionRefused(
                    ConnectReturnCode::NotAuthorized
                )))
            ));
        }
    }
    assert_eq!(tried, 1);
}

/// TCP ports of 127.0.0.1 on which this process listens.
fn listening_ports() -> Vec<u16> {
    let inodes: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| {
            let link = fs::read_link(fd.ok()?.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let ports = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port = fields[1].strip_prefix("0100007F:")?;
        (fields[3] == "0A" && inodes.iter().any(|inode| inode == fields[9]))
            .then(|| u16::from_str_radix(port, 16).unwrap())
    });
    ports.collect()
}

#[tokio::test]
async fn on_this_machine_everybody_is_let_in() {
    let broker = open();
    assert_eq!(
        code(options(broker.address(), "pi")).await,
        ConnectReturnCode::Success
    );
    let named = with_password(broker.address(), "pi", "pi", "whatever");
    assert_eq!(code(named).await, ConnectReturnCode::Success);
    assert_eq!(broker.counts().bad_password, 0);
}
