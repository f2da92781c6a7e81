//! The MQTT client against real brokers.
#![allow(clippy::unwrap_used)]

#[path = "common/brokers.rs"]
mod brokers;
#[path = "common/certificates.rs"]
mod certificates;
mod common;

use brokers::Broker;
use bytes::Bytes;
use certificates::Authority;
use common::{PLENTY, payload, until};
use hwmeter::train::broker::{self, BrokerConfig};
use hwmeter::train::link::{BrokerUrl, Event, Link, LinkConfig, NotQueued, Outgoing, Problem};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// A link that is connected.
fn connected(config: LinkConfig) -> (Link, Receiver<Event>) {
    let (link, events) = Link::start(config).unwrap();
    assert_eq!(events.recv_timeout(PLENTY), Ok(Event::Connected));
    (link, events)
}

fn config(url: BrokerUrl, client_id: &str) -> LinkConfig {
    LinkConfig::new(url, client_id)
}

/// Why there is no connection.
fn problem(config: LinkConfig) -> Problem {
    let (_link, events) = Link::start(config).unwrap();
    match events.recv_timeout(PLENTY).unwrap() {
        Event::Disconnected(problem) => problem,
        other => panic!("there should be no connection: {other:?}"),
    }
}

/// The next message; what else happens is no matter.
fn message(events: &Receiver<Event>) -> (String, Bytes) {
    let give_up = Instant::now() + PLENTY;
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        if let Event::Message { topic, payload, .. } = events.recv_timeout(left).unwrap() {
            return (topic, payload);
        }
    }
}

/// Until a probe of our own comes back, so that the subscription is in force.
fn subscribed(link: &Link, events: &Receiver<Event>, filter: &str) {
    link.subscribe(filter).unwrap();
    link.subscribe("probe").unwrap();
    until("the subscription is in force", || {
        link.publish("probe", Bytes::from_static(b"?"), false).unwrap();
        let came = events.recv_timeout(Duration::from_millis(200));
        matches!(came, Ok(Event::Message { topic, .. }) if topic == "probe")
    });
    link.unsubscribe("probe").unwrap();
    while events.recv_timeout(Duration::from_millis(50)).is_ok() {}
}

#[test]
fn what_one_publishes_the_other_reads_in_order_and_nothing_is_missing() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let (reader, events) = connected(config(broker.url(), "reader"));
    let (writer, _) = connected(config(broker.url(), "writer"));
    subscribed(&reader, &events, "a/+/c");
    for n in 0..500_u32 {
        writer
            .publish(format!("a/{n}/c"), n.to_be_bytes().to_vec().into(), false)
            .unwrap();
    }
    for n in 0..500_u32 {
        let (topic, payload) = message(&events);
        assert_eq!(
            (topic, payload.as_ref()),
            (format!("a/{n}/c"), n.to_be_bytes().as_slice())
        );
    }
    until("all are acknowledged", || writer.unacknowledged() == 0);
}

#[test]
fn stop_sends_what_is_queued_and_says_goodbye() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let (reader, events) = connected(config(broker.url(), "reader"));
    subscribed(&reader, &events, "out/#");
    let mut leaving = config(broker.url(), "leaving");
    leaving.will = Some(Outgoing {
        topic: "out/will".to_owned(),
        payload: Bytes::from_static(b"crashed"),
        retain: false,
    });
    let (writer, _) = connected(leaving.clone());
    for n in 0..300_u32 {
        writer
            .publish("out/n", n.to_be_bytes().to_vec().into(), false)
            .unwrap();
    }
    writer.stop(PLENTY);
    let refused = writer.publish("out/n", Bytes::new(), false);
    assert_eq!(refused, Err(NotQueued::Stopped));
    for n in 0..300_u32 {
        assert_eq!(message(&events).1.as_ref(), n.to_be_bytes());
    }
    // One that is dropped instead has crashed, as far as anybody can see. No will came before: the goodbye was heard.
    let (writer, _) = connected(leaving);
    drop(writer);
    assert_eq!(
        message(&events),
        ("out/will".to_owned(), Bytes::from_static(b"crashed"))
    );
}

