//! What is bounded.

use crate::access::users;
use crate::peer::{Peer, options, with_password};
use crate::with_limits;
use hwmeter::train::broker::{Broker, BrokerConfig, Limits};
use rumqttc::QoS;
use std::time::Instant;

#[tokio::test]
async fn a_message_that_is_too_large_ends_its_connection_only() {
    let broker = with_limits(Limits {
        message_bytes: 100_000,
        ..Limits::default()
    });
    let mut device = Peer::connect(options(broker.address(), "pi")).await.unwrap();
    let mut other = Peer::connect(options(broker.address(), "other")).await.unwrap();
    assert!(other.subscribe("client/#").await);
    device
        .publish("client/pi/model/dqn/v1", vec![0; 90_000], false)
        .await;
    assert_eq!(other.message().await.1.len(), 90_000);
    device
        .client
        .publish(
            "client/pi/model/dqn/v1",
            QoS::AtLeastOnce,
            false,
            vec![0; 110_000],
        )
        .await
        .unwrap();
    device.until_lost().await;
    other.nothing().await;
    assert_eq!(broker.counts().too_large, 1);
}

#[tokio::test]
async fn there_are_so_many_connections_and_no_more() {
    let broker = with_limits(Limits {
        connections: 2,
        ..Limits::default()
    });
    let first = Peer::connect(options(broker.address(), "a")).await.unwrap();
    let _second = Peer::connect(options(broker.address(), "b")).await.unwrap();
    assert!(Peer::connect(options(broker.address(), "c")).await.is_err());
    assert_eq!(broker.counts().no_place, 1);
    first.leave().await;
    let begin = Instant::now();
    while Peer::connect(options(broker.address(), "c")).await.is_err() {
        assert!(begin.elapsed().as_secs() < 5);
    }
}

#[tokio::test]
async fn a_device_that_sends_too_much_is_read_more_slowly() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        users: Some(users(&dir)),
        limits: Limits {
            messages_per_s: 50,
            ..Limits::default()
        },
        ..BrokerConfig::new()
    };
    let broker = Broker::start(&config).unwrap();
    let mut device = Peer::connect(with_password(broker.address(), "pi", "pi", "pi-has-a-secret"))
        .await
        .unwrap();
    let begin = Instant::now();
    for _ in 0..75 {
        device.publish("client/pi/experience/dqn/v1", "e", false).await;
    }
    // 50 at once, and 25 at 50 per second.
    let took = begin.elapsed().as_secs_f64();
    assert!((0.35..5.0).contains(&took), "{took}");
    assert!(broker.counts().slowed_down > 0);
}

#[tokio::test]
async fn messages_that_nobody_fetches_take_so_much_memory_and_no_more() {
    let broker = with_limits(Limits {
        memory_bytes: 1_000_000,
        queue_messages: 50,
        retained: 2,
        ..Limits::default()
    });
    let persistent = || {
        let mut options = options(broker.address(), "pi");
        options.set_clean_session(false);
        options
    };
    let mut device = Peer::connect(persistent()).await.unwrap();
    assert!(device.subscribe("client/pi/weights/#").await);
    device.leave().await;
    let mut trainer = Peer::connect(options(broker.address(), "trainer")).await.unwrap();
    for _ in 0..15 {
        trainer
            .publish("client/pi/weights/dqn/v1", vec![1; 100_000], false)
            .await;
    }
    assert_eq!(broker.counts().no_memory, 5);
    let mut device = Peer::connect(persistent()).await.unwrap();
    for _ in 0..10 {
        assert_eq!(device.message().await.1.len(), 100_000);
    }
    device.nothing().await;
    device.leave().await;
    // What was fetched is held no longer.
    for _ in 0..60 {
        trainer.publish("client/pi/weights/dqn/v1", "small", false).await;
    }
    assert_eq!((broker.counts().no_memory, broker.counts().dropped), (5, 10));

    for learner in ["a", "b", "c"] {
        trainer
            .publish(&format!("client/pi/status/{learner}/v1"), "there", true)
            .await;
    }
    assert_eq!(broker.counts().not_retained, 1);
}
