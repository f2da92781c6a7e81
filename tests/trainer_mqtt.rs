//! A trainer and devices at a real broker.
#![allow(clippy::unwrap_used)]

#[path = "common/brokers.rs"]
mod brokers;
#[path = "common/certificates.rs"]
mod certificates;
mod common;

use brokers::Broker;
use common::PLENTY;
use hwmeter::learn::guard::Guard;
use hwmeter::learn::{Cost, Engine, LearnerName, Placement, Settings, State, Transition};
use hwmeter::train::link::{Event, Link, LinkConfig};
use hwmeter::train::manager::Config;
use hwmeter::train::store::Store;
use hwmeter::train::topic::{Channel, Pupil};
use hwmeter::train::trainer::Trainer;
use hwmeter::train::weights;
use hwmeter::train::wire::{Body, Experience, Message, Presence};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

const EPOCH: u64 = 1_764_000_000_000;

fn trainer(broker: &Broker, state: &Path) -> Trainer {
    let link = LinkConfig::new(broker.url(), "trainer-t");
    let (link, events) = Link::start(link).unwrap();
    let config = Config::new("t".parse().unwrap());
    let store = Store::folder(state).unwrap();
    Trainer::start(config, store, link, events, 2, PLENTY).unwrap()
}

/// The device's side by hand.
struct Device {
    pupil: Pupil,
    settings: Settings,
    link: Link,
    events: Receiver<Event>,
}

impl Device {
    fn connect(broker: &Broker, name: &str, hidden: Vec<usize>) -> Self {
        let pupil = Pupil {
            device: name.parse().unwrap(),
            learner: "dqn".parse().unwrap(),
        };
        let (link, events) = Link::start(LinkConfig::new(broker.url(), name)).unwrap();
        link.subscribe(&Channel::Weights.topic(&pupil)).unwrap();
        let mut settings = Settings::default();
        settings.dqn.hidden = hidden;
        Self {
            pupil,
            settings,
            link,
            events,
        }
    }

    fn say(&self, channel: Channel, sequence: u64, body: Body) {
        let message = Message {
            pupil: self.pupil.clone(),
            epoch: EPOCH,
            sequence,
            body,
        };
        let topic = channel.topic(&self.pupil);
        let is_status = channel == Channel::Status;
        self.link.publish(topic, message.encode(), is_status).unwrap();
    }

    fn begin(&self, head: u64) {
        let presence = Presence {
            online: true,
            settings: serde_json::to_string(&self.settings).unwrap(),
            seed: 7,
            sync_every: 1,
            ..Presence::default()
        };
        self.say(Channel::Status, head, Body::Presence(presence));
    }

    fn learn(&self, n: u64) {
        let (transition, cost) = experience(n);
        self.say(
            Channel::Experience,
            n,
            Body::Experience(Experience::of(&transition, &cost)),
        );
    }

    /// The next thing that the trainer says of which this is true.
    fn hears(&self, is_it: impl Fn(&Message) -> bool) -> Message {
        let give_up = Instant::now() + PLENTY;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            if let Event::Message { payload, .. } = self.events.recv_timeout(left).unwrap() {
                let message = Message::decode(payload, &self.pupil).unwrap();
                if is_it(&message) {
                    return message;
                }
            }
        }
    }

    /// SHA-256 of the weights of that version.
    fn weights(&self, version: u64) -> Vec<u8> {
        let message = self.hears(|m| m.sequence == version && matches!(m.body, Body::Weights(_)));
        let Body::Weights(weights) = message.body else {
            unreachable!("they are weights")
        };
        weights.sha256.to_vec()
    }

    /// The same trained here.
    fn local(&self, n: u64) -> Vec<u8> {
        let learner = Engine::Native.build(LearnerName::Dqn, 7, &self.settings);
        let mut guard = Guard::new(learner.unwrap());
        for n in 1..=n {
            let (transition, cost) = experience(n);
            guard.learn(&transition, &cost).unwrap();
        }
        weights::sha256(&guard.weights()).to_vec()
    }
}

fn experience(n: u64) -> (Transition, Cost) {
    let x = (n as f64 * 0.618).fract();
    let state = State {
        device_free: x,
        mec_free: 1.0 - x,
        throughput_bps: 1e6 * (1.0 + x),
        cycles: 1e7 * (1.0 + x),
        deadline_s: 0.5,
    };
    let transition = Transition {
        state,
        placement: Placement::ALL[(n % 3) as usize],
        reward: -x,
        next_state: state,
    };
    let cost = Cost {
        energy_j: x,
        latency_s: 0.1,
        in_time: true,
    };
    (transition, cost)
}

fn is_ack(message: &Message) -> bool {
    matches!(message.body, Body::Ack(_))
}

#[test]
fn weights_trained_by_a_trainer_are_those_trained_here_and_go_on_after_a_restart() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let device = Device::connect(&broker, "pi-1", vec![16, 16]);
    device.begin(0);
    let first = trainer(&broker, state.path());
    device.hears(is_ack);
    for n in 1..=5 {
        device.learn(n);
        assert_eq!(device.weights(n), device.local(n), "version {n}");
    }
    assert_eq!(first.stop().updates, 5);
    // The first says that it has stored all; what is heard from here on is said by the second.
    while device.events.recv_timeout(Duration::from_millis(300)).is_ok() {}
    let second = trainer(&broker, state.path());
    let ack = device.hears(|m| is_ack(m) && m.sequence == 5);
    assert!(matches!(ack.body, Body::Ack(ack) if ack.durable == 5));
    device.learn(6);
    assert_eq!(device.weights(6), device.local(6));
    assert_eq!(second.stop().updates, 1);
}

/// Not a benchmark: that nothing waits for a timer on the way. What it takes stands in `bench/RESULTS.md`.
#[test]
fn weights_come_back_without_a_wait() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let device = Device::connect(&broker, "pi-1", vec![256; 4]);
    device.begin(0);
    let trainer = trainer(&broker, state.path());
    device.hears(is_ack);
    let mut times: Vec<Duration> = (1..=21)
        .map(|n| {
            let began = Instant::now();
            device.learn(n);
            device.weights(n);
            began.elapsed()
        })
        .collect();
    times.sort();
    println!("p50 {:?}, all {times:?}", times[times.len() / 2]);
    trainer.stop();
    assert!(times[times.len() / 4] < Duration::from_millis(200), "{times:?}");
}