#[test]
fn stop_keeps_its_limit_without_a_broker() {
    let url: BrokerUrl = "mqtt://127.0.0.1:1".parse().unwrap();
    let (link, _events) = Link::start(config(url, "me")).unwrap();
    link.publish("a", Bytes::from_static(b"1"), false).unwrap();
    let begun = Instant::now();
    assert_eq!(
        link.stop(Duration::from_millis(300)),
        1,
        "one was never acknowledged"
    );
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_broker_that_restarts_without_a_memory_gets_everything_that_it_had_not_acknowledged() {
    let Some(mut broker) = Broker::mosquitto("") else {
        return;
    };
    let (reader, events) = connected(config(broker.url(), "reader"));
    subscribed(&reader, &events, "n");
    let (writer, writer_events) = connected(config(broker.url(), "writer"));
    broker.kill();
    let lost = writer_events.recv_timeout(PLENTY).unwrap();
    assert!(
        matches!(lost, Event::Disconnected(Problem::Lost { .. })),
        "{lost:?}"
    );
    for n in 0..200_u32 {
        writer
            .publish("n", n.to_be_bytes().to_vec().into(), false)
            .unwrap();
    }
    // The reader first, so that its subscription is there when the messages come.
    broker.start_again();
    until("the messages come", || writer.unacknowledged() == 0);
    until("the reader is back", || {
        matches!(
            events.recv_timeout(PLENTY),
            Ok(Event::Connected | Event::Message { .. })
        )
    });
    // Those sent before the reader had subscribed again are gone with the broker's memory; the others come in order.
    let (mut n, mut last) = (200_u32, None);
    until("later ones come", || {
        writer
            .publish("n", n.to_be_bytes().to_vec().into(), false)
            .unwrap();
        n += 1;
        while let Ok(event) = events.recv_timeout(Duration::from_millis(50)) {
            let Event::Message { payload, .. } = event else {
                continue;
            };
            let came = u32::from_be_bytes(payload.as_ref().try_into().unwrap());
            assert!(last < Some(came), "{came} after {last:?}");
            last = Some(came);
        }
        last >= Some(200)
    });
}

#[test]
fn the_next_broker_is_used_when_one_does_not_answer_and_gets_what_the_other_has_not_acknowledged() {
    let start = || broker::Broker::start(&BrokerConfig::new()).unwrap();
    let (first, second) = (start(), start());
    let url = |broker: &broker::Broker| format!("mqtt://{}", broker.address());
    let urls = format!("{},{}", url(&first), url(&second)).parse().unwrap();
    let (writer, events) = connected(LinkConfig::to_any_of(urls, "writer"));
    let at_second = config(url(&second).parse().unwrap(), "reader");
    let (reader, read) = connected(at_second);
    subscribed(&reader, &read, "n");
    first.stop();
    let lost = events.recv_timeout(PLENTY).unwrap();
    assert!(
        matches!(lost, Event::Disconnected(Problem::Lost { .. })),
        "{lost:?}"
    );
    for n in 0..200_u32 {
        writer
            .publish("n", n.to_be_bytes().to_vec().into(), false)
            .unwrap();
    }
    for n in 0..200_u32 {
        assert_eq!(message(&read).1.as_ref(), n.to_be_bytes());
    }
    // Now there is none any more; each is told of once.
    second.stop();
    let gone = |event: Event| match event {
        Event::Disconnected(problem) => Some(problem.to_string()),
        _ => None,
    };
    let told = std::iter::from_fn(|| events.recv_timeout(Duration::from_secs(1)).ok());
    let told: Vec<String> = told.filter_map(gone).collect();
    let unreachable = |text: &&String| text.starts_with("cannot reach");
    // The first was told of before the second was tried.
    assert_eq!(told.iter().filter(unreachable).count(), 2, "{told:?}");
}

#[test]
fn who_moves_on_goes_to_the_next_broker_and_around() {
    let start = || broker::Broker::start(&BrokerConfig::new()).unwrap();
    let (first, second) = (start(), start());
    let urls = format!("mqtt://{},mqtt://{}", first.address(), second.address());
    let (link, events) = connected(LinkConfig::to_any_of(urls.parse().unwrap(), "me"));
    link.subscribe("me").unwrap();
    for (n, broker) in [(1_u8, &second), (2, &first), (3, &second)] {
        link.move_on();
        let url = format!("mqtt://{}", broker.address()).parse().unwrap();
        let (other, _) = connected(config(url, "other"));
        let is_it = |event| matches!(event, Event::Message { payload, .. } if payload.as_ref() == [n]);
        until("it is there", || {
            other.publish("me", vec![n].into(), false).unwrap();
            events.recv_timeout(Duration::from_millis(100)).is_ok_and(is_it)
        });
    }
}

#[test]
fn a_session_that_the_broker_keeps_loses_nothing_while_its_client_is_away() {
    let Some(mut broker) = Broker::mosquitto("max_queued_messages 0") else {
        return;
    };
    let (reader, events) = connected(config(broker.url(), "reader"));
    subscribed(&reader, &events, "n");
    drop(reader);
    let (writer, _) = connected(config(broker.url(), "writer"));
    for n in 0..100_u32 {
        writer
            .publish("n", n.to_be_bytes().to_vec().into(), false)
            .unwrap();
    }
    until("all are acknowledged", || writer.unacknowledged() == 0);
    broker.restart();
    let (_reader, events) = Link::start(config(broker.url(), "reader")).unwrap();
    for n in 0..100_u32 {
        assert_eq!(message(&events).1.as_ref(), n.to_be_bytes());
    }
}

#[test]
fn the_queue_is_bounded_in_messages_and_in_bytes() {
    let url: BrokerUrl = "mqtt://127.0.0.1:1".parse().unwrap();
    let mut small = config(url, "me");
    (small.max_queued, small.max_queued_bytes, small.max_message) = (3, 100, 200);
    let (link, _events) = Link::start(small).unwrap();
    let publish = |bytes: usize| link.publish("a", payload(bytes).into(), false);
    assert_eq!(publish(201), Err(NotQueued::TooLarge(200)));
    assert_eq!(publish(150), Ok(()), "one has room always");
    assert_eq!(publish(1), Err(NotQueued::Full));
    assert_eq!(link.unacknowledged(), 1);
    for bad in ["", "a/+", "#", "a\0"] {
        assert_eq!(
            link.publish(bad, Bytes::new(), false),
            Err(NotQueued::Topic),
            "{bad:?}"
        );
    }
    assert_eq!(link.subscribe("a/#/b"), Err(NotQueued::Topic));
}

#[test]
fn a_message_larger_than_agreed_is_dropped_and_told_and_the_next_one_comes() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let mut small = config(broker.url(), "reader");
    small.max_message = 1000;
    let (reader, events) = connected(small);
    subscribed(&reader, &events, "n");
    let (writer, _) = connected(config(broker.url(), "writer"));
    writer.publish("n", payload(1001).into(), false).unwrap();
    writer.publish("n", payload(1000).into(), false).unwrap();
    let expected = Problem::TooLarge {
        topic: "n".to_owned(),
        bytes: 1001,
        limit: 1000,
    };
    assert_eq!(events.recv_timeout(PLENTY), Ok(Event::Trouble(expected)));
    assert_eq!(message(&events).1, payload(1000));
}

