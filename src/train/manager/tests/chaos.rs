//! Messages lost, repeated, delayed and overtaking each other, a store that fails, trainers killed at any moment:
//! afterwards every experience was learned from once and in order, and the learners are those of an undisturbed run, bit
//! for bit.

use super::world::{self, Device, assemble, run, understood, up};
use super::{Config, Lane, Manager, Message, Output, TICK};
use crate::train::manager::Done;
use crate::train::store::Store;
use crate::train::wire::{Body, Fetch};
use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const STEP: Duration = Duration::from_millis(50);
pub(super) const EXPERIENCES: usize = 60;
/// No run needs as long.
pub(super) const STEPS: u64 = 40_000;

/// Something that will happen.
pub(super) struct Later<T> {
    pub(super) at: Instant,
    pub(super) what: T,
}

/// Those that are due, in whatever order they come to be so.
pub(super) fn due<T>(waiting: &mut Vec<Later<T>>, now: Instant) -> Vec<T> {
    let (due, rest) = std::mem::take(waiting).into_iter().partition(|l| l.at <= now);
    *waiting = rest;
    let due: Vec<Later<T>> = due;
    due.into_iter().map(|l| l.what).collect()
}

/// A device that keeps what is not stored elsewhere, and sends it again when asked to.
pub(super) struct Sender {
    pub(super) device: Device,
    next: u64,
    has: u64,
    pub(super) durable: u64,
    uploads: bool,
    pub(super) heard: Vec<Message>,
    fetched: Instant,
}

impl Sender {
    pub(super) fn hear(&mut self, message: Message) {
        if message.epoch != self.device.epoch {
            return;
        }
        if let Body::Ack(ack) = &message.body {
            assert_eq!(ack.refused, "");
            self.durable = self.durable.max(ack.durable);
            self.uploads |= ack.need_model;
            if ack.resend_from > 0 {
                assert!(
                    ack.resend_from > ack.durable,
                    "asked for what is said to be stored"
                );
                // It may have been overtaken by one that says more.
                self.next = ack.resend_from.max(self.durable + 1);
            }
        }
        self.heard.push(message);
    }

    pub(super) fn speak(&mut self, rng: &mut ChaCha12Rng, now: Instant) -> Vec<Message> {
        let all = self.device.experiences.len() as u64;
        self.has = (self.has + rng.random_range(0..2)).min(all);
        self.device.head = self.has;
        let mut said = Vec::new();
        if std::mem::take(&mut self.uploads) {
            said.extend(self.device.checkpoint(self.device.base));
        }
        for _ in 0..4 {
            if self.next <= self.has {
                said.push(self.device.experience(self.next));
                self.next += 1;
            }
        }
        if self.has == all && now - self.fetched > Duration::from_secs(2) {
            self.fetched = now;
            self.heard.clear();
            said.push(self.device.message(all, Body::Fetch(Fetch { after: all })));
        }
        if rng.random_bool(0.005) {
            said.push(self.device.presence());
        }
        said
    }

    pub(super) fn is_done(&self) -> bool {
        let fetched = assemble(&self.device.pupil, &self.heard);
        fetched.is_some_and(|whole| {
            let all = self.device.experiences.len() as u64;
            assert_eq!(whole, self.device.undisturbed(all), "{}", self.device.pupil);
            true
        })
    }
}

/// Over a bad network: lost, once, or twice, after a while.
pub(super) fn send<T: Clone>(rng: &mut ChaCha12Rng, now: Instant, wire: &mut Vec<Later<T>>, what: T) {
    let times = [0, 1, 1, 1, 1, 1, 1, 1, 1, 2][rng.random_range(0..10)];
    for _ in 0..times {
        let late = rng.random_bool(0.05);
        let delay = rng.random_range(0..if late { 3000 } else { 60 });
        let at = now + Duration::from_millis(delay);
        wire.push(Later {
            at,
            what: what.clone(),
        });
    }
}

