//! A device's side of the training protocol by hand: it says what it is told to, and its test hears what comes back.
//!
//! A test that uses it has `mod common;` and, by `#[path]`, `mod device;`.
#![allow(clippy::unwrap_used, dead_code)]

use super::common::PLENTY;
use hwmeter::learn::{Cost, Transition};
use hwmeter::train::link::{BrokerUrl, Event, Link, LinkConfig};
use hwmeter::train::topic::{Channel, Pupil};
use hwmeter::train::wire::{Body, Experience, Message};
use std::sync::mpsc::Receiver;
use std::time::Instant;

const EPOCH: u64 = 1_764_000_000_000;

pub struct Device {
    pub link: Link,
    pub events: Receiver<Event>,
    pupil: Pupil,
}

impl Device {
    /// One that hears what is said to its learner.
    pub fn connect(broker: BrokerUrl, name: &str, learner: &str) -> Self {
        let pupil = Pupil {
            device: name.parse().unwrap(),
            learner: learner.parse().unwrap(),
        };
        let (link, events) = Link::start(LinkConfig::new(broker, name)).unwrap();
        link.subscribe(&Channel::Weights.topic(&pupil)).unwrap();
        Self { link, events, pupil }
    }

    pub fn say(&self, channel: Channel, sequence: u64, body: Body) {
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

    pub fn experience(&self, sequence: u64, transition: &Transition, cost: &Cost) {
        let experience = Experience::of(transition, cost);
        self.say(Channel::Experience, sequence, Body::Experience(experience));
    }

    /// The next thing that it is told.
    pub fn hears(&self) -> Message {
        let give_up = Instant::now() + PLENTY;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            if let Event::Message { payload, .. } = self.events.recv_timeout(left).unwrap() {
                return Message::decode(payload, &self.pupil).unwrap();
            }
        }
    }
}