#[test]
fn one_that_is_not_even_received_does_not_come_again_and_again() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let mut small = config(broker.url(), "reader");
    small.max_message = 1000;
    let (reader, events) = connected(small);
    subscribed(&reader, &events, "n");
    let mut large = config(broker.url(), "writer");
    large.max_message = 20 << 20;
    let (writer, _) = connected(large);
    writer.publish("n", payload(17 << 20).into(), false).unwrap();
    let told = events.recv_timeout(PLENTY).unwrap();
    assert!(
        matches!(told, Event::Disconnected(Problem::FarTooLarge { .. })),
        "{told:?}"
    );
    writer.publish("n", Bytes::from_static(b"next"), false).unwrap();
    assert_eq!(events.recv_timeout(2 * PLENTY), Ok(Event::Connected));
}

#[test]
fn a_wrong_password_is_told_and_never_shown() {
    let Some(broker) = Broker::mosquitto_with_passwords(&[("pi", "right")]) else {
        return;
    };
    let (_link, _) = connected(config(broker.url_for("pi", "right"), "me"));
    for url in [broker.url_for("pi", "secret-wrong"), broker.url()] {
        let problem = problem(config(url.clone(), "me-too"));
        assert!(matches!(problem, Problem::Login { .. }), "{problem:?}");
        assert!(problem.needs_somebody());
        let text = format!("{problem} {problem:?} {url} {url:?}");
        assert!(
            !text.contains("secret") && text.contains("check user and password"),
            "{text}"
        );
    }
}

