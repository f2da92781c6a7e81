//! Trainers at a broker that somebody else runs.

use super::brokers::Broker;
use super::certificates::Authority;
use super::{Client, PLENTY, Running, Signal, Url, secret};

const READY: &str = "hwmeter serve: trainer on ";

#[test]
fn a_trainer_waits_for_its_broker_and_says_why_it_is_not_ready() {
    let Some(mut broker) = Broker::mosquitto("") else {
        return;
    };
    broker.stop();
    // By name: that it is looked up is a right of its own.
    let url = format!("mqtt://localhost:{}", broker.port());
    let state = tempfile::tempdir().unwrap();
    let args = ["--role", "trainer", "--broker", &url, "--state"];
    let mut trainer = Running::start(&[&args[..], &[state.path().to_str().unwrap()]].concat());
    trainer.complained("cannot reach the broker");
    broker.start_again();
    assert_eq!(trainer.said(READY), url);
    trainer.signal(Signal::SIGTERM);
    assert!(trainer.child.wait().unwrap().success());
}

#[test]
fn it_shows_its_password_and_ends_when_asked_although_nobody_lets_it_in() {
    let password = "a password of length";
    let Some(broker) = Broker::mosquitto_with_passwords(&[("anna", password)]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (wrong, right) = (
        secret(dir.path(), "wrong", "guessed"),
        secret(dir.path(), "right", password),
    );
    let url = broker.url().to_string();
    let start = |file: &str| {
        let state = dir.path().join("state");
        let args = ["--role", "trainer", "--broker", &url, "--broker-user", "anna"];
        let more = ["--broker-password-file", file, "--state", state.to_str().unwrap()];
        Running::start(&[&args[..], &more].concat())
    };
    let mut trainer = start(&wrong);
    trainer.complained("does not let");
    trainer.signal(Signal::SIGTERM);
    assert!(trainer.child.wait().unwrap().success());
    assert_eq!(start(&right).said(READY), url);
}

#[test]
fn it_shows_its_certificate_although_it_can_read_no_file_any_more() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let shows = servers.sign("localhost");
    let Some(broker) = Broker::mosquitto_with_client_certificates(&shows, &clients) else {
        return;
    };
    let own = clients.sign("trainer");
    let state = tempfile::tempdir().unwrap();
    let url = broker.url().to_string();
    let mut trainer = Running::start(&[
        "--role",
        "trainer",
        "--broker",
        &url,
        "--broker-ca",
        servers.file().to_str().unwrap(),
        "--broker-cert",
        own.cert.to_str().unwrap(),
        "--broker-key",
        own.key.to_str().unwrap(),
        "--state",
        state.path().to_str().unwrap(),
    ]);
    assert_eq!(trainer.said(READY), url);
}

#[test]
fn an_edge_server_names_that_broker_and_serves_without_it() {
    let Some(mut broker) = Broker::mosquitto("") else {
        return;
    };
    let url = broker.url().to_string();
    broker.stop();
    let state = tempfile::tempdir().unwrap();
    let args = ["--role", "mec", "--broker", &url, "--state"];
    let mut mec = Running::start(&[&args[..], &[state.path().to_str().unwrap()]].concat());
    let address: Url = mec.said("hwmeter serve: mec listening on ").parse().unwrap();
    let mut client = Client::new(address).unwrap();
    assert_eq!(client.training(PLENTY).unwrap(), Some(url));
    mec.signal(Signal::SIGTERM);
    assert!(mec.child.wait().unwrap().success());
}
