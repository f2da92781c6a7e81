//! What MQTT 3.1.1 promises: sessions, retained messages, last wills.

use crate::open;
use crate::peer::{Peer, options};
use hwmeter::train::broker::{Broker, BrokerConfig};
use rumqttc::{LastWill, QoS};

const TOPIC: &str = "client/pi/weights/dqn/v1";

#[tokio::test]
async fn a_message_goes_to_those_who_subscribed() {
    let broker = open();
    let mut trainer = Peer::connect(options(broker.address(), "trainer")).await.unwrap();
    let mut device = Peer::connect(options(broker.address(), "pi")).await.unwrap();
    assert!(device.subscribe("client/pi/#").await);
    let large = vec![7; 800_000];
    trainer.publish(TOPIC, large.clone(), false).await;
    trainer
        .publish("client/pi-1/weights/dqn/v1", "not for pi", false)
        .await;
    trainer.publish(TOPIC, "small", false).await;
    assert_eq!(device.message().await, (TOPIC.to_owned(), large.into()));
    assert_eq!(device.message().await.1, "small");
    device.nothing().await;
}

#[tokio::test]
async fn a_session_is_kept_while_its_client_is_away() {
    let broker = open();
    let persistent = || {
        let mut options = options(broker.address(), "pi");
        options.set_clean_session(false);
        options
    };
    let mut device = Peer::connect(persistent()).await.unwrap();
    assert!(!device.session_present);
    assert!(device.subscribe("client/pi/#").await);
    device.leave().await;

    let mut trainer = Peer::connect(options(broker.address(), "trainer")).await.unwrap();
    for version in ["1", "2", "3"] {
        trainer.publish(TOPIC, version, false).await;
    }
    let mut device = Peer::connect(persistent()).await.unwrap();
    assert!(device.session_present);
    for version in ["1", "2", "3"] {
        assert_eq!(device.message().await.1, version);
    }
    // Without subscribing anew.
    trainer.publish(TOPIC, "4", false).await;
    assert_eq!(device.message().await.1, "4");
    device.nothing().await;
    device.leave().await;

    let mut fresh = Peer::connect(options(broker.address(), "pi")).await.unwrap();
    assert!(!fresh.session_present);
    trainer.publish(TOPIC, "5", false).await;
    fresh.nothing().await;
}

#[tokio::test]
async fn a_retained_message_is_there_for_whoever_comes_later() {
    let broker = open();
    let mut device = Peer::connect(options(broker.address(), "pi")).await.unwrap();
    device.publish("client/pi/status/dqn/v1", "old", true).await;
    device.publish("client/pi/status/dqn/v1", "new", true).await;
    device.publish("client/pi/status/ac/v1", "removed", true).await;
    device.publish("client/pi/status/ac/v1", "", true).await;
    device.leave().await;
    let mut trainer = Peer::connect(options(broker.address(), "trainer")).await.unwrap();
    assert!(trainer.subscribe("client/+/status/+/v1").await);
    assert_eq!(trainer.message().await.1, "new");
    trainer.nothing().await;
}

#[tokio::test]
async fn the_last_will_is_told_when_a_client_vanishes_and_not_when_it_leaves() {
    let broker = open();
    let mut trainer = Peer::connect(options(broker.address(), "trainer")).await.unwrap();
    assert!(trainer.subscribe("client/+/status/+/v1").await);
    let with_will = || {
        let mut options = options(broker.address(), "pi");
        options.set_last_will(LastWill::new(
            "client/pi/status/dqn/v1",
            "gone",
            QoS::AtLeastOnce,
            true,
        ));
        options
    };
    Peer::connect(with_will()).await.unwrap().leave().await;
    trainer.nothing().await;
    // Dropped without a word.
    drop(Peer::connect(with_will()).await.unwrap());
    assert_eq!(trainer.message().await.1, "gone");
    // It is retained as well.
    let mut later = Peer::connect(options(broker.address(), "later")).await.unwrap();
    assert!(later.subscribe("client/pi/#").await);
    assert_eq!(later.message().await.1, "gone");
}

#[tokio::test]
async fn what_was_said_before_a_goodbye_is_heard() {
    let broker = open();
    let mut trainer = Peer::connect(options(broker.address(), "trainer")).await.unwrap();
    assert!(trainer.subscribe("client/#").await);
    for nth in 0..20_u8 {
        let mut device = Peer::connect(options(broker.address(), "pi")).await.unwrap();
        assert!(device.subscribe("client/pi/#").await);
        // Nobody reads what comes back.
        device
            .client
            .publish(TOPIC, QoS::AtLeastOnce, false, vec![nth; 100_000])
            .await
            .unwrap();
        device.leave().await;
        assert_eq!(trainer.message().await.1, vec![nth; 100_000]);
    }
}

#[tokio::test]
async fn a_broker_can_be_started_again_on_the_same_port() {
    let first = open();
    let address = first.address();
    let mut client = Peer::connect(options(address, "pi")).await.unwrap();
    first.stop();
    client.until_lost().await;
    for _ in 0..3 {
        let config = BrokerConfig {
            listen: address,
            ..BrokerConfig::new()
        };
        let again = Broker::start(&config).unwrap();
        let taken = Broker::start(&config).unwrap_err();
        assert!(
            taken.is_port_taken() && taken.to_string().contains("choose another"),
            "{taken}"
        );
        Peer::connect(options(again.address(), "pi")).await.unwrap();
    }
}
