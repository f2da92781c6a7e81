//! A trainer and devices at a real broker.
#![allow(clippy::unwrap_used)]

#[path = "common/brokers.rs"]
mod brokers;
#[cfg(feature = "s3")]
#[path = "trainer_mqtt/bucket.rs"]
mod bucket;
#[path = "common/certificates.rs"]
mod certificates;
mod common;
#[path = "common/device.rs"]
mod device;
#[cfg(feature = "s3")]
#[path = "common/troublemaker.rs"]
mod troublemaker;

use brokers::Broker;
use common::PLENTY;
use device::Device;
use hwmeter::learn::guard::Guard;
use hwmeter::learn::{Cost, Engine, LearnerName, Placement, Settings, State, Transition};
use hwmeter::train::link::{Link, LinkConfig};
use hwmeter::train::manager::Config;
use hwmeter::train::store::Store;
use hwmeter::train::topic::Channel;
use hwmeter::train::trainer::Trainer;
use hwmeter::train::weights;
use hwmeter::train::wire::{Body, Message, Presence};
use std::path::Path;
use std::time::{Duration, Instant};

const SEED: u64 = 7;

fn trainer(broker: &Broker, state: &Path) -> Trainer {
    let link = LinkConfig::new(broker.url(), "trainer-t");
    let (link, events) = Link::start(link).unwrap();
    let config = Config::new("t".parse().unwrap());
    let store = Store::folder(state).unwrap();
    Trainer::start(config, store, link, events, 2, PLENTY).unwrap()
}

fn settings(hidden: &[usize]) -> Settings {
    let mut settings = Settings::default();
    settings.dqn.hidden = hidden.to_vec();
    settings
}

/// A device whose `dqn` a trainer is to train.
fn pupil(broker: &Broker, settings: &Settings) -> Device {
    let device = Device::connect(broker.url(), "pi-1", "dqn");
    let presence = Presence {
        online: true,
        settings: serde_json::to_string(settings).unwrap(),
        seed: SEED,
        sync_every: 1,
        ..Presence::default()
    };
    device.say(Channel::Status, 0, Body::Presence(presence));
    device
}

fn learn(device: &Device, n: u64) {
    let (transition, cost) = experience(n);
    device.experience(n, &transition, &cost);
}

/// The next thing that the trainer says of which this is true.
fn hears(device: &Device, is_it: impl Fn(&Message) -> bool) -> Message {
    std::iter::repeat_with(|| device.hears()).find(is_it).unwrap()
}

/// SHA-256 of the weights of that version.
fn weights_of(device: &Device, version: u64) -> Vec<u8> {
    let message = hears(device, |m| {
        m.sequence == version && matches!(m.body, Body::Weights(_))
    });
    let Body::Weights(weights) = message.body else {
        unreachable!("they are weights")
    };
    weights.sha256.to_vec()
}

/// The same trained here.
fn trained_here(settings: &Settings, n: u64) -> Vec<u8> {
    let learner = Engine::Native.build(LearnerName::Dqn, SEED, settings);
    let mut guard = Guard::new(learner.unwrap());
    for n in 1..=n {
        let (transition, cost) = experience(n);
        guard.learn(&transition, &cost).unwrap();
    }
    weights::sha256(&guard.weights()).to_vec()
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
    let settings = settings(&[16, 16]);
    let device = pupil(&broker, &settings);
    let first = trainer(&broker, state.path());
    hears(&device, is_ack);
    for n in 1..=5 {
        learn(&device, n);
        assert_eq!(weights_of(&device, n), trained_here(&settings, n), "version {n}");
    }
    assert_eq!(first.stop().updates, 5);
    // The first says that it has stored all; what is heard from here on is said by the second.
    while device.events.recv_timeout(Duration::from_millis(300)).is_ok() {}
    let second = trainer(&broker, state.path());
    let ack = hears(&device, |m| is_ack(m) && m.sequence == 5);
    assert!(matches!(ack.body, Body::Ack(ack) if ack.durable == 5));
    learn(&device, 6);
    assert_eq!(weights_of(&device, 6), trained_here(&settings, 6));
    assert_eq!(second.stop().updates, 1);
}

/// Not a benchmark: that nothing waits for a timer on the way. What it takes stands in `bench/RESULTS.md`.
#[test]
fn weights_come_back_without_a_wait() {
    let Some(broker) = Broker::mosquitto("") else {
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let device = pupil(&broker, &settings(&[256; 4]));
    let trainer = trainer(&broker, state.path());
    hears(&device, is_ack);
    let mut times: Vec<Duration> = (1..=21)
        .map(|n| {
            let began = Instant::now();
            learn(&device, n);
            weights_of(&device, n);
            began.elapsed()
        })
        .collect();
    times.sort();
    println!("p50 {:?}, all {times:?}", times[times.len() / 2]);
    trainer.stop();
    assert!(times[times.len() / 4] < Duration::from_millis(200), "{times:?}");
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_build_without_s3_says_how_to_get_one_with_it() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    command.args(["serve", "--role", "trainer", "--state", "s3://learners/site-1"]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && stderr.contains("--features s3"),
        "{stderr}"
    );
}