struct Chaos {
    rng: ChaCha12Rng,
    manager: Manager,
    store: Store,
    now: Instant,
    up: Vec<Later<(String, Bytes)>>,
    down: Vec<Later<(String, Bytes)>>,
    working: Vec<Later<Done>>,
    kills: u32,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let objects = Arc::new(object_store::memory::InMemory::new());
        Self {
            rng: ChaCha12Rng::seed_from_u64(seed),
            manager: Manager::new(config()),
            store: Store::objects(objects).unwrap(),
            now: Instant::now(),
            up: Vec::new(),
            down: Vec::new(),
            working: Vec::new(),
            kills: 0,
        }
    }

    fn step(&mut self, senders: &mut [Sender]) {
        self.now += STEP;
        let now = self.now;
        for sender in senders.iter_mut() {
            for message in sender.speak(&mut self.rng, now) {
                let what = (up(&message), message.encode());
                send(&mut self.rng, now, &mut self.up, what);
            }
        }
        for (topic, payload) in due(&mut self.up, now) {
            self.manager.receive(&topic, payload, false, now);
        }
        for done in due(&mut self.working, now) {
            self.manager.done(done, now);
        }
        self.manager.tick(now);
        self.take_tasks();
        while let Some(output) = self.manager.output() {
            if let Output::Publish(outgoing) = output {
                let what = (outgoing.topic, outgoing.payload);
                send(&mut self.rng, now, &mut self.down, what);
            }
        }
        for (topic, payload) in due(&mut self.down, now) {
            if topic.starts_with("client/") {
                let message = understood(&topic, payload);
                let to = senders.iter_mut().find(|s| s.device.pupil == message.pupil);
                to.unwrap().hear(message);
            }
        }
    }

    fn take_tasks(&mut self) {
        for lane in Lane::ALL {
            while let Some(task) = self.manager.next(lane, self.now) {
                let fails = self.rng.random_bool(0.1);
                let at = self.now + Duration::from_millis(self.rng.random_range(0..200));
                let what = run(task, &self.store, fails);
                self.working.push(Later { at, what });
            }
        }
    }

    /// What threads had in hand is gone; what they had written is there. The broker has kept the presences.
    fn kill(&mut self, senders: &[Sender]) {
        self.kills += 1;
        self.working.clear();
        self.manager = Manager::new(config());
        for sender in senders {
            let presence = sender.device.presence();
            let topic = up(&presence);
            self.manager.receive(&topic, presence.encode(), true, self.now);
        }
    }
}

fn config() -> Config {
    Config {
        max_learners: 2,
        inbox: 16,
        store_updates: 10,
        store_after: TICK * 4,
        ..world::config()
    }
}

pub(super) fn devices() -> Vec<Sender> {
    let learners = ["dqn", "ac", "stream-q", "dqn"];
    let one = |(i, learner): (usize, &&str)| {
        let mut device = Device::new(&format!("pi-{i}"), learner, EXPERIENCES);
        device.base = if i == 3 { 5 } else { 0 };
        device.max_message = 2048;
        Sender {
            next: device.base + 1,
            has: device.base,
            durable: device.base,
            device,
            uploads: false,
            heard: Vec::new(),
            fetched: Instant::now(),
        }
    };
    learners.iter().enumerate().map(one).collect()
}

fn survive(seed: u64) -> u32 {
    let mut chaos = Chaos::new(seed);
    let mut senders = devices();
    chaos.kill(&senders);
    let mut left: Vec<usize> = (0..senders.len()).collect();
    for step in 0..STEPS {
        chaos.step(&mut senders);
        if chaos.rng.random_bool(0.004) {
            chaos.kill(&senders);
        }
        if step % 10 == 0 {
            left.retain(|i| !senders[*i].is_done());
        }
        if left.is_empty() {
            return chaos.kills;
        }
    }
    panic!("seed {seed}: {} learners are not done", left.len());
}

#[test]
fn whatever_happens_every_experience_counts_once_and_in_order() {
    let kills: u32 = (0..12).map(survive).sum();
    assert!(kills > 24, "the trainer was hardly ever killed: {kills} times");
}