#[test]
fn a_subscription_that_is_not_allowed_is_told() {
    // Mosquitto says yes to every subscription of MQTT 3.1.1 and then delivers nothing; NATS is of the same kind. What
    // is sent here is the answer of one that says no.
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).unwrap();
        stream.write_all(&[0x20, 2, 0, 0]).unwrap();
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 4 && buffer[0] == 0x82);
        stream.write_all(&[0x90, 3, buffer[2], buffer[3], 0x80]).unwrap();
        let _ = stream.read(&mut buffer);
    });
    let (link, events) = connected(config(format!("mqtt://127.0.0.1:{port}").parse().unwrap(), "me"));
    link.subscribe("client/other/#").unwrap();
    let told = events.recv_timeout(PLENTY).unwrap();
    let Event::Trouble(Problem::Subscription { filter, .. }) = told else {
        panic!("{told:?}")
    };
    assert_eq!(filter, "client/other/#");
    drop(link);
    broker.join().unwrap();
}

#[test]
fn tls_works_and_what_is_wrong_with_a_certificate_is_told() {
    let authority = Authority::new();
    let good = authority.sign("localhost");
    let Some(broker) = Broker::mosquitto_with_tls(&good) else {
        return;
    };
    let with_ca = |url: BrokerUrl, authority: &Authority| {
        let mut config = config(url, "me");
        config.ca = Some(authority.file());
        config
    };
    let (link, events) = connected(with_ca(broker.url(), &authority));
    subscribed(&link, &events, "n");
    link.publish("n", payload(100_000).into(), false).unwrap();
    assert_eq!(message(&events).1, payload(100_000));

    let unknown = problem(with_ca(broker.url(), &Authority::named("Another")));
    let text = unknown.to_string();
    assert!(
        matches!(unknown, Problem::Tls { .. }) && text.contains("nobody this board trusts"),
        "{text}"
    );
    let plain: BrokerUrl = format!("mqtt://127.0.0.1:{}", broker.port()).parse().unwrap();
    let text = problem(config(plain, "me")).to_string();
    assert!(text.contains("perhaps it wants TLS"), "{text}");

    let expired = authority.sign_between("localhost", 2020, 2021);
    let broker = Broker::mosquitto_with_tls(&expired).unwrap();
    let text = problem(with_ca(broker.url(), &authority)).to_string();
    assert!(text.contains("expired at 2021"), "{text}");
    let broker = Broker::mosquitto_with_tls(&authority.sign("mec.local")).unwrap();
    let text = problem(with_ca(broker.url(), &authority)).to_string();
    assert!(text.contains("is for") && text.contains("mec.local"), "{text}");
}

