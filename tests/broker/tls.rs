//! TLS, which the gate ends.

use crate::access::users;
use crate::certificates::Authority;
use crate::peer::{PLENTY, Peer, options_at, with_password};
use hwmeter::train::broker::{Broker, BrokerConfig};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::io::{Read, Write};
use std::sync::Arc;

fn trusting(authority: &Authority) -> Transport {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.file()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config)))
}

#[tokio::test]
async fn devices_elsewhere_are_served_by_tls() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let config = BrokerConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        tls: Some(authority.sign("localhost")),
        users: Some(users(&dir)),
        ..BrokerConfig::new()
    };
    let broker = Broker::start(&config).unwrap();
    let port = broker.address().port();
    let device = |trusted: &Authority| {
        let mut options = options_at("localhost", port, "pi");
        options.set_credentials("pi", "pi-has-a-secret");
        options.set_transport(trusting(trusted));
        options
    };
    let mut pi = Peer::connect(device(&authority)).await.unwrap();
    assert!(pi.subscribe("client/pi/#").await);
    pi.publish("client/pi/model/dqn/v1", vec![7; 2_000_000], false)
        .await;
    assert_eq!(pi.message().await.1, vec![7; 2_000_000]);

    assert!(
        Peer::connect(device(&Authority::named("Somebody else")))
            .await
            .is_err()
    );
    // In the clear nothing is understood.
    let mut plain = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.set_read_timeout(Some(PLENTY)).unwrap();
    plain
        .write_all(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3C\x00\x04abcd")
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    // A TLS alert at most, no CONNACK.
    assert_ne!(answer.first(), Some(&0x20));
    // Who is refused may know it before it is counted.
    let give_up = std::time::Instant::now() + PLENTY;
    while broker.counts().tls < 2 && std::time::Instant::now() < give_up {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(broker.counts().tls, 2, "{}", broker.counts());
    // The trainer in the same process needs none, on a port where nobody else gets in.
    let (own, account) = (broker.own_address(), broker.account());
    assert!(own.ip().is_loopback() && own.port() != port);
    let mut trainer = Peer::connect(with_password(own, "trainer", &account.name, &account.password))
        .await
        .unwrap();
    trainer.publish("client/pi/weights/dqn/v1", "new", false).await;
    assert_eq!(pi.message().await.1, "new");
    assert!(
        Peer::connect(with_password(own, "pi", "pi", "pi-has-a-secret"))
            .await
            .is_err()
    );
    pi.leave().await;
}