#[test]
fn a_client_may_have_to_show_a_certificate() {
    let authority = Authority::new();
    let Some(broker) = Broker::mosquitto_with_client_certificates(&authority.sign("localhost"), &authority)
    else {
        return;
    };
    let mut with_identity = config(broker.url(), "me");
    with_identity.ca = Some(authority.file());
    let without = problem(with_identity.clone());
    assert!(without.to_string().contains("certificate"), "{without}");
    with_identity.identity = Some(authority.sign("device-1"));
    connected(with_identity);
}

#[test]
fn nobody_there_is_told_and_a_broker_that_comes_later_is_found() {
    let Some(mut broker) = Broker::mosquitto("") else {
        return;
    };
    broker.stop();
    let (link, events) = Link::start(config(broker.url(), "me")).unwrap();
    let told = events.recv_timeout(PLENTY).unwrap();
    let Event::Disconnected(problem) = told else {
        panic!("{told:?}")
    };
    assert!(problem.to_string().contains("start the broker"), "{problem}");
    link.publish("early", Bytes::from_static(b"1"), true).unwrap();
    broker.start_again();
    assert_eq!(events.recv_timeout(PLENTY), Ok(Event::Connected));
    link.subscribe("early").unwrap();
    assert_eq!(message(&events).1.as_ref(), b"1");
}

#[test]
fn nats_serves_the_same_client() {
    let Some(mut broker) = Broker::nats() else { return };
    let (link, events) = connected(config(broker.url(), "me"));
    subscribed(&link, &events, "client/+/experience/+/v1");
    link.publish("client/pi/experience/dqn/v1", payload(800_000).into(), false)
        .unwrap();
    assert_eq!(message(&events).1, payload(800_000));
    broker.restart();
    until("it is there again", || {
        matches!(events.recv_timeout(PLENTY), Ok(Event::Connected))
    });
    link.publish("client/pi/experience/dqn/v1", payload(64).into(), false)
        .unwrap();
    assert_eq!(message(&events).1, payload(64));
}

#[test]
fn who_subscribes_again_gets_again_what_the_broker_keeps() {
    let embedded = broker::Broker::start(&BrokerConfig::new()).unwrap();
    let brokers = [Broker::mosquitto(""), Broker::nats()];
    let urls = brokers.iter().flatten().map(Broker::url);
    let embedded = format!("mqtt://{}", embedded.address()).parse().unwrap();
    for url in urls.chain([embedded]) {
        let (link, events) = connected(config(url.clone(), "me"));
        link.publish("kept/1", Bytes::from_static(b"1"), true).unwrap();
        until("it is kept", || link.unacknowledged() == 0);
        for _ in 0..3 {
            link.subscribe("kept/+").unwrap();
            assert_eq!(message(&events).1, "1", "{url}");
        }
    }
}

/// An experience up, weights down: what a remote update costs on the way.
#[test]
fn a_round_trip_takes_milliseconds() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let (device, weights) = connected(config(broker.url(), "device"));
    let (trainer, experiences) = connected(config(broker.url(), "trainer"));
    subscribed(&device, &weights, "down");
    subscribed(&trainer, &experiences, "up");
    let (up, down) = (Bytes::from(payload(64)), Bytes::from(payload(800_000)));
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        device.publish("up", up.clone(), false).unwrap();
        message(&experiences);
        trainer.publish("down", down.clone(), false).unwrap();
        assert_eq!(message(&weights).1.len(), 800_000);
        took.push(begun.elapsed());
    }
    took.sort();
    println!("64 B up and 800 kB down: p50 {:?}, p99 {:?}", took[50], took[98]);
    // Without TCP_NODELAY it is 44 ms.
    assert!(took[50] < Duration::from_millis(25), "{:?}", took[50]);
}
